"""The commands of the command line; each returns its exit code."""

import json
import logging
import math
import re
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import pad

from textrnn.cli.inputs import (
    LabelledTexts,
    columns_of,
    labelled_texts,
    text_chunks,
    unlabelled_texts,
    use_columns,
    write_error,
)
from textrnn.errors import (
    CorruptFileError,
    InvalidValueError,
    check_choice,
    expected,
    import_extra,
    show,
)
from textrnn.estimator import TextClassifier
from textrnn.estimator.settings import OPTIONS
from textrnn.ngrams import BlendedClassifier, NgramClassifier
from textrnn.plotting import plot_confusion
from textrnn.runtime.compact import PRECISIONS
from textrnn.runtime.folder import FOLDER_FORMAT
from textrnn.runtime.labels import label_to_json
from textrnn.training import (
    ClassificationMetrics,
    ClassificationReport,
    MultilabelMetrics,
    MultilabelReport,
)
from textrnn.training.distributed.processes import join
from textrnn.training.loop import CTRL_C
from textrnn.training.reports import text_table

__all__ = ["evaluate", "info", "predict", "train"]

_LOGGER = logging.getLogger("textrnn")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # a terminal obeys them
_JSON_CONTROLS = re.compile(r"[\x7f-\x9f\u2028\u2029]")  # JSON escapes only the others


def train(options: Namespace) -> int:
    """Train on a table, save the classifier and print its metrics; 130 if Ctrl-C ended it early."""
    processes = join()
    check_choice("weights", options.weights, PRECISIONS)
    FOLDER_FORMAT.prepare(options.output)  # before the work rather than after it
    columns = known = several = None
    if options.base_model is None:
        classifier = TextClassifier()
    else:
        classifier = TextClassifier.load(options.base_model).set_params(warm_start=True)
        columns, several = classifier.data_["columns"], classifier.multi_label_
        known = _by_text(classifier.classes_.tolist())
    use_columns(options, columns)
    classifier.set_params(progress=not options.quiet, **_params(options))
    table = labelled_texts(options.train, options, known=known, several=several)
    if known is None and len(options.label_columns) > 1:
        occurring = set(chain.from_iterable(table.labels))
        for name in options.label_columns:
            if name not in occurring:
                write_error(f"No text has the label {show(name)}: the model will not know it.")
    eval_set = None
    if options.eval is not None:
        several = isinstance(table.labels[0], list)
        if known is None:
            known = _by_text(chain.from_iterable(table.labels) if several else table.labels)
        given = labelled_texts(options.eval, options, known=known, several=several)
        eval_set = (given.texts, given.labels)
    more = None if options.unlabelled is None else unlabelled_texts(options.unlabelled, options)
    with _logging(quiet=options.quiet or not processes.is_main):
        classifier.fit(table.texts, table.labels, eval_set, unlabelled=more)
        code = 130 if classifier.stopped_ == CTRL_C else 0
        if not processes.is_main:
            return code
        columns = columns_of(options.train, options)
        classifier.save(options.output, weights=options.weights, columns=columns)
        _LOGGER.info("Saved to %s.", options.output)
    report = None
    # After Ctrl-C, nothing is predicted any more.
    if eval_set is not None and not options.json and code == 0:
        report = classifier.evaluate(*eval_set)
    _write_trained(classifier, len(table.bad), report, options)
    return code


def _write_trained(
    classifier: TextClassifier, left_out: int, report: object, options: Namespace
) -> None:
    """Print the number of texts, and the report or the metrics."""
    counts = {"train_texts": classifier.data_["train_texts"]}
    counts["eval_texts"] = classifier.data_["eval_texts"]
    if options.json:
        facts = {"output": options.output, **counts, "left_out": left_out}
        _write(_json({**facts, "metrics": classifier.metrics_}))
        return
    rows = [["training texts", f"{counts['train_texts']:,}"]]
    if options.eval is None:
        rows.append(["held-out texts", f"{counts['eval_texts']:,}"])
    if left_out:
        rows.append(["rows left out", f"{left_out:,}"])
    if report is None:
        rows += [[name, f"{value:.4f}"] for name, value in classifier.metrics_.items()]
    _write(text_table(rows) if report is None else f"{text_table(rows)}\n\n{report}")


def evaluate(options: Namespace) -> int:
    """Evaluate a saved classifier on a table."""
    classifier = TextClassifier.load(options.model, device=options.device)
    use_columns(options, classifier.data_["columns"])
    if options.plot is not None:
        _check_picture(options.plot, multi_label=classifier.multi_label_)
    table = labelled_texts(
        options.file,
        options,
        known=_by_text(classifier.classes_.tolist()),
        several=classifier.multi_label_,
        count_unknown=True,
    )
    report = _evaluated(classifier, table)
    if options.plot is not None and isinstance(report, ClassificationReport):
        names = [scores.label for scores in report.classes]
        plot_confusion(report.confusion, names).savefig(options.plot)
    _write(_escaped(report.to_json()) if options.json else report)
    return 0


def _evaluated(
    classifier: TextClassifier, table: LabelledTexts
) -> ClassificationReport | MultilabelReport:
    """Evaluate a classifier; a label that it does not have is one that it never predicts."""
    if not table.unknown:
        return classifier.evaluate(table.texts, table.labels)
    names = [*classifier.classes_.tolist(), *table.unknown]
    ids = {name: index for index, name in enumerate(names)}
    if not classifier.multi_label_:
        metrics = ClassificationMetrics(len(names))
        probabilities = torch.from_numpy(classifier.predict_proba(table.texts))
        logits = pad(probabilities.log(), (0, len(table.unknown)), value=-math.inf)
        metrics.update(logits, torch.tensor([ids[label] for label in table.labels]))
        return metrics.report(names)
    found, targets = (torch.zeros(len(table.texts), len(names)) for _ in range(2))
    for row, labels in enumerate(_predicted_labels(classifier, table.texts)):
        found[row, [ids[label] for label in labels]] = 1
    for row, labels in enumerate(table.labels):
        targets[row, [ids[label] for label in labels]] = 1
    several = MultilabelMetrics(len(names))
    several.update(found - 0.5, targets)
    return several.report(names)


def predict(options: Namespace) -> int:
    """Label texts from a file or a pipe in their order, up to the first bad row."""
    classifier = TextClassifier.load(options.model, device=options.device)
    if options.threshold is not None:
        classifier.set_params(threshold=options.threshold)
    use_columns(options, classifier.data_["columns"])
    for texts, complaint in text_chunks(options):
        if texts:
            _write("\n".join(_answers(classifier, texts, options)))
        # The reader of a pipe gets each answer at once.
        sys.stdout.flush()
        if complaint is not None:
            raise CorruptFileError(complaint)
    return 0


def info(options: Namespace) -> int:
    """Describe a saved classifier."""
    classifier = TextClassifier.load(options.model, device="cpu")
    model = classifier.network_
    ngrams = model.ngrams if isinstance(model, BlendedClassifier) else None
    recurrent = model.recurrent if isinstance(model, BlendedClassifier) else model
    network = recurrent.config
    labels = [label_to_json(label) for label in classifier.classes_.tolist()]
    weights = sum(weight.numel() for weight in model.parameters())
    words = len(classifier.vocabulary_) - len(classifier.vocabulary_.specials)
    if options.json:
        facts = {
            "labels": labels,
            "multi_label": classifier.multi_label_,
            "weights": weights,
            "words": words,
            "network": network,
            "ngrams": None if ngrams is None else ngrams.config,
            "metrics": classifier.metrics_,
            "settings": classifier.settings_,
            "data": classifier.data_,
        }
        _write(_json(facts, indent=2))
        return 0
    direction = "bidirectional " if network["bidirectional"] else ""
    layers = f"{network['num_layers']} {direction}{network['cell'].upper()}"
    rows = {
        "labels": ", ".join(_printable(label) for label in labels),
        "labels of a text": "any number" if classifier.multi_label_ else "one",
        "network": f"{layers} of {network['hidden_size']}, {weights:,} weights",
        "n-grams": _counted(ngrams),
        "words": f"{words:,}",
        "training texts": f"{classifier.data_['train_texts']:,}",
    }
    for name, value in classifier.metrics_.items():
        rows[f"validation {name.replace('_', ' ')}"] = f"{value:.4f}"
    _write(text_table(list(rows.items()), right=False))
    return 0


def _params(options: Namespace) -> dict[str, Any]:
    """Return the parameters of `TextClassifier` that were given."""
    params = {}
    for option in OPTIONS:
        if option.name in options:
            value = getattr(options, option.name)
            if isinstance(value, list):
                value = tuple(value)
            params[option.name] = None if option.kind.nullable and value == "none" else value
    return params


def _check_picture(path: str, *, multi_label: bool) -> None:
    """Raise an error if no confusion matrix can be drawn into a file of that name."""
    if multi_label:
        rule = "left out: several labels have no confusion matrix"
        raise InvalidValueError(expected("plot", rule, path))
    backends = import_extra("matplotlib.backend_bases", extra="plot")
    kinds = backends.FigureCanvasBase.get_supported_filetypes()
    if Path(path).suffix.lower().removeprefix(".") not in kinds:
        rule = f"a file whose name ends in {', '.join(f'.{kind}' for kind in sorted(kinds))}"
        raise InvalidValueError(expected("plot", rule, path))


def _by_text(labels: Iterable[Any]) -> dict[str, Any]:
    """Return labels by their text: the 3 of a Parquet file is the "3" of a CSV file."""
    return {str(label): label for label in labels}


def _answers(classifier: TextClassifier, texts: list[str], options: Namespace) -> Iterator[str]:
    """Yield a line of output for each text."""
    found = _predicted_labels(classifier, texts)
    if not (options.json or options.proba or options.top_k):
        yield from ("\t".join(map(_printable, labels)) for labels in found)
        return
    names = [label_to_json(label) for label in classifier.classes_.tolist()]
    keys = [str(name) for name in names]
    if len(set(keys)) < len(keys):
        keys = [json.dumps(name, ensure_ascii=False) for name in names]
    probabilities = classifier.predict_proba(texts) if options.proba or options.top_k else None
    for position, labels in enumerate(found):
        plain = [label_to_json(label) for label in labels]
        answer: dict[str, Any] = (
            {"labels": plain} if classifier.multi_label_ else {"label": plain[0]}
        )
        if probabilities is not None:
            row = [round(value, 6) for value in probabilities[position].tolist()]
            if options.proba:
                answer["probabilities"] = dict(zip(keys, row, strict=True))
            if options.top_k:
                best = np.argsort(-probabilities[position], kind="stable")[: options.top_k]
                answer["top_k"] = [{"label": names[i], "probability": row[i]} for i in best]
        yield _json(answer)


def _predicted_labels(classifier: TextClassifier, texts: list[str]) -> list[list[Any]]:
    """Return a list of the labels of each text."""
    found = classifier.predict(texts)
    if not classifier.multi_label_:
        return [[label] for label in found.tolist()]
    if isinstance(found, np.ndarray):
        names = classifier.classes_.tolist()
        return [[names[i] for i in np.flatnonzero(row)] for row in found]
    return list(found)


def _counted(ngrams: NgramClassifier | None) -> str:
    if ngrams is None:
        return "none"
    return f"{ngrams.num_ngrams:,}{', and the spelling of words' * ngrams.spelling}"


def _printable(label: object) -> str:
    """Return a label on one line, with control characters escaped."""
    text = str(label).replace("\\", "\\\\")
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _json(value: object, *, indent: int | None = None) -> str:
    """Return JSON with all control characters escaped."""
    return _escaped(json.dumps(value, indent=indent, ensure_ascii=False))


def _escaped(text: str) -> str:
    """Escape the control characters that JSON leaves alone."""
    return _JSON_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _write(result: object) -> None:
    """Write a result and a line feed to standard output, always in UTF-8."""
    if not (text := str(result)):
        return
    buffer = getattr(sys.stdout, "buffer", None)
    if buffer is None:  # a notebook's output takes strings only
        sys.stdout.write(f"{text}\n")
    else:
        buffer.write(f"{text}\n".encode("utf-8", "backslashreplace"))


@contextmanager
def _logging(*, quiet: bool) -> Iterator[None]:
    """Write the library's log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    level = _LOGGER.level
    _LOGGER.setLevel(logging.WARNING if quiet else logging.INFO)
    _LOGGER.addHandler(handler)
    try:
        yield
    finally:
        _LOGGER.removeHandler(handler)
        _LOGGER.setLevel(level)

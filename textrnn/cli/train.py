"""`textrnn train`: train a classifier on a table, and save it."""

import logging
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any

from textrnn._text_table import text_table
from textrnn.cli.inputs import (
    LabelledTexts,
    columns_of,
    labelled_texts,
    labels_by_text,
    unlabelled_texts,
    use_columns,
    write_error,
)
from textrnn.cli.output import to_json, write
from textrnn.errors import check_choice, show
from textrnn.estimator import TextClassifier
from textrnn.estimator.settings import OPTIONS
from textrnn.runtime.compact import PRECISIONS
from textrnn.runtime.folder import FOLDER_FORMAT
from textrnn.training.distributed.processes import join
from textrnn.training.loop import CTRL_C

__all__ = ["given_parameters", "logging_to_stderr", "run", "training_table", "write_trained"]

_LOGGER = logging.getLogger("textrnn")


def run(options: Namespace) -> int:
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
        known = labels_by_text(classifier.classes_.tolist())
    use_columns(options, columns)
    progress = False if options.quiet else None
    classifier.set_params(progress=progress, **given_parameters(options))
    table = training_table(options, known=known, several=several)
    eval_set = None
    if options.eval is not None:
        several = isinstance(table.labels[0], list)
        if known is None:
            known = labels_by_text(chain.from_iterable(table.labels) if several else table.labels)
        given = labelled_texts(options.eval, options, known=known, several=several)
        eval_set = (given.texts, given.labels)
    more = None if options.unlabelled is None else unlabelled_texts(options.unlabelled, options)
    with logging_to_stderr(quiet=options.quiet or not processes.is_main) as log:
        classifier.fit(table.texts, table.labels, eval_set, unlabelled=more)
        code = 130 if classifier.stopped_ == CTRL_C else 0
        if not processes.is_main:
            return code
        columns = columns_of(options.train, options)
        classifier.save(options.output, weights=options.weights, columns=columns)
        log.info("Saved to %s.", options.output)
    report = None
    # After Ctrl-C, nothing is predicted any more.
    if eval_set is not None and not options.json and code == 0:
        report = classifier.evaluate(*eval_set)
    write_trained(classifier, table, report, options)
    return code


def training_table(
    options: Namespace, *, known: Mapping[str, Any] | None = None, several: bool | None = None
) -> LabelledTexts:
    """Read the table to train on, as `labelled_texts` does; name labels that no text has."""
    table = labelled_texts(options.train, options, known=known, several=several)
    if known is None and len(options.label_columns) > 1:
        occurring = set(chain.from_iterable(table.labels))
        for name in options.label_columns:
            if name not in occurring:
                write_error(f"No text has the label {show(name)}: the model will not know it.")
    return table


def write_trained(
    classifier: TextClassifier,
    table: LabelledTexts,
    report: object,
    options: Namespace,
    **facts: Any,
) -> None:
    """Print the number of texts, and the report or the metrics; `facts` are further ones."""
    left_out = len(table.bad)
    counts = {"train_texts": classifier.data_["train_texts"]}
    counts["eval_texts"] = classifier.data_["eval_texts"]
    if options.json:
        facts = {"output": options.output, **counts, "left_out": left_out, **facts}
        facts |= {"metrics": classifier.metrics_, "report": classifier.report_.to_dict()}
        write(to_json(facts))
        return
    rows = [["training texts", f"{counts['train_texts']:,}"]]
    if not classifier.data_["eval_given"]:
        rows.append(["held-out texts", f"{counts['eval_texts']:,}"])
    if left_out:
        rows.append(["rows left out", f"{left_out:,}"])
    rows += [[name, show(value)] for name, value in facts.get("settings", {}).items()]
    if report is None:
        rows += [[name, f"{value:.4f}"] for name, value in classifier.metrics_.items()]
    parts = [text_table(rows), *([] if report is None else [report]), classifier.report_]
    write("\n\n".join(map(str, parts)))


def given_parameters(options: Namespace) -> dict[str, Any]:
    """Return the parameters of `TextClassifier` that were given."""
    params = {}
    for option in OPTIONS:
        if option.name in options:
            value = getattr(options, option.name)
            if isinstance(value, list):
                value = tuple(value)
            params[option.name] = None if option.kind.nullable and value == "none" else value
    return params


@contextmanager
def logging_to_stderr(*, quiet: bool) -> Iterator[logging.Logger]:
    """Write the library's log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    level = _LOGGER.level
    _LOGGER.setLevel(logging.WARNING if quiet else logging.INFO)
    _LOGGER.addHandler(handler)
    try:
        yield _LOGGER
    finally:
        _LOGGER.removeHandler(handler)
        _LOGGER.setLevel(level)

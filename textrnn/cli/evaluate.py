"""`textrnn evaluate`: evaluate a saved classifier on a table."""

import math
from argparse import Namespace
from pathlib import Path

import torch
from torch.nn.functional import pad

from textrnn.cli.inputs import LabelledTexts, labelled_texts, labels_by_text, use_columns
from textrnn.cli.output import escaped, write
from textrnn.cli.predict import predicted_labels
from textrnn.errors import InvalidValueError, expected, import_extra
from textrnn.estimator import TextClassifier
from textrnn.plotting import plot_confusion
from textrnn.training import (
    ClassificationMetrics,
    ClassificationReport,
    MultilabelMetrics,
    MultilabelReport,
)

__all__ = ["run"]


def run(options: Namespace) -> int:
    """Evaluate a saved classifier on a table."""
    classifier = TextClassifier.load(options.model, device=options.device)
    use_columns(options, classifier.data_["columns"])
    if options.plot is not None:
        _check_picture(options.plot, multi_label=classifier.multi_label_)
    table = labelled_texts(
        options.file,
        options,
        known=labels_by_text(classifier.classes_.tolist()),
        several=classifier.multi_label_,
        count_unknown=True,
    )
    report = _evaluated(classifier, table)
    if options.plot is not None and isinstance(report, ClassificationReport):
        names = [scores.label for scores in report.classes]
        plot_confusion(report.confusion, names).savefig(options.plot)
    write(escaped(report.to_json()) if options.json else report)
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
    for row, labels in enumerate(predicted_labels(classifier, table.texts)):
        found[row, [ids[label] for label in labels]] = 1
    for row, labels in enumerate(table.labels):
        targets[row, [ids[label] for label in labels]] = 1
    several = MultilabelMetrics(len(names))
    several.update(found - 0.5, targets)
    return several.report(names)


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

"""Reports of an evaluation, which print as tables and convert to JSON."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from textrnn._results import Tabular
from textrnn._text_table import Table, printable

__all__ = ["ClassScores", "ClassificationReport", "MultilabelReport"]

_MOST_PRINTED = 20  # a wider confusion matrix does not fit on a screen


@dataclass(frozen=True)
class ClassScores:
    """Precision, recall and F1 of one class.

    Attributes:
        label: The class's name, or its id if no names were given.
        precision: Fraction of the texts predicted as this class that belong to it.
        recall: Fraction of the class's texts that were predicted as this class.
        f1: Harmonic mean of both.
        support: Number of texts of the class.
    """

    label: Any
    precision: float
    recall: float
    f1: float
    support: int


class _Report(Tabular):
    """A report that prints as tables and converts to JSON."""

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data for JSON, in which a NaN becomes None."""
        public = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        return {name: _plain(value) for name, value in public.items()}


@dataclass(frozen=True)
class ClassificationReport(_Report):
    """The result of an evaluation in which every text has exactly one class.

    Attributes:
        accuracy: Fraction of texts that were predicted correctly.
        macro_f1: Mean F1 of the classes that occur among the labels or the predictions.
        weighted_f1: Mean F1, each class weighted by its support.
        calibration_error: Expected calibration error, see `ClassificationMetrics`.
        classes: Scores of every class, in the order of the class ids.
        confusion: Confusion matrix: the number of texts of class `row` predicted as class `column`.
        top_k_accuracy: For each `k`, the fraction of texts whose class is among the `k` most
            probable ones.

    Example:
        >>> import torch
        >>> from textrnn.training.metrics import ClassificationMetrics
        >>> metrics = ClassificationMetrics(2)
        >>> logits = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 3.0]])
        >>> metrics.update(logits, torch.tensor([0, 1, 1]))
        >>> print(metrics.report(["spam", "ham"]))
        texts                   3
        accuracy           0.6667
        macro F1           0.6667
        weighted F1        0.6667
        calibration error  0.2992
        <BLANKLINE>
        class  precision  recall      F1  support
        spam      0.5000  1.0000  0.6667        1
        ham       1.0000  0.5000  0.6667        2
        <BLANKLINE>
        label / prediction  spam  ham
        spam                   1    0
        ham                    1    1
    """

    accuracy: float
    macro_f1: float
    weighted_f1: float
    calibration_error: float
    classes: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, ...], ...]
    top_k_accuracy: dict[int, float] = field(default_factory=dict)

    def _tables(self) -> list[Table]:
        """Return figures, scores of the classes and confusions."""
        top_k = {f"top-{k} accuracy": value for k, value in self.top_k_accuracy.items()}
        figures = {"accuracy": self.accuracy, "macro F1": self.macro_f1}
        figures |= {"weighted F1": self.weighted_f1, "calibration error": self.calibration_error}
        tables = [
            _figures_table(sum(scores.support for scores in self.classes), figures | top_k),
            _classes_table(self.classes),
        ]
        if len(self.classes) <= _MOST_PRINTED:
            names = [printable(scores.label) for scores in self.classes]
            rows = [[name, *map(str, row)] for name, row in zip(names, self.confusion, strict=True)]
            tables.append(Table([["label / prediction", *names], *rows]))
        return tables


@dataclass(frozen=True)
class MultilabelReport(_Report):
    """The result of an evaluation in which a text has any number of labels.

    Attributes:
        accuracy: Fraction of texts that were predicted with exactly their labels.
        micro_f1: F1 of all decisions, whatever their label.
        macro_f1: Mean F1 of the labels.
        weighted_f1: Mean F1, each label weighted by its support.
        classes: Scores of every label, in the order of the label ids.
        num_texts: Number of texts.

    Example:
        >>> import torch
        >>> from textrnn.training.metrics import MultilabelMetrics
        >>> metrics = MultilabelMetrics(2)
        >>> metrics.update(torch.tensor([[2.0, -1.0], [1.0, 1.0]]), torch.tensor([[1, 0], [0, 1]]))
        >>> print(metrics.report(["sports", "business"]))
        texts             2
        accuracy     0.5000
        micro F1     0.8000
        macro F1     0.8333
        weighted F1  0.8333
        <BLANKLINE>
        class     precision  recall      F1  support
        sports       0.5000  1.0000  0.6667        1
        business     1.0000  1.0000  1.0000        1
    """

    accuracy: float
    micro_f1: float
    macro_f1: float
    weighted_f1: float
    classes: tuple[ClassScores, ...]
    num_texts: int

    def _tables(self) -> list[Table]:
        """Return figures and scores of the classes."""
        figures = {"accuracy": self.accuracy, "micro F1": self.micro_f1}
        figures |= {"macro F1": self.macro_f1, "weighted F1": self.weighted_f1}
        return [_figures_table(self.num_texts, figures), _classes_table(self.classes)]


def _figures_table(num_texts: int, figures: dict[str, float]) -> Table:
    rows = [[name, f"{value:.4f}"] for name, value in figures.items()]
    return Table([["texts", str(num_texts)], *rows], head=False)


def _classes_table(classes: Sequence[ClassScores]) -> Table:
    rows = [
        [
            printable(scores.label),
            *(f"{value:.4f}" for value in (scores.precision, scores.recall, scores.f1)),
            str(scores.support),
        ]
        for scores in classes
    ]
    return Table([["class", "precision", "recall", "F1", "support"], *rows])


def _plain(value: Any) -> Any:
    """Convert a value of a report to types that JSON has."""
    if isinstance(value, ClassScores):
        label = value.label.item() if isinstance(value.label, np.generic) else value.label
        known = label is None or isinstance(label, bool | int | str)
        return _plain({**vars(value), "label": label if known else str(label)})
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value

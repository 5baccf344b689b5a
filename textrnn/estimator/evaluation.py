"""Evaluate a classifier on labelled texts, and show those that it labels wrongly."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from html import escape
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import pad

from textrnn._results import Result, Results
from textrnn._text_table import printable
from textrnn.errors import InvalidValueError, check_int, expected
from textrnn.estimator.attribution import explain
from textrnn.estimator.explanation import Explanation, plain_label
from textrnn.estimator.model import Model
from textrnn.runtime.labels import LabelSet, LabelValues
from textrnn.training import (
    ClassificationMetrics,
    ClassificationReport,
    MultilabelMetrics,
    MultilabelReport,
)

__all__ = ["Evaluation", "Mistake", "Mistakes", "MultilabelEvaluation", "evaluate"]


@dataclass(frozen=True, kw_only=True)
class Mistake(Result):
    """A text whose prediction is wrong.

    It prints as a line: the text's label, the predicted one, and the words that speak for it.

    Attributes:
        text: The text.
        label: Its label; for multi-label data, a list of its labels.
        predicted: The predicted label, or a list of those predicted.
        confidence: Probability of the wrong decision: of the predicted label; for multi-label data,
            of the label in `explanation`, or of its absence if it is missing from `predicted`.
        probabilities: Probability of each label.
        explanation: Explanation of the predicted label; for multi-label data, of the label that is
            wrong with the highest confidence.
    """

    text: str
    label: Any
    predicted: Any
    confidence: float
    probabilities: dict[Any, float]
    explanation: Explanation

    def to_dict(self) -> dict[str, Any]:
        """Return the mistake as plain data for JSON; labels that JSON lacks are strings."""
        plain = {"label": _plain(self.label), "predicted": _plain(self.predicted)}
        probabilities = {str(label): value for label, value in self.probabilities.items()}
        rest = {"probabilities": probabilities, "explanation": self.explanation.to_dict()}
        return {**vars(self), **plain, **rest}

    def __str__(self) -> str:
        several = f"{_shown(self.predicted)}; " * isinstance(self.predicted, list)
        return f"labelled {_shown(self.label)}, predicted {several}{self.explanation}"

    def _repr_html_(self) -> str:
        """Return both labels and the marked words in HTML."""
        labels = f"labelled {_shown(self.label)}, predicted {_shown(self.predicted)}"
        return f"<div>{escape(labels)}</div>{self.explanation._repr_html_()}"


class Mistakes(Results[Mistake]):
    """Texts whose predictions are wrong, which print and show one after the other."""

    __slots__ = ()

    _separator = "\n\n"


class _Wrong(NamedTuple):
    """Texts with wrong predictions, the most confident first, and all it takes to explain them."""

    model: Model
    limits: NDArray[np.float64]  # probabilities above which a text has a label, (labels,)
    texts: list[str]
    labels: list[Any]
    predicted: list[Any]
    confidences: NDArray[np.float64]  # (texts,)
    probabilities: NDArray[np.float64]  # (texts, labels)
    blamed: NDArray[np.int64]  # id of the label to explain, (texts,)


class _WithMistakes:
    """The method of an evaluation that knows its texts."""

    _wrong: _Wrong

    def mistakes(self, k: int = 20) -> Mistakes:
        """Return the wrong predictions of which the classifier was most confident.

        They are explained here, so that evaluation itself costs no more than predictions.

        Args:
            k: Maximum number of texts. Default: 20.

        Returns:
            The texts with their labels, predictions and explanations, the most confident wrong
            prediction first. They print as lines, and have `to_json`.

        Raises:
            InvalidTypeError: If `k` is not an integer.
            InvalidValueError: If `k` is below 1.
        """
        k = check_int("k", k)
        wrong = self._wrong
        names, rows = wrong.model.labels.names, range(min(k, len(wrong.texts)))
        found: dict[int, Explanation] = {}
        for label_id in set(wrong.blamed[:k].tolist()):
            chosen = [row for row in rows if wrong.blamed[row] == label_id]
            texts = [wrong.texts[row] for row in chosen]
            explanations = explain(wrong.model, texts, label_id, wrong.limits)
            found |= zip(chosen, explanations, strict=True)
        return Mistakes(
            Mistake(
                text=wrong.texts[row],
                label=wrong.labels[row],
                predicted=wrong.predicted[row],
                confidence=float(wrong.confidences[row]),
                probabilities=dict(zip(names, wrong.probabilities[row].tolist(), strict=True)),
                explanation=found[row],
            )
            for row in rows
        )


class Evaluation(_WithMistakes, ClassificationReport):
    """A `ClassificationReport` of a classifier, which also has its mistakes."""


class MultilabelEvaluation(_WithMistakes, MultilabelReport):
    """A `MultilabelReport` of a classifier, which also has its mistakes."""


def evaluate(
    model: Model,
    texts: list[str],
    values: LabelValues,
    limits: NDArray[np.float64],
    *,
    top_k: Iterable[int] = (),
    unknown: Iterable[Any] = (),
) -> Evaluation | MultilabelEvaluation:
    """Evaluate a model on labelled texts; `unknown` are further labels, which it never predicts.

    `limits` are the probabilities above which a text has a label, for multi-label data.
    """
    known, ks = model.labels, tuple(top_k)
    every = replace(known, names=(*known.names, *unknown))
    new = len(every) - len(known)
    targets = every.encode(values)
    logits = model.logits(texts)  # (texts, labels)
    probabilities = known.probabilities(logits.numpy())  # (texts, labels)
    rows = np.arange(len(texts))
    if known.multi_label:
        if ks:
            raise InvalidValueError(expected("top_k", "empty for multi-label data", top_k))
        found = probabilities > limits  # (texts, labels)
        decided = torch.from_numpy(np.pad(found, ((0, 0), (0, new))))
        several = MultilabelMetrics(len(every))
        several.update(decided.float() - 0.5, torch.from_numpy(targets))
        report: Any = several.report(every.names)
        differ = found != (targets[:, : len(known)] > 0)  # (texts, labels)
        sure = np.where(found, probabilities, 1 - probabilities)
        known_wrong = differ.any(axis=1, keepdims=True)  # (texts, 1)
        blamed = np.where(known_wrong, sure * differ, probabilities - limits).argmax(axis=1)
        confidences, wrong = sure[rows, blamed], (decided.numpy() != targets).any(axis=1)
        kind: Any = MultilabelEvaluation
    else:
        metrics = ClassificationMetrics(len(every), top_k=ks)
        metrics.update(pad(logits, (0, new), value=-math.inf), torch.from_numpy(targets))
        report = metrics.report(every.names)
        found = blamed = logits.numpy().argmax(axis=1)  # (texts,)
        confidences, wrong = probabilities[rows, blamed], found != targets
        kind = Evaluation
    order = np.flatnonzero(wrong)
    order = order[np.argsort(-confidences[order], kind="stable")]
    kept = _Wrong(
        model=model,
        limits=limits,
        texts=[texts[row] for row in order],
        labels=_named(every, targets[order]),
        predicted=_named(known, found[order]),
        confidences=confidences[order],
        probabilities=probabilities[order],
        blamed=blamed[order],
    )
    evaluation: Evaluation | MultilabelEvaluation = kind(**vars(report))
    vars(evaluation)["_wrong"] = kept  # which is no part of the report's figures
    return evaluation


def _named(labels: LabelSet, found: NDArray[Any]) -> list[Any]:
    """Return the label of each text, or a list of its labels."""
    if not labels.multi_label:
        return [labels.names[index] for index in found]
    return [[labels.names[index] for index in np.flatnonzero(row)] for row in found]


def _plain(label: Any) -> Any:
    """Return a label, or a list of labels, as JSON has them."""
    return [*map(plain_label, label)] if isinstance(label, list) else plain_label(label)


def _shown(label: Any) -> str:
    """Return a label, or several, on one line."""
    several = label if isinstance(label, list) else [label]
    return ", ".join(map(printable, several)) or "nothing"

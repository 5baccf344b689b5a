"""What a fitted classifier is asked: labels, probabilities, measures."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textrnn._learning import Examples
from textrnn._model import Model
from textrnn.errors import (
    InvalidValueError,
    NotFittedError,
    check_float,
    check_int,
    expected,
    show,
)
from textrnn.training import (
    ClassificationMetrics,
    ClassificationReport,
    MultilabelMetrics,
    MultilabelReport,
)

__all__ = ["Predictor", "Threshold"]

Threshold: TypeAlias = float | Mapping[Any, float]
"""A probability above which a text has a label: the same for all labels, or one for each."""


class Predictor:
    """The methods of a classifier that ask its model.

    Attributes:
        threshold: For multi-label data, the threshold where none is given.
    """

    threshold: Threshold
    _fitted: Model

    def __sklearn_is_fitted__(self) -> bool:
        """Tell whether `fit` was called."""
        return "_fitted" in vars(self)

    def _model(self) -> Model:
        if not self.__sklearn_is_fitted__():
            name = type(self).__name__
            raise NotFittedError(f"This {name} is not fitted yet; call `fit` or `load` first.")
        return self._fitted

    def predict(self, texts: Iterable[str], *, threshold: Threshold | None = None) -> Any:
        """Return the most probable label of each text.

        Args:
            texts: The texts.
            threshold: For multi-label data: the probability above which a text has a label, or a
                mapping of labels to theirs (default: the parameter `threshold`).

        Returns:
            The labels, an array `(texts,)`; for multi-label data a list of labels for each text,
            or a matrix of zeros and ones if the classifier learned from one.

        Raises:
            NotFittedError: If `fit` was not called.
            InvalidTypeError: If `texts` is no column of strings.
            InvalidValueError: If a threshold is not between 0 and 1.
            MissingKeyError: If a threshold is that of no label.
        """
        model = self._model()
        if not model.labels.multi_label:
            return model.labels.classes[model.logits(texts).argmax(dim=1).numpy()]
        found = (self._above_threshold(texts, threshold) > 0).numpy()  # (texts, labels)
        if model.labels.matrix:
            return found.astype(np.int64)
        names = model.labels.names
        return [[names[index] for index in np.flatnonzero(row)] for row in found]

    def predict_proba(self, texts: Iterable[str]) -> NDArray[np.float64]:
        """Return the probability of every label for each text.

        Args:
            texts: The texts.

        Returns:
            Probabilities `(texts, labels)`, in the order of `classes_`. They sum to 1 for each
            text, unless a text has any number of labels.

        Raises:
            NotFittedError: If `fit` was not called.
            InvalidTypeError: If `texts` is no column of strings.
        """
        model = self._model()
        logits = model.logits(texts).double()  # (texts, labels)
        several = model.labels.multi_label
        return np.asarray(torch.sigmoid(logits) if several else torch.softmax(logits, dim=1))

    def top_k(
        self, texts: Iterable[str], k: int = 3, *, threshold: float = 0.0
    ) -> list[list[tuple[Any, float]]]:
        """Return the most probable labels of each text with their probabilities.

        Args:
            texts: The texts.
            k: How many labels at most.
            threshold: The least probability of a label that is returned.

        Returns:
            For each text pairs of a label and its probability, the most probable first.

        Raises:
            NotFittedError: If `fit` was not called.
            InvalidTypeError: If `texts` is no column of strings.
            InvalidValueError: If `k` or `threshold` is out of range.
        """
        k = check_int("k", k)
        threshold = check_float("threshold", threshold, minimum=0.0, maximum=1.0)
        names = self._model().labels.names
        probabilities = self.predict_proba(texts)
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]  # (texts, k)
        return [
            [(names[i], float(row[i])) for i in order if row[i] >= threshold]
            for order, row in zip(best.tolist(), probabilities, strict=True)
        ]

    def score(self, texts: Iterable[str], labels: Iterable[Any]) -> float:
        """Return the share of texts whose labels are predicted exactly.

        Args:
            texts: The texts.
            labels: Their labels; one that the classifier doesn't know is never predicted.

        Returns:
            The accuracy, from 0 to 1.

        Raises:
            NotFittedError: If `fit` was not called.
            InvalidTypeError: If texts or labels have the wrong type.
            InvalidValueError: If there are none, or they differ in number.
        """
        known = self._model().labels
        examples = Examples.of(texts, labels)
        if not known.matrix:
            known.check_form(examples.labels)
        found = self.predict(examples.texts)
        if known.multi_label and not known.matrix:
            right = [set(a) == set(b) for a, b in zip(found, examples.labels, strict=True)]
        elif known.matrix:
            right = (found == known.encode(examples.labels)).all(axis=1).tolist()
        else:
            right = [a == b for a, b in zip(found.tolist(), examples.labels, strict=True)]
        return sum(right) / len(right)

    def evaluate(
        self, texts: Iterable[str], labels: Iterable[Any], *, top_k: Iterable[int] = ()
    ) -> ClassificationReport | MultilabelReport:
        """Measure the classifier.

        Args:
            texts: The texts.
            labels: Their labels.
            top_k: For which ``k`` to tell how often a text's label is among the ``k`` most
                probable ones.

        Returns:
            The report: accuracy, F1, the scores of every label and the confusions. It prints as a
            table, and has `to_json`.

        Raises:
            NotFittedError: If `fit` was not called.
            InvalidTypeError: If texts or labels have the wrong type.
            InvalidValueError: If there are none, they differ in number, or `top_k` is given for
                multi-label data.
            MissingKeyError: If the classifier doesn't know a label; those it knows are listed.
        """
        model = self._model()
        examples = Examples.of(texts, labels)
        targets = torch.from_numpy(model.labels.encode(examples.labels))
        if model.labels.multi_label:
            if tuple(top_k):
                raise InvalidValueError(expected("top_k", "empty for multi-label data", top_k))
            several = MultilabelMetrics(len(model.labels))
            several.update(self._above_threshold(examples.texts, None), targets)
            return several.report(model.labels.names)
        metrics = ClassificationMetrics(len(model.labels), top_k=tuple(top_k))
        metrics.update(model.logits(examples.texts), targets)
        return metrics.report(model.labels.names)

    def _above_threshold(self, texts: Any, threshold: Threshold | None) -> Tensor:
        """Return how far each logit is above its label's threshold, `(texts, labels)`."""
        model = self._model()
        given = self.threshold if threshold is None else threshold
        limits = torch.full((len(model.labels),), 0.5, dtype=torch.float64)
        if isinstance(given, Mapping):
            for label, value in given.items():
                limits[model.labels.id_of(label)] = _probability(f"threshold[{show(label)}]", value)
        else:
            limits[:] = _probability("threshold", given)
        return model.logits(texts).double() - torch.logit(limits)


def _probability(name: str, value: Any) -> float:
    return check_float(name, value, minimum=0.0, maximum=1.0, exclusive=True)

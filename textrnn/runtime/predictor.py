"""Predictions of a classifier from its probabilities: labels, and the most probable ones."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from textrnn.errors import InvalidValueError, check_float, check_int
from textrnn.runtime.labels import LabelSet
from textrnn.text.spelling import UnknownWords
from textrnn.text.tokenizers import Tokenizer
from textrnn.text.vocabulary import Vocabulary

__all__ = ["FittedModel", "Predictor", "Threshold"]

Threshold: TypeAlias = float | Mapping[Any, float]
"""A probability above which a text has a label: the same for all labels, or one for each."""


class FittedModel(Protocol):
    """Probabilities of labels, with everything that they are made of."""

    @property
    def labels(self) -> LabelSet:
        """The labels."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer."""

    def encode(self, texts: Any) -> tuple[NDArray[np.int32], NDArray[np.int64], UnknownWords]:
        """Return ids of a column of texts, number of ids of each, and their unknown words."""

    def probabilities(self, texts: Any) -> NDArray[np.float64]:
        """Return the probabilities of a column of texts, `(texts, labels)`."""

    def top_ngrams(self, index: int, k: int) -> list[tuple[tuple[int, ...], float]] | None:
        """Return the n-grams of words that speak most for a label; None without n-grams."""


class Predictor(ABC):
    """Methods of a classifier that has a model, and a threshold for multi-label data."""

    threshold: Threshold

    @abstractmethod
    def _model(self) -> FittedModel:
        """Return the model, or raise a `NotFittedError`."""

    def predict(self, texts: Iterable[str], *, threshold: Threshold | None = None) -> Any:
        """Return the most probable label of each text.

        Args:
            texts: The texts.
            threshold: For multi-label data, the probability above which a text has a label, or a
                mapping of labels to theirs. None is the classifier's `threshold`. Default: None.

        Returns:
            The labels, an array `(texts,)`. For multi-label data a list of labels for each text,
            or a matrix of zeros and ones if the classifier was trained on one.

        Raises:
            NotFittedError: If the classifier is not fitted.
            InvalidTypeError: If `texts` is not a column of strings.
            InvalidValueError: If a threshold is not between 0 and 1.
            MissingKeyError: If a threshold has an unknown label.
        """
        model = self._model()
        labels, found = model.labels, self._decide(model.probabilities(texts), threshold)
        if not labels.multi_label:
            return labels.classes[found]
        if labels.matrix:
            return found.astype(np.int64)
        return [[labels.names[index] for index in np.flatnonzero(row)] for row in found]

    def predict_proba(self, texts: Iterable[str]) -> NDArray[np.float64]:
        """Return the probability of every label for each text.

        Args:
            texts: The texts.

        Returns:
            Probabilities `(texts, labels)`, in the order of `classes_`. Those of a text sum to 1,
            except for multi-label data.

        Raises:
            NotFittedError: If the classifier is not fitted.
            InvalidTypeError: If `texts` is not a column of strings.
        """
        return self._model().probabilities(texts)

    def top_k(
        self, texts: Iterable[str], k: int = 3, *, threshold: float = 0.0
    ) -> list[list[tuple[Any, float]]]:
        """Return the most probable labels of each text with their probabilities.

        Args:
            texts: The texts.
            k: Maximum number of labels per text. Default: 3.
            threshold: Minimum probability of a label. Default: 0.0.

        Returns:
            For each text, pairs of a label and its probability, the most probable first.

        Raises:
            NotFittedError: If the classifier is not fitted.
            InvalidTypeError: If `texts` is not a column of strings.
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

    def top_features(self, label: Any, k: int = 20) -> list[tuple[str, float]]:
        """Return the words and phrases that speak most for a label.

        These are n-grams of the linear model. `explain` also includes the recurrent network, whose
        words have no weights apart from a text.

        Args:
            label: The label.
            k: Maximum number of words and phrases. Default: 20.

        Returns:
            Pairs of an n-gram, its words joined by spaces, and its strength, the strongest first.
            The strength is weight times inverse document frequency, in the scale of the blend. That
            of a phrase is in addition to those of its words; that of a word includes its spelling.
            Only n-grams that speak for the label are returned.

        Raises:
            NotFittedError: If the classifier is not fitted.
            InvalidTypeError: If `k` is not an integer.
            InvalidValueError: If `k` is below 1, or the classifier has no n-grams.
            MissingKeyError: If the label is unknown; the message lists the known ones.
        """
        model = self._model()
        index = model.labels.id_of(label, "`label`")
        found = model.top_ngrams(index, check_int("k", k))
        if found is None:
            raise InvalidValueError("Expected a classifier with n-grams, but got one without.")
        tokens = model.vocabulary.tokens
        return [(" ".join(tokens[i] for i in ids), strength) for ids, strength in found]

    def unknown_fraction(self, texts: Iterable[str]) -> NDArray[np.float64]:
        """Return the share of words of each text that the classifier does not know.

        These words are not in the vocabulary. A prediction for a text that has hardly any others
        says little. `report_.unknown_words` is the share in all validation texts.

        Args:
            texts: The texts.

        Returns:
            Shares from 0 to 1 `(texts,)`, of the words up to the maximum length. Punctuation counts
            where it is a token. A text without words has 0.

        Raises:
            NotFittedError: If the classifier is not fitted.
            InvalidTypeError: If `texts` is not a column of strings.
        """
        model = self._model()
        _, lengths, unknown = model.encode(texts)
        rows = np.repeat(np.arange(len(lengths)), lengths)  # (total,)
        counts = np.bincount(rows[unknown.positions], minlength=len(lengths))
        return counts / np.maximum(lengths - 2, 1)

    def _decide(
        self, probabilities: NDArray[np.float64], threshold: Threshold | None = None
    ) -> NDArray[Any]:
        """Return class ids `(texts,)`, or which labels a text has, bool `(texts, labels)`."""
        labels = self._model().labels
        if not labels.multi_label:
            return np.asarray(probabilities.argmax(axis=1))
        return probabilities > labels.thresholds(self.threshold if threshold is None else threshold)

    @property
    def classes_(self) -> NDArray[Any]:
        """Labels in the order of the probabilities, `(labels,)`."""
        return self._model().labels.classes.copy()

    @property
    def multi_label_(self) -> bool:
        """Whether a text has any number of labels."""
        return self._model().labels.multi_label

    @property
    def vocabulary_(self) -> Vocabulary:
        """Vocabulary of the training texts."""
        return self._model().vocabulary

    @property
    def tokenizer_(self) -> Tokenizer:
        """Tokenizer of the texts."""
        return self._model().tokenizer

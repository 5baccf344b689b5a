"""The logits of a linear model over n-grams, in NumPy."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from textrnn.runtime.batches import consecutive

__all__ = ["Ngrams"]

_Floats: TypeAlias = NDArray[np.float32]
_Integers: TypeAlias = NDArray[np.int64]

_MAX_IDS = 16_384  # in a batch, to bound the memory


class Ngrams:
    """The linear model of an `NgramClassifier`.

    Args:
        config: Its `config`.
        weights: Its `state_dict()` as arrays.
    """

    def __init__(self, config: Mapping[str, Any], weights: Mapping[str, NDArray[Any]]) -> None:
        self._vocab_size = int(config["vocab_size"])
        self._max_order = int(config["max_order"])
        self._spelling = bool(config["spelling"])
        self._keys, self._idf = weights["keys"], weights["idf"]  # (ngrams,) and (features,)
        self._weight = weights["weight"]  # (features, classes)
        self._bias = weights["bias"]  # (classes,)

    def logits(self, ids: NDArray[np.int32], lengths: _Integers) -> _Floats:
        """Compute the logits of encoded texts.

        Args:
            ids: Token ids of all texts, one after the other, `(total,)`.
            lengths: Number of ids of each text, at least 1, `(texts,)`.

        Returns:
            The logits, `(texts, classes)`.
        """
        logits = np.empty((len(lengths), len(self._bias)), np.float32)
        logits[:] = self._bias
        for texts, tokens in consecutive(lengths, max_ids=_MAX_IDS):
            sizes = lengths[texts]
            owners, places, values = self._features(ids[tokens], sizes)
            bounds = owners.searchsorted(np.arange(len(sizes) + 1)).tolist()
            for row, first in enumerate(bounds[:-1]):
                last = bounds[row + 1]
                logits[texts.start + row] += values[first:last] @ self._weight[places[first:last]]
        return logits

    def _features(
        self, ids: NDArray[np.int32], lengths: _Integers
    ) -> tuple[_Integers, _Integers, _Floats]:
        """Return texts, ascending, rows of `weight` and values of n-grams, `(entries,)` each."""
        words = ids.astype(np.int64)  # (tokens,)
        owners = np.arange(len(lengths)).repeat(lengths)  # (tokens,)
        keys, orders = words, [(words, owners)]
        for order in range(1, self._max_order):
            keys = keys[:-1] * self._vocab_size + words[order:]
            within = owners[order:] == owners[:-order]
            orders.append((keys[within], owners[order:][within]))
        keys, texts = map(np.concatenate, zip(*orders, strict=True))  # (ngrams,)
        places = self._keys.searchsorted(keys)
        np.minimum(places, len(self._keys) - 1, out=places)
        known = self._keys[places] == keys
        num_features = len(self._idf)
        entries = texts[known] * num_features + places[known]
        if self._spelling:
            spelled = owners * num_features + len(self._keys) + words
            entries = np.concatenate([entries, spelled])
        entries, counts = np.unique(entries, return_counts=True)
        texts, places = np.divmod(entries, num_features)
        values = (1 + np.log(counts.astype(np.float32))) * self._idf[places]
        if self._spelling:
            values = _normalize(values, 2 * texts + (places >= len(self._keys)))
        return texts, places, _normalize(values, texts)


def _normalize(values: _Floats, groups: _Integers) -> _Floats:
    """Return the values of each group scaled to norm 1; zeros stay zero."""
    norms = np.sqrt(np.bincount(groups, np.square(values, dtype=np.float64)))  # (groups,)
    return values / np.maximum(norms, 1e-12).astype(np.float32)[groups]

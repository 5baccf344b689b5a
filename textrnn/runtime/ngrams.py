"""The logits of a linear model over n-grams, in NumPy."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from textrnn.runtime.batches import consecutive
from textrnn.text.spelling import NO_WORDS, UnknownWords, spell

__all__ = ["Ngrams"]

_Floats: TypeAlias = NDArray[np.float32]
_Integers: TypeAlias = NDArray[np.int64]

_MAX_IDS = 16_384  # in a batch, to bound the memory
_LEAST_NORM = 1e-12  # by which features are divided


class _Spelled(NamedTuple):
    """What the spelling of unknown words tells."""

    rows: NDArray[np.int32]  # the word at each token, -1 for known ones, (tokens,)
    norms: _Floats  # (words,)
    weights: _Floats  # (words, classes)


class Ngrams:
    """The linear model of an `NgramClassifier`.

    Args:
        config: Its `config`.
        weights: Its `state_dict()` as arrays.

    Attributes:
        bias: Its bias, `(classes,)`.
    """

    def __init__(self, config: Mapping[str, Any], weights: Mapping[str, NDArray[Any]]) -> None:
        self._vocab_size = int(config["vocab_size"])
        self._max_order = int(config["max_order"])
        self._vectors: _Floats | None = None  # (vocabulary, size)
        if config["vector_size"]:
            self._vectors = weights["vectors"]
        self._keys, self._idf = weights["keys"], weights["idf"]  # (ngrams,) and (features,)
        self._weight = weights["weight"]  # (features, classes)
        names = ("char_keys", "char_idf", "char_weight") if config["num_char_ngrams"] else ()
        self._chars = [weights[name] for name in names]
        self._num_sparse = len(self._keys) + self._vocab_size * bool(self._chars)
        self.bias = weights["bias"]  # (classes,)

    def logits(
        self, ids: NDArray[np.int32], lengths: _Integers, unknown: UnknownWords = NO_WORDS
    ) -> _Floats:
        """Compute the logits of encoded texts.

        Args:
            ids: Token ids of all texts, one after the other, `(total,)`.
            lengths: Number of ids of each text, at least 1, `(texts,)`.
            unknown: Their unknown words, which have no weights otherwise. Default: none.

        Returns:
            The logits, `(texts, classes)`.
        """
        spelled = self._spell(unknown, len(ids))
        num_features = self._num_sparse
        logits = np.empty((len(lengths), len(self.bias)), np.float32)
        logits[:] = self.bias
        for texts, tokens in consecutive(lengths, max_ids=_MAX_IDS):
            sizes = lengths[texts]
            owners, places, values = self._features(ids[tokens], sizes, _part(spelled, tokens))
            if spelled is not None:
                known = places < num_features  # (entries,)
                others = (~known).nonzero()[0]
                weights = spelled.weights.take(places.take(others) - num_features, axis=0)
                rows = texts.start + owners.take(others)
                np.add.at(logits, rows, values.take(others)[:, np.newaxis] * weights)
                owners, places, values = (x.compress(known) for x in (owners, places, values))
            bounds = owners.searchsorted(np.arange(len(sizes) + 1)).tolist()
            for row, first in enumerate(bounds[:-1]):
                last = bounds[row + 1]
                weights = self._weight.take(places[first:last], axis=0)
                logits[texts.start + row] += values[first:last] @ weights
            if self._vectors is not None:
                sums = self._vector_sums(self._vectors, ids[tokens], sizes)  # (texts, size)
                logits[texts] += _scaled(sums).astype(np.float32) @ self._weight[self._num_sparse :]
        return logits

    def contributions(
        self,
        ids: NDArray[np.int32],
        lengths: _Integers,
        targets: _Integers,
        unknown: UnknownWords = NO_WORDS,
    ) -> NDArray[np.float64]:
        """Divide the logit of a class for each text, less its bias, among the text's tokens.

        The contribution of an n-gram is divided equally among its occurrences, and that of each
        among its words; `<bos>` and `<eos>` get a share only where there are no words.

        A vector's contribution is divided equally among the occurrences of its token.

        Args:
            ids: Token ids of all texts, `<bos>` and `<eos>` included, `(total,)`.
            lengths: Number of ids of each text, `(texts,)`.
            targets: Class id for each text, `(texts,)`.
            unknown: Unknown words of the texts. Default: none.

        Returns:
            Contribution of each token, `(total,)`.
        """
        found, spelled = np.zeros(len(ids)), self._spell(unknown, len(ids))
        ends = lengths.cumsum()  # (texts,)
        for start, end, index in zip(ends - lengths, ends, targets.tolist(), strict=True):
            tokens = slice(start, end)
            found[tokens] = self._contributions(ids[tokens], index, _part(spelled, tokens))
        return found

    def _contributions(
        self, ids: NDArray[np.int32], index: int, spelled: _Spelled | None
    ) -> NDArray[np.float64]:
        """Divide the logit of a class among the tokens of a text, `(tokens,)`."""
        size, num_ngrams, num_features = len(ids), len(self._keys), self._num_sparse
        words = ids.astype(np.int64)  # (tokens,)
        is_word = np.ones(size, dtype=np.bool_)
        is_word[[0, -1]] = False
        _, held, values = self._features(ids, np.array([size]), spelled)  # (features,)
        weights = self._weight[np.minimum(held, num_features - 1), index]  # (features,)
        if spelled is not None:
            others = held >= num_features
            weights[others] = spelled.weights[held[others] - num_features, index]
        parts = values.astype(np.float64) * weights  # (features,)
        tokens = np.zeros(size)
        for order in range(1, min(self._max_order, size) + 1):
            spans = np.lib.stride_tricks.sliding_window_view(np.arange(size), order)
            keys = words[spans] @ self._vocab_size ** np.arange(order)[::-1]  # (ngrams,)
            rows = self._keys.searchsorted(keys).clip(max=num_ngrams - 1)
            known = self._keys[rows] == keys
            spans, rows = spans[known], rows[known]  # (occurrences, order)
            if self._chars and order == 1:
                spans = np.concatenate([spans, np.arange(size)[:, np.newaxis]])
                rows = np.concatenate([rows, self._places(words, spelled)])
            places = held.searchsorted(rows)  # (occurrences,)
            each = parts[places] / np.bincount(places, minlength=len(held))[places]
            shared = is_word[spans]  # (occurrences, order)
            shared[~shared.any(axis=1)] = True
            shares = each[:, np.newaxis] * shared / shared.sum(axis=1, keepdims=True)
            tokens += np.bincount(spans.ravel(), shares.ravel(), size)
        if self._vectors is not None:
            _, places, counts = np.unique(ids, return_inverse=True, return_counts=True)
            factors = ((1 + np.log(counts)) / counts)[places] * self._idf[self._num_sparse + words]
            vectors = self._vectors[ids] * factors[:, np.newaxis]  # (tokens, size)
            norm = max(float(np.linalg.norm(vectors.sum(axis=0))), _LEAST_NORM)
            tokens += vectors @ self._weight[self._num_sparse :, index].astype(np.float64) / norm
        return tokens

    def strongest(
        self, index: int, k: int, *, first_word: int
    ) -> list[tuple[tuple[int, ...], float]]:
        """Return the n-grams of words that speak most for a class.

        Args:
            index: Class id.
            k: Maximum number of n-grams.
            first_word: The lowest token id of a word; those below are special tokens.

        Returns:
            For each n-gram its token ids and its weight times its inverse document frequency, the
            largest first. The weight of a single word includes that of its spelling, but not that
            of its vector.
        """
        size, base = len(self._keys), self._vocab_size
        weight = self._weight[:size, index].astype(np.float64)
        if self._chars:
            single = np.flatnonzero(self._keys < base)
            weight[single] += self._weight[size + self._keys[single], index]
        weight *= self._idf[:size]
        rest = self._keys.copy()
        while rest.any():  # digit by digit, from the last token to the first
            weight[(rest > 0) & (rest % base < first_word)] = 0
            rest //= base
        best = [row for row in np.argsort(-weight, kind="stable")[:k].tolist() if weight[row] > 0]
        return [(self._tokens(int(self._keys[row])), float(weight[row])) for row in best]

    def _tokens(self, key: int) -> tuple[int, ...]:
        """Return the token ids of an n-gram."""
        ids: tuple[int, ...] = ()
        while key:
            key, last = divmod(key, self._vocab_size)
            ids = (last, *ids)
        return ids

    def _vector_sums(
        self, vectors: _Floats, ids: NDArray[np.int32], lengths: _Integers
    ) -> NDArray[np.float64]:
        """Return the weighted sums of the vectors of texts, `(texts, size)`."""
        owners = np.arange(len(lengths)).repeat(lengths)  # (tokens,)
        entries, counts = np.unique(owners * self._vocab_size + ids, return_counts=True)
        texts, tokens = np.divmod(entries, self._vocab_size)  # (entries,)
        factors = (1 + np.log(counts)) * self._idf[self._num_sparse + tokens]
        words, places = np.unique(tokens, return_inverse=True)
        table = vectors[words].astype(np.float64)[places]  # (entries, size)
        table *= factors[:, np.newaxis]
        return np.add.reduceat(table, texts.searchsorted(np.arange(len(lengths))))

    def _spell(self, unknown: UnknownWords, tokens: int) -> _Spelled | None:
        """Return what is known about unknown words among so many tokens, if there are any."""
        if not (self._chars and unknown.words):
            return None
        return _Spelled(unknown.by_token(tokens), *spell(unknown.words, *self._chars))

    def _places(self, words: _Integers, spelled: _Spelled | None) -> _Integers:
        """Return the row of each token's spelling, those of unknown words after `weight`."""
        places = len(self._keys) + words  # (tokens,)
        if spelled is not None:
            places = np.where(spelled.rows < 0, places, self._num_sparse + spelled.rows)
        return places

    def _features(
        self, ids: NDArray[np.int32], lengths: _Integers, spelled: _Spelled | None
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
        known = self._keys.take(places, mode="clip") == keys
        last = self._num_sparse - 1
        num_features = self._num_sparse + (0 if spelled is None else len(spelled.norms))
        entries = (texts * num_features + places).compress(known)
        if self._chars:
            spellings = owners * num_features + self._places(words, spelled)
            entries = np.concatenate([entries, spellings])
        entries, counts = np.unique(entries, return_counts=True)
        texts, places = np.divmod(entries, num_features)
        factors = self._idf.take(places, mode="clip")
        if spelled is not None:
            others = (places > last).nonzero()[0]
            factors[others] = spelled.norms.take(places.take(others) - last - 1)
        values = (1 + np.log(counts.astype(np.float32))) * factors
        if self._chars:
            values = _normalize(values, 2 * texts + (places >= len(self._keys)))
        return texts, places, _normalize(values, texts)


def _scaled(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows scaled to norm 1; rows of zeros stay zero."""
    norms = np.linalg.norm(sums, axis=1, keepdims=True)  # (texts, 1)
    scaled: NDArray[np.float64] = sums / np.maximum(norms, _LEAST_NORM)
    return scaled


def _part(spelled: _Spelled | None, tokens: slice) -> _Spelled | None:
    """Return the same for some of the tokens."""
    return None if spelled is None else spelled._replace(rows=spelled.rows[tokens])


def _normalize(values: _Floats, groups: _Integers) -> _Floats:
    """Return the values of each group scaled to norm 1; zeros stay zero."""
    norms = np.sqrt(np.bincount(groups, np.square(values, dtype=np.float64)))  # (groups,)
    return values / np.maximum(norms, _LEAST_NORM).astype(np.float32)[groups]

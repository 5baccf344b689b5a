"""Character n-grams of words, and the weights of unknown words that follow from them."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["NO_WORDS", "UnknownWords", "char_keys", "known_char_ngrams", "spell"]

_Integers: TypeAlias = NDArray[np.int64]
_Floats: TypeAlias = NDArray[np.float32]

_MIN_SIZE, _MAX_SIZE = 3, 5
_MAX_CHARACTERS = 100  # of a word, since text without spaces is one word of any length
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, and without a pattern
_MAX_KEY = np.uint64(2**63 - 1)
_ROW_BITS = 32  # more character n-grams need more memory than there is
_MAX_VALUES = 2**20  # of character n-grams times classes at a time, to bound the memory


class UnknownWords(NamedTuple):
    """The unknown words of encoded texts."""

    words: list[str]  # different ones, ascending
    positions: _Integers  # of unknown words among the ids of all texts, ascending, (tokens,)
    rows: NDArray[np.int32]  # the word at each position, (tokens,)

    def by_token(self, tokens: int) -> NDArray[np.int32]:
        """Return the word of each of all `tokens`, or -1 where a token is known."""
        rows = np.full(tokens, -1, dtype=np.int32)
        rows[self.positions] = self.rows
        return rows


NO_WORDS = UnknownWords([], np.empty(0, np.int64), np.empty(0, np.int32))
"""The unknown words of texts without any."""


def char_keys(words: Sequence[str]) -> tuple[_Integers, _Integers]:
    """Return a key of each character n-gram of words, and the word of each, `(entries,)`."""
    # Marks at both ends distinguish a stem from the same characters within a word (Bojanowski et
    # al., "Enriching Word Vectors with Subword Information", 2017).
    marked = [f"<{word[:_MAX_CHARACTERS]}>" if word else "" for word in words]
    data = "".join(marked).encode("utf-32-le", "surrogatepass")
    letters = np.frombuffer(data, "<u4").astype(np.uint64) + np.uint64(1)  # (characters,)
    owners = np.arange(len(words), dtype=np.int64).repeat(
        np.array([len(each) for each in marked], dtype=np.int64)
    )
    # A key is a hash of 63 bits: the characters as digits in a large base, modulo 2 ** 63.
    hashes, keys, owned = letters, [], []
    for size in range(2, _MAX_SIZE + 1):
        hashes = hashes[:-1] * _BASE + letters[size - 1 :]
        if size >= _MIN_SIZE:
            within = owners[size - 1 :] == owners[: len(hashes)]
            keys.append(hashes[within])
            owned.append(owners[: len(hashes)][within])
    found = np.concatenate(keys) & _MAX_KEY
    return found.view(np.int64), np.concatenate(owned)


def known_char_ngrams(words: Sequence[str], keys: _Integers) -> tuple[_Integers, _Integers]:
    """Return words, ascending, and their different character n-grams among `keys`, `(entries,)`."""
    found, owners = char_keys(words)
    rows = keys.searchsorted(found)
    known = keys.take(rows, mode="clip") == found
    entries = (owners << _ROW_BITS | rows).compress(known)
    entries.sort()  # several times as fast as `numpy.unique`
    entries = entries.compress(_changes(entries))
    return entries >> _ROW_BITS, entries & (1 << _ROW_BITS) - 1


def spell(
    words: Sequence[str], keys: _Integers, idf: NDArray[Any], weight: NDArray[Any]
) -> tuple[_Floats, _Floats]:
    """Return norms `(words,)` and weights `(words, classes)` of words by their spelling.

    `keys`, ascending, `idf` and `weight` `(char_ngrams, classes)` are those of the known character
    n-grams. Words without any have zeros.
    """
    classes = weight.shape[1]
    norms = np.zeros(len(words), np.float32)
    weights = np.zeros((len(words), classes), np.float32)
    size = max(_MAX_VALUES // (_MAX_CHARACTERS * classes), 1)
    for first in range(0, len(words), size):
        owners, rows = known_char_ngrams(words[first : first + size], keys)
        if not len(owners):
            continue
        # `take` and `compress` take a fraction of the time of indexing.
        values = idf.take(rows).astype(np.float64)  # (entries,)
        starts = _changes(owners).nonzero()[0]
        spelled = owners[starts] + first
        lengths = np.sqrt(np.add.reduceat(values**2, starts))  # (spelled,)
        products = values[:, np.newaxis] * weight.take(rows, axis=0)  # (entries, classes)
        sums = np.add.reduceat(products, starts)  # (spelled, classes)
        norms[spelled] = lengths
        weights[spelled] = sums / np.where(lengths > 0, lengths, 1)[:, np.newaxis]
    return norms, weights


def _changes(values: _Integers) -> NDArray[np.bool_]:
    """Tell which values differ from the one before."""
    changes = np.ones(len(values), dtype=np.bool_)
    np.not_equal(values[1:], values[:-1], out=changes[1:])
    return changes

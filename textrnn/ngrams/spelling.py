"""Character n-grams of words, which words with a common stem or ending share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from textrnn.errors import InvalidTypeError, InvalidValueError, expected
from textrnn.ngrams.solver import SparseMatrix
from textrnn.text.spelling import char_keys, known_char_ngrams

__all__ = ["Spelling", "check_words"]

_MIN_TEXTS = 2  # an n-gram of a single text tells nothing about others


@dataclass(frozen=True, kw_only=True)
class Spelling:
    """Matrix `(words, char_ngrams)` of weighted character n-grams, and the norms of its rows."""

    matrix: SparseMatrix  # rows have norm 1, or 0 without any n-gram
    norms: Tensor  # (words,), before scaling
    keys: Tensor  # of the character n-grams, ascending, int64 (char_ngrams,)
    idf: Tensor  # (char_ngrams,)

    @classmethod
    def of(cls, words: Sequence[str], keys: Tensor, idf: Tensor) -> Self:
        """Weight character n-grams of words by their inverse document frequency."""
        found = known_char_ngrams(words, keys.numpy())
        owners, columns = map(torch.from_numpy, found)  # (entries,)
        lengths = torch.bincount(owners, minlength=len(words))  # (words,)
        values = idf[columns]  # (entries,)
        norms = values.new_zeros(len(words)).index_add_(0, owners, values.square()).sqrt()
        matrix = SparseMatrix.of(
            columns.int(), values / norms[owners], lengths, num_columns=len(keys)
        )
        return cls(matrix=matrix, norms=norms, keys=keys, idf=idf)

    @classmethod
    def most_frequent(
        cls, words: Sequence[str], texts_with: Tensor, *, texts: float, max_ngrams: int
    ) -> Self | None:
        """Choose the character n-grams of most texts; None if there are none of several texts."""
        # `texts_with` is the number of texts with each word, (words,). A text counts once for each
        # of its words that have an n-gram.
        keys = np.unique(char_keys(words)[0])
        owners, places = known_char_ngrams(words, keys) if len(keys) else (keys, keys)
        weights = texts_with.numpy()[owners]  # (entries,), floats where texts have weights
        frequencies = np.bincount(places, weights, len(keys))  # (char_ngrams,)
        order = np.argsort(-frequencies, kind="stable")[:max_ngrams]
        kept = np.sort(order[frequencies[order] >= _MIN_TEXTS])
        if not len(kept):
            return None
        held = torch.from_numpy(frequencies[kept]).clamp(max=texts)
        idf = (((1 + texts) / (1 + held)).log() + 1).float()  # (char_ngrams,)
        return cls.of(words, torch.from_numpy(keys[kept]), idf)

    @property
    def num_char_ngrams(self) -> int:
        """Number of character n-grams."""
        return len(self.keys)


def check_words(words: Sequence[str], vocab_size: int) -> None:
    """Check that there is a string for each token id."""
    if len(words) < vocab_size:
        raise InvalidValueError(
            expected("words", f"one word for each of {vocab_size} token ids", len(words))
        )
    for position, word in enumerate(words):
        if not isinstance(word, str):
            raise InvalidTypeError(expected(f"words[{position}]", "a string", word))

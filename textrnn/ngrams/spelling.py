"""Character n-grams of words, which words with a common stem or ending share."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from textrnn.errors import InvalidTypeError, InvalidValueError, expected
from textrnn.ngrams.solver import SparseMatrix

__all__ = ["Spelling", "char_ngrams", "check_words"]

_MIN_SIZE, _MAX_SIZE = 3, 5
_MAX_CHARACTERS = 100  # of a word, since text without spaces is one word of any length
_MIN_TEXTS = 2  # an n-gram of a single text tells nothing about others


@dataclass(frozen=True, kw_only=True)
class Spelling:
    """Matrix `(words, char_ngrams)` of weighted character n-grams, and the norms of its rows."""

    matrix: SparseMatrix  # rows have norm 1, or 0 without any n-gram
    norms: Tensor  # (words,), before scaling

    @classmethod
    def of(cls, words: Sequence[str], texts_with: Tensor, *, texts: float, max_ngrams: int) -> Self:
        """Weight the most frequent character n-grams by their inverse document frequency."""
        # `texts_with` is the number of texts with each word, (words,). A text counts once for each
        # of its words that have an n-gram.
        parts = [char_ngrams(word) for word in words]
        frequencies: Counter[str] = Counter()  # floats, where texts have weights
        for part, times in zip(parts, texts_with.tolist(), strict=True):
            for each in part:
                frequencies[each] += times
        kept = [each for each, times in frequencies.most_common(max_ngrams) if times >= _MIN_TEXTS]
        places = {each: place for place, each in enumerate(kept)}
        held = torch.tensor([min(frequencies[each], texts) for each in kept], dtype=torch.float64)
        idf = (((1 + texts) / (1 + held)).log() + 1).float()  # (char_ngrams,)
        rows = [[places[each] for each in part if each in places] for part in parts]
        columns = torch.tensor([place for row in rows for place in row], dtype=torch.int32)
        lengths = torch.tensor([len(row) for row in rows])  # (words,)
        values = idf[columns.long()]  # (entries,)
        owners = torch.arange(len(rows)).repeat_interleave(lengths)  # (entries,)
        norms = values.new_zeros(len(rows)).index_add_(0, owners, values.square()).sqrt()
        matrix = SparseMatrix.of(columns, values / norms[owners], lengths, num_columns=len(kept))
        return cls(matrix=matrix, norms=norms)

    @property
    def num_char_ngrams(self) -> int:
        """Number of character n-grams."""
        return len(self.matrix.column_starts)


def check_words(words: Sequence[str], vocab_size: int) -> None:
    """Check that there is a string for each token id."""
    if len(words) != vocab_size:
        raise InvalidValueError(
            expected("words", f"one word for each of {vocab_size} token ids", len(words))
        )
    for position, word in enumerate(words):
        if not isinstance(word, str):
            raise InvalidTypeError(expected(f"words[{position}]", "a string", word))


def char_ngrams(word: str) -> list[str]:
    """Return the unique character n-grams of a word, such as "<oi", "oil" and "il>" of "oil"."""
    # Marks at both ends distinguish a stem from the same characters within a word (Bojanowski et
    # al., "Enriching Word Vectors with Subword Information", 2017).
    marked = f"<{word[:_MAX_CHARACTERS]}>" if word else ""
    found = (
        marked[start : start + size]
        for size in range(_MIN_SIZE, _MAX_SIZE + 1)
        for start in range(len(marked) - size + 1)
    )
    return list(dict.fromkeys(found))

"""Words by their spelling: what those with a common stem or ending share."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from textrnn.errors import InvalidTypeError, InvalidValueError, expected
from textrnn.ngrams.solver import SparseMatrix

__all__ = ["Spelling", "check_words", "spelled"]

_SHORTEST, _LONGEST = 3, 5
_MOST_CHARACTERS = 100  # of a word: what is longer is no word, and may be a million letters
_LEAST_TEXTS = 2  # what only one text holds tells nothing about others


def spelled(word: str) -> list[str]:
    """Return the different character n-grams of a word, of 3 to 5 characters.

    A mark stands at each end, so that a stem at the beginning is not the same within a word
    (Bojanowski et al., "Enriching Word Vectors with Subword Information", 2017).

    Args:
        word: The word; an empty one has none, and of a long one the first 100 characters count.

    Example:
        >>> spelled("oil")
        ['<oi', 'oil', 'il>', '<oil', 'oil>', '<oil>']
    """
    marked = f"<{word[:_MOST_CHARACTERS]}>" if word else ""
    found = (
        marked[start : start + size]
        for size in range(_SHORTEST, _LONGEST + 1)
        for start in range(len(marked) - size + 1)
    )
    return list(dict.fromkeys(found))


def check_words(words: Sequence[str], vocab_size: int) -> None:
    """Refuse anything but a word for each token id.

    Raises:
        InvalidTypeError: If a word is not a string.
        InvalidValueError: If there are not as many as token ids.
    """
    if len(words) != vocab_size:
        raise InvalidValueError(
            expected("words", f"one word for each of {vocab_size} token ids", len(words))
        )
    for position, word in enumerate(words):
        if not isinstance(word, str):
            raise InvalidTypeError(expected(f"words[{position}]", "a string", word))


@dataclass(frozen=True, kw_only=True)
class Spelling:
    """The character n-grams of words.

    Attributes:
        matrix: A row for each word, of the norm 1 if it has any, and a column for each of the
            character n-grams: how much each counts.
        norms: The norm of each row before, ``(words,)``.
    """

    matrix: SparseMatrix
    norms: Tensor

    @classmethod
    def of(cls, words: Sequence[str], texts_with: Tensor, *, texts: int, most: int) -> Self:
        """Weigh the character n-grams of words by how few texts hold them.

        Args:
            words: The words.
            texts_with: How many texts hold each of them, ``(words,)``.
            texts: How many texts there are.
            most: The most character n-grams; those that most texts hold are kept.

        Returns:
            The matrix. A text that holds several words with the same character n-gram counts for
            each of them.
        """
        parts = [spelled(word) for word in words]
        frequencies: Counter[str] = Counter()
        for part, times in zip(parts, texts_with.tolist(), strict=True):
            for each in part:
                frequencies[each] += times
        kept = [each for each, times in frequencies.most_common(most) if times >= _LEAST_TEXTS]
        places = {each: place for place, each in enumerate(kept)}
        held = torch.tensor([min(frequencies[each], texts) for each in kept], dtype=torch.float64)
        idf = (((1 + texts) / (1 + held)).log() + 1).float()  # (char_ngrams,)
        rows = [[places[each] for each in part if each in places] for part in parts]
        columns = torch.tensor([place for row in rows for place in row], dtype=torch.int32)
        lengths = torch.tensor([len(row) for row in rows])  # (words,)
        values = idf[columns.long()]  # (entries,)
        owners = torch.arange(len(rows)).repeat_interleave(lengths)  # (entries,)
        norms = torch.zeros(len(rows)).index_add_(0, owners, values.square()).sqrt()
        matrix = SparseMatrix.of(columns, values / norms[owners], lengths, num_columns=len(kept))
        return cls(matrix=matrix, norms=norms)

    @property
    def num_char_ngrams(self) -> int:
        """The number of character n-grams."""
        return len(self.matrix.column_starts)

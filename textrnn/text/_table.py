"""Looking up many words at once, without a Python object for each.

A dictionary finds a word in a tenth of a microsecond, but first the word must become a string, and
ten thousand of them leave the processor's cache. Here words stay where they lie in a text's bytes.
A word of up to 15 bytes is, with its length, two 64-bit numbers; all of a batch's are read, hashed
and compared by a few array operations. The rare longer ones go through a dictionary.
"""

import secrets
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["WordTable", "Words"]

_LONGEST = 15
_PADDING = b" " * 16
# What to keep of a word's first and second eight bytes, by its length; 16 stands for all lengths
# that are too long. The last byte has the length instead, so that no two words are alike.
_FIRST = np.array([2 ** (8 * min(n, 8)) - 1 for n in range(17)], dtype=np.uint64)
_SECOND = np.array([2 ** (8 * min(max(n - 8, 0), 7)) - 1 for n in range(17)], dtype=np.uint64)
_LENGTH = np.array([n << 56 for n in range(17)], dtype=np.uint64)
# Secret, so that nobody can prepare a text whose words all collide; no result depends on them.
_FACTORS = [np.uint64(secrets.randbits(64) | 1) for _ in range(3)]


class Words(NamedTuple):
    """Words in a buffer of bytes: where each begins and how many bytes it has."""

    buffer: bytes
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @classmethod
    def split(cls, text: str, *, limit: int | None = None) -> tuple[Self, NDArray[np.int64]]:
        """Find the words of texts.

        Args:
            text: The texts, their words divided by blanks and the texts by ``|``; no other white
                space.
            limit: How many words of a text to take at most.

        Returns:
            All words, and how many each text has.
        """
        buffer = b" " + text.encode("utf-8", "surrogatepass") + b"|" + _PADDING
        letters = np.frombuffer(buffer, dtype=np.uint8)
        is_bar = letters == ord("|")
        is_gap = is_bar | (letters == ord(" "))
        edges = np.flatnonzero(is_gap[1:] != is_gap[:-1]) + 1
        starts = np.ascontiguousarray(edges[::2])
        counts = np.diff(np.searchsorted(starts, np.flatnonzero(is_bar)), prepend=0)
        lengths = edges[1::2] - starts
        if limit is not None and counts.max() > limit:
            ranks = np.arange(len(starts)) - np.repeat(counts.cumsum() - counts, counts)
            starts, lengths = starts[ranks < limit], lengths[ranks < limit]
            counts = np.minimum(counts, limit)
        return cls(buffer, starts, lengths), counts

    @classmethod
    def join(cls, words: Sequence[bytes]) -> Self:
        """Put words one after another into a buffer."""
        lengths = np.fromiter(map(len, words), np.int64, len(words))
        return cls(b"".join(words) + _PADDING, lengths.cumsum() - lengths, lengths)

    def spell(self, indices: NDArray[np.int64]) -> list[bytes]:
        """Return some of the words."""
        starts = self.starts[indices]
        ends = starts + self.lengths[indices]
        return [self.buffer[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]

    def keys(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Return two numbers for each word, which together are those of no other word.

        They are meaningless for words that are too long, and never those of a word that is not.
        """
        # Every eight bytes in a row, seen as one number.
        count = len(self.buffer) - 7
        eights = np.ndarray((count,), dtype="<u8", buffer=self.buffer, strides=(1,))
        lengths = np.minimum(self.lengths, _LONGEST + 1)
        first = eights[self.starts] & _FIRST[lengths]
        second = eights[self.starts + 8] & _SECOND[lengths] | _LENGTH[lengths]
        return first, second


class WordTable:
    """A hash table from words to ids, which are the numbers from 0 in the order of adding.

    Args:
        words: The words to begin with; no two are equal.
    """

    def __init__(self, words: Iterable[bytes] = ()) -> None:
        self.words: list[bytes] = []
        self._long: dict[bytes, int] = {}
        self._num_short = 0
        self._allocate(6)
        self._add(list(words))

    def find(self, words: Words) -> NDArray[np.int32]:
        """Return each word's id, or -1 for a word that is not in the table.

        Args:
            words: The words to look up.

        Returns:
            Their ids ``(words,)``.
        """
        first, second = words.keys()
        slots = self._slots(first, second)
        ids = self._ids[slots]
        # A slot taken by another word sends a search on to the next; a free one ends it.
        others = np.flatnonzero((self._first[slots] != first) | (self._second[slots] != second))
        others = others[ids[others] >= 0]
        while others.size:
            slots[others] = (slots[others] + 1) & (len(self._ids) - 1)
            here = slots[others]
            ids[others] = self._ids[here]
            differs = (self._first[here] != first[others]) | (self._second[here] != second[others])
            others = others[differs & (self._ids[here] >= 0)]
        long = np.flatnonzero(words.lengths > _LONGEST)
        ids[long] = [self._long.get(word, -1) for word in words.spell(long)]
        return ids

    def learn(self, words: Words) -> NDArray[np.int32]:
        """Return each word's id and add the words that are new.

        Args:
            words: The words to look up or add.

        Returns:
            Their ids ``(words,)``.
        """
        ids = self.find(words)
        missing = np.flatnonzero(ids < 0)
        if missing.size:
            spelled = words.spell(missing)
            new = dict.fromkeys(spelled, 0)
            new.update(zip(new, range(len(self.words), len(self.words) + len(new)), strict=True))
            ids[missing] = [new[word] for word in spelled]
            self._add(list(new))
        return ids

    def _allocate(self, bits: int) -> None:
        """Make an empty table of two to the power of `bits` slots."""
        self._shift = np.uint64(64 - bits)
        self._first = np.zeros(2**bits, dtype=np.uint64)
        self._second = np.zeros(2**bits, dtype=np.uint64)
        self._ids = np.full(2**bits, -1, dtype=np.int32)

    def _slots(self, first: NDArray[np.uint64], second: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the slot where the search for each word begins."""
        mixed = first * _FACTORS[0] ^ second
        mixed *= _FACTORS[1]
        mixed ^= mixed >> np.uint64(29)
        mixed *= _FACTORS[2]
        return (mixed >> self._shift).astype(np.int64)

    def _add(self, new: list[bytes]) -> None:
        """Add words that are not in the table."""
        words = Words.join(new)
        ids = np.arange(len(self.words), len(self.words) + len(new), dtype=np.int32)
        self.words += new
        short = words.lengths <= _LONGEST
        for index in np.flatnonzero(~short).tolist():
            self._long[new[index]] = int(ids[index])
        first, second = words.keys()
        first, second, ids = first[short], second[short], ids[short]
        self._num_short += len(ids)
        if 2 * self._num_short > len(self._ids):
            old = self._ids >= 0
            first = np.concatenate([self._first[old], first])
            second = np.concatenate([self._second[old], second])
            ids = np.concatenate([self._ids[old], ids])
            self._allocate((4 * self._num_short).bit_length())
        self._place(first, second, ids)

    def _place(
        self, first: NDArray[np.uint64], second: NDArray[np.uint64], ids: NDArray[np.int32]
    ) -> None:
        """Put words into the first free slot from where their search begins."""
        slots = self._slots(first, second)
        while ids.size:
            free = self._ids[slots] < 0
            self._ids[slots[free]] = ids[free]
            # Of several words that want a slot, one has got it.
            placed = self._ids[slots] == ids
            self._first[slots[placed]] = first[placed]
            self._second[slots[placed]] = second[placed]
            left = ~placed
            first, second, ids = first[left], second[left], ids[left]
            slots = (slots[left] + 1) & (len(self._ids) - 1)

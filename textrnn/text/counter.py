"""Counting the words of more text than fits into memory."""

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import chain, islice
from typing import SupportsIndex

import numpy as np
from numpy.typing import NDArray

from textrnn._processes import check_picklable, map_in_order
from textrnn.errors import check_int
from textrnn.text._columns import batches, check_tokenizer, cuts_columns, join_words, split_text
from textrnn.text._counting import check_specials
from textrnn.text._table import Words, WordTable
from textrnn.text.tokenizers import Tokenizer, WordTokenizer
from textrnn.text.vocabulary import Vocabulary

__all__ = ["WordCounter"]

_BATCHES = 16  # that go to a worker at a time: a million characters
_SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>")


class WordCounter:
    """Counts words in one pass with bounded memory, exactly as long as they fit.

    When more than `max_words` different words have come, the rarest are forgotten until half of
    that is left, and the counter remembers how often a forgotten word may have occurred at most:
    `max_error`. A word that comes again begins anew. This is Lossy Counting (Manku and Motwani,
    2002, "Approximate Frequency Counts over Data Streams"), except that words are forgotten when
    memory calls for it rather than at fixed intervals. So at any time

    - a count is never too high, and too low by at most `max_error`,
    - a word that is not in the table has occurred at most `max_error` times,
    - `max_error` is at most twice the number of tokens, divided by `max_words`; it is 0 until words
      are forgotten. With the frequencies of a natural language it stays far below that bound.

    Where nothing was forgotten, the result depends on the texts alone; otherwise on `max_words` and
    the calls of `update` too, but never on the number of workers.

    Args:
        tokenizer: What cuts a text into tokens (default: ``WordTokenizer()``).
        max_words: How many different words to hold at most, give or take those of a million
            characters. A million of them take some 150 MB (default: 2,000,000).
        num_workers: How many processes cut and count; 0 does it all in this one. They are started
            as those of a `torch.utils.data.DataLoader` are.

    Raises:
        InvalidTypeError: If `tokenizer` can't be called, or not be pickled for workers, or a number
            is not an integer.
        InvalidValueError: If a number is out of range.

    Example:
        >>> counter = WordCounter()
        >>> counter.update(["Oil prices soar.", "Oil!"])
        >>> counter.num_tokens, counter.num_words, counter.max_error
        (4, 3, 0)
        >>> counter.vocabulary(min_freq=2).tokens
        ('<pad>', '<unk>', '<bos>', '<eos>', 'oil')
    """

    def __init__(
        self,
        tokenizer: Tokenizer | None = None,
        *,
        max_words: SupportsIndex = 2_000_000,
        num_workers: SupportsIndex = 0,
    ) -> None:
        self.tokenizer: Tokenizer = WordTokenizer() if tokenizer is None else tokenizer
        check_tokenizer(self.tokenizer)
        self.max_words = check_int("max_words", max_words)
        self._num_workers = check_int("num_workers", num_workers, minimum=0)
        if self._num_workers:
            check_picklable("tokenizer", self.tokenizer)
        self._table = WordTable()
        self._counts = np.zeros(0, dtype=np.int64)  # (words,), room for more at the end
        self._missed = np.zeros(0, dtype=np.int64)  # (words,), the most that went before
        self._num_tokens = 0
        self._max_error = 0

    @property
    def num_tokens(self) -> int:
        """How many tokens were counted, those of forgotten words included."""
        return self._num_tokens

    @property
    def num_words(self) -> int:
        """How many different words are held."""
        return len(self._table.words)

    @property
    def max_error(self) -> int:
        """By how much a count may be too low at most; 0 if all are exact."""
        return self._max_error

    def update(self, texts: Iterable[str]) -> None:
        """Count the words of some more texts.

        Args:
            texts: Any iterable of strings, read once and a few texts at a time.

        Raises:
            InvalidTypeError: If `texts` is a single string or holds anything else than strings, or
                if the tokenizer returns anything but a list of strings.
        """
        make = partial(_Count, self.tokenizer)
        parts = map_in_order(make, _chunks(texts), num_workers=self._num_workers)
        with closing(parts):
            for words, counts in parts:
                self._add(words, counts)

    def _add(self, words: list[bytes], counts: NDArray[np.int64]) -> None:
        """Add the counts of different words."""
        if not words:
            return
        before = self.num_words
        ids = self._table.learn(Words.join(words))
        if self.num_words > len(self._counts):
            size = max(self.num_words, len(self._counts) * 5 // 4)
            self._counts.resize(size, refcheck=False)
            self._missed.resize(size, refcheck=False)
        self._counts[ids] += counts
        self._missed[before : self.num_words] = self._max_error
        self._num_tokens += int(counts.sum())
        if self.num_words > self.max_words:
            self._forget()

    def _forget(self) -> None:
        """Keep half as many words as are allowed, those that may have occurred most."""
        counts, missed = self._known()
        most = counts + missed
        place = self.num_words - 1 - self.max_words // 2
        self._max_error = int(np.partition(most, place)[place])
        kept = np.flatnonzero(most > self._max_error)
        self._counts, self._missed = counts[kept], missed[kept]
        self._table = WordTable([self._table.words[index] for index in kept.tolist()])

    def _known(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return self._counts[: self.num_words], self._missed[: self.num_words]

    def vocabulary(
        self,
        *,
        min_freq: SupportsIndex = 1,
        max_size: SupportsIndex | None = None,
        specials: Sequence[str] = _SPECIALS,
    ) -> Vocabulary:
        """Return the vocabulary of all texts so far.

        It is that of `Vocabulary.from_texts`, bit for bit, as long as no word was forgotten or none
        that was can be in it or change its counts. Otherwise a warning says by how much.

        Args:
            min_freq: How often a word must occur to be kept (default: 1).
            max_size: The most entries, special tokens included (default: no limit).
            specials: The special tokens, as for `Vocabulary`.

        Raises:
            InvalidTypeError: If a limit is not an integer, or a special token no string.
            InvalidValueError: If a limit or the special tokens are not as for `Vocabulary`.

        Warns:
            UserWarning: If words were forgotten that may belong here, or are counted too low here.

        Example:
            >>> counter = WordCounter(max_words=2)
            >>> counter.update(["oil oil oil gas war"])
            >>> counter.vocabulary(min_freq=2).tokens[4:], counter.max_error
            (('oil',), 1)
        """
        least = check_int("min_freq", min_freq)
        first = check_specials(specials)
        counts, _ = self._known()
        frequent = np.flatnonzero(counts >= least)
        # Decoded only here, since most words are rare.
        spelled = [self._table.words[i].decode("utf-8", "surrogatepass") for i in frequent.tolist()]
        known = Counter(dict(zip(spelled, counts[frequent].tolist(), strict=True)))
        # The vocabulary counts what equals a special token as left out.
        known[first[Vocabulary.unk_id]] += self._num_tokens - known.total()
        result = Vocabulary(+known, min_freq=least, max_size=max_size, specials=first)
        full = max_size is not None and len(result) == check_int("max_size", max_size)
        if self._max_error and not (full and len(result) == len(first)):
            kept = [word in result and word not in first for word in spelled]
            self._warn(frequent[np.array(kept, dtype=np.bool_)], None if full else least)
        return result

    def _warn(self, kept: NDArray[np.int64], least: int | None) -> None:
        """Warn unless all the words kept and their counts are certain.

        Args:
            kept: Which words are in a vocabulary.
            least: The count that let them in, or None if only so many words were let in.
        """
        counts, missed = self._known()
        lowest = int(counts[kept].min()) if least is None else least
        others = np.ones(len(counts), dtype=np.bool_)
        others[kept] = False
        others &= missed > 0
        doubtful = int((counts[others] + missed[others] >= lowest).sum())
        low = int((missed[kept] > 0).sum())
        if self._max_error >= lowest or doubtful or low:
            warnings.warn(
                f"The vocabulary is not exact: of more than {self.max_words:,} words the rarest "
                f"were forgotten. A count may be too low by up to {self._max_error:,}, and a word "
                "whose count is so far above the limit may be missing. A larger `max_words`, or a "
                "vocabulary of more frequent words, helps.",
                stacklevel=3,
            )


class _Count:
    """Counts the words of some texts, in whichever process.

    Args:
        tokenizer: What cuts them.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def __call__(self, chunk: list[list[str]]) -> tuple[list[bytes], NDArray[np.int64]]:
        """Return the different words in the order of their coming, and how often each came."""
        tokenizer = self._tokenizer
        if not cuts_columns(tokenizer):
            counter: Counter[str] = Counter()
            for text in chain.from_iterable(chunk):
                counter.update(split_text(text, tokenizer))
            spelled = [word.encode("utf-8", "surrogatepass") for word in counter]
            return spelled, np.fromiter(counter.values(), np.int64, len(counter))
        table = WordTable()
        ids = []
        for batch in chunk:
            words, _ = Words.split(join_words(batch, lowercase=tokenizer.lowercase))
            ids.append(table.learn(words))
        return table.words, np.bincount(np.concatenate(ids), minlength=len(table.words))


def _chunks(texts: Iterable[str]) -> Iterator[list[list[str]]]:
    """Yield some batches of texts at a time, enough work to send it elsewhere."""
    parts = batches(texts)
    while chunk := list(islice(parts, _BATCHES)):
        yield chunk

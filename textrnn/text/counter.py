"""Count the words of corpora larger than memory."""

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from typing import SupportsIndex

import numpy as np

from textrnn.errors import check_int
from textrnn.text.bulk import batches, check_tokenizer, count_words
from textrnn.text.tokenizers import Tokenizer, WordTokenizer
from textrnn.text.vocabulary import SPECIALS, Vocabulary, check_specials

__all__ = ["WordCounter"]

_BATCHES = 32  # per task of a worker: a million characters


class WordCounter:
    """Count words in one pass with bounded memory; counts are exact as long as all words fit.

    When there are more than `max_words` distinct words, the rarest are dropped until half as many
    remain. `max_error` is an upper bound on the count of any dropped word. A dropped word that
    occurs again is counted from zero. This is Lossy Counting (Manku and Motwani, 2002, "Approximate
    Frequency Counts over Data Streams"), except that words are dropped when memory requires it
    rather than at fixed intervals. At any time

    - a count is never too high, and too low by at most `max_error`,
    - a word that is not held has occurred at most `max_error` times,
    - `max_error` is at most twice the number of tokens divided by `max_words`, and 0 until words
      are dropped. For natural language it is usually far below that bound.

    As long as no word was dropped, the result depends only on the texts. Afterwards it also depends
    on `max_words` and on how the texts are divided among calls of `update`, but never on the number
    of workers.

    Args:
        tokenizer: Splits a text into tokens. None is `WordTokenizer()`. Default: None.
        max_words: Maximum number of distinct words to hold, exceeded by at most those of a million
            characters. A million words take about 100 MB. Default: 2,000,000.
        num_workers: Number of worker processes that tokenize and count. 0 uses this process alone.
            Workers start in the same way as those of a `torch.utils.data.DataLoader`. Default: 0.

    Raises:
        InvalidTypeError: If `tokenizer` is not callable, or not picklable although there are
            workers, or if a number is not an integer.
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
            from textrnn._processes import check_picklable

            check_picklable("tokenizer", self.tokenizer)
        self._counts: Counter[str] = Counter()
        # Upper bound on the occurrences before a word came (again), where that is not 0.
        self._missed: dict[str, int] = {}
        self._num_tokens = 0
        self._max_error = 0

    @property
    def num_tokens(self) -> int:
        """Number of tokens counted, those of dropped words included."""
        return self._num_tokens

    @property
    def num_words(self) -> int:
        """Number of distinct words held."""
        return len(self._counts)

    @property
    def max_error(self) -> int:
        """Upper bound on how much too low a count may be; 0 if all counts are exact."""
        return self._max_error

    def update(self, texts: Iterable[str]) -> None:
        """Count the words of more texts.

        Args:
            texts: Any iterable of strings, which is read once and a few texts at a time.

        Raises:
            InvalidTypeError: If `texts` is a single string or contains anything but strings, or if
                the tokenizer returns anything but a list of strings.
        """
        from textrnn._processes import map_in_order

        make = partial(partial, count_words, tokenizer=self.tokenizer)  # lambdas can't be pickled
        parts = map_in_order(make, _chunks(texts), num_workers=self._num_workers)
        with closing(parts):
            for counts in parts:
                self._add(counts)

    def _add(self, counts: Counter[str]) -> None:
        """Add the counts of some texts."""
        if self._max_error:
            new = counts.keys() - self._counts.keys()
            self._missed.update(dict.fromkeys(new, self._max_error))
        self._counts.update(counts)
        self._num_tokens += counts.total()
        if self.num_words > self.max_words:
            self._drop()

    def _drop(self) -> None:
        """Keep the half of `max_words` that may have occurred most often."""
        place = self.num_words - 1 - self.max_words // 2
        most = np.fromiter(map(self._most, self._counts), np.int64, self.num_words)
        self._max_error = limit = int(np.partition(most, place)[place])
        self._counts = Counter(
            {word: n for word, n in self._counts.items() if self._most(word) > limit}
        )
        self._missed = {word: n for word, n in self._missed.items() if word in self._counts}

    def _most(self, word: str) -> int:
        """Return an upper bound on the occurrences of a word that is held."""
        return self._counts[word] + self._missed.get(word, 0)

    def vocabulary(
        self,
        *,
        min_freq: SupportsIndex = 1,
        max_size: SupportsIndex | None = None,
        specials: Sequence[str] = SPECIALS,
    ) -> Vocabulary:
        """Return the vocabulary of all texts so far.

        It equals that of `Vocabulary.from_texts` unless dropped words affect it. In that case a
        warning states the maximum error.

        Args:
            min_freq: Minimum count of a word. Default: 1.
            max_size: Maximum number of tokens, special tokens included. None is no limit. Default:
                None.
            specials: The special tokens, as for `Vocabulary`. Default:
                `("<pad>", "<unk>", "<bos>", "<eos>")`.

        Returns:
            The vocabulary.

        Raises:
            InvalidTypeError: If a limit is not an integer, or a special token is not a string.
            InvalidValueError: If a limit or the special tokens are invalid for `Vocabulary`.

        Warns:
            UserWarning: If words may be missing or counts too low because words were dropped.

        Example:
            >>> counter = WordCounter(max_words=2)
            >>> counter.update(["oil oil oil gas war"])
            >>> counter.vocabulary(min_freq=2).tokens[4:], counter.max_error
            (('oil',), 1)
        """
        least = check_int("min_freq", min_freq)
        first = check_specials(specials)
        known = Counter({word: n for word, n in self._counts.items() if n >= least})
        # `Vocabulary` counts a word that equals a special token as left out.
        known[first[Vocabulary.unk_id]] += self._num_tokens - known.total()
        result = Vocabulary(+known, min_freq=least, max_size=max_size, specials=first)
        full = max_size is not None and len(result) == check_int("max_size", max_size)
        if self._max_error and not (full and len(result) == len(first)):
            self._warn(result, None if full else least)
        return result

    def _warn(self, vocabulary: Vocabulary, least: int | None) -> None:
        """Warn unless the words and counts of a vocabulary, full or cut at `least`, are exact."""
        kept = set(vocabulary.tokens[len(vocabulary.specials) :])
        lowest = min(self._counts[word] for word in kept) if least is None else least
        uncertain = any(word in kept or self._most(word) >= lowest for word in self._missed)
        if self._max_error >= lowest or uncertain:
            warnings.warn(
                f"The vocabulary is not exact: there were more than {self.max_words:,} distinct "
                f"words, so the rarest were dropped. A count may be too low by up to "
                f"{self._max_error:,}, and words at most that far above the minimum count may be "
                "missing. Increase `max_words`, or `min_freq`.",
                stacklevel=3,
            )


def _chunks(texts: Iterable[str]) -> Iterator[list[list[str]]]:
    """Group batches of texts into tasks for workers."""
    parts = batches(texts)
    while chunk := list(islice(parts, _BATCHES)):
        yield chunk

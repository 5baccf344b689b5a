"""Encode columns of texts as one flat array of token ids."""

from collections.abc import Iterable
from itertools import repeat
from typing import SupportsIndex

import numpy as np
from numpy.typing import NDArray

from textrnn.errors import InvalidTypeError, check_int, expected
from textrnn.text.bulk import batches, check_tokenizer, tokenize
from textrnn.text.spelling import UnknownWords
from textrnn.text.tokenizers import Tokenizer
from textrnn.text.vocabulary import Vocabulary

__all__ = ["TextEncoder", "encode_texts"]


def encode_texts(
    texts: Iterable[str],
    tokenizer: Tokenizer,
    vocabulary: Vocabulary,
    *,
    max_length: SupportsIndex | None = None,
    add_bos: bool = True,
    add_eos: bool = True,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Encode texts as one flat array of token ids.

    The ids of text `i` are `input_ids[offsets[i] : offsets[i + 1]]`, where
    `offsets = numpy.concatenate([[0], lengths.cumsum()])`. Tokens are only held for a batch of
    texts at a time.

    Args:
        texts: The texts: any iterable of strings, which is read once.
        tokenizer: Splits a text into tokens. `WordTokenizer` and `WordPunctTokenizer` process many
            texts at once, a custom one text by text.
        vocabulary: Maps tokens to ids.
        max_length: Maximum number of ids per text, `<bos>` and `<eos>` included. Longer texts lose
            their last words and keep `<eos>`. None does not truncate. Default: None.
        add_bos: Begin each text with `<bos>`. Default: True.
        add_eos: End each text with `<eos>`. Default: True.

    Returns:
        The ids of all texts, int32 `(total,)`, and the number of ids of each text, int64
        `(texts,)`. A text without words has only `<bos>` and `<eos>`.

    Raises:
        InvalidTypeError: If `texts` is a single string or contains anything but strings, if
            `tokenizer` is not callable or returns anything but a list of strings, or if
            `vocabulary` is not a `Vocabulary`.
        InvalidValueError: If `max_length` has no room for `<bos>` and `<eos>`.

    Example:
        >>> from textrnn.text import Vocabulary, WordTokenizer
        >>> vocabulary = Vocabulary.build([["oil", "prices", "soar"]])
        >>> encode_texts(["Oil soars.", "Prices!"], WordTokenizer(), vocabulary)
        (array([2, 4, 1, 3, 2, 5, 3], dtype=int32), array([4, 3]))
    """
    encode = TextEncoder(
        tokenizer, vocabulary, max_length=max_length, add_bos=add_bos, add_eos=add_eos
    )
    return encode(texts)


class TextEncoder:
    """`encode_texts` with its settings checked once; picklable, so that workers can run it."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        vocabulary: Vocabulary,
        *,
        max_length: SupportsIndex | None = None,
        add_bos: bool = True,
        add_eos: bool = True,
    ) -> None:
        if not isinstance(vocabulary, Vocabulary):
            raise InvalidTypeError(expected("vocabulary", "a Vocabulary", vocabulary))
        check_tokenizer(tokenizer)
        self.tokenizer = tokenizer
        self.vocabulary = vocabulary
        self._bos = [vocabulary.bos_id] if add_bos else []
        self._eos = [vocabulary.eos_id] if add_eos else []
        edges = len(self._bos) + len(self._eos)
        self._limit = None
        if max_length is not None:
            self._limit = check_int("max_length", max_length, minimum=max(1, edges)) - edges

    def __call__(self, texts: Iterable[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return the ids of all texts, and the number of ids of each."""
        ids, lengths, _ = self._encode(texts, None)
        return ids, lengths

    def with_unknown(
        self, texts: Iterable[str]
    ) -> tuple[NDArray[np.int32], NDArray[np.int64], UnknownWords]:
        """Return the same, and the unknown words."""
        found: dict[str, int] = {}
        ids, lengths, rows = self._encode(texts, found)
        # Ascending, so that no sum over the words of a text depends on other texts.
        words = sorted(found)
        order = np.empty(len(words), dtype=np.int32)
        order[[found[word] for word in words]] = np.arange(len(words), dtype=np.int32)
        positions = np.flatnonzero(ids == self.vocabulary.unk_id)
        return ids, lengths, UnknownWords(words, positions, order[rows])

    def _encode(
        self, texts: Iterable[str], found: dict[str, int] | None
    ) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int32]]:
        """Return ids and lengths, and the number of each unknown word, if `found` collects them."""
        get, unk_id = self.vocabulary.get, self.vocabulary.unk_id
        flat = np.empty(0, dtype=np.int32)
        used = 0
        lengths = [np.empty(0, dtype=np.int64)]
        rows = [np.empty(0, dtype=np.int32)]
        for batch in batches(texts):
            tokens, sizes = tokenize(batch, self.tokenizer, limit=self._limit)
            words = np.fromiter(map(get, tokens, repeat(unk_id)), np.int32, len(tokens))
            if found is not None:
                places = np.flatnonzero(words == unk_id).tolist()
                numbers = [found.setdefault(tokens[place], len(found)) for place in places]
                rows.append(np.array(numbers, dtype=np.int32))
            counts = np.array(sizes, dtype=np.int64)
            ids = _with_edges(words, counts, self._bos, self._eos)
            if used + len(ids) > len(flat):
                # In place, so that there is never a second copy; by an eighth, so that it is rare.
                flat.resize(max(used + len(ids), len(flat) * 9 // 8), refcheck=False)
            flat[used : used + len(ids)] = ids
            used += len(ids)
            lengths.append(counts + len(self._bos) + len(self._eos))
        flat.resize(used, refcheck=False)
        return flat, np.concatenate(lengths), np.concatenate(rows)


def _with_edges(
    words: NDArray[np.int32],
    counts: NDArray[np.int64],
    bos: list[int],
    eos: list[int],
) -> NDArray[np.int32]:
    """Add `<bos>` and `<eos>` to the ids of consecutive texts."""
    ends = (counts + len(bos) + len(eos)).cumsum()
    ids = np.empty(ends[-1], dtype=np.int32)
    is_word = np.ones(len(ids), dtype=np.bool_)
    for edge, positions in (bos, ends - counts - len(bos) - len(eos)), (eos, ends - 1):
        if edge:
            ids[positions] = edge
            is_word[positions] = False
    ids[is_word] = words
    return ids

"""From texts to ids: whole columns at a time, into one flat array."""

from array import array
from collections.abc import Iterable
from itertools import repeat
from typing import SupportsIndex

import numpy as np
from numpy.typing import NDArray

from textrnn.errors import InvalidTypeError, check_int, expected
from textrnn.text._columns import batches, check_tokenizer, cuts_columns, join_words, split_text
from textrnn.text._table import Words, WordTable
from textrnn.text.tokenizers import Tokenizer
from textrnn.text.vocabulary import Vocabulary

__all__ = ["TextEncoder", "encode_texts"]

# How many characters there must be for each token known, before making a table of them saves time.
_WORTH_A_TABLE = 8


def encode_texts(
    texts: Iterable[str],
    tokenizer: Tokenizer,
    vocabulary: Vocabulary,
    *,
    max_length: SupportsIndex | None = None,
    add_bos: bool = True,
    add_eos: bool = True,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Encode texts into one flat array of ids, never holding all their tokens.

    Text ``i`` lies at ``input_ids[offsets[i] : offsets[i + 1]]`` with
    ``offsets = numpy.concatenate([[0], lengths.cumsum()])``.

    Args:
        texts: The texts; any iterable of strings, read once.
        tokenizer: What cuts a text into tokens. A plain `WordTokenizer` cuts many texts at once.
        vocabulary: What gives each token its id.
        max_length: The most ids of a text, `<bos>` and `<eos>` included; what is too much is cut
            from the end of the words, so `<eos>` stays (default: no limit).
        add_bos: Whether each text begins with `<bos>` (default: True).
        add_eos: Whether each text ends with `<eos>` (default: True).

    Returns:
        The ids of all texts, int32 ``(total,)``, and each text's number of ids, int64 ``(texts,)``.
        A text without words has only its `<bos>` and `<eos>`.

    Raises:
        InvalidTypeError: If `texts` is a single string or holds anything else than strings, or if
            `tokenizer` returns anything but a list of strings.
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
    """What `encode_texts` does, for many columns one after another.

    The table of a vocabulary's words, which takes longer to make than a small column to encode, is
    made once and kept.

    Args:
        tokenizer: As for `encode_texts`.
        vocabulary: As for `encode_texts`.
        max_length: As for `encode_texts`.
        add_bos: As for `encode_texts`.
        add_eos: As for `encode_texts`.

    Raises:
        InvalidTypeError: If `vocabulary` or `tokenizer` is none.
        InvalidValueError: If `max_length` has no room for `<bos>` and `<eos>`.

    Example:
        >>> from textrnn.text import Vocabulary
        >>> encode = TextEncoder(str.split, Vocabulary.build([["oil"]]), add_bos=False)
        >>> [encode(texts)[0].tolist() for texts in (["oil"], ["oil", "gas oil"])]
        [[4, 3], [4, 3, 1, 4, 3]]
    """

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
        self._characters = 0
        self._table: WordTable | None = None

    def __call__(self, texts: Iterable[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return the ids of all texts, and each text's number of them, as `encode_texts` does."""
        flat = np.empty(0, dtype=np.int32)
        used = 0
        lengths = [np.empty(0, dtype=np.int64)]
        for batch in batches(texts):
            words, counts = self._words(batch)
            ids = _with_edges(words, counts, self._bos, self._eos)
            if used + len(ids) > len(flat):
                # In place, so that there is never a second copy; by an eighth, so that it is rare.
                flat.resize(max(used + len(ids), len(flat) * 9 // 8), refcheck=False)
            flat[used : used + len(ids)] = ids
            used += len(ids)
            lengths.append(counts + len(self._bos) + len(self._eos))
        flat.resize(used, refcheck=False)
        return flat, np.concatenate(lengths)

    def _words(self, batch: list[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return the ids of consecutive texts' words, and how many words each text has."""
        tokenizer, vocabulary, limit = self.tokenizer, self.vocabulary, self._limit
        self._characters += sum(map(len, batch))
        if cuts_columns(tokenizer) and self._characters >= _WORTH_A_TABLE * len(vocabulary):
            if self._table is None:
                self._table = WordTable(
                    token.encode("utf-8", "surrogatepass") for token in vocabulary
                )
            joined = join_words(batch, lowercase=tokenizer.lowercase)
            words, counts = Words.split(joined, limit=limit)
            ids = self._table.find(words)
            ids[ids < 0] = vocabulary.unk_id
            return ids, counts
        flat, sizes = array("i"), array("q")
        for text in batch:
            tokens = split_text(text, tokenizer)[:limit]
            flat.extend(map(vocabulary.get, tokens, repeat(vocabulary.unk_id)))
            sizes.append(len(tokens))
        return np.array(flat, dtype=np.int32), np.array(sizes, dtype=np.int64)


def _with_edges(
    words: NDArray[np.int32],
    counts: NDArray[np.int64],
    bos: list[int],
    eos: list[int],
) -> NDArray[np.int32]:
    """Return the ids of texts, each between its beginning and its end."""
    ends = (counts + len(bos) + len(eos)).cumsum()
    ids = np.empty(ends[-1], dtype=np.int32)
    is_word = np.ones(len(ids), dtype=np.bool_)
    for edge, positions in (bos, ends - counts - len(bos) - len(eos)), (eos, ends - 1):
        if edge:
            ids[positions] = edge
            is_word[positions] = False
    ids[is_word] = words
    return ids

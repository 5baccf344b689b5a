"""From texts to ids: whole columns at a time, into one flat array."""

from collections.abc import Iterable
from typing import SupportsIndex

import numpy as np
from numpy.typing import NDArray

from textrnn.errors import InvalidTypeError, check_int, expected
from textrnn.text._columns import WordBatch, iterate_words
from textrnn.text.tokenizer import Tokenizer
from textrnn.text.vocabulary import Vocabulary

__all__ = ["encode_texts"]


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
    if not isinstance(vocabulary, Vocabulary):
        raise InvalidTypeError(expected("vocabulary", "a Vocabulary", vocabulary))
    limit = None
    if max_length is not None:
        edges = add_bos + add_eos
        limit = check_int("max_length", max_length, minimum=max(1, edges)) - edges
    flat = np.empty(0, dtype=np.int32)
    used = 0
    lengths: list[NDArray[np.int64]] = []
    for batch in iterate_words(texts, tokenizer, limit=limit):
        ids, counts = _encode(batch, vocabulary, add_bos=add_bos, add_eos=add_eos)
        if used + len(ids) > len(flat):
            # Growing in place, an eighth at a time, needs no second copy of the whole.
            flat.resize(max(used + len(ids), len(flat) * 9 // 8), refcheck=False)
        flat[used : used + len(ids)] = ids
        used += len(ids)
        lengths.append(counts)
    flat.resize(used, refcheck=False)
    return flat, np.concatenate(lengths) if lengths else np.empty(0, dtype=np.int64)


def _encode(
    batch: WordBatch, vocabulary: Vocabulary, *, add_bos: bool, add_eos: bool
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the ids of a batch and each text's number of them."""
    words = vocabulary.encode_array(batch.words)
    lengths = np.array(batch.lengths, dtype=np.int64)
    if not (add_bos or add_eos):
        return words, lengths
    lengths += add_bos + add_eos
    ends = lengths.cumsum()
    ids = np.empty(ends[-1], dtype=np.int32)
    is_word = np.ones(len(ids), dtype=np.bool_)
    if add_bos:
        ids[ends - lengths] = vocabulary.bos_id
        is_word[ends - lengths] = False
    if add_eos:
        ids[ends - 1] = vocabulary.eos_id
        is_word[ends - 1] = False
    ids[is_word] = words
    return ids, lengths

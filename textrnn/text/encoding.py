"""From texts to ids: whole columns at a time, into one flat array."""

from array import array
from collections.abc import Iterable
from itertools import repeat
from typing import SupportsIndex

import numpy as np
from numpy.typing import NDArray

from textrnn.errors import InvalidTypeError, check_int, expected
from textrnn.text._columns import iterate_words
from textrnn.text.tokenizer import Tokenizer
from textrnn.text.vocabulary import Vocabulary

__all__ = ["encode_texts"]

_BLOCK = 2**16


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
    bos = array("i", [vocabulary.bos_id] if add_bos else [])
    eos = array("i", [vocabulary.eos_id] if add_eos else [])
    edges = len(bos) + len(eos)
    limit = None
    if max_length is not None:
        limit = check_int("max_length", max_length, minimum=max(1, edges)) - edges
    get, unk = vocabulary.get, repeat(vocabulary.unk_id)
    lengths = array("q")
    flat = np.empty(0, dtype=np.int32)
    used = 0
    block = array("i")
    for words in iterate_words(texts, tokenizer, limit=limit):
        block += bos
        block.extend(map(get, words, unk))
        block += eos
        lengths.append(len(words) + edges)
        if len(block) >= _BLOCK:
            used = _append(flat, used, block)
            block = array("i")
    used = _append(flat, used, block)
    flat.resize(used, refcheck=False)
    return flat, np.array(lengths, dtype=np.int64)


def _append(flat: NDArray[np.int32], used: int, block: "array[int]") -> int:
    """Write `block` into `flat` behind the part that is used, and return how much then is."""
    end = used + len(block)
    if end > len(flat):
        # In place, so that there is never a second copy; by an eighth, so that this is rare.
        flat.resize(max(end, len(flat) * 9 // 8), refcheck=False)
    flat[used:end] = block
    return end

"""Encoding rows of texts and labels as a stream, in several processes where asked."""

from collections.abc import Generator, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn._processes import check_picklable, map_in_order
from textrnn.data.columns import read_labels
from textrnn.data.corpus.stored import Block
from textrnn.errors import InvalidTypeError, check_int, expected
from textrnn.text import Tokenizer, Vocabulary
from textrnn.text.encoding import TextEncoder

__all__ = ["encode_rows", "fill_empty"]

# What goes to a worker at a time: enough work to send it elsewhere, little enough to hold some.
_CHARACTERS = 2**20
_ROWS = 2**14


def encode_rows(
    rows: Iterable[tuple[str, Any]],
    tokenizer: Tokenizer,
    vocabulary: Vocabulary,
    *,
    max_length: int | None = None,
    add_bos: bool = True,
    add_eos: bool = True,
    num_workers: int = 0,
) -> Generator[Block, None, None]:
    """Encode rows of texts and labels, some at a time.

    Args:
        rows: Pairs of a text and its label.
        tokenizer: As for `encode_texts`.
        vocabulary: As for `encode_texts`.
        max_length: As for `encode_texts`.
        add_bos: As for `encode_texts`.
        add_eos: As for `encode_texts`.
        num_workers: How many processes encode; 0 does it all in this one.

    Returns:
        A generator of blocks of consecutive texts, the same for any number of workers. Close it
        where it may not have come to its end.

    Raises:
        InvalidTypeError: If a row is no such pair, or an argument has a wrong type.
        InvalidValueError: If a label is missing or out of range.

    Example:
        >>> vocabulary = Vocabulary.build([["oil"]])
        >>> for ids, lengths, labels in encode_rows([("oil", 1), ("", 0)], str.split, vocabulary):
        ...     print(ids, lengths, labels)
        [2 4 3 2 3] [3 2] [1 0]
    """
    workers = check_int("num_workers", num_workers, minimum=0)
    make = partial(
        _Encode, tokenizer, vocabulary, max_length=max_length, add_bos=add_bos, add_eos=add_eos
    )
    make()  # finds what is wrong with the arguments here rather than in a worker
    if workers:
        check_picklable("tokenizer", tokenizer)
    return map_in_order(make, _chunks(rows), num_workers=workers)


def fill_empty(
    flat: NDArray[np.int32], lengths: NDArray[np.int64], unk_id: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Give each text without any ids the id of the unknown word.

    Example:
        >>> fill_empty(np.array([5, 6], dtype=np.int32), np.array([1, 0, 1]), 1)
        (array([5, 1, 6], dtype=int32), array([1, 1, 1]))
    """
    empty = lengths == 0
    if not empty.any():
        return flat, lengths
    return np.insert(flat, lengths.cumsum()[empty], unk_id), np.where(empty, 1, lengths)


class _Encode:
    """Encodes some rows, in whichever process.

    Args:
        tokenizer: As for `encode_texts`.
        vocabulary: As for `encode_texts`.
        **options: The other arguments of `encode_texts`.
    """

    def __init__(self, tokenizer: Tokenizer, vocabulary: Vocabulary, **options: Any) -> None:
        self._encode = TextEncoder(tokenizer, vocabulary, **options)

    def __call__(self, chunk: tuple[int, list[str], list[Any]]) -> Block:
        first, texts, labels = chunk
        targets = None
        if any(label is not None for label in labels):
            tensor = read_labels(labels, first=first)
            targets = None if tensor is None else tensor.numpy()
        flat, lengths = self._encode(texts)
        return *fill_empty(flat, lengths, self._encode.vocabulary.unk_id), targets


def _chunks(rows: Any) -> Iterator[tuple[int, list[str], list[Any]]]:
    """Yield some rows at a time, as the number of the first one, texts and labels."""
    if isinstance(rows, str | bytes) or not isinstance(rows, Iterable):
        raise InvalidTypeError(expected("rows", "an iterable of pairs of text and label", rows))
    texts: list[str] = []
    labels: list[Any] = []
    first = characters = 0
    for index, row in enumerate(rows):
        if not isinstance(row, tuple | list) or len(row) != 2 or not isinstance(row[0], str):
            rule = "a pair of a text (a string) and its label"
            raise InvalidTypeError(expected(f"rows[{index}]", rule, row))
        texts.append(row[0])
        labels.append(row[1])
        characters += len(row[0])
        if characters >= _CHARACTERS or len(texts) == _ROWS:
            yield first, texts, labels
            first, characters, texts, labels = index + 1, 0, [], []
    if texts:
        yield first, texts, labels

"""Encode a stream of labelled texts, optionally in worker processes."""

from collections.abc import Generator, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn._processes import check_picklable, map_in_order
from textrnn.data.corpus.stored import Block
from textrnn.data.targets import read_labels
from textrnn.errors import InvalidTypeError, check_int, expected
from textrnn.text.encoding import TextEncoder

__all__ = ["DatasetEncoder", "encode_rows"]

# Limits of a chunk: enough work to be worth sending to a worker, few enough rows to hold several.
_CHARACTERS = 2**20
_ROWS = 2**14


class DatasetEncoder(TextEncoder):
    """`TextEncoder` that encodes a text without any ids as `<unk>`."""

    def __call__(self, texts: Iterable[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return the ids of all texts, and the number of ids of each, at least 1."""
        flat, lengths = super().__call__(texts)
        empty = lengths == 0
        if not empty.any():
            return flat, lengths
        flat = np.insert(flat, lengths.cumsum()[empty], self.vocabulary.unk_id)
        return flat, np.where(empty, 1, lengths)


def encode_rows(
    rows: Iterable[tuple[str, Any]], encode: DatasetEncoder, *, num_workers: int = 0
) -> Generator[Block, None, None]:
    """Encode pairs of a text and its label as blocks, the same for any number of workers."""
    workers = check_int("num_workers", num_workers, minimum=0)
    if workers:
        check_picklable("tokenizer", encode.tokenizer)
    return map_in_order(partial(_BlockEncoder, encode), _chunks(rows), num_workers=workers)


class _BlockEncoder:
    """Encode the texts of a chunk and check its labels."""

    def __init__(self, encode: DatasetEncoder) -> None:
        self._encode = encode

    def __call__(self, chunk: tuple[int, list[str], list[Any]]) -> Block:
        first, texts, labels = chunk
        targets = None
        if any(label is not None for label in labels):
            tensor = read_labels(labels, first=first)
            targets = None if tensor is None else tensor.numpy()
        return *self._encode(texts), targets


def _chunks(rows: Any) -> Iterator[tuple[int, list[str], list[Any]]]:
    """Yield the number of the first row, the texts and the labels of consecutive rows."""
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

"""Columns of texts and labels, from whatever holds them, with errors that name the row.

Lists, tuples, NumPy arrays, tensors, pandas and polars columns, Arrow arrays and Hugging Face
columns are read through what they have in common; none of these packages is imported.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textrnn.errors import InvalidTypeError, InvalidValueError, MissingKeyError, expected, listing

__all__ = ["read_labels", "read_rows", "read_texts"]

_HUB_ROWS = 1000  # rows of a Hugging Face data set that are decoded at a time
_ARROW_ROWS = 4096  # Arrow strings that become Python's at a time
_NO_COLUMN = (str, bytes, Mapping, AbstractSet)  # iterable, but not a column of anything
_CLASS_ID = "a class id (a non-negative integer)"


def read_texts(texts: Any, name: str = "texts") -> Iterator[Any]:
    """Iterate over a column of texts.

    Args:
        texts: Any iterable of strings that has an order: a sequence, an array, a Series, an Arrow
            array, a column of a Hugging Face data set, a generator.
        name: What the argument is called, for the message.

    Returns:
        An iterator over the entries, which are not checked here. It holds no more than a few
        thousand strings of its own.

    Raises:
        InvalidTypeError: If `texts` is a single string, a table, a set, a mapping or not iterable.

    Example:
        >>> list(read_texts(("one", "two")))
        ['one', 'two']
    """
    is_table = len(getattr(texts, "shape", (0,))) != 1
    if is_table or isinstance(texts, _NO_COLUMN) or not hasattr(texts, "__iter__"):
        raise InvalidTypeError(expected(name, "a column (a sequence) of strings", texts))
    if not hasattr(texts, "to_pylist"):
        return iter(texts)
    # An Arrow array would give scalars of its own rather than Python's strings.
    rows = range(0, len(texts), _ARROW_ROWS)
    return chain.from_iterable(texts.slice(row, _ARROW_ROWS).to_pylist() for row in rows)


def read_labels(labels: Any, *, first: int = 0) -> Tensor | None:
    """Read a column of class ids, or a matrix of multi-label targets.

    Args:
        labels: One non-negative integer per text; or a matrix with one row per text and one column
            per class, of numbers from 0 to 1; or None for unlabelled texts.
        first: Number of the first text, for the messages (default: 0).

    Returns:
        A copy: class ids as int64 of shape `(texts,)`, targets as float32 of shape
        `(texts, classes)`, or None.

    Raises:
        InvalidTypeError: If labels are strings, booleans or anything else but numbers.
        InvalidValueError: If a label is missing or out of range, or the rows of a matrix differ.

    Example:
        >>> read_labels([1, 0, 3])
        tensor([1, 0, 3])
        >>> read_labels([[1, 0], [0.5, 1]])
        tensor([[1.0000, 0.0000],
                [0.5000, 1.0000]])
    """
    if labels is None:
        return None
    values = _to_numpy(labels)
    if values.ndim == 2 and values.shape[1]:
        return _targets(values, first)
    if values.ndim != 1:
        rule = "one class id per text, or a matrix of texts by classes"
        raise InvalidValueError(expected("labels", rule, labels))
    return _class_ids(values, first)


def _to_numpy(labels: Any) -> NDArray[Any]:
    """Return labels as an array of whatever type they have."""
    if isinstance(labels, _NO_COLUMN) or not isinstance(labels, Iterable):
        raise InvalidTypeError(expected("labels", "a column (a sequence) of class ids", labels))
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu()
        labels = labels.double() if labels.is_floating_point() else labels
    elif not hasattr(labels, "__array__"):
        labels = list(labels)
        if {bool, str} & set(
            map(type, labels)
        ):  # NumPy would turn them, or the others, into others
            labels = np.array(labels, dtype=object)
    try:
        values = np.asarray(labels)
        if values.dtype == object and values.ndim == 1 and len(values) and np.ndim(values[0]):
            values = np.asarray([list(row) for row in values])
    except (TypeError, ValueError):
        raise InvalidValueError(
            expected("labels", "class ids, or rows of the same length", labels)
        ) from None
    return values


def _class_ids(values: NDArray[Any], first: int) -> Tensor:
    """Check class ids and return them as int64."""
    if not len(values):
        return torch.empty(0, dtype=torch.int64)
    if values.dtype.kind not in "iu":
        entries = values.tolist()
        # What is missing makes floats of all the others, so it is looked for first.
        for index, value in enumerate(entries, first):
            if _is_missing(value):
                raise InvalidValueError(expected(f"labels[{index}]", _CLASS_ID, value))
        for index, value in enumerate(entries, first):
            if isinstance(value, bool) or not isinstance(value, int | np.integer):
                raise InvalidTypeError(expected(f"labels[{index}]", _CLASS_ID, value))
    wrong = (values < 0) | (values > np.iinfo(np.int64).max)
    if wrong.any():
        index = int(wrong.argmax())
        wrong_id = values.tolist()[index]
        raise InvalidValueError(expected(f"labels[{first + index}]", _CLASS_ID, wrong_id))
    return torch.from_numpy(values.astype(np.int64))


def _targets(values: NDArray[Any], first: int) -> Tensor:
    """Check multi-label targets and return them as float32."""
    try:
        targets = values.astype(np.float32)
    except (TypeError, ValueError):
        raise InvalidTypeError(expected("labels", "a matrix of numbers", values)) from None
    inside = ((targets >= 0) & (targets <= 1)).all(axis=1)  # false for NaN as well
    if not inside.all():
        index = int(inside.argmin())
        row = values[index].tolist()
        raise InvalidValueError(expected(f"labels[{first + index}]", "numbers from 0 to 1", row))
    return torch.from_numpy(targets)


def _is_missing(value: object) -> bool:
    """Tell whether a value is None, NaN, pandas' NA or NaT."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or type(value).__name__ in {"NAType", "NaTType"}


def read_rows(dataset: Any, columns: Sequence[str]) -> Iterator[Mapping[str, list[Any]]]:
    """Iterate over some columns of a Hugging Face data set, a thousand rows at a time.

    Args:
        dataset: A `datasets.Dataset` or a streamed `datasets.IterableDataset`, whatever its format.
        columns: Names of the columns to read; the others are not decoded.

    Returns:
        An iterator over blocks of rows, each with a list for every column.

    Raises:
        InvalidTypeError: If `dataset` is not a data set, or is several of them.
        MissingKeyError: If there is no such column; the message lists those there are.
    """
    if isinstance(dataset, Mapping):
        rule = f"one split, such as dataset[{next(iter(dataset), 'train')!r}]"
        raise InvalidTypeError(expected("dataset", rule, list(dataset)))
    if not (hasattr(dataset, "select_columns") and hasattr(dataset, "column_names")):
        raise InvalidTypeError(expected("dataset", "a Hugging Face data set", dataset))
    # A stream may not know its columns until a row has come, and has none without rows.
    names = dataset.column_names or list(next(iter(dataset), columns))
    for name in columns:
        if name not in names:
            raise MissingKeyError(f"No column {name!r}; there are: {listing(names)}.")
    blocks: Iterator[Mapping[str, list[Any]]] = (
        dataset.select_columns(list(columns)).with_format(None).iter(_HUB_ROWS)
    )
    return blocks

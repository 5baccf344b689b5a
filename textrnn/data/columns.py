"""Read texts and labels from columns of any library, with errors that name the row.

Lists, tuples, NumPy arrays, tensors, pandas and polars columns, Arrow arrays and Hugging Face
columns are read by duck typing; none of these packages is imported.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textrnn.errors import InvalidTypeError, InvalidValueError, expected, show

__all__ = ["column_names", "read_labels", "read_texts"]

_MAX_LISTED = 8  # columns in a message
_ARROW_ROWS = 4096  # Arrow strings that are converted at a time
_NOT_COLUMNS = (str, bytes, Mapping, AbstractSet)  # iterable all the same
_CLASS_ID = "a class id (a non-negative integer)"


def read_texts(texts: Any, name: str = "texts") -> Iterator[Any]:
    """Iterate over a column of texts, without checking that they are strings."""
    is_table = len(getattr(texts, "shape", (0,))) != 1
    if is_table or isinstance(texts, _NOT_COLUMNS) or not hasattr(texts, "__iter__"):
        rule = "a column (a sequence) of strings"
        if names := column_names(texts):
            columns = [f"{name}[{show(each)}]" for each in names[:_MAX_LISTED]]
            rule += f", such as {' or '.join(columns)}"
        raise InvalidTypeError(expected(name, rule, texts))
    if not hasattr(texts, "to_pylist"):
        return iter(texts)
    # An Arrow array iterates over scalars of its own, not over strings.
    rows = range(0, len(texts), _ARROW_ROWS)
    return chain.from_iterable(texts.slice(row, _ARROW_ROWS).to_pylist() for row in rows)


def column_names(table: Any) -> tuple[Any, ...]:
    """Return the names of a table's columns, or nothing if they have none."""
    for attribute in ("column_names", "columns"):
        if hasattr(type(table), attribute):  # of the table itself, it may be a column of that name
            return tuple(getattr(table, attribute))
    return ()


def read_labels(labels: Any, *, first: int = 0) -> Tensor | None:
    """Copy a column of class ids as int64, or a matrix of multi-label targets as float32."""
    # `first` is the number of the first row in messages.
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
    """Return labels as an array of any type."""
    if isinstance(labels, _NOT_COLUMNS) or not isinstance(labels, Iterable):
        raise InvalidTypeError(expected("labels", "a column (a sequence) of class ids", labels))
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu()
        labels = labels.double() if labels.is_floating_point() else labels
    elif not hasattr(labels, "__array__"):
        labels = list(labels)
        if {bool, str} & set(map(type, labels)):  # NumPy would convert between types
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
    """Return class ids as int64 if they are valid."""
    if not len(values):
        return torch.empty(0, dtype=torch.int64)
    if values.dtype.kind not in "iu":
        entries = values.tolist()
        # A missing label turns all the others into floats, so look for it first.
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
    """Return multi-label targets as float32 if they are valid."""
    try:
        targets = values.astype(np.float32)
    except (TypeError, ValueError):
        raise InvalidTypeError(expected("labels", "a matrix of numbers", values)) from None
    inside = ((targets >= 0) & (targets <= 1)).all(axis=1)  # False for NaN
    if not inside.all():
        index = int(inside.argmin())
        row = values[index].tolist()
        raise InvalidValueError(expected(f"labels[{first + index}]", "numbers from 0 to 1", row))
    return torch.from_numpy(targets)


def _is_missing(value: object) -> bool:
    """Return whether a value is None, NaN, or pandas' NA or NaT."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or type(value).__name__ in {"NAType", "NaTType"}

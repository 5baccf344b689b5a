"""Read class ids and multi-label targets from columns of any library.

Lists, tuples, NumPy arrays, tensors, pandas and polars columns, Arrow arrays and Hugging Face
columns are read by duck typing; none of these packages is imported.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textrnn.errors import InvalidTypeError, InvalidValueError, expected
from textrnn.text.columns import NOT_COLUMNS

__all__ = ["read_labels", "read_weights"]

_CLASS_ID = "a class id (a non-negative integer)"


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
    if isinstance(labels, NOT_COLUMNS) or not isinstance(labels, Iterable):
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


def read_weights(weights: Any, texts: int, name: str = "weights") -> NDArray[np.float64]:
    """Return the weight of each text, `(texts,)`, if all are valid and one is above 0."""
    rule = f"one number for each of the {texts} texts"
    values = np.asarray(weights.detach().cpu() if isinstance(weights, Tensor) else weights)
    if values.dtype.kind not in "biuf":
        raise InvalidTypeError(expected(name, rule, weights))
    if values.shape != (texts,):
        raise InvalidValueError(expected(name, rule, values.shape))
    valid = (values >= 0) & (values <= np.finfo(np.float32).max)  # (texts,), False for NaN
    if not valid.all():
        row = int(valid.argmin())
        rule = "a finite number of at least 0"
        raise InvalidValueError(expected(f"{name}[{row}]", rule, values[row].item()))
    if texts and not values.any():
        raise InvalidValueError(expected(name, "above zero for at least one text", weights))
    return values.astype(np.float64)


def _is_missing(value: object) -> bool:
    """Return whether a value is None, NaN, or pandas' NA or NaT."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or type(value).__name__ in {"NAType", "NaTType"}

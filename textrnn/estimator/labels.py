"""The labels of a classifier: names of any kind outside, class ids inside."""

import math
from collections.abc import Hashable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from textrnn.errors import (
    InvalidTypeError,
    InvalidValueError,
    MissingKeyError,
    expected,
    listing,
    show,
)

__all__ = ["LabelSet", "LabelValues", "label_from_json", "label_to_json", "label_values"]

LabelValues: TypeAlias = list[Any] | NDArray[np.int64]
"""A label or a list of labels for each text, or a matrix of zeros and ones."""

_NO_COLUMN = (str, bytes, Mapping, AbstractSet)
_SHOWN = 20  # more names than these make no message clearer


class LabelSet:
    """All labels of a classifier in the order of their class ids.

    A label is any hashable value. A text has one of them; or, for multi-label data, any number,
    written as a list or a set of labels, or as a row of zeros and ones.

    Args:
        names: The labels in the order of their ids; no two are equal.
        multi_label: Whether a text has any number of labels rather than one.
        matrix: Whether multi-label data was a matrix of zeros and ones, so that predictions are
            one as well.

    Example:
        >>> labels = LabelSet.of([["oil"], {"oil", "war"}, []])
        >>> labels.names, labels.multi_label
        (('oil', 'war'), True)
        >>> labels.encode([["war"]])
        array([[0., 1.]], dtype=float32)
    """

    def __init__(
        self, names: Iterable[Hashable], *, multi_label: bool = False, matrix: bool = False
    ) -> None:
        self.names = tuple(names)
        self.multi_label = multi_label
        self.matrix = matrix
        self._ids = {name: index for index, name in enumerate(self.names)}

    @classmethod
    def of(cls, values: LabelValues) -> Self:
        """Return the labels that occur, sorted where they can be, else as they first occur.

        Args:
            values: What `label_values` returned.

        Returns:
            The labels.

        Raises:
            InvalidTypeError: If some texts have one label and others a list of them.
            InvalidValueError: If there are fewer than two labels to tell apart.
        """
        if isinstance(values, np.ndarray):
            return cls(range(values.shape[1]), multi_label=True, matrix=True)
        several = [not isinstance(value, Hashable) for value in values]
        if any(several) and not all(several):
            position = several.index(not several[0])
            rule = "a list or set of labels" if several[0] else "one label"
            raise InvalidTypeError(
                expected(f"labels[{position}]", f"{rule}, as before it", values[position])
            )
        multi_label = any(several)
        flat = (label for row in values for label in row) if multi_label else values
        try:
            names = list(dict.fromkeys(flat))
        except TypeError:
            raise InvalidTypeError(expected("labels", "hashable values", values)) from None
        if len(names) < (1 if multi_label else 2):
            rule, found = (
                ("labels", "none") if multi_label else ("two classes or more", "one class")
            )
            raise InvalidValueError(
                f"Expected `labels` to have {rule}, but got {found}: {listing(names)}."
            )
        with suppress(TypeError):  # labels of different kinds stay in the order of the texts
            names.sort()
        return cls(names, multi_label=multi_label)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        try:
            return name in self._ids
        except TypeError:  # it can't be hashed
            return False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LabelSet):
            return NotImplemented
        return (self.names, self.multi_label, self.matrix) == (
            other.names,
            other.multi_label,
            other.matrix,
        )

    def __hash__(self) -> int:
        return hash((self.names, self.multi_label, self.matrix))

    def __repr__(self) -> str:
        return f"LabelSet({self.names!r}, multi_label={self.multi_label}, matrix={self.matrix})"

    def id_of(self, name: Any) -> int:
        """Return a label's class id.

        Raises:
            MissingKeyError: If there is no such label; those there are, are listed.
        """
        try:
            return self._ids[name]
        except (KeyError, TypeError):
            known = ", ".join(show(known) for known in self.names[:_SHOWN])
            more = ", ..." if len(self) > _SHOWN else ""
            raise MissingKeyError(f"No label {show(name)}; there are: {known}{more}.") from None

    def encode(self, values: LabelValues) -> NDArray[Any]:
        """Return the class ids of labels, or the targets of multi-label data.

        Args:
            values: What `label_values` returned.

        Returns:
            Class ids, int64 `(texts,)`; for multi-label data float32 `(texts, labels)`.

        Raises:
            MissingKeyError: If a label is none of these; those there are, are listed.
            InvalidTypeError: If texts have one label where they should have a list, or a list
                where they should have one.
            InvalidValueError: If a matrix has another number of columns than there are labels.
        """
        if not self.multi_label:
            self.check_form(values)
            return np.array([self.id_of(value) for value in values], dtype=np.int64)
        if isinstance(values, np.ndarray):
            if values.shape[1] != len(self):
                rule = f"a matrix with {len(self)} columns, one per label"
                raise InvalidValueError(expected("labels", rule, values.shape))
            return values.astype(np.float32)
        self.check_form(values)
        targets = np.zeros((len(values), len(self)), dtype=np.float32)
        for row, labels in enumerate(values):
            targets[row, [self.id_of(label) for label in labels]] = 1
        return targets

    def check_form(self, values: LabelValues) -> None:
        """Refuse one label where a text has several, and the other way round.

        Args:
            values: What `label_values` returned; not a matrix.

        Raises:
            InvalidTypeError: If a text's entry has the other form.
        """
        rule = "a list or set of labels" if self.multi_label else "one label"
        if isinstance(values, np.ndarray):
            raise InvalidTypeError(expected("labels", f"{rule} for each text", values))
        for position, value in enumerate(values):
            if isinstance(value, Hashable) == self.multi_label:
                raise InvalidTypeError(expected(f"labels[{position}]", rule, value))

    def to_dict(self) -> dict[str, Any]:
        """Return the labels as plain data for JSON, tuples as lists.

        Raises:
            InvalidTypeError: If a label is of a kind that JSON does not have.
        """
        names = [label_to_json(name) for name in self.names]
        return {"labels": names, "multi_label": self.multi_label, "matrix": self.matrix}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the labels that `to_dict` described.

        Args:
            data: What `to_dict` returned.

        Raises:
            InvalidTypeError: If a part has the wrong type.
            InvalidValueError: If there is no label, or one is there twice.
        """
        for name in ("multi_label", "matrix"):
            if not isinstance(data[name], bool):
                raise InvalidTypeError(expected(name, "a boolean", data[name]))
        if not isinstance(data["labels"], list):
            raise InvalidTypeError(expected("labels", "a list", data["labels"]))
        names = [label_from_json(name) for name in data["labels"]]
        if not names or len(set(names)) < len(names):
            raise InvalidValueError(expected("labels", "different labels", names))
        return cls(names, multi_label=data["multi_label"], matrix=data["matrix"])

    @property
    def classes(self) -> NDArray[Any]:
        """The labels as an array, of their own type where NumPy has one and of objects else."""
        kinds = set(map(type, self.names))
        # NumPy would drop zeros at the end of a string, and round integers that are too large.
        plain = kinds == {str} and not any(str(name).endswith("\0") for name in self.names)
        small = kinds == {int} and all(-(2**63) <= int(str(name)) < 2**63 for name in self.names)
        if plain or small or kinds in ({bool}, {float}):
            return np.array(self.names)
        classes = np.empty(len(self), dtype=object)
        for index, name in enumerate(self.names):
            classes[index] = name
        return classes


def label_values(labels: Any) -> LabelValues:
    """Return a column of labels as plain Python values.

    Args:
        labels: A sequence, array, tensor, pandas or polars column, Arrow array or Hugging Face
            column of labels; for multi-label data its entries are lists or sets, or it is a matrix
            of zeros and ones.

    Returns:
        A list with a label for each text, or with a list of labels for each text; or a matrix,
        int64 `(texts, labels)`.

    Raises:
        InvalidTypeError: If `labels` is no column.
        InvalidValueError: If a label is missing (None, NaN), or a matrix holds anything but zeros
            and ones.

    Example:
        >>> label_values(np.array([3, 1]))
        [3, 1]
    """
    if not hasattr(labels, "__iter__") and hasattr(labels, "__array__"):
        labels = np.asarray(labels)
    shape = getattr(labels, "shape", (0,))
    if (
        isinstance(labels, _NO_COLUMN)
        or not hasattr(labels, "__iter__")
        or len(shape) not in (1, 2)
    ):
        raise InvalidTypeError(expected("labels", "a column (a sequence) of labels", labels))
    if len(shape) == 2:
        return _matrix(labels)
    for method in ("to_pylist", "to_list", "tolist"):
        if hasattr(labels, method):
            labels = getattr(labels, method)()
            break
    return [_value(value, f"labels[{position}]") for position, value in enumerate(labels)]


def label_to_json(name: Any) -> Any:
    """Return a label as JSON has it, tuples as lists.

    Raises:
        InvalidTypeError: If it is of a kind that JSON does not have.
    """
    if isinstance(name, tuple):
        return [label_to_json(part) for part in name]
    if not isinstance(name, str | bool | int | float):
        rule = "a string, a number or a tuple of these, to be written as JSON"
        raise InvalidTypeError(expected("label", rule, name))
    return name


def label_from_json(name: Any, depth: int = 0) -> Any:
    """Return the label that `label_to_json` described; lists are tuples again.

    Raises:
        InvalidTypeError: If it is not what JSON makes of a label.
    """
    if isinstance(name, list) and depth < 8:
        return tuple(label_from_json(part, depth + 1) for part in name)
    if not isinstance(name, str | bool | int | float):
        raise InvalidTypeError(expected("label", "a string, a number or a list of these", name))
    return name


def _matrix(labels: Any) -> NDArray[np.int64]:
    values = np.asarray(labels)
    zeros_and_ones = values.dtype.kind in "biuf" and bool(((values == 0) | (values == 1)).all())
    if not zeros_and_ones or not values.shape[1]:
        rule = "one label for each text, or a matrix of zeros and ones, a column per label"
        raise InvalidValueError(expected("labels", rule, labels))
    return values.astype(np.int64)


def _value(value: Any, place: str) -> Any:
    """Return one text's label, or the list of its labels, without NumPy's types."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list | set | np.ndarray):
        entries = [_value(entry, place) for entry in value]
        # A set has no order of its own that is the same in every run.
        return sorted(entries, key=repr) if isinstance(value, set) else entries
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    if missing or type(value).__name__ in {"NAType", "NaTType"}:
        raise InvalidValueError(expected(place, "a label; it is missing", value))
    return value

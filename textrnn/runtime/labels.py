"""The labels of a classifier: hashable values for users, class ids for networks."""

import math
import warnings
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from textrnn.errors import (
    InvalidTypeError,
    InvalidValueError,
    MissingKeyError,
    check_float,
    expected,
    listing,
    show,
)
from textrnn.text.columns import NOT_COLUMNS, column_names

__all__ = [
    "LabelMatrix",
    "LabelSet",
    "LabelValues",
    "label_from_json",
    "label_to_json",
    "label_values",
]

_MAX_CHARACTERS = 10_000  # of a label
_MAX_PADDED = 200  # characters of a label in an array of strings
_MAX_LISTED = 20  # labels in a message
_MAX_FLOAT = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class LabelMatrix:
    """Multi-label targets as zeros and ones, a column per label."""

    targets: NDArray[np.int64]  # (texts, labels)
    names: tuple[Any, ...] | None = None  # of the columns, if they have names

    def __len__(self) -> int:
        return len(self.targets)


LabelValues: TypeAlias = list[Any] | LabelMatrix
"""A label or a list of labels for each text, or a matrix of zeros and ones."""


@dataclass(frozen=True)
class LabelSet:
    """The labels of a classifier in the order of their class ids.

    `multi_label` tells whether a text has any number of labels rather than one, `matrix` whether
    labels and predictions are a matrix of zeros and ones.
    """

    names: tuple[Any, ...]
    _: KW_ONLY
    multi_label: bool = False
    matrix: bool = False

    def __post_init__(self) -> None:
        for name in self.names:
            text = str(name) if isinstance(name, str | tuple) else ""
            if len(text) > _MAX_CHARACTERS:
                rule = f"labels of at most {_MAX_CHARACTERS} characters"
                raise InvalidValueError(expected("labels", rule, name))

    @classmethod
    def of(cls, values: LabelValues) -> Self:
        """Return the labels that occur, sorted where possible, else by first occurrence."""
        if isinstance(values, LabelMatrix):
            names = values.names or tuple(range(values.targets.shape[1]))
            _check_spelling(names)
            _warn_of_blanks(names)
            return cls(names, multi_label=True, matrix=True)
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
            found = list(dict.fromkeys(flat))
        except TypeError:
            raise InvalidTypeError(expected("labels", "hashable values", values)) from None
        if len(found) < (1 if multi_label else 2):
            rule, got = ("labels", "none") if multi_label else ("two classes or more", "one class")
            raise InvalidValueError(
                f"Expected `labels` to have {rule}, but got {got}: {listing(found)}."
            )
        with suppress(TypeError):  # labels of different types keep their order
            found.sort()
        _check_spelling(found)
        _warn_of_blanks(found)
        return cls(tuple(found), multi_label=multi_label)

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def _ids(self) -> dict[Any, int]:
        """The class id of each label."""
        return {name: index for index, name in enumerate(self.names)}

    def id_of(self, name: Any, place: str) -> int:
        """Return a label's class id; an unknown one is an error that names its place."""
        try:
            return self._ids[name]
        except (KeyError, TypeError):
            known = ", ".join(show(known) for known in self.names[:_MAX_LISTED])
            more = ", ..." if len(self) > _MAX_LISTED else ""
            message = f"No label {show(name)}, as in {place}; there are: {known}{more}."
            raise MissingKeyError(message) from None

    def encode(self, values: LabelValues, argument: str = "labels") -> NDArray[Any]:
        """Return class ids, int64 `(texts,)`, or multi-label targets, float32 `(texts, labels)`."""
        rule = "a list or set of labels" if self.multi_label else "one label"
        if isinstance(values, LabelMatrix):
            if not self.multi_label:
                raise InvalidTypeError(expected(argument, f"{rule} for each text", values.targets))
            return self._ordered(values, argument)
        for row, value in enumerate(values):
            if isinstance(value, Hashable) == self.multi_label:
                raise InvalidTypeError(expected(f"{argument}[{row}]", rule, value))
        if not self.multi_label:
            ids = [self.id_of(value, f"`{argument}[{row}]`") for row, value in enumerate(values)]
            return np.array(ids, dtype=np.int64)
        targets = np.zeros((len(values), len(self)), dtype=np.float32)
        for row, labels in enumerate(values):
            targets[row, [self.id_of(label, f"`{argument}[{row}]`") for label in labels]] = 1
        return targets

    def encode_known(self, values: LabelValues) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Encode and return whether all labels of a text are known; warn if only some texts' are.

        A label that is written like a known one, or unknown as all others, is an error.
        """
        size = len(values.targets if isinstance(values, LabelMatrix) else values)
        valid = np.ones(size, dtype=np.bool_)  # (texts,)
        if not isinstance(values, LabelMatrix):
            valid = np.array([not self._is_foreign(value) for value in values], dtype=np.bool_)
            row = int(valid.argmin())
            if valid.any() and not valid.all():
                warnings.warn(
                    f"{int((~valid).sum())} texts have labels that the classifier does not know; "
                    f"the first is {show(values[row])}, `labels[{row}]`. They count as errors.",
                    stacklevel=3,
                )
                known = values[int(valid.argmax())]
                values = [value if ok else known for value, ok in zip(values, valid, strict=True)]
        return self.encode(values), valid

    def _is_foreign(self, value: Any) -> bool:
        """Return whether a label, or one of several, is unlike all known ones."""
        if isinstance(value, Hashable) == self.multi_label:
            return False  # of the wrong form, which is an error
        labels = value if self.multi_label else [value]
        return any(str(label).strip() not in self._spellings for label in labels)

    @cached_property
    def _spellings(self) -> set[str]:
        """How the labels are written, without blanks around."""
        return {str(name).strip() for name in self.names}

    def _ordered(self, matrix: LabelMatrix, argument: str) -> NDArray[np.float32]:
        """Return a matrix with its columns in the order of the class ids."""
        names = matrix.names
        if names is None:
            if matrix.targets.shape[1] != len(self):
                rule = f"a matrix with {len(self)} columns, one per label"
                raise InvalidValueError(expected(argument, rule, matrix.targets.shape))
            return matrix.targets.astype(np.float32)
        order = [self.id_of(name, f"the columns of `{argument}`") for name in names]
        if missing := [name for name in self.names if name not in set(names)]:
            rule = f"a table with a column for each label, also {show(missing[0])}"
            raise InvalidValueError(expected(argument, rule, list(names)))
        return matrix.targets[:, np.argsort(order)].astype(np.float32)

    def class_weights(self, given: Any) -> list[float] | Any:
        """Return a weight for each label, 1 by default; None and `"balanced"` as they are."""
        if given is None or (isinstance(given, str) and given == "balanced"):
            return given
        if not isinstance(given, Mapping):
            rule = "'balanced', or a mapping of labels to weights"
            raise InvalidTypeError(expected("class_weight", rule, given))
        weights = [1.0] * len(self)
        for name, weight in given.items():
            index = self.id_of(name, "`class_weight`")
            weights[index] = check_float(
                f"class_weight[{show(name)}]", weight, minimum=0, maximum=_MAX_FLOAT, exclusive=True
            )
        return weights

    def thresholds(self, given: Any) -> NDArray[np.float64]:
        """Return the probability above which a text has a label, 0.5 by default, `(labels,)`."""
        limits = np.full(len(self), 0.5)
        if isinstance(given, Mapping):
            for name, value in given.items():
                limits[self.id_of(name, "`threshold`")] = _probability(
                    f"threshold[{show(name)}]", value
                )
        else:
            limits[:] = _probability("threshold", given)
        return limits

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the probabilities of logits `(texts, labels)`, in double precision."""
        values = logits.astype(np.float64)
        if self.multi_label:
            return np.asarray(np.exp(-np.logaddexp(0.0, -values)))  # sigmoid
        values -= values.max(axis=1, keepdims=True)
        np.exp(values, out=values)
        values /= values.sum(axis=1, keepdims=True)
        return values

    def to_dict(self) -> dict[str, Any]:
        """Return the labels as plain data for JSON, tuples as lists."""
        names = [label_to_json(name) for name in self.names]
        return {"labels": names, "multi_label": self.multi_label, "matrix": self.matrix}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the labels that `to_dict` described; the data is not trusted."""
        for name in ("multi_label", "matrix"):
            if not isinstance(data[name], bool):
                raise InvalidTypeError(expected(name, "a boolean", data[name]))
        if not isinstance(data["labels"], list):
            raise InvalidTypeError(expected("labels", "a list", data["labels"]))
        names = tuple(label_from_json(name) for name in data["labels"])
        if not names or len(set(names)) < len(names):
            raise InvalidValueError(expected("labels", "different labels", names))
        _check_spelling(names)
        return cls(names, multi_label=data["multi_label"], matrix=data["matrix"])

    @cached_property
    def classes(self) -> NDArray[Any]:
        """The labels as an array, of dtype object where another one would change them."""
        kinds = set(map(type, self.names))
        # NumPy drops trailing zeros of strings and rounds large integers.
        # It also gives each string the space of the longest one.
        plain = kinds == {str} and not any(
            name.endswith("\0") or len(name) > _MAX_PADDED for name in map(str, self.names)
        )
        small = kinds == {int} and all(-(2**63) <= int(str(name)) < 2**63 for name in self.names)
        if plain or small or kinds in ({bool}, {float}):
            return np.array(self.names)
        classes = np.empty(len(self), dtype=object)
        for index, name in enumerate(self.names):
            classes[index] = name
        return classes


def label_values(labels: Any, argument: str = "labels") -> LabelValues:
    """Return a column of labels as plain Python values, or a matrix of zeros and ones."""
    columns = column_names(labels)
    if not hasattr(labels, "__iter__") and hasattr(labels, "__array__"):
        labels = np.asarray(labels)
    shape: tuple[int, ...] = getattr(labels, "shape", (0,))
    if (
        isinstance(labels, NOT_COLUMNS)
        or not hasattr(labels, "__iter__")
        or len(shape) not in (1, 2)
    ):
        raise InvalidTypeError(expected(argument, "a column (a sequence) of labels", labels))
    if hasattr(labels, "toarray"):
        rule = f"dense; pass `{argument}.toarray()`"
        raise InvalidTypeError(expected(argument, rule, labels))
    if len(shape) == 2:
        if shape[1] != 1:
            return _matrix(labels, columns, argument)
        labels = np.asarray(labels).ravel()
    for method in ("to_pylist", "to_list", "tolist"):
        if hasattr(labels, method):
            labels = getattr(labels, method)()
            break
    return [_value(value, f"{argument}[{position}]") for position, value in enumerate(labels)]


def label_to_json(name: Any) -> Any:
    """Return a label as plain data for JSON, a tuple as a list."""
    if isinstance(name, tuple):
        return [label_to_json(part) for part in name]
    if not isinstance(name, str | bool | int | float):
        rule = "a string, a number or a tuple of these, to be written as JSON"
        raise InvalidTypeError(expected("label", rule, name))
    return name


def label_from_json(name: Any, depth: int = 0) -> Any:
    """Return the label that `label_to_json` described, a list as a tuple."""
    if isinstance(name, list) and depth < 8:
        return tuple(label_from_json(part, depth + 1) for part in name)
    if not isinstance(name, str | bool | int | float):
        raise InvalidTypeError(expected("label", "a string, a number or a list of these", name))
    return name


def _probability(name: str, value: Any) -> float:
    return check_float(name, value, minimum=0.0, maximum=1.0, exclusive=True)


def _check_spelling(names: Sequence[Any]) -> None:
    """Refuse labels of different types that are written alike."""
    written: dict[str, Any] = {}
    for name in names:
        other = written.setdefault(str(name), name)
        if other is not name:
            rule = "of one type, or written differently"
            raise InvalidValueError(expected("labels", rule, [other, name]))


def _warn_of_blanks(names: Sequence[Any]) -> None:
    """Warn of labels that differ only in blanks."""
    unspaced: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        unspaced["".join(str(name).split())].append(show(name))
    groups = [" and ".join(group) for group in unspaced.values() if len(group) > 1]
    if groups:
        found = "; ".join(groups[:_MAX_LISTED])
        message = f"Labels that differ only in blanks count as different labels: {found}."
        warnings.warn(message, stacklevel=6)  # where `fit` is called


def _matrix(labels: Any, columns: Sequence[Any], argument: str) -> LabelMatrix:
    """Read a matrix of zeros and ones; `columns` are the names of its columns, if it has them."""
    values = np.asarray(labels)
    zeros_and_ones = values.dtype.kind in "biuf" and bool(((values == 0) | (values == 1)).all())
    if not zeros_and_ones or not values.shape[1]:
        rule = "one label for each text, or a matrix of zeros and ones, a column per label"
        raise InvalidValueError(expected(argument, rule, labels))
    names = tuple(_value(name, f"{argument}.columns") for name in columns)
    if len(set(names)) < len(names):
        repeated = [name for name, times in Counter(names).items() if times > 1]
        rule = "a table whose columns have different names"
        raise InvalidValueError(expected(argument, rule, repeated))
    return LabelMatrix(values.astype(np.int64), names or None)


def _value(value: Any, place: str) -> Any:
    """Return one text's label, or the list of its labels, without NumPy's types."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list | set | np.ndarray):
        entries = [_value(entry, place) for entry in value]
        # The order of a set may differ between runs.
        return sorted(entries, key=repr) if isinstance(value, set) else entries
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    if missing or type(value).__name__ in {"NAType", "NaTType"}:
        raise InvalidValueError(expected(place, "a label; it is missing", value))
    return value

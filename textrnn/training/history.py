"""`History`: the measurements of a training run, as plain numbers."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from os import PathLike
from typing import Any, Self, TypeAlias, overload

from textrnn._storage import read_json, write_atomically
from textrnn._text_table import Table, html_tables, printable
from textrnn.errors import (
    CorruptFileError,
    InvalidTypeError,
    MissingKeyError,
    expected,
    listing,
    show,
)

__all__ = ["History", "Record"]

_MOST_ROWS = 100  # of an HTML table
_MOST_POINTS = 200  # of a line

Record: TypeAlias = Mapping[str, float]
"""A row of a `History`: names to plain numbers."""


class History(Sequence[Record]):
    """The records of a training run: one at each evaluation and at the end of each epoch.

    A record holds `epoch` (from 1), `step` (updates so far), `loss` (the mean over the training
    texts since the previous record), `learning_rate`, `seconds` (so far, training and evaluation)
    and, after an evaluation, its values as `eval_loss`, `eval_accuracy` and so on. Reading returns
    copies, so records never change.

    Args:
        records: Records to begin with. Default: none.

    Raises:
        InvalidTypeError: If a record is not a mapping of strings to numbers.

    Example:
        >>> history = History([{"epoch": 1, "step": 10, "loss": 0.9, "eval_accuracy": 0.6}])
        >>> history.append({"epoch": 2, "step": 20, "loss": 0.5, "eval_accuracy": 0.8})
        >>> history["eval_accuracy"]
        [0.6, 0.8]
        >>> history[-1]["step"]
        20
    """

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._records: list[dict[str, float]] = []
        for record in records:
            self.append(record)

    def append(self, record: Record) -> None:
        """Append a record.

        Args:
            record: Names to numbers; integers stay integers.

        Raises:
            InvalidTypeError: If it is not a mapping of strings to numbers.
        """
        if not isinstance(record, Mapping):
            raise InvalidTypeError(expected("record", "a mapping of names to numbers", record))
        for name, value in record.items():
            if not isinstance(name, str):
                raise InvalidTypeError(expected("record", "a mapping of names to numbers", record))
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InvalidTypeError(expected(f"record[{show(name)}]", "a plain number", value))
        self._records.append(dict(record))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all records, in order of first appearance."""
        return tuple(dict.fromkeys(name for record in self._records for name in record))

    def column(self, name: str) -> tuple[list[float], list[float]]:
        """Return the values of a name, and the steps at which they were recorded.

        Args:
            name: For example `"eval_accuracy"`.

        Returns:
            Two lists of the same length: steps and values.

        Raises:
            MissingKeyError: If no record has that name; the message lists the names.

        Example:
            >>> History([{"step": 10, "loss": 0.9}, {"step": 20, "loss": 0.5}]).column("loss")
            ([10, 20], [0.9, 0.5])
        """
        rows = [record for record in self._records if name in record]
        if not rows:
            raise MissingKeyError(f"The history has no {show(name)}; it has {listing(self.names)}.")
        return [row.get("step", math.nan) for row in rows], [row[name] for row in rows]

    @overload
    def __getitem__(self, key: int) -> Record: ...
    @overload
    def __getitem__(self, key: slice) -> "History": ...
    @overload
    def __getitem__(self, key: str) -> list[float]: ...
    def __getitem__(self, key: int | slice | str) -> "Record | History | list[float]":
        """Return a record by position, a `History` by slice, or the list of values by name."""
        if isinstance(key, str):
            return self.column(key)[1]
        if isinstance(key, slice):
            return History(self._records[key])
        return dict(self._records[key])

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return map(dict, self._records)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, History) and self._records == other._records

    __hash__ = None  # type: ignore[assignment]  # a history grows, so it has no hash

    def __repr__(self) -> str:
        noun = "record" if len(self) == 1 else "records"
        return f"History({len(self)} {noun} of {', '.join(self.names) or 'nothing'})"

    def _repr_html_(self) -> str | None:
        """Return lines of the losses and metrics, and a table, in HTML; None without records."""
        if not self._records:
            return None
        lines = [_sparkline(name, self[name]) for name in self.names if _is_measured(name)]
        rows = [
            [_cell(record[name]) if name in record else "" for name in self.names]
            for record in self._records
        ]
        if len(rows) > _MOST_ROWS:
            rows[_MOST_ROWS // 2 : -_MOST_ROWS // 2] = [["..."] * len(self.names)]
        table = Table([list(map(printable, self.names)), *rows])
        return f"<div>{''.join(lines)}</div>{html_tables([table])}"

    def to_json(self) -> str:
        """Return the records as a JSON array, one record per line.

        Returns:
            Text that `from_json` reads back to an equal history. NaN and infinities, for which
            JSON has no number, are written as strings.

        Example:
            >>> print(History([{"step": 1, "loss": 0.5}]).to_json())
            [
            {"step": 1, "loss": 0.5}
            ]
        """
        rows = (
            json.dumps({name: _encode(value) for name, value in record.items()}, allow_nan=False)
            for record in self._records
        )
        return "[\n" + ",\n".join(rows) + "\n]"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a history from JSON.

        Args:
            text: The result of `to_json`.

        Returns:
            The history.

        Raises:
            CorruptFileError: If the text is not a JSON array of records.
        """
        try:
            rows = json.loads(text)
        except (TypeError, ValueError, RecursionError) as error:
            raise CorruptFileError(f"Not a history: {error}.") from error
        return cls._from_rows(rows)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the records to a JSON file, atomically.

        Args:
            path: The file; an existing one is replaced.

        Raises:
            OSError: If the file can't be written; an existing one stays intact.
        """
        write_atomically(path, (self.to_json() + "\n").encode())

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read a file that `save` wrote.

        Args:
            path: The file.

        Returns:
            The history.

        Raises:
            CorruptFileError: If it does not hold a history.
            OSError: If it can't be read.
        """
        return cls._from_rows(read_json(path, what="history"))

    @classmethod
    def _from_rows(cls, rows: Any) -> Self:
        if not isinstance(rows, list):
            raise CorruptFileError(f"Expected a history to be a list of records, not {show(rows)}.")
        history = cls()
        for row in rows:
            try:
                history.append({name: _decode(value) for name, value in row.items()})
            except (AttributeError, TypeError, OverflowError) as error:
                raise CorruptFileError(f"Not a record of a history: {show(row)}.") from error
        return history


def _is_measured(name: str) -> bool:
    return name == "loss" or name.startswith("eval_")


def _cell(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def _sparkline(name: str, values: Sequence[float]) -> str:
    """Return a small line of the finite values in the colour of the page, with the last value."""
    finite = [value / 2 for value in values if math.isfinite(value)]  # no difference overflows
    finite = finite[:: -(len(finite) // _MOST_POINTS + 1)][::-1]  # the last value stays
    if len(finite) < 2:
        return ""
    low, high = min(finite), max(finite)
    points = " ".join(
        f"{80 * i / (len(finite) - 1):.1f},{18 - 16 * ((value - low) / ((high - low) or 1)):.1f}"
        for i, value in enumerate(finite)
    )
    return (
        '<span style="display:inline-block;margin:0.2em 1.5em 0.2em 0;white-space:nowrap">'
        f"{escape(printable(name))} "
        '<svg width="80" height="20" style="vertical-align:middle;margin:0 0.3em;overflow:visible">'
        f'<polyline points="{points}" fill="none" stroke="currentColor" stroke-width="1.5"/></svg>'
        f" {_cell(values[-1])}</span>"
    )


def _encode(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _decode(value: Any) -> Any:
    if isinstance(value, int):
        float(value)  # an integer beyond all floats is not a measurement
    return float(value) if value in ("nan", "inf", "-inf") else value

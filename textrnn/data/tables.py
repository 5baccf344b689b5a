"""Read texts and labels from CSV, TSV, JSONL and Parquet files, and texts from plain lines."""

import csv
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from textrnn.errors import (
    CorruptFileError,
    InvalidValueError,
    MissingKeyError,
    TextrnnError,
    expected,
    import_extra,
    show,
)

__all__ = ["FORMATS", "BadRow", "Layout", "Row", "format_of", "read_lines", "read_rows"]

FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".txt": "lines",
}
"""File formats by suffix; `"lines"` has no columns."""

_MAX_LINE = 64 * 2**20  # bytes; a longer line is not text, and would fill the memory
_BURST = 2**16  # bytes that are read at a time, as many as a pipe holds
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # surrogates that invalid bytes are decoded to


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the texts and labels of a table are."""

    text_columns: Sequence[str] = ("text",)  # joined by spaces; without a header, "1", "2", ...
    label_column: str | None = "label"
    label_separator: str | None = None  # None: a cell is one label
    header: bool = True
    delimiter: str | None = None  # of a CSV file; None is a comma

    @property
    def columns(self) -> list[str]:
        """All columns to read."""
        label = [] if self.label_column is None else [self.label_column]
        return [*self.text_columns, *label]


@dataclass(frozen=True, slots=True)
class Row:
    """A text, its label or list of labels, and its line, or row of a Parquet file, from 1."""

    line: int
    text: str
    label: Any


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row without a valid text or label, and the reason."""

    line: int
    reason: str


def format_of(path: str | Path) -> str:
    """Return the format of a file by its suffix."""
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        rule = f"a file whose name ends in {', '.join(FORMATS)} (or name its format)"
        raise InvalidValueError(expected("path", rule, str(path)))
    return FORMATS[suffix]


def read_rows(stream: BinaryIO, file_format: str, layout: Layout) -> Iterator[Row | BadRow]:
    """Read a table with bounded memory, leaving out blank lines."""
    if file_format == "jsonl":
        records = _read_jsonl(stream, layout)
    elif file_format == "parquet":
        records = _read_parquet(stream, layout)
    else:
        delimiter = "\t" if file_format == "tsv" else layout.delimiter or ","
        records = _read_csv(stream, layout, delimiter)
    for line, values in records:
        yield BadRow(line, values) if isinstance(values, str) else _row(line, values, layout)


def read_lines(stream: BinaryIO) -> Iterator[list[Row | BadRow]]:
    """Yield lists of lines, each a text, as soon as they can be read without waiting."""
    numbers = count(1)
    rest = bytearray()
    # `read` would wait until a pipe has as much as was asked for.
    read = getattr(stream, "read1", stream.read)
    while data := read(_BURST):
        ends = data.rpartition(b"\n")
        if ends[1]:
            whole, rest = bytes(rest) + ends[0], bytearray(ends[2])
            yield [_line(next(numbers), line) for line in whole.split(b"\n")]
        else:
            rest += data
        if len(rest) > _MAX_LINE:
            raise _too_long(stream, next(numbers))
    if rest:
        yield [_line(next(numbers), bytes(rest))]


def _line(number: int, data: bytes) -> Row | BadRow:
    """Return the row of a plain line."""
    encoding = "utf-8-sig" if number == 1 else "utf-8"
    return _checked(number, data.removesuffix(b"\r").decode(encoding, "surrogateescape"), None)


def _too_long(stream: BinaryIO, number: int) -> CorruptFileError:
    """Return the error for a line that is too long."""
    return CorruptFileError(f"{_name(stream)}:{number}: the line is longer than {_MAX_LINE} bytes.")


def _decoded_lines(stream: BinaryIO) -> Iterator[str]:
    """Yield lines with their ends, with bytes that are not UTF-8 as surrogates."""
    for number in count(1):
        line = stream.readline(_MAX_LINE + 1)
        if not line:
            return
        if len(line) > _MAX_LINE:
            raise _too_long(stream, number)
        encoding = "utf-8-sig" if number == 1 else "utf-8"
        yield line.decode(encoding, "surrogateescape")


def _read_csv(
    stream: BinaryIO, layout: Layout, delimiter: str
) -> Iterator[tuple[int, list[Any] | str]]:
    """Yield the line of each row, and the values of its columns or the reason that it is bad."""
    # The limit is global, so only ever raise it.
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_LINE))
    reader = csv.reader(_decoded_lines(stream), delimiter=delimiter, strict=True)
    positions: list[int] | None = None
    width = 0
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield line, f"it is not CSV ({error})"
            continue
        if cells is None:
            return
        if not cells:
            continue
        if positions is None:
            width = len(cells)
            names = cells if layout.header else [str(number) for number in range(1, width + 1)]
            try:
                positions = _positions(layout.columns, names)
            except MissingKeyError as error:
                raise _header_error(stream, cells, error) from None
            if layout.header:
                continue
        if len(cells) != width:
            yield line, f"it has {len(cells)} fields, not {width}"
        else:
            yield line, [cells[position] for position in positions]


def _positions(columns: Iterable[str], names: Sequence[str]) -> list[int]:
    """Return the position of each column."""
    positions = []
    for column in columns:
        if column not in names:
            known = ", ".join(show(name) for name in names)
            raise MissingKeyError(f"There is no column {show(column)}; there are: {known}.")
        positions.append(names.index(column))
    return positions


def _header_error(stream: BinaryIO, cells: Sequence[str], error: MissingKeyError) -> TextrnnError:
    """Return the error that explains why a CSV file lacks a column."""
    if any(_NOT_UTF8.search(cell) for cell in cells):
        return CorruptFileError(f"{_name(stream)}:1: it is not in UTF-8.")
    marks = [mark for mark in ";\t|," if mark in cells[0]]
    if len(cells) == 1 and marks:
        return MissingKeyError(f"{error} Is {marks[0]!r} the delimiter?")
    return error


def _name(stream: BinaryIO) -> str:
    """Return the name of a file for messages."""
    return str(getattr(stream, "name", "the file"))


def _read_jsonl(stream: BinaryIO, layout: Layout) -> Iterator[tuple[int, list[Any] | str]]:
    """Yield the line of each row, and the values of its columns or the reason that it is bad."""
    for number, line in enumerate(_decoded_lines(stream), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, f"it is not JSON ({error})"
            continue
        if not isinstance(record, dict):
            yield number, f"it is not a JSON object, but {show(record)}"
            continue
        missing = [column for column in layout.columns if column not in record]
        if missing:
            known = ", ".join(show(name) for name in record) or "none"
            yield number, f"it has no {show(missing[0])}; it has: {known}"
        else:
            yield number, [record[column] for column in layout.columns]


def _read_parquet(stream: BinaryIO, layout: Layout) -> Iterator[tuple[int, list[Any] | str]]:
    """Yield the number of each row and the values of its columns."""
    parquet = import_extra("pyarrow.parquet", extra="datasets")
    arrow = import_extra("pyarrow", extra="datasets")
    try:
        file = parquet.ParquetFile(stream)
        _positions(layout.columns, file.schema_arrow.names)
        numbers = count(1)
        for batch in file.iter_batches(batch_size=1024, columns=layout.columns):
            columns = [batch.column(name).to_pylist() for name in layout.columns]
            for values in zip(*columns, strict=True):
                yield next(numbers), list(values)
    except (arrow.ArrowException, OSError) as error:
        raise CorruptFileError(f"{_name(stream)} can't be read as Parquet: {error}") from error


def _row(line: int, values: list[Any], layout: Layout) -> Row | BadRow:
    """Return the row of these values, checked."""
    texts, label = values, None
    if layout.label_column is not None:
        *texts, label = values
        if isinstance(label, str) and layout.label_separator is not None:
            parts = (part.strip() for part in label.split(layout.label_separator))
            label = [part for part in parts if part]
        elif label is None or label == "":
            return BadRow(line, "the label is missing")
        if not _is_label(label):
            return BadRow(line, f"{show(label)} is not a label")
    for column, text in zip(layout.text_columns, texts, strict=True):
        if not isinstance(text, str):
            problem = "missing" if text is None else f"not a string, but {show(text)}"
            return BadRow(line, f"{show(column)} is {problem}")
    return _checked(line, " ".join(texts), label)


def _is_label(value: Any) -> bool:
    """Return whether a value is a label or a list of labels."""
    if isinstance(value, list):
        return all(not isinstance(part, list) and _is_label(part) for part in value)
    return isinstance(value, str | bool | int) or (
        isinstance(value, float) and math.isfinite(value)
    )


def _checked(line: int, text: str, label: Any) -> Row | BadRow:
    """Return the row of a text and a label, unless they are not in UTF-8."""
    labels = label if isinstance(label, list) else [label]
    if any(isinstance(part, str) and _NOT_UTF8.search(part) for part in (text, *labels)):
        return BadRow(line, "it is not in UTF-8")
    return Row(line, text, label)

"""Read texts and labels from tables and fastText files, and texts from plain lines."""

import csv
import io
import json
import math
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any, BinaryIO, Self, TypeAlias

from textrnn.data.lines import UNDECODED, read_lines, stream_name
from textrnn.errors import (
    CorruptFileError,
    InvalidValueError,
    MissingKeyError,
    expected,
    import_extra,
    show,
)

__all__ = ["FORMATS", "BadRow", "Layout", "Row", "format_of", "read_plain", "read_rows"]

FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".txt": "lines",
}
"""File formats by suffix; `"lines"` has no columns. The suffix `.gz` may follow."""

_MAX_RECORD = 16 * 2**20  # characters in the lines after the first of a CSV record
_MAX_FIELD = 2**28  # characters, more than such a record can have
_MAX_NAMES = 20  # columns in a message
_FASTTEXT = re.compile(r"(?<![^ \t\v\f\r\0])__label__([^ \t\v\f\r\0]+)[ \t\v\f\r\0]*")
_SEPARATOR_LINE = re.compile(r'"?sep=([^"])"?\r?')  # with which Excel names the delimiter
_NUMBERS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the texts and labels of a table are, and how it is written."""

    text_columns: Sequence[str] = ("text",)  # joined by spaces; without a header, "1", "2", ...
    label_columns: Sequence[str] = ("label",)  # several hold 0 or 1 for the label of their name
    label_separator: str | None = None  # None: a cell is one label
    header: bool = True
    delimiter: str | None = None  # of a CSV file; None is a comma
    encoding: str | None = None  # None is UTF-8

    @property
    def columns(self) -> list[str]:
        """All columns to read."""
        return [*self.text_columns, *self.label_columns]


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
    undecoded: bool = False  # whether the encoding of the file may be another one


_Records: TypeAlias = Iterator[tuple[int, list[Any]] | BadRow]
"""The line of each row with its values."""


def format_of(path: str | Path) -> str:
    """Return the format of a file by its suffix."""
    name = Path(path).name.lower()
    suffix = Path(name.removesuffix(".gz")).suffix
    if suffix not in FORMATS or name.endswith(".parquet.gz"):
        rule = f"a file whose name ends in {', '.join(FORMATS)} (or name its format)"
        raise InvalidValueError(expected("path", rule, str(path)))
    return FORMATS[suffix]


def read_rows(stream: BinaryIO, file_format: str, layout: Layout) -> Iterator[Row | BadRow]:
    """Read a table with bounded memory, leaving out blank lines."""
    if file_format == "parquet":
        return _rows(_read_parquet(stream, layout), layout)
    lines = chain.from_iterable(read_lines(stream, layout.encoding))
    if file_format == "fasttext":
        return _read_fasttext(lines, layout)
    if file_format == "jsonl":
        return _rows(_read_jsonl(lines, layout), layout)
    records: _Records
    if file_format == "tsv":
        records = ((number, _split(line, "\t")) for number, line in enumerate(lines, 1))
    else:
        records = _read_csv(lines, layout.delimiter)
    return _rows(_select(records, layout, stream_name(stream)), layout)


def read_plain(stream: BinaryIO, encoding: str | None = None) -> Iterator[list[Row | BadRow]]:
    """Yield lists of lines, each a text, as soon as they can be read without waiting.

    The labels of a line of a fastText file are left out.
    """
    numbers = count(1)
    for lines in read_lines(stream, encoding):
        yield [_plain(next(numbers), line.removesuffix("\r"), encoding) for line in lines]


def _plain(number: int, line: str, encoding: str | None) -> Row | BadRow:
    """Return the row of a plain line."""
    if UNDECODED.search(line):
        return _undecoded(number, encoding)
    text = _FASTTEXT.sub("", line) if line.startswith("__label__") else line
    return Row(number, text, None)


def _read_fasttext(lines: Iterator[str], layout: Layout) -> Iterator[Row | BadRow]:
    """Read lines of words, of which those that begin with `__label__` are labels."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        labels = _FASTTEXT.findall(line) if layout.label_columns else None
        if UNDECODED.search(line):
            yield _undecoded(number, layout.encoding)
        elif labels == []:
            yield BadRow(number, "it has no label, such as __label__NAME")
        else:
            yield Row(number, _FASTTEXT.sub("", line).strip(), labels)


def _read_csv(lines: Iterator[str], delimiter: str | None) -> _Records:
    """Split CSV records into fields, as RFC 4180 has it.

    A line with a wrong quotation mark is a record of its own, so that those after it are read.
    """
    # The limit is global, so only ever raise it.
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_FIELD))
    source = _CsvLines(lines)
    reader: Iterator[list[str]] | None = None
    while (line := source.start()) is not None:
        number = source.number
        if number == 1 and (named := _SEPARATOR_LINE.fullmatch(line)):
            delimiter = delimiter or named[1]
        elif '"' not in line:
            yield number, _split(line, delimiter or ",")
        else:
            reader = reader or csv.reader(source, delimiter=delimiter or ",", strict=True)
            try:
                cells = next(reader)
            except csv.Error as error:
                source.put_back()
                yield BadRow(number, f"it is not CSV ({_csv_problem(line, str(error))})")
            else:
                yield number, cells


class _CsvLines:
    """Lines for the `csv` module; those after a wrong first line of a record are read again."""

    def __init__(self, lines: Iterator[str]) -> None:
        self.number = 0  # of the first line of the record
        self._lines = lines
        self._again: deque[str] = deque()
        self._record: list[str] = []
        self._size = -1  # of the lines after the first; -1 before it was read

    def start(self) -> str | None:
        """Begin a record, and return its first line."""
        self.number += len(self._record) or 1
        line = self._again.popleft() if self._again else next(self._lines, None)
        self._record, self._size = [] if line is None else [line], -1
        return line

    def put_back(self) -> None:
        """Keep the lines after the first for other records."""
        self._again.extendleft(reversed(self._record[1:]))
        del self._record[1:]

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        if self._size < 0:
            self._size = 0
            return f"{self._record[0]}\n"
        if self._size >= _MAX_RECORD:
            raise StopIteration
        line = self._again.popleft() if self._again else next(self._lines)
        self._record.append(line)
        self._size += len(line) + 1
        return f"{line}\n"


def _csv_problem(line: str, error: str) -> str:
    """Return what is wrong with a line that the `csv` module refuses."""
    if '\\"' in line:
        return "a quotation mark in a field must be doubled, not escaped by a backslash"
    if error == "unexpected end of data":
        return "a quotation mark is never closed"
    if error.startswith("new-line character"):
        return "it has a carriage return outside of quotation marks"
    return error


def _split(line: str, delimiter: str) -> list[str]:
    """Return the fields of a line without quotation marks; a blank line has none."""
    line = line.removesuffix("\r")
    return line.split(delimiter) if line else []


def _select(records: _Records, layout: Layout, name: str) -> _Records:
    """Yield the columns of the layout; the first record tells where they are."""
    positions: list[int] | None = None
    width = 0
    for record in records:
        if isinstance(record, BadRow):
            if positions is None and layout.header:
                raise CorruptFileError(f"{name}:{record.line}: {record.reason}.")
            yield record
            continue
        line, cells = record
        if positions is None and cells:
            found, width = _read_header(line, cells, layout, name), len(cells)
            if isinstance(found, BadRow):
                yield found
                return
            positions = found
            cells = [] if layout.header else cells
        if not cells or positions is None:
            continue
        if len(cells) != width:
            yield BadRow(line, f"it has {len(cells)} fields, not {width}")
            continue
        values = [cells[position] for position in positions]
        if any(map(UNDECODED.search, values)):
            yield _undecoded(line, layout.encoding)
        else:
            yield line, values


def _read_header(line: int, cells: Sequence[str], layout: Layout, name: str) -> list[int] | BadRow:
    """Return the position of each column; without a header, columns are numbered."""
    names = cells if layout.header else [str(number) for number in range(1, len(cells) + 1)]
    try:
        return _positions(layout.columns, names, name)
    except MissingKeyError as error:
        if any(map(UNDECODED.search, cells)):
            return _undecoded(line, layout.encoding)
        raise MissingKeyError(f"{error}{_guess(cells)}") from None


def _positions(columns: Iterable[str], names: Sequence[str], file: str) -> list[int]:
    """Return the position of each column."""
    positions = []
    for column in columns:
        if column not in names:
            message = f"{file} has no column {show(column)}; there are: {_listed(names)}."
            raise MissingKeyError(message)
        if names.count(column) > 1:
            raise CorruptFileError(f"{file} has {names.count(column)} columns {show(column)}.")
        positions.append(names.index(column))
    return positions


def _guess(header: Sequence[str]) -> str:
    """Return a guess why a header lacks a column, or nothing."""
    marks = [mark for mark in ";\t|," if mark in header[0]]
    if len(header) == 1 and marks:
        return f" Is {marks[0]!r} the delimiter?"
    if header[0].startswith('"'):
        return " TSV has no quotation marks: is it CSV with tabs as delimiter?"
    return ""


def _listed(names: Iterable[str]) -> str:
    """Return names in their order, the first of many."""
    shown = [show(name) for name in names]
    more = ["..."] if len(shown) > _MAX_NAMES else []
    return ", ".join(shown[:_MAX_NAMES] + more) or "none"


def _read_jsonl(lines: Iterator[str], layout: Layout) -> _Records:
    """Yield the columns of JSON objects, one a line."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if UNDECODED.search(line):
            yield _undecoded(number, layout.encoding)
            continue
        try:
            record = json.loads(line, object_pairs_hook=_object)
        except KeyError as error:
            yield BadRow(number, f"it has the key {show(error.args[0])} twice")
            continue
        except (ValueError, RecursionError) as error:
            yield BadRow(number, f"it is not JSON ({error})")
            continue
        if not isinstance(record, dict):
            yield BadRow(number, f"it is not a JSON object, but {show(record)}")
            continue
        missing = [column for column in layout.columns if column not in record]
        if missing:
            yield BadRow(number, f"it has no {show(missing[0])}; it has: {_listed(record)}")
        else:
            yield number, [record[column] for column in layout.columns]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; a key that it has twice is a `KeyError`."""
    items = dict(pairs)
    if len(items) < len(pairs):
        keys = [key for key, _ in pairs]
        raise KeyError(next(key for key in keys if keys.count(key) > 1))
    return items


def _read_parquet(stream: BinaryIO, layout: Layout) -> _Records:
    """Yield the number of each row and the values of its columns."""
    parquet = import_extra("pyarrow.parquet", extra="datasets")
    arrow = import_extra("pyarrow", extra="datasets")
    name = stream_name(stream)
    try:
        file = parquet.ParquetFile(stream if stream.seekable() else io.BytesIO(stream.read()))
        _positions(layout.columns, file.schema_arrow.names, name)
        numbers = count(1)
        for batch in file.iter_batches(batch_size=1024, columns=layout.columns):
            columns = [batch.column(column).to_pylist() for column in layout.columns]
            for values in zip(*columns, strict=True):
                yield next(numbers), list(values)
    except (arrow.ArrowException, OSError, OverflowError, UnicodeError) as error:
        raise CorruptFileError(f"{name} can't be read as Parquet: {error}") from error


def _rows(records: _Records, layout: Layout) -> Iterator[Row | BadRow]:
    """Yield a row for each record."""
    for record in records:
        yield record if isinstance(record, BadRow) else _row(*record, layout)


def _row(line: int, values: list[Any], layout: Layout) -> Row | BadRow:
    """Return the row of these values, checked."""
    texts, cells = values[: len(layout.text_columns)], values[len(layout.text_columns) :]
    try:
        if len(cells) > 1:
            pairs = zip(layout.label_columns, cells, strict=True)
            label: Any = [name for name, cell in pairs if _is_one(name, cell)]
        else:
            label = _label(cells[0], layout.label_separator) if cells else None
    except ValueError as error:
        return BadRow(line, str(error))
    for column, text in zip(layout.text_columns, texts, strict=True):
        if not isinstance(text, str):
            problem = "missing" if text is None else f"not a string, but {show(text)}"
            return BadRow(line, f"{show(column)} is {problem}")
    return Row(line, " ".join(texts), label)


def _is_one(column: str, cell: Any) -> bool:
    """Return whether a cell is 1 rather than 0."""
    if (number := _NUMBERS.get(str(cell).strip().lower())) is None:
        raise ValueError(f"{show(column)} is not 0 or 1, but {show(cell)}")
    return number


def _label(cell: Any, separator: str | None) -> Any:
    """Return the label or the list of labels in a cell, without blanks around them."""
    if isinstance(cell, str) and separator is not None:
        return [part for part in map(str.strip, cell.split(separator)) if part]
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        raise ValueError("the label is missing")
    labels = cell if isinstance(cell, list) else [cell]
    labels = [label.strip() if isinstance(label, str) else label for label in labels]
    if not all(map(_is_label, labels)):
        raise ValueError(f"{show(cell)} is not a label")
    return labels if isinstance(cell, list) else labels[0]


def _is_label(value: Any) -> bool:
    """Return whether a value is a label."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, bool | int) or (isinstance(value, str) and value != "")


def _undecoded(line: int, encoding: str | None) -> BadRow:
    """Return a row that has another encoding."""
    return BadRow(line, f"it is not in {encoding or 'UTF-8'}", undecoded=True)

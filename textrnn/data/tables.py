"""Rows of CSV, TSV, JSONL and Parquet files."""

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
"""What a file holds, by its suffix."""

_MAX_LINE = 64 * 2**20  # bytes; what is longer is no text, and would fill the memory
_BURST = 2**16  # bytes that are read at a time, as many as a pipe holds
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # what bytes that are not UTF-8 are decoded to


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where a table has its texts and labels.

    Args:
        text_columns: Names of the columns whose strings, joined by spaces, are a text. Without a
            header they are numbers, counted from 1.
        label_column: Name or number of the column with the labels; None reads none.
        label_separator: What stands between the labels of a text that may have several; None
            means that a cell is one label.
        header: Whether a CSV or TSV file begins with the names of its columns.
        delimiter: The character between the fields of a CSV file; None is a comma.
    """

    text_columns: Sequence[str] = ("text",)
    label_column: str | None = "label"
    label_separator: str | None = None
    header: bool = True
    delimiter: str | None = None

    @property
    def columns(self) -> list[str]:
        """All columns that are read."""
        label = [] if self.label_column is None else [self.label_column]
        return [*self.text_columns, *label]


@dataclass(frozen=True, slots=True)
class Row:
    """A text with its label, and where it stands.

    Args:
        line: The line on which it begins, from 1; of a Parquet file, the row.
        text: The text.
        label: Its label, or the list of its labels; None where none are read.
    """

    line: int
    text: str
    label: Any


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that holds no text, or no label.

    Args:
        line: The line on which it begins, from 1; of a Parquet file, the row.
        reason: What is wrong with it.
    """

    line: int
    reason: str


def format_of(path: str | Path) -> str:
    """Tell a file's format by its suffix.

    Raises:
        InvalidValueError: If the suffix is of no known format.

    Example:
        >>> format_of("news.TSV")
        'tsv'
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        rule = f"a file whose name ends in {', '.join(FORMATS)} (or name its format)"
        raise InvalidValueError(expected("path", rule, str(path)))
    return FORMATS[suffix]


def read_rows(stream: BinaryIO, form: str, layout: Layout) -> Iterator[Row | BadRow]:
    r"""Read a table, holding no more than some rows at a time.

    Args:
        stream: The open file.
        form: One of the values of `FORMATS`, but not ``"lines"``, which have no columns.
        layout: Where the texts and labels are.

    Returns:
        The rows in their order, with a `BadRow` in the place of each that can't be used. Blank
        lines are left out.

    Raises:
        MissingKeyError: If there is no such column; those there are, are listed.
        CorruptFileError: If the file has another format, or a line that is far too long.
        MissingDependencyError: If a Parquet file is read without pyarrow.

    Example:
        >>> import io
        >>> table = io.BytesIO(b"label,text\nspam,Cheap pills\nham\n")
        >>> for row in read_rows(table, "csv", Layout()):
        ...     print(row)
        Row(line=2, text='Cheap pills', label='spam')
        BadRow(line=3, reason='it has 1 fields, not 2')
    """
    if form == "jsonl":
        records = _read_jsonl(stream, layout)
    elif form == "parquet":
        records = _read_parquet(stream, layout)
    else:
        delimiter = "\t" if form == "tsv" else layout.delimiter or ","
        records = _read_csv(stream, layout, delimiter)
    for line, values in records:
        yield BadRow(line, values) if isinstance(values, str) else _row(line, values, layout)


def read_lines(stream: BinaryIO) -> Iterator[list[Row | BadRow]]:
    r"""Read plain lines, each of which is a text, as soon as they come.

    Args:
        stream: The open file or pipe; lines end with a line feed, perhaps after a carriage return.

    Returns:
        The lines that could be read without waiting, in their order; an empty one is an empty text.

    Raises:
        CorruptFileError: If a line is far too long.

    Example:
        >>> import io
        >>> list(read_lines(io.BytesIO(b"oil prices\nthe end")))
        [[Row(line=1, text='oil prices', label=None)], [Row(line=2, text='the end', label=None)]]
    """
    numbers = count(1)
    rest = bytearray()
    # What a pipe holds is there at once; `read` would wait until it is as much as was asked for.
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
    encoding = "utf-8-sig" if number == 1 else "utf-8"
    return _checked(number, data.removesuffix(b"\r").decode(encoding, "surrogateescape"), None)


def _too_long(stream: BinaryIO, number: int) -> CorruptFileError:
    name = getattr(stream, "name", "the file")
    return CorruptFileError(f"{name}:{number}: the line is longer than {_MAX_LINE} bytes.")


def _decoded_lines(stream: BinaryIO) -> Iterator[str]:
    """Yield lines with their ends; bytes that are not UTF-8 become what `_NOT_UTF8` finds."""
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
    """Yield each row's line and the values of the columns, or what is wrong with it."""
    # The limit is the module's, so it is only ever raised.
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_LINE))
    reader = csv.reader(_decoded_lines(stream), delimiter=delimiter, strict=True)
    places: list[int] | None = None
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
        if places is None:
            width = len(cells)
            names = cells if layout.header else [str(number) for number in range(1, width + 1)]
            try:
                places = _places(layout.columns, names)
            except MissingKeyError as error:
                raise _unfit_header(stream, cells, error) from None
            if layout.header:
                continue
        if len(cells) != width:
            yield line, f"it has {len(cells)} fields, not {width}"
        else:
            yield line, [cells[place] for place in places]


def _places(columns: Iterable[str], names: Sequence[str]) -> list[int]:
    """Return where each column stands."""
    places = []
    for column in columns:
        if column not in names:
            known = ", ".join(show(name) for name in names)
            raise MissingKeyError(f"There is no column {show(column)}; there are: {known}.")
        places.append(names.index(column))
    return places


def _unfit_header(stream: BinaryIO, cells: Sequence[str], error: MissingKeyError) -> TextrnnError:
    """Return the error that says why a CSV file has not the columns it should have."""
    if any(_NOT_UTF8.search(cell) for cell in cells):
        name = getattr(stream, "name", "the file")
        return CorruptFileError(f"{name}:1: it is not in UTF-8.")
    marks = [mark for mark in ";\t|," if mark in cells[0]]
    if len(cells) == 1 and marks:
        return MissingKeyError(f"{error} Is {marks[0]!r} the delimiter?")
    return error


def _read_jsonl(stream: BinaryIO, layout: Layout) -> Iterator[tuple[int, list[Any] | str]]:
    """Yield each object's line and the values of the columns, or what is wrong with it."""
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
    """Yield each row's number and the values of the columns."""
    parquet = import_extra("pyarrow.parquet", extra="datasets")
    arrow = import_extra("pyarrow", extra="datasets")
    try:
        file = parquet.ParquetFile(stream)
        _places(layout.columns, file.schema_arrow.names)
        numbers = count(1)
        for batch in file.iter_batches(batch_size=1024, columns=layout.columns):
            columns = [batch.column(name).to_pylist() for name in layout.columns]
            for values in zip(*columns, strict=True):
                yield next(numbers), list(values)
    except (arrow.ArrowException, OSError) as error:
        name = getattr(stream, "name", "the file")
        raise CorruptFileError(f"{name} can't be read as Parquet: {error}") from error


def _row(line: int, values: list[Any], layout: Layout) -> Row | BadRow:
    """Return the row, if its values are texts and a label."""
    texts, label = values, None
    if layout.label_column is not None:
        *texts, label = values
        if isinstance(label, str) and layout.label_separator is not None:
            parts = (part.strip() for part in label.split(layout.label_separator))
            label = [part for part in parts if part]
        elif label is None or label == "":
            return BadRow(line, "the label is missing")
        if not _is_label(label):
            return BadRow(line, f"{show(label)} is no label")
    for column, text in zip(layout.text_columns, texts, strict=True):
        if not isinstance(text, str):
            what = "missing" if text is None else f"not a string, but {show(text)}"
            return BadRow(line, f"{show(column)} is {what}")
    return _checked(line, " ".join(texts), label)


def _is_label(value: Any) -> bool:
    if isinstance(value, list):
        return all(not isinstance(part, list) and _is_label(part) for part in value)
    return isinstance(value, str | bool | int) or (
        isinstance(value, float) and math.isfinite(value)
    )


def _checked(line: int, text: str, label: Any) -> Row | BadRow:
    labels = label if isinstance(label, list) else [label]
    if any(isinstance(part, str) and _NOT_UTF8.search(part) for part in (text, *labels)):
        return BadRow(line, "it is not in UTF-8")
    return Row(line, text, label)

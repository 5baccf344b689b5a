"""Texts and labels from the files and pipes of the command line."""

import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

from textrnn.data.lines import check_encoding
from textrnn.data.tables import BadRow, Layout, Row, format_of, read_plain, read_rows
from textrnn.errors import CorruptFileError, InvalidValueError, MissingKeyError, expected, show

__all__ = [
    "LabelledTexts",
    "columns_of",
    "labelled_texts",
    "labels_by_text",
    "text_chunks",
    "unlabelled_texts",
    "use_columns",
    "write_error",
]

_MAX_COMPLAINTS = 10  # further bad rows have the same cause
_MAX_LISTED = 20  # labels in a message
_CHUNK_ROWS = 512
_COLUMNS: dict[str, Any] = {
    "text_columns": ["text"],
    "label_columns": ["label"],
    "label_separator": None,
    "header": True,
}
"""The options that a saved model keeps, and their defaults."""


@dataclass
class LabelledTexts:
    """The texts and labels of a table, and what is wrong with its rows."""

    texts: list[str] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)  # complaints about rows that are left out
    strange: list[str] = field(default_factory=list)  # complaints about unknown labels
    unknown: dict[Any, None] = field(default_factory=dict)  # the unknown labels in their order


def use_columns(options: Namespace, stored: Mapping[str, Any] | None) -> None:
    """Complete the options by the columns that a model was trained with, or by the defaults."""
    separator = getattr(options, "label_separator", None)
    for name, default in _COLUMNS.items():
        if getattr(options, name, None) is None:
            setattr(options, name, (stored or _COLUMNS).get(name, default))
    if len(options.label_columns) > 1:
        if separator is not None:
            rule = "left out, where there are several label columns"
            raise InvalidValueError(expected("label_separator", rule, separator))
        options.label_separator = None
    if options.encoding is not None:
        check_encoding(options.encoding)


def columns_of(path: str, options: Namespace) -> dict[str, Any] | None:
    """Return the columns of a table for a saved model; None if it has no columns."""
    if _labelled_format(path, options) == "fasttext":
        return None
    return {name: getattr(options, name) for name in _COLUMNS}


def labelled_texts(
    path: str,
    options: Namespace,
    *,
    known: Mapping[str, Any] | None = None,
    several: bool | None = None,
    count_unknown: bool = False,
) -> LabelledTexts:
    """Read a table of labelled texts.

    `known` are a classifier's labels by their text, and `several` tells whether its texts have any
    number of them; by default, the first row tells, or all of a fastText file. With
    `count_unknown`, `--skip-bad-rows` keeps rows with other labels.
    """
    form = _labelled_format(path, options)
    if known is not None and form != "fasttext" and len(options.label_columns) > 1:
        for name in known:
            if name not in options.label_columns:
                rule = f"a column for each label of the model, also {show(name)}"
                raise InvalidValueError(expected("label_column", rule, options.label_columns))
    table = LabelledTexts()
    with _opened(path) as stream:
        rows = read_rows(stream, form, _layout(options, labelled=True))
        for row in _uniform(rows, several, fasttext=form == "fasttext"):
            if isinstance(row, BadRow):
                table.bad.append(_complaint(path, row, options))
                continue
            table.texts.append(row.text)
            table.labels.append(row.label if known is None else _translated(row.label, known))
            if others := [] if known is None else _unknown(row.label, known):
                table.strange.append(f"{_name(path)}:{row.line}: no label {show(others[0])}")
                table.unknown.update(dict.fromkeys(others))
    _check_rows(path, table, options, known or {}, count_unknown=count_unknown)
    if several is None and form == "fasttext" and all(len(part) == 1 for part in table.labels):
        table.labels = [part[0] for part in table.labels]
    return table


def _uniform(
    rows: Iterator[Row | BadRow], several: bool | None, *, fasttext: bool
) -> Iterator[Row | BadRow]:
    """Yield rows with a list of labels or with one each, as `several` or the first row has it."""
    for row in rows:
        if isinstance(row, BadRow) or (fasttext and several is None):
            yield row
            continue
        label = row.label
        if fasttext and not several and len(label) == 1:
            label = label[0]
        several = isinstance(label, list) if several is None else several
        if isinstance(label, list) == several:
            yield Row(row.line, row.text, label)
        else:
            rule = "not a list of labels (see --label-separator)" if several else "not one label"
            yield BadRow(row.line, f"{show(label)} is {rule}")


def _check_rows(
    path: str,
    table: LabelledTexts,
    options: Namespace,
    known: Mapping[str, Any],
    *,
    count_unknown: bool,
) -> None:
    """Raise an error about bad rows and unknown labels, or print what becomes of them."""
    advice, notes = [], []
    if table.bad:
        notes.append(f"rows left out: {len(table.bad)}")
    if table.bad and table.texts:
        advice.append("--skip-bad-rows leaves bad rows out")
    if table.strange:
        notes.append(f"texts with other labels, counted as mistakes: {len(table.strange)}")
        shown = [show(name) for name in list(known)[: _MAX_LISTED + 1]]
        shown[_MAX_LISTED:] = ["..."] * (len(shown) > _MAX_LISTED)
        advice.append(f"the labels are: {', '.join(shown)}")
        if count_unknown:
            advice.append("--skip-bad-rows counts other labels as mistakes")
    complaints = [*table.bad, *table.strange]
    if (complaints and not options.skip_bad_rows) or (table.strange and not count_unknown):
        raise CorruptFileError(_report(path, complaints, advice))
    if complaints:
        write_error(_report(path, complaints, notes))
    if not table.texts:
        raise CorruptFileError(f"{_name(path)} holds no labelled texts.")


def unlabelled_texts(path: str, options: Namespace) -> list[str]:
    """Read a table of texts; labels are ignored."""
    texts: list[str] = []
    bad: list[str] = []
    with _opened(path) as stream:
        for row in chain.from_iterable(_text_rows(stream, _format(path, options), options)):
            if isinstance(row, BadRow):
                bad.append(_complaint(path, row, options))
            else:
                texts.append(row.text)
    if bad and not options.skip_bad_rows:
        advice = ["--skip-bad-rows leaves bad rows out"] if texts else []
        raise CorruptFileError(_report(path, bad, advice))
    if bad:
        write_error(_report(path, bad, [f"rows left out: {len(bad)}"]))
    if not texts:
        raise CorruptFileError(f"{_name(path)} holds no texts.")
    return texts


def text_chunks(options: Namespace) -> Iterator[tuple[list[str], str | None]]:
    """Yield consecutive texts as they come, with the complaint about a bad row after the last."""
    form = "lines" if options.file == "-" and not options.format else _format(options.file, options)
    with _opened(options.file) as stream:
        for rows in _text_rows(stream, form, options):
            texts: list[str] = []
            for row in rows:
                if isinstance(row, BadRow):
                    yield texts, f"{_name(options.file)}:{row.line}: {_reason(row)}"
                    return
                texts.append(row.text)
            yield texts, None


def labels_by_text(labels: Iterable[Any]) -> dict[str, Any]:
    """Return labels by their text: the 3 of a Parquet file is the "3" of a CSV file."""
    return {str(label): label for label in labels}


def write_error(message: str) -> None:
    """Write a line to standard error, which may be closed."""
    if sys.stderr is not None:
        with suppress(OSError):
            sys.stderr.write(f"{message}\n")


def _complaint(path: str, row: BadRow, options: Namespace) -> str:
    """Return what is wrong with a row; another encoding is not a matter of single rows."""
    message = f"{_name(path)}:{row.line}: {_reason(row)}"
    if row.undecoded and options.encoding is None:
        raise CorruptFileError(message)
    return message


def _reason(row: BadRow) -> str:
    advice = " (--encoding names its encoding, such as --encoding cp1252)" if row.undecoded else ""
    return row.reason + advice


def _report(path: str, complaints: list[str], notes: list[str]) -> str:
    """Return the first complaints and the notes, one a line."""
    shown = complaints[:_MAX_COMPLAINTS]
    if len(complaints) > len(shown):
        shown.append(f"{_name(path)}: and {len(complaints) - len(shown)} more")
    return "\n".join([*shown, *(f"({note})" for note in notes)])


def _unknown(label: Any, known: Mapping[str, Any]) -> list[Any]:
    labels = label if isinstance(label, list) else [label]
    return [part for part in labels if str(part) not in known]


def _translated(label: Any, known: Mapping[str, Any]) -> Any:
    if isinstance(label, list):
        return [known.get(str(part), part) for part in label]
    return known.get(str(label), label)


def _text_rows(stream: BinaryIO, form: str, options: Namespace) -> Iterator[list[Row | BadRow]]:
    """Yield lists of rows without labels."""
    if form == "lines":
        yield from read_plain(stream, options.encoding)
        return
    rows = read_rows(stream, form, _layout(options, labelled=False))
    while part := list(islice(rows, _CHUNK_ROWS)):
        yield part


def _format(path: str, options: Namespace) -> str:
    return str(options.format or format_of(path))


def _labelled_format(path: str, options: Namespace) -> str:
    """Return the format of a table with labels, which lines have in the format of fastText."""
    form = _format(path, options)
    if options.format == "lines":
        rule = "one with labels"
        raise InvalidValueError(expected("format", rule, form))
    return "fasttext" if form == "lines" else form


def _layout(options: Namespace, *, labelled: bool) -> Layout:
    return Layout(
        text_columns=options.text_columns,
        label_columns=options.label_columns if labelled else [],
        label_separator=options.label_separator if labelled else None,
        header=options.header,
        delimiter=options.delimiter,
        encoding=options.encoding,
    )


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    """Open a file or standard input; name the options for the columns where one is missing."""
    try:
        if path != "-":
            with Path(path).open("rb") as stream:
                yield stream
        elif sys.stdin is None:
            raise CorruptFileError("Standard input is closed.")
        else:
            yield sys.stdin.buffer
    except MissingKeyError as error:
        raise MissingKeyError(
            f"{error} (See --text-column, --label-column and --delimiter, and --no-header for a "
            "file without column names.)"
        ) from None


def _name(path: str) -> str:
    return "<stdin>" if path == "-" else path

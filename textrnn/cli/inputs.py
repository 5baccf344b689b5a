"""Texts and labels from the files and pipes of the command line."""

import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

from textrnn.data.tables import BadRow, Layout, Row, format_of, read_lines, read_rows
from textrnn.errors import CorruptFileError, InvalidValueError, expected, show

__all__ = ["labelled_texts", "text_chunks", "unlabelled_texts"]

_MAX_COMPLAINTS = 10  # further bad rows have the same cause
_CHUNK_ROWS = 512


def labelled_texts(
    path: str, options: Namespace, *, known: Mapping[str, Any] | None = None
) -> tuple[list[str], list[Any]]:
    """Read a table of labelled texts; `known` are a classifier's labels by their text."""
    form = _format(path, options)
    if form == "lines":
        raise InvalidValueError(expected("format", "one with columns for texts and labels", form))
    texts: list[str] = []
    labels: list[Any] = []
    complaints: list[str] = []
    with _opened(path) as stream:
        for row in read_rows(stream, form, _layout(options, labelled=True)):
            unknown = [] if known is None or isinstance(row, BadRow) else _unknown(row.label, known)
            if isinstance(row, BadRow) or unknown:
                reason = row.reason if isinstance(row, BadRow) else f"no label {show(unknown[0])}"
                complaints.append(f"{_name(path)}:{row.line}: {reason}")
                continue
            texts.append(row.text)
            labels.append(row.label if known is None else _translated(row.label, known))
    _complain(path, complaints, skip=options.skip_bad_rows)
    if not texts:
        raise CorruptFileError(f"{_name(path)} holds no labelled texts.")
    return texts, labels


def unlabelled_texts(path: str, options: Namespace) -> list[str]:
    """Read a table of texts; labels are ignored."""
    texts: list[str] = []
    complaints: list[str] = []
    form = _format(path, options)
    with _opened(path) as stream:
        rows = (
            chain.from_iterable(read_lines(stream))
            if form == "lines"
            else read_rows(stream, form, _layout(options, labelled=False))
        )
        for row in rows:
            if isinstance(row, BadRow):
                complaints.append(f"{_name(path)}:{row.line}: {row.reason}")
            else:
                texts.append(row.text)
    _complain(path, complaints, skip=options.skip_bad_rows)
    if not texts:
        raise CorruptFileError(f"{_name(path)} holds no texts.")
    return texts


def text_chunks(options: Namespace) -> Iterator[tuple[list[str], str | None]]:
    """Yield consecutive texts as they come, with the complaint about a bad row after the last."""
    form = "lines" if options.file == "-" and not options.format else _format(options.file, options)
    with _opened(options.file) as stream:
        if form == "lines":
            parts = read_lines(stream)
        else:
            parts = _parts(read_rows(stream, form, _layout(options, labelled=False)))
        for rows in parts:
            texts: list[str] = []
            for row in rows:
                if isinstance(row, BadRow):
                    yield texts, f"{_name(options.file)}:{row.line}: {row.reason}"
                    return
                texts.append(row.text)
            yield texts, None


def _complain(path: str, complaints: list[str], *, skip: bool) -> None:
    """Raise an error that lists the first bad rows; with `skip`, print them."""
    shown = complaints[:_MAX_COMPLAINTS]
    if len(complaints) > len(shown):
        shown.append(f"{_name(path)}: and {len(complaints) - len(shown)} more bad rows")
    if complaints and not skip:
        raise CorruptFileError("\n".join([*shown, "(--skip-bad-rows leaves bad rows out)"]))
    for complaint in shown:
        print(complaint, file=sys.stderr)  # noqa: T201 - this is the command line


def _unknown(label: Any, known: Mapping[str, Any]) -> list[Any]:
    labels = label if isinstance(label, list) else [label]
    return [part for part in labels if str(part) not in known]


def _translated(label: Any, known: Mapping[str, Any]) -> Any:
    if isinstance(label, list):
        return [known[str(part)] for part in label]
    return known[str(label)]


def _parts(rows: Iterator[Row | BadRow]) -> Iterator[list[Row | BadRow]]:
    while part := list(islice(rows, _CHUNK_ROWS)):
        yield part


def _format(path: str, options: Namespace) -> str:
    return str(options.format or format_of(path))


def _layout(options: Namespace, *, labelled: bool) -> Layout:
    return Layout(
        text_columns=options.text_column or ["text"],
        label_column=options.label_column if labelled else None,
        label_separator=options.label_separator if labelled else None,
        header=options.header,
        delimiter=options.delimiter,
    )


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    if path == "-":
        yield sys.stdin.buffer
        return
    with Path(path).open("rb") as stream:
        yield stream


def _name(path: str) -> str:
    return "<stdin>" if path == "-" else path

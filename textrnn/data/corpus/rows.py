"""Rows of texts and labels, read one after the other from files and from the Hub.

A row is a pair of a text and its label. What is here can be iterated any number of times, and each
time reads anew: once to count words, say, and once to encode.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from textrnn.data.columns import read_rows as read_hub_rows
from textrnn.data.tables import FORMATS, BadRow, Layout, format_of, read_rows
from textrnn.errors import (
    CorruptFileError,
    InvalidTypeError,
    InvalidValueError,
    check_choice,
    expected,
    show,
)

__all__ = ["FileRows", "HubRows"]


class FileRows:
    r"""The rows of JSONL, CSV, TSV or Parquet files, of which only a few are in memory.

    Args:
        paths: A file, or several that are read one after the other.
        text_column: The column with the texts (default: ``"text"``). Without a header, columns are
            numbers counted from 1, written as strings.
        label_column: The column with the labels; None reads none (default: ``"label"``).
        classes: The names of the classes, in the order of their ids. A label may be a list of names
            too, which becomes a row of zeros and ones. None takes labels as they are: class ids, or
            lists of numbers (default: None).
        format: ``"csv"``, ``"tsv"``, ``"jsonl"`` or ``"parquet"``; None goes by each file's name
            (default: None).
        header: Whether a CSV or TSV file begins with the names of its columns (default: True).

    Raises:
        InvalidTypeError: If an argument has a wrong type.
        InvalidValueError: If there are no files, a format is not known, or a class is named twice.
        CorruptFileError: While iterating, if a file has another format, or a row no text or no such
            label; the message names file and line.
        MissingKeyError: While iterating, if there is no such column.
        MissingDependencyError: While iterating, if a Parquet file is read without pyarrow.
        OSError: While iterating, if a file can't be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "news.csv")
        ...     _ = path.write_text("text,label\nOil soars,business\nThey won,sports\n")
        ...     list(FileRows(path, classes=["sports", "business"]))
        [('Oil soars', 1), ('They won', 0)]
    """

    def __init__(
        self,
        paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        text_column: str = "text",
        label_column: str | None = "label",
        classes: Sequence[Any] | None = None,
        format: str | None = None,  # noqa: A002 - the command line's word
        header: bool = True,
    ) -> None:
        if isinstance(paths, str | os.PathLike):
            paths = [paths]
        if not isinstance(paths, Iterable):
            raise InvalidTypeError(expected("paths", "a file or several", paths))
        self._paths = [Path(path) for path in paths]
        if not self._paths:
            raise InvalidValueError(expected("paths", "a file or several", []))
        tables = sorted(set(FORMATS.values()) - {"lines"})
        self._formats = [
            check_choice("format", format_of(path) if format is None else format, tables)
            for path in self._paths
        ]
        columns = {"text_column": text_column}
        if label_column is not None:
            columns["label_column"] = label_column
        for name, column in columns.items():
            if not isinstance(column, str):
                raise InvalidTypeError(expected(name, "a string", column))
        self._layout = Layout(text_columns=[text_column], label_column=label_column, header=header)
        self._ids = None if classes is None else _ids_of(classes)

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Iterate over pairs of a text and its label."""
        for path, form in zip(self._paths, self._formats, strict=True):
            with path.open("rb") as stream:
                for row in read_rows(stream, form, self._layout):
                    if isinstance(row, BadRow):
                        raise CorruptFileError(f"{path}:{row.line}: {row.reason}.")
                    try:
                        label = None if row.label is None else self._label(row.label)
                    except ValueError as error:
                        raise CorruptFileError(f"{path}:{row.line}: {error}.") from None
                    yield row.text, label

    def texts(self) -> Iterator[str]:
        """Iterate over the texts alone.

        Example:
            >>> import tempfile
            >>> from textrnn.text import Vocabulary
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     path = Path(folder, "news.jsonl")
            ...     _ = path.write_text('{"text": "Oil soars", "label": 1}')
            ...     Vocabulary.from_texts(FileRows(path).texts()).tokens[4:]
            ('oil', 'soars')
        """
        return (text for text, _ in self)

    def _label(self, label: Any) -> Any:
        """Return a label as a class id or as one number for each class."""
        ids = self._ids
        if ids is None:
            if not isinstance(label, str):
                return label
            if label.isascii() and label.isdigit():
                return int(label)
            raise ValueError(f"{show(label)} is no class id, and `classes` are not named")
        names = label if isinstance(label, list) else [label]
        for name in names:
            if str(name) not in ids:
                raise ValueError(f"{show(name)} is none of the classes")
        places = {ids[str(name)] for name in names}
        if isinstance(label, list):
            return [float(index in places) for index in range(len(ids))]
        return places.pop()


def _ids_of(classes: Any) -> dict[str, int]:
    """Return the id of each class by how its name is written."""
    if isinstance(classes, str) or not isinstance(classes, Sequence):
        raise InvalidTypeError(expected("classes", "a sequence of names", classes))
    ids = {str(name): index for index, name in enumerate(classes)}
    if len(ids) < len(classes):
        raise InvalidValueError(expected("classes", "names that all differ", classes))
    return ids


class HubRows:
    """The rows of a Hugging Face data set, of which only a thousand are in memory.

    Args:
        dataset: A `datasets.Dataset`, or a streamed `datasets.IterableDataset`.
        text_column: The column with the texts (default: ``"text"``).
        label_column: The column with the labels; None reads none (default: ``"label"``).

    Raises:
        InvalidTypeError: While iterating, if `dataset` is not a data set, or is several of them.
        MissingKeyError: While iterating, if there is no such column; those there are, are listed.
        InvalidValueError: While iterating, if a label is -1, as the Hub writes one that is missing.

    Example:
        >>> from datasets import Dataset
        >>> news = Dataset.from_dict({"text": ["oil prices"], "label": [3]})
        >>> list(HubRows(news))
        [('oil prices', 3)]
    """

    def __init__(
        self, dataset: Any, *, text_column: str = "text", label_column: str | None = "label"
    ) -> None:
        self._dataset = dataset
        self._text, self._label = text_column, label_column

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Iterate over pairs of a text and its label."""
        columns = [self._text] if self._label is None else [self._text, self._label]
        index = 0
        blocks: Iterator[Mapping[str, list[Any]]] = read_hub_rows(self._dataset, columns)
        for rows in blocks:
            texts = rows[self._text]
            labels = [None] * len(texts) if self._label is None else rows[self._label]
            for text, label in zip(texts, labels, strict=True):
                if label == -1:
                    rule = "a class id (label_column=None if the rows have no labels)"
                    raise InvalidValueError(expected(f"{self._label}[{index}]", rule, label))
                yield text, label
                index += 1

    def texts(self) -> Iterator[Any]:
        """Iterate over the texts alone."""
        return (text for text, _ in self)

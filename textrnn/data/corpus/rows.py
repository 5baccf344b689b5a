"""Read rows of texts and labels from files and from the Hugging Face Hub.

A row is a pair of a text and its label. Rows can be iterated any number of times, and are read anew
each time: to count words, say, and then to encode.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from textrnn.data.lines import check_encoding
from textrnn.data.tables import FORMATS, BadRow, Layout, Row, format_of, read_rows
from textrnn.errors import (
    CorruptFileError,
    InvalidTypeError,
    InvalidValueError,
    MissingKeyError,
    check_choice,
    expected,
    listing,
    show,
)

__all__ = ["FileRows", "HubRows"]

_HUB_ROWS = 1000  # rows that are decoded at a time


class FileRows:
    r"""Rows of JSONL, CSV, TSV, Parquet or fastText files, read with bounded memory.

    Files may be compressed with gzip, except for Parquet.

    Args:
        paths: A file, or several to read one after another.
        text_column: Name of the column of texts. Without a header, columns are numbers counted
            from 1, written as strings. Default: `"text"`.
        label_column: Name of the column of labels; None reads none. Default: `"label"`.
        classes: Names of the classes, in the order of their ids; a list of names in the label
            column becomes a row of zeros and ones. None takes labels as class ids or lists of
            numbers. Default: None.
        format: `"csv"`, `"tsv"`, `"jsonl"`, `"parquet"` or `"fasttext"`. None goes by the suffix of
            each file. A fastText file has no columns; its labels are lists of names if a text has
            several. Default: None.
        header: Read column names from the first row of a CSV or TSV file. Default: True.
        encoding: Encoding of files without a byte order mark. None is UTF-8. Default: None.

    Raises:
        InvalidTypeError: If an argument has the wrong type.
        InvalidValueError: If there are no files, a format or the encoding is unknown, or a class is
            named twice.
        CorruptFileError: While iterating, if a file has another format, or a row has no text or no
            such label; the message names file and line.
        MissingKeyError: While iterating, if a column does not exist.
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
        encoding: str | None = None,
    ) -> None:
        if isinstance(paths, str | os.PathLike):
            paths = [paths]
        if not isinstance(paths, Iterable):
            raise InvalidTypeError(expected("paths", "a file or several", paths))
        self._paths = [Path(path) for path in paths]
        if not self._paths:
            raise InvalidValueError(expected("paths", "a file or several", []))
        with_labels = sorted({*FORMATS.values(), "fasttext"} - {"lines"})
        self._formats = [
            check_choice("format", format_of(path) if format is None else format, with_labels)
            for path in self._paths
        ]
        columns = {"text_column": text_column}
        if label_column is not None:
            columns["label_column"] = label_column
        for name, column in columns.items():
            if not isinstance(column, str):
                raise InvalidTypeError(expected(name, "a string", column))
        self._layout = Layout(
            text_columns=[text_column],
            label_columns=[] if label_column is None else [label_column],
            header=header,
            encoding=None if encoding is None else check_encoding(encoding),
        )
        self._ids = None if classes is None else _ids_of(classes)

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Iterate over pairs of a text and its label."""
        unwrap = self._has_single_labels()
        for path, row in self._rows():
            label = row.label[0] if unwrap and row.label else row.label
            try:
                label = None if label is None else self._label(label)
            except ValueError as error:
                raise CorruptFileError(f"{path}:{row.line}: {error}.") from None
            yield row.text, label

    def texts(self) -> Iterator[str]:
        """Iterate over the texts without their labels."""
        return (text for text, _ in self)

    def _rows(self) -> Iterator[tuple[Path, Row]]:
        """Iterate over files and their rows."""
        for path, file_format in zip(self._paths, self._formats, strict=True):
            with path.open("rb") as stream:
                for row in read_rows(stream, file_format, self._layout):
                    if isinstance(row, BadRow):
                        advice = " (`encoding` names another)" if row.undecoded else ""
                        raise CorruptFileError(f"{path}:{row.line}: {row.reason}{advice}.")
                    yield path, row

    def _has_single_labels(self) -> bool:
        """Return whether the files are of fastText's format, and no text has several labels."""
        if set(self._formats) != {"fasttext"} or not self._layout.label_columns:
            return False
        return all(len(row.label) == 1 for _, row in self._rows())

    def _label(self, label: Any) -> Any:
        """Return a label as a class id or a row of one number per class."""
        ids = self._ids
        if ids is None:
            if not isinstance(label, str):
                return label
            if label.isascii() and label.isdigit():
                return int(label)
            raise ValueError(f"{show(label)} is not a class id, and `classes` is not given")
        names = label if isinstance(label, list) else [label]
        for name in names:
            if str(name) not in ids:
                raise ValueError(f"{show(name)} is not one of the classes")
        found = {ids[str(name)] for name in names}
        if isinstance(label, list):
            return [float(index in found) for index in range(len(ids))]
        return found.pop()


def _ids_of(classes: Any) -> dict[str, int]:
    """Return the id of each class by its name as a string."""
    if isinstance(classes, str) or not isinstance(classes, Sequence):
        raise InvalidTypeError(expected("classes", "a sequence of names", classes))
    ids = {str(name): index for index, name in enumerate(classes)}
    if len(ids) < len(classes):
        raise InvalidValueError(expected("classes", "names that all differ", classes))
    return ids


class HubRows:
    """Rows of a Hugging Face data set, read a thousand at a time.

    Args:
        dataset: A `datasets.Dataset` or a streamed `datasets.IterableDataset`, in any format.
        text_column: Name of the column of texts. Default: `"text"`.
        label_column: Name of the column of labels; None reads none. Default: `"label"`.

    Raises:
        InvalidTypeError: While iterating, if `dataset` is not a data set, or is a mapping of
            splits.
        MissingKeyError: While iterating, if a column does not exist.
        InvalidValueError: While iterating, if a label is -1, which means missing on the Hub.

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
        index = 0
        for block in self._blocks():
            texts = block[self._text]
            labels = [None] * len(texts) if self._label is None else block[self._label]
            for text, label in zip(texts, labels, strict=True):
                if label == -1:
                    rule = "a class id (label_column=None if the rows have no labels)"
                    raise InvalidValueError(expected(f"{self._label}[{index}]", rule, label))
                yield text, label
                index += 1

    def texts(self) -> Iterator[Any]:
        """Iterate over the texts without their labels."""
        return (text for text, _ in self)

    def _blocks(self) -> Iterator[Mapping[str, list[Any]]]:
        """Iterate over blocks of rows, each a list of values for every column that is read."""
        dataset = self._dataset
        if isinstance(dataset, Mapping):
            rule = f"one split, such as dataset[{next(iter(dataset), 'train')!r}]"
            raise InvalidTypeError(expected("dataset", rule, list(dataset)))
        if not (hasattr(dataset, "select_columns") and hasattr(dataset, "column_names")):
            raise InvalidTypeError(expected("dataset", "a Hugging Face data set", dataset))
        columns = [self._text] if self._label is None else [self._text, self._label]
        # A stream may not know its columns before its first row, and has none without rows.
        names = dataset.column_names or list(next(iter(dataset), columns))
        for name in columns:
            if name not in names:
                raise MissingKeyError(f"There is no column {name!r}; there are: {listing(names)}.")
        blocks: Iterator[Mapping[str, list[Any]]] = (
            dataset.select_columns(columns).with_format(None).iter(_HUB_ROWS)
        )
        return blocks

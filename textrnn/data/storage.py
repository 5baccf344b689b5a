"""Encoded texts in a folder: written block by block, whole or not at all.

Format version 1 has these files: ``input_ids.bin`` (the ids of all texts, int32), ``offsets.bin``
(where each text begins and the last one ends, int64), ``lengths.bin`` (each text's number of ids,
int64), ``labels.bin`` (class ids as int64, or rows of float32; missing without labels), all
little-endian and nothing but numbers; ``vocabulary.json``; and ``dataset.json`` (how many texts,
ids and classes there are, the tokenizer, and size and checksum of every other file).
"""

import os
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from textrnn._storage import FolderFormat, NewFile
from textrnn.errors import InvalidValueError
from textrnn.text import Tokenizer, Vocabulary
from textrnn.text.tokenizers import describe_tokenizer

__all__ = ["FORMAT_VERSION", "Block", "file_names", "write_dataset"]

FORMAT_VERSION = 1

Block: TypeAlias = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[Any] | None]
"""Ids of consecutive texts, each text's number of them, and their labels or None."""

_IDS, _OFFSETS, _LENGTHS, _LABELS = "input_ids.bin", "offsets.bin", "lengths.bin", "labels.bin"
_VOCABULARY, _MANIFEST = "vocabulary.json", "dataset.json"


def file_names(*, labelled: bool) -> tuple[str, ...]:
    """Return the names of all files but ``dataset.json``, sorted."""
    return tuple(sorted([_IDS, _LENGTHS, _OFFSETS, _VOCABULARY] + [_LABELS] * labelled))


_FOLDER_FORMAT = FolderFormat(
    what="a saved data set",
    argument="folder",
    manifest=_MANIFEST,
    others=file_names(labelled=True),
)


def write_dataset(
    path: str | os.PathLike[str],
    blocks: Iterable[Block],
    *,
    vocabulary: Vocabulary,
    tokenizer: Tokenizer,
    max_length: int | None,
) -> None:
    """Write encoded texts into a folder, block by block, in the place of a data set that is there.

    Only the type of a tokenizer of the user's own is written.
    """
    with _FOLDER_FORMAT.replace(path) as folder:
        with ExitStack() as stack:
            ids, offsets, lengths = (
                stack.enter_context(folder.open(name)) for name in (_IDS, _OFFSETS, _LENGTHS)
            )
            labels: _Labels | None = None
            _append(offsets, np.zeros(1), "<i8")
            texts = total = 0
            for block_ids, block_lengths, block_labels in blocks:
                if texts == 0 and labels is None and block_labels is not None:
                    labels = _Labels(stack.enter_context(folder.open(_LABELS)), block_labels)
                _check_form(labels, block_labels, texts)
                if labels is not None and block_labels is not None:
                    labels.write(block_labels)
                _append(ids, block_ids, "<i4")
                _append(lengths, block_lengths, "<i8")
                _append(offsets, total + block_lengths.cumsum(), "<i8")
                texts, total = texts + len(block_lengths), total + len(block_ids)
        folder.write_json(_VOCABULARY, vocabulary.to_dict())
        manifest = {
            "format_version": FORMAT_VERSION,
            "texts": texts,
            "ids": total,
            "labels": None if labels is None else labels.to_dict(),
            "max_length": None if max_length is None else int(max_length),
            "tokenizer": describe_tokenizer(tokenizer),
            "files": folder.files,
        }
        folder.write_json(_MANIFEST, manifest)


def _append(file: NewFile, values: NDArray[Any], dtype: str) -> None:
    """Append numbers to a file, row by row."""
    file.write(np.ascontiguousarray(values, dtype=dtype).reshape(-1).view(np.uint8).data)


class _Labels:
    """The file of the labels, with their form and number of classes."""

    def __init__(self, file: NewFile, first: NDArray[Any]) -> None:
        self._file = file
        self.form = _form(first)
        self._classes = first.shape[1] if first.ndim == 2 else 0

    def write(self, labels: NDArray[Any]) -> None:
        """Append labels."""
        if labels.ndim == 1 and len(labels):
            self._classes = max(self._classes, int(labels.max()) + 1)
        _append(self._file, labels, "<f4" if labels.ndim == 2 else "<i8")

    def to_dict(self) -> dict[str, Any]:
        """Return their kind and number of classes."""
        kind = "class ids" if self.form == "class ids" else "targets"
        return {"kind": kind, "classes": self._classes}


def _form(labels: NDArray[Any] | None) -> str:
    if labels is None:
        return "no labels"
    return "class ids" if labels.ndim == 1 else f"targets of {labels.shape[1]} classes"


def _check_form(labels: _Labels | None, block: NDArray[Any] | None, texts: int) -> None:
    """Refuse labels that are not like those before."""
    before = "no labels" if labels is None else labels.form
    if _form(block) != before:
        raise InvalidValueError(
            f"Expected all texts to have {before}, as the first {texts} have, "
            f"but got {_form(block)}."
        )

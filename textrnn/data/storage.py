"""Encoded texts in a folder: written block by block, whole or not at all.

Format version 1 has these files: ``input_ids.bin`` (the ids of all texts, int32), ``offsets.bin``
(where each text begins and the last one ends, int64), ``lengths.bin`` (each text's number of ids,
int64), ``labels.bin`` (class ids as int64, or rows of float32; missing without labels), all
little-endian and nothing but numbers; ``vocabulary.json``; and ``dataset.json`` (how many texts,
ids and classes there are, the tokenizer, and size and checksum of every other file).
"""

import hashlib
import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from textrnn._files import write_json
from textrnn._folders import Layout, fingerprint
from textrnn.errors import InvalidValueError
from textrnn.text import Tokenizer, Vocabulary
from textrnn.text.tokenizers import describe_tokenizer

__all__ = ["FORMAT_VERSION", "Block", "file_names", "write_folder"]

FORMAT_VERSION = 1

Block: TypeAlias = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[Any] | None]
"""Ids of consecutive texts, each text's number of them, and their labels or None."""

_IDS, _OFFSETS, _LENGTHS, _LABELS = "input_ids.bin", "offsets.bin", "lengths.bin", "labels.bin"
_VOCABULARY, _MANIFEST = "vocabulary.json", "dataset.json"


def file_names(*, labelled: bool) -> tuple[str, ...]:
    """Return the names of all files but ``dataset.json``, sorted."""
    return tuple(sorted([_IDS, _LENGTHS, _OFFSETS, _VOCABULARY] + [_LABELS] * labelled))


_LAYOUT = Layout(
    what="a saved data set",
    argument="folder",
    manifest=_MANIFEST,
    others=file_names(labelled=True),
)


def write_folder(
    path: str | os.PathLike[str],
    blocks: Iterable[Block],
    *,
    vocabulary: Vocabulary,
    tokenizer: Tokenizer,
    max_length: int | None,
) -> None:
    """Write encoded texts into a folder, which takes the place of a data set that is there.

    They are written into a new folder beside, which is renamed when all is on the disk. No more
    than one block is held at a time.

    Args:
        path: The folder; folders above it are made.
        blocks: The texts.
        vocabulary: What gave the ids.
        tokenizer: What cut the texts; only of one of the library's more than the name is kept.
        max_length: What the texts were cut to, or None.

    Raises:
        InvalidValueError: If there is something at `path` that is not a data set, or only some of
            the texts have labels, or these have different forms.
        OSError: If it can't be written. Whatever is raised, also by `blocks`, what was there before
            is intact and nothing else is left behind.
    """
    with _LAYOUT.taking_the_place_of(path) as aside:
        files = {}
        with ExitStack() as stack:
            ids, offsets, lengths = (
                stack.enter_context(_Column(aside / name)) for name in (_IDS, _OFFSETS, _LENGTHS)
            )
            labels: _Labels | None = None
            offsets.write(np.zeros(1, dtype="<i8"))
            texts = total = 0
            for block_ids, block_lengths, block_labels in blocks:
                if texts == 0 and labels is None and block_labels is not None:
                    labels = _Labels(stack.enter_context(_Column(aside / _LABELS)), block_labels)
                _check_form(labels, block_labels, texts)
                if labels is not None and block_labels is not None:
                    labels.write(block_labels)
                ids.write(block_ids.astype("<i4", copy=False))
                lengths.write(block_lengths.astype("<i8", copy=False))
                offsets.write((total + block_lengths.cumsum()).astype("<i8", copy=False))
                texts, total = texts + len(block_lengths), total + len(block_ids)
            columns = [ids, offsets, lengths] + ([] if labels is None else [labels.column])
            files = {column.path.name: column.finish() for column in columns}
        vocabulary.save(aside / _VOCABULARY)
        files[_VOCABULARY] = fingerprint(aside / _VOCABULARY)
        manifest = {
            "format_version": FORMAT_VERSION,
            "texts": texts,
            "ids": total,
            "labels": None if labels is None else labels.to_dict(),
            "max_length": None if max_length is None else int(max_length),
            "tokenizer": describe_tokenizer(tokenizer),
            "files": files,
        }
        write_json(aside / _MANIFEST, manifest)


class _Column:
    """A file of numbers that grows, with its checksum.

    Args:
        path: The new file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("xb")
        self._digest = hashlib.sha256()
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, values: NDArray[Any]) -> None:
        """Append numbers."""
        data = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
        self._file.write(data)
        self._digest.update(data)
        self._bytes += len(data)

    def finish(self) -> dict[str, Any]:
        """Bring the file to the disk, and return its size and checksum."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return {"bytes": self._bytes, "sha256": self._digest.hexdigest()}


class _Labels:
    """The column of the labels, and what there is to say about them.

    Args:
        column: Where they are written.
        first: The labels of the first block.
    """

    def __init__(self, column: _Column, first: NDArray[Any]) -> None:
        self.column = column
        self.form = _form(first)
        self._classes = first.shape[1] if first.ndim == 2 else 0

    def write(self, labels: NDArray[Any]) -> None:
        """Append labels."""
        if labels.ndim == 1 and len(labels):
            self._classes = max(self._classes, int(labels.max()) + 1)
        self.column.write(labels.astype("<f4" if labels.ndim == 2 else "<i8", copy=False))

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

"""Encoded texts in a folder, written once and mapped into memory."""

import hashlib
import math
import mmap
import os
import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textrnn._storage import (
    FolderFormat,
    NewFile,
    check_file,
    check_unchanged,
    corrupt,
    fingerprint,
    read_json,
)
from textrnn.errors import InvalidValueError, TextrnnError, expected, listing, show
from textrnn.text import Tokenizer, Vocabulary
from textrnn.text.tokenizers import TOKENIZERS, describe_tokenizer

__all__ = ["FORMAT_VERSION", "MAPPED_BYTES", "Block", "MappedFolder", "file_names", "write_dataset"]

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


MAPPED_BYTES = 256 * 2**20
"""How much of the files a process keeps mapped, roughly; the system's cache is not meant."""

_READ_AROUND = 2**16  # bytes that Linux maps around one that is read
_MAX_MANIFEST = 2**20  # bytes
_BLOCK = 2**20  # numbers that are checked at a time
_KEYS = ("format_version", "texts", "ids", "labels", "max_length", "tokenizer", "files")
_WHAT = "data set"


class MappedFolder:
    """The files of a data set, mapped into memory.

    The system brings in what is read and may drop it again, so all processes together need no more
    memory than there is. Pickled, it is no more than the folder's name and checksum; unpickled, the
    files are mapped anew.

    Args:
        path: The folder.
        digest: SHA-256 of its ``dataset.json``, or None to check the folder's files: that each has
            its size, that offsets, lengths and labels are sound, and all checksums but that of the
            ids. With a digest, that and the sizes alone are checked.

    Attributes:
        path: The folder, absolute.
        digest: SHA-256 of its ``dataset.json``.
        manifest: What ``dataset.json`` says.
        tensors: The mapped numbers: ``"input_ids"``, ``"offsets"``, ``"lengths"`` and, where there
            are any, ``"labels"``. Nothing may be written to them.
        num_classes: How many classes the labels have; 0 without labels.

    Raises:
        FileNotFoundError: If there is no such folder.
        CorruptFileError: If it doesn't hold a whole and sound data set.
    """

    def __init__(self, path: str | os.PathLike[str], digest: str | None = None) -> None:
        self.path = Path(os.path.realpath(path))
        if not self.path.is_dir():
            raise FileNotFoundError(f"There is no folder {show(os.fspath(path))}.")
        manifest_path = self.path / "dataset.json"
        check_file(manifest_path, _WHAT)
        self.digest = fingerprint(manifest_path)["sha256"]
        if digest is not None and self.digest != digest:
            raise corrupt(manifest_path, _WHAT, "another data set was written in its place")
        self.manifest = _read_manifest(manifest_path)
        labels = self.manifest["labels"]
        self.num_classes: int = 0 if labels is None else labels["classes"]
        self._maps: list[mmap.mmap] = []
        self._touched = 0
        files, texts = self.manifest["files"], self.manifest["texts"]
        shapes: dict[str, tuple[str, tuple[int, ...]]] = {
            "input_ids": ("<i4", (self.manifest["ids"],)),
            "offsets": ("<i8", (texts + 1,)),
            "lengths": ("<i8", (texts,)),
        }
        if labels is not None:
            is_ids = labels["kind"] == "class ids"
            shapes["labels"] = ("<i8", (texts,)) if is_ids else ("<f4", (texts, self.num_classes))
        for name, (dtype, shape) in shapes.items():
            needed = np.dtype(dtype).itemsize * math.prod(shape)
            if files[f"{name}.bin"]["bytes"] != needed:
                raise corrupt(manifest_path, _WHAT, f"{name}.bin should have {needed} bytes")
        for name, entry in files.items():
            check_file(self.path / name, _WHAT, entry["bytes"])
        if digest is None:
            self._check_vocabulary()
            self._check_columns()
        self.tensors = {name: self._map(name, *shape) for name, shape in shapes.items()}

    def __reduce__(self) -> tuple[type[Self], tuple[str, str]]:
        return type(self), (str(self.path), self.digest)

    def touch(self, texts: int) -> None:
        """Note that texts are about to be read, and unmap all where much may be mapped by now.

        What is unmapped stays in the system's cache as long as there is room, and is mapped again
        when it is read again.
        """
        self._touched += texts * _READ_AROUND
        if self._touched > MAPPED_BYTES:
            self._touched = 0
            if sum(map(len, self._maps)) > MAPPED_BYTES and hasattr(mmap, "MADV_DONTNEED"):
                for mapped in self._maps:
                    mapped.madvise(mmap.MADV_DONTNEED)

    def read_vocabulary(self) -> Vocabulary:
        """Return the vocabulary."""
        return Vocabulary.load(self.path / "vocabulary.json")

    def read_tokenizer(self, given: Tokenizer | None) -> Tokenizer:
        """Return the tokenizer, or the one given if none could be written.

        Raises:
            InvalidValueError: If `given` is needed, or is not the data set's own.
        """
        entry = self.manifest["tokenizer"]
        if entry["type"] == "custom":
            if given is None:
                rule = f"given, since the data set has none of its own ({show(entry['options'])})"
                raise InvalidValueError(expected("tokenizer", rule, None))
            return given
        try:
            tokenizer: Tokenizer = TOKENIZERS[entry["type"]].from_dict(entry["options"])
        except TextrnnError as error:
            raise corrupt(self.path / "dataset.json", _WHAT, str(error).rstrip(".")) from None
        if given is not None and given != tokenizer:
            raise InvalidValueError(expected("tokenizer", f"the data set's, {tokenizer}", given))
        return tokenizer

    def verify_ids(self, vocab_size: int) -> None:
        """Read all ids: they must be those that were written, and of the vocabulary.

        Args:
            vocab_size: How many ids there are.

        Raises:
            CorruptFileError: If they aren't.
        """
        for ids in self._blocks("input_ids.bin", "<i4"):
            if ids.min() < 0 or ids.max() >= vocab_size:
                reason = f"an id is not one of the {vocab_size} in the vocabulary"
                raise corrupt(self.path / "input_ids.bin", _WHAT, reason)

    def _check_vocabulary(self) -> None:
        path = self.path / "vocabulary.json"
        check_unchanged(path, "vocabulary", fingerprint(path), self.manifest["files"][path.name])

    def _check_columns(self) -> None:
        """Check offsets, lengths and labels, block by block."""
        offsets = self._blocks("offsets.bin", "<i8", first=1)
        last = next(offsets)
        fits = last[0] == 0
        for ends, lengths in zip(offsets, self._blocks("lengths.bin", "<i8"), strict=True):
            starts = np.concatenate([last, ends[:-1]])
            # The order too, because what is far out of range has differences that wrap around.
            fits &= (ends > starts).all() and np.array_equal(ends - starts, lengths)
            last = ends[-1:]
        if not fits or last[0] != self.manifest["ids"]:
            reason = "it fits neither the lengths of the texts nor the ids"
            raise corrupt(self.path / "offsets.bin", _WHAT, reason)
        if self.manifest["labels"] is None:
            return
        is_ids = self.manifest["labels"]["kind"] == "class ids"
        most = self.num_classes - 1 if is_ids else 1
        for labels in self._blocks("labels.bin", "<i8" if is_ids else "<f4"):
            if not ((labels >= 0) & (labels <= most)).all():
                raise corrupt(self.path / "labels.bin", _WHAT, "a label is out of range")

    def _blocks(self, name: str, dtype: str, *, first: int = _BLOCK) -> Iterator[NDArray[Any]]:
        """Yield a file's numbers, `first` ones and then many at a time, and check the checksum."""
        path = self.path / name
        digest = hashlib.sha256()
        with path.open("rb") as file:
            count = first
            while len(values := np.fromfile(file, dtype, count)):
                digest.update(values.data)
                yield values
                count = _BLOCK
        check_unchanged(path, _WHAT, digest.hexdigest(), self.manifest["files"][name]["sha256"])

    def _map(self, name: str, dtype: str, shape: tuple[int, ...]) -> Tensor:
        """Map a file of numbers, whose size is known to be right."""
        size = np.dtype(dtype).itemsize * math.prod(shape)
        if not size:
            return torch.from_numpy(np.empty(shape, dtype=dtype))
        path = self.path / f"{name}.bin"
        with path.open("rb") as file:
            # Shared and read-only: a private map that may be written to counts in full as memory
            # that was promised, and the system refuses to promise more than it has.
            mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
        self._maps.append(mapped)
        values = np.frombuffer(mapped, dtype=dtype).reshape(shape)
        with warnings.catch_warnings():
            # PyTorch has no read-only tensors, and says that nothing must be written to this one.
            warnings.filterwarnings("ignore", "The given NumPy array is not writ", UserWarning)
            return torch.from_numpy(values)


def _read_manifest(path: Path) -> dict[str, Any]:
    """Read ``dataset.json``: every entry has its type and is possible by itself."""
    data = read_json(path, what=_WHAT, max_bytes=_MAX_MANIFEST)
    version = data.get("format_version") if isinstance(data, dict) else None
    if type(version) is not int or version != FORMAT_VERSION:
        reason = f"its format version is {show(version)}, and only {FORMAT_VERSION} is known here"
        raise corrupt(path, _WHAT, reason)
    _check_keys(path, "it", data, _KEYS)
    for name in ("texts", "ids"):
        _check_count(path, name, data[name])
    if data["max_length"] is not None:
        _check_count(path, "max_length", data["max_length"])
    if data["labels"] is not None:
        _check_keys(path, "`labels`", data["labels"], ("kind", "classes"))
        _check_count(path, "classes", data["labels"]["classes"], 2**31)
        if data["labels"]["kind"] not in ("class ids", "targets"):
            raise corrupt(path, _WHAT, f"the labels are {show(data['labels']['kind'])}")
    _check_keys(path, "`tokenizer`", data["tokenizer"], ("type", "options"))
    if data["tokenizer"]["type"] not in (*TOKENIZERS, "custom"):
        raise corrupt(path, _WHAT, f"its tokenizer is {show(data['tokenizer']['type'])}")
    _check_keys(path, "`files`", data["files"], file_names(labelled=data["labels"] is not None))
    for name, entry in data["files"].items():
        _check_keys(path, f"the entry of {name}", entry, ("bytes", "sha256"))
        _check_count(path, f"the size of {name}", entry["bytes"])
    return dict(data)


def _check_keys(path: Path, name: str, data: Any, keys: Collection[str]) -> None:
    if not isinstance(data, dict) or data.keys() != set(keys):
        found = listing(data) if isinstance(data, dict) else show(data)
        raise corrupt(path, _WHAT, f"{name} should have the keys {listing(keys)}, but has {found}")


def _check_count(path: Path, name: str, value: Any, limit: int = 2**60) -> None:
    if type(value) is not int or not 0 <= value < limit:
        raise corrupt(path, _WHAT, f"{name} is {show(value)}")

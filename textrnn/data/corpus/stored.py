"""Encoded texts in a folder: written block by block, mapped into memory."""

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

from textrnn._storage import FolderFormat, NewFile, OpenFolder, check_unchanged, corrupt, from_json
from textrnn.errors import InvalidValueError, TextrnnError, expected, show, unlike_keys
from textrnn.text import Tokenizer, Vocabulary
from textrnn.text.tokenizers import TOKENIZERS, describe_tokenizer

__all__ = ["MAPPED_BYTES", "Block", "MappedFolder", "write_dataset"]

Block: TypeAlias = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[Any] | None]
"""Ids of consecutive texts, the number of ids of each text, and their labels or None."""

MAPPED_BYTES = 256 * 2**20
"""Approximate limit of the bytes that a process keeps mapped, the system's cache not included."""

_IDS, _OFFSETS, _LENGTHS, _LABELS = "input_ids.bin", "offsets.bin", "lengths.bin", "labels.bin"
_VOCABULARY, _MANIFEST = "vocabulary.json", "dataset.json"
_FILES = (_IDS, _LENGTHS, _OFFSETS, _VOCABULARY)  # besides labels and manifest
_FOLDER_FORMAT = FolderFormat(
    kind="data-set folder",
    what="a saved data set",
    argument="folder",
    manifest=_MANIFEST,
    others=(*_FILES, _LABELS),
)
_WHAT = "data set"
_FORMAT_VERSION = 1
_KEYS = ("format_version", "texts", "ids", "labels", "max_length", "tokenizer", "files")
_MAX_MANIFEST = 2**20  # bytes
_MAX_CLASSES = 2**20  # for each of which a network would have weights
_READ_AROUND = 2**16  # bytes that Linux maps around one that is read
_BLOCK = 2**20  # numbers that are checked at a time


def write_dataset(
    path: str | os.PathLike[str],
    blocks: Iterable[Block],
    *,
    vocabulary: Vocabulary,
    tokenizer: Tokenizer,
    max_length: int | None,
) -> str:
    """Write encoded texts into a folder, block by block, and return the manifest's checksum."""
    # Of a custom tokenizer only the name is written.
    with _FOLDER_FORMAT.replace(path) as folder:
        with ExitStack() as stack:
            id_file, offset_file, length_file = (
                stack.enter_context(folder.open(name)) for name in (_IDS, _OFFSETS, _LENGTHS)
            )
            label_file: NewFile | None = None
            kind: str | None = None
            texts = total = classes = 0
            _append(offset_file, np.zeros(1), "<i8")
            for ids, lengths, labels in blocks:
                if kind is None:
                    kind = _kind_of(labels)
                    if labels is not None:
                        label_file = stack.enter_context(folder.open(_LABELS))
                elif kind != _kind_of(labels):
                    raise InvalidValueError(
                        f"Expected all texts to have {kind}, as the first {texts} have, "
                        f"but got {_kind_of(labels)}."
                    )
                if labels is not None and label_file is not None:
                    is_ids = labels.ndim == 1
                    most = int(labels.max(initial=-1)) + 1 if is_ids else labels.shape[1]
                    classes = max(classes, most)
                    if classes > _MAX_CLASSES:
                        rule = f"labels of at most {_MAX_CLASSES} classes"
                        raise InvalidValueError(expected("labels", rule, classes))
                    _append(label_file, labels, "<i8" if is_ids else "<f4")
                _append(id_file, ids, "<i4")
                _append(length_file, lengths, "<i8")
                _append(offset_file, total + lengths.cumsum(), "<i8")
                texts, total = texts + len(lengths), total + len(ids)
        folder.write_json(_VOCABULARY, vocabulary.to_dict())
        label_kind = "class ids" if kind == "class ids" else "targets"
        manifest = {
            "format_version": _FORMAT_VERSION,
            "texts": texts,
            "ids": total,
            "labels": None if label_file is None else {"kind": label_kind, "classes": classes},
            "max_length": None if max_length is None else int(max_length),
            "tokenizer": describe_tokenizer(tokenizer),
            "files": folder.files,
        }
        folder.write_json(_MANIFEST, manifest)
    return str(folder.files[_MANIFEST]["sha256"])


def _kind_of(labels: NDArray[Any] | None) -> str:
    """Return the kind of labels, for messages."""
    if labels is None:
        return "no labels"
    return "class ids" if labels.ndim == 1 else f"targets of {labels.shape[1]} classes"


def _append(file: NewFile, values: NDArray[Any], dtype: str) -> None:
    """Append numbers to a file, row by row."""
    file.write(np.ascontiguousarray(values, dtype=dtype).reshape(-1).view(np.uint8).data)


class MappedFolder:
    """The files of a data set, mapped into memory and pickled as path and checksum."""

    # The system reads what is needed and may drop it again, so all processes together need no more
    # memory than there is.

    def __init__(
        self, path: str | os.PathLike[str], digest: str | None = None, *, verify: bool = False
    ) -> None:
        """Map a folder after checking it; a known `digest` of its manifest spares the content."""
        self.path = Path(os.path.realpath(path))
        self._maps: list[mmap.mmap] = []
        self._touched = 0
        with _FOLDER_FORMAT.open(path) as folder:
            self.manifest = self._read_manifest(folder, digest)
            files, labels = self.manifest["files"], self.manifest["labels"]
            self.num_classes: int = 0 if labels is None else labels["classes"]
            shapes = self._shapes()
            for name, (dtype, shape) in shapes.items():
                needed = np.dtype(dtype).itemsize * math.prod(shape)
                if files[name]["bytes"] != needed:
                    path = folder.path / _MANIFEST
                    raise corrupt(path, _WHAT, f"{name} should have {needed} bytes")
            folder.expect(files)
            for name in files:
                folder.size(name, _WHAT)
            if digest is None:
                self.vocabulary = self._read_vocabulary(folder)
                self._check_columns(folder)
                if verify:
                    self._check_ids(folder, len(self.vocabulary))
            self.tensors = {
                name.removesuffix(".bin"): self._map(folder, name, *shape)
                for name, shape in shapes.items()
            }

    def __reduce__(self) -> tuple[type[Self], tuple[str, str]]:
        return type(self), (str(self.path), self.digest)

    def touch(self, texts: int) -> None:
        """Count texts that are about to be read, and unmap everything if much may be mapped."""
        # Unmapped pages stay in the system's cache while there is room, and are mapped again on the
        # next read.
        self._touched += texts * _READ_AROUND
        if self._touched > MAPPED_BYTES:
            self._touched = 0
            if sum(map(len, self._maps)) > MAPPED_BYTES and hasattr(mmap, "MADV_DONTNEED"):
                for mapped in self._maps:
                    mapped.madvise(mmap.MADV_DONTNEED)

    def read_tokenizer(self, given: Tokenizer | None) -> Tokenizer:
        """Return the tokenizer, or the one given if the data set's is a custom one."""
        entry = self.manifest["tokenizer"]
        if entry["type"] == "custom":
            if given is None:
                rule = f"given, since the data set's is a custom one ({show(entry['options'])})"
                raise InvalidValueError(expected("tokenizer", rule, None))
            return given
        try:
            tokenizer: Tokenizer = TOKENIZERS[entry["type"]].from_dict(entry["options"])
        except TextrnnError as error:
            raise corrupt(self.path / _MANIFEST, _WHAT, str(error).rstrip(".")) from None
        if given is not None and given != tokenizer:
            raise InvalidValueError(expected("tokenizer", f"the data set's, {tokenizer}", given))
        return tokenizer

    def _read_manifest(self, folder: OpenFolder, digest: str | None) -> dict[str, Any]:
        """Read and check the manifest, and keep its checksum."""
        path = folder.path / _MANIFEST
        data = folder.read(_MANIFEST, _WHAT, max_bytes=_MAX_MANIFEST)
        self.digest = hashlib.sha256(data).hexdigest()
        if digest is not None and self.digest != digest:
            raise corrupt(path, _WHAT, "another data set was written in its place")
        return _check_manifest(path, from_json(path, _WHAT, data))

    def _shapes(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return the type and shape of each file of numbers."""
        texts, labels = self.manifest["texts"], self.manifest["labels"]
        shapes: dict[str, tuple[str, tuple[int, ...]]] = {
            _IDS: ("<i4", (self.manifest["ids"],)),
            _OFFSETS: ("<i8", (texts + 1,)),
            _LENGTHS: ("<i8", (texts,)),
        }
        if labels is not None:
            is_ids = labels["kind"] == "class ids"
            shapes[_LABELS] = ("<i8", (texts,)) if is_ids else ("<f4", (texts, self.num_classes))
        return shapes

    def _read_vocabulary(self, folder: OpenFolder) -> Vocabulary:
        what = "vocabulary"
        data = folder.read_json(_VOCABULARY, what)
        try:
            return Vocabulary.from_dict(data)
        except TextrnnError as error:
            raise corrupt(folder.path / _VOCABULARY, what, str(error).rstrip(".")) from None

    def _check_ids(self, folder: OpenFolder, vocab_size: int) -> None:
        """Raise a `CorruptFileError` if the ids were changed or are not ids of the vocabulary."""
        for ids in self._blocks(folder, _IDS, "<i4"):
            if ids.min() < 0 or ids.max() >= vocab_size:
                reason = f"an id is not one of the {vocab_size} in the vocabulary"
                raise corrupt(folder.path / _IDS, _WHAT, reason)

    def _check_columns(self, folder: OpenFolder) -> None:
        """Check offsets, lengths and labels, block by block."""
        offsets = self._blocks(folder, _OFFSETS, "<i8", first=1)
        last = next(offsets)
        fits = last[0] == 0
        for ends, lengths in zip(offsets, self._blocks(folder, _LENGTHS, "<i8"), strict=True):
            starts = np.concatenate([last, ends[:-1]])
            # Check the order too, because differences of far-off numbers wrap around.
            fits &= (ends > starts).all() and np.array_equal(ends - starts, lengths)
            last = ends[-1:]
        if not fits or last[0] != self.manifest["ids"]:
            reason = "it does not match the lengths of the texts or the number of ids"
            raise corrupt(folder.path / _OFFSETS, _WHAT, reason)
        if self.manifest["labels"] is None:
            return
        is_ids = self.manifest["labels"]["kind"] == "class ids"
        most, classes = self.num_classes - 1 if is_ids else 1, 0
        for labels in self._blocks(folder, _LABELS, "<i8" if is_ids else "<f4"):
            if not ((labels >= 0) & (labels <= most)).all():
                raise corrupt(folder.path / _LABELS, _WHAT, "a label is out of range")
            classes = max(classes, int(labels.max()) + 1)
        if is_ids and classes != self.num_classes:
            reason = f"its labels have {classes} classes, and should have {self.num_classes}"
            raise corrupt(folder.path / _MANIFEST, _WHAT, reason)

    def _blocks(
        self, folder: OpenFolder, name: str, dtype: str, *, first: int = _BLOCK
    ) -> Iterator[NDArray[Any]]:
        """Yield `first` numbers of a file, then many at a time, and check its checksum."""
        entry = self.manifest["files"][name]
        digest = hashlib.sha256()
        with folder.open(name, _WHAT) as file:
            left, count = entry["bytes"] // np.dtype(dtype).itemsize, first
            while left and len(values := np.fromfile(file, dtype, min(count, left))):
                digest.update(values.data)
                yield values
                left, count = left - len(values), _BLOCK
        check_unchanged(folder.path / name, _WHAT, digest.hexdigest(), entry["sha256"])

    def _map(self, folder: OpenFolder, name: str, dtype: str, shape: tuple[int, ...]) -> Tensor:
        """Map a file of numbers whose size was checked."""
        size = np.dtype(dtype).itemsize * math.prod(shape)
        if not size:
            return torch.from_numpy(np.empty(shape, dtype=dtype))
        with folder.open(name, _WHAT) as file:
            # Shared and read-only: a writable private map counts in full as committed memory,
            # which the system limits.
            mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
        self._maps.append(mapped)
        values = np.frombuffer(mapped, dtype=dtype).reshape(shape)
        with warnings.catch_warnings():
            # PyTorch has no read-only tensors, and warns that this one must not be written to.
            warnings.filterwarnings("ignore", "The given NumPy array is not writ", UserWarning)
            return torch.from_numpy(values)


def _check_manifest(path: Path, data: Any) -> dict[str, Any]:
    """Return the manifest, if each entry is valid by itself."""
    version = data.get("format_version") if isinstance(data, dict) else None
    if type(version) is not int or version != _FORMAT_VERSION:
        reason = f"its format version is {show(version)}, and only {_FORMAT_VERSION} is supported"
        raise corrupt(path, _WHAT, reason)
    _check_keys(path, "it", data, _KEYS)
    for name in ("texts", "ids"):
        _check_number(path, name, data[name])
    if data["max_length"] is not None:
        _check_number(path, "max_length", data["max_length"])
    if data["labels"] is not None:
        _check_keys(path, "`labels`", data["labels"], ("kind", "classes"))
        _check_number(path, "classes", data["labels"]["classes"], _MAX_CLASSES + 1)
        if data["labels"]["kind"] not in ("class ids", "targets"):
            raise corrupt(path, _WHAT, f"the kind of labels is {show(data['labels']['kind'])}")
    _check_keys(path, "`tokenizer`", data["tokenizer"], ("type", "options"))
    if data["tokenizer"]["type"] not in (*TOKENIZERS, "custom"):
        raise corrupt(path, _WHAT, f"its tokenizer is {show(data['tokenizer']['type'])}")
    files = _FILES if data["labels"] is None else (*_FILES, _LABELS)
    _check_keys(path, "`files`", data["files"], files)
    for name, entry in data["files"].items():
        _check_keys(path, f"the entry of {name}", entry, ("bytes", "sha256"))
        _check_number(path, f"the size of {name}", entry["bytes"])
    return dict(data)


def _check_keys(path: Path, name: str, data: Any, keys: Collection[str]) -> None:
    """Raise a `CorruptFileError` if a value is not an object with these keys."""
    if not isinstance(data, dict) or data.keys() != set(keys):
        raise corrupt(path, _WHAT, f"{name} {unlike_keys(data, keys)}")


def _check_number(path: Path, name: str, value: Any, limit: int = 2**60) -> None:
    """Raise a `CorruptFileError` if a value is not an integer from 0 to below `limit`."""
    if type(value) is not int or not 0 <= value < limit:
        raise corrupt(path, _WHAT, f"{name} is {show(value)}")

"""Read the files of a folder that other processes may replace."""

import errno
import hashlib
import os
import stat
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from textrnn._storage.files import (
    READ,
    TRIES,
    check_unchanged,
    clear_leftovers,
    corrupt,
    leftovers,
)
from textrnn._storage.jsonfiles import MAX_JSON_BYTES, from_json
from textrnn.errors import MissingFileError, show

__all__ = ["OpenFolder", "open_folder"]

_HAS_HANDLES = os.open in os.supports_dir_fd  # of folders, within which files are opened


class OpenFolder:
    """The files of a folder, opened at one moment, so that they belong together."""

    def __init__(self, path: Path, files: dict[str, int | OSError]) -> None:
        self.path = path
        self._files = files
        self._expected: Mapping[str, Mapping[str, Any]] = {}

    def expect(self, files: Mapping[str, Mapping[str, Any]]) -> None:
        """Take the sizes and checksums of a manifest, which hold from now on."""
        self._expected = files

    def __contains__(self, name: str) -> bool:
        return not isinstance(self._files[name], FileNotFoundError)

    def size(self, name: str, what: str) -> int:
        """Return the size of a file, or raise the `corrupt` error."""
        with self.open(name, what) as file:
            return os.fstat(file.fileno()).st_size

    def open(self, name: str, what: str) -> BinaryIO:
        """Return a regular file of the expected size at its start, or raise the `corrupt` error."""
        path, descriptor = self.path / name, self._files[name]
        if isinstance(descriptor, OSError):
            reason = f"it can't be read ({descriptor.strerror})"
            raise corrupt(path, what, reason) from descriptor
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise corrupt(path, what, "it is not a regular file")
        size = self._expected.get(name, {}).get("bytes", status.st_size)
        if size != status.st_size:
            reason = f"it has {status.st_size} bytes, and had {size} when it was written"
            raise corrupt(path, what, reason)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return open(descriptor, "rb", closefd=False)

    def read(self, name: str, what: str, *, max_bytes: int | None = None) -> bytes:
        """Read a file once, up to the size that it has, and compare it with its checksum."""
        path, size = self.path / name, self.size(name, what)
        if max_bytes is not None and size > max_bytes:
            raise corrupt(path, what, f"it is longer than {max_bytes} bytes")
        with self.open(name, what) as file:
            try:
                data = file.read(size)  # what the system makes up has no size, and may not end
            except OSError as error:
                raise corrupt(path, what, f"it can't be read ({error.strerror})") from error
        if name in self._expected:
            sha256 = hashlib.sha256(data).hexdigest()
            check_unchanged(path, what, sha256, self._expected[name]["sha256"])
        return data

    def read_json(
        self,
        name: str,
        what: str,
        *,
        max_bytes: int = MAX_JSON_BYTES,
        max_values: int | None = None,
    ) -> Any:
        """Read a JSON file of finite numbers."""
        data = self.read(name, what, max_bytes=max_bytes)
        return from_json(self.path / name, what, data, max_values)


@contextmanager
def open_folder(path: str | os.PathLike[str], names: Collection[str]) -> Iterator[OpenFolder]:
    """Open files of a folder; open them again if it was replaced in between."""
    for _ in range(TRIES):
        with ExitStack() as exits:
            try:
                is_whole, files = _open_files(path, names, exits)
            except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # also for "\0"
                if isinstance(error, ValueError) or not _is_replaced(path):
                    raise MissingFileError(f"There is no folder {show(os.fspath(path))}.") from None
                continue
            if is_whole:
                yield OpenFolder(Path(path), files)
                return
    raise OSError(errno.EBUSY, "it is replaced all the time", os.fspath(path))


def _open_files(
    path: str | os.PathLike[str], names: Collection[str], exits: ExitStack
) -> tuple[bool, dict[str, int | OSError]]:
    """Open files of a folder, and return whether they belong together."""
    folder: int | None = None
    if _HAS_HANDLES:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        exits.callback(os.close, folder)
    before = Path(path).stat() if folder is None else os.fstat(folder)
    files: dict[str, int | OSError] = {}
    for name in names:
        try:
            each = os.path.join(path, name) if folder is None else name  # noqa: PTH118 # by handle
            files[name] = descriptor = os.open(each, READ, dir_fd=folder)
            exits.callback(os.close, descriptor)
        except OSError as error:
            files[name] = error
    if folder is not None and not any(isinstance(each, OSError) for each in files.values()):
        return True, files
    return os.path.samestat(before, Path(path).stat()), files


def _is_replaced(path: str | os.PathLike[str]) -> bool:
    """Return whether a folder is missing only while, or since, it is replaced; put it back then."""
    target = Path(os.path.realpath(path))
    if not any(each.name.endswith("old") for each in leftovers(target)):
        return target.is_dir()
    clear_leftovers(target)
    time.sleep(0.001)
    return True

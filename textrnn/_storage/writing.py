"""Replace whole folders, in one step where the system can."""

import ctypes
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from textrnn._storage.files import (
    OTHERS,
    TRIES,
    beside,
    clear_leftovers,
    hold,
    make_beside,
    remove,
    sync,
)
from textrnn._storage.jsonfiles import to_json
from textrnn._storage.reading import OpenFolder, open_folder
from textrnn.errors import CorruptFileError, InvalidValueError, expected, listing, show

__all__ = [
    "FolderFormat",
    "NewFile",
    "NewFolder",
    "check_writable",
    "new_folder",
    "remove_folder",
]


class NewFile:
    """A file that is being written, with its size and checksum so far."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self._bytes = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append one-dimensional data."""
        self._stream.write(data)
        self._digest.update(data)
        self._bytes += memoryview(data).nbytes

    def fingerprint(self) -> dict[str, Any]:
        """Return the size and checksum, as an entry of a manifest."""
        return {"bytes": self._bytes, "sha256": self._digest.hexdigest()}


class NewFolder:
    """A folder that is being written, with the fingerprints of its `files` by name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: dict[str, dict[str, Any]] = {}

    @contextmanager
    def open(self, name: str) -> Iterator[NewFile]:
        """Open a new file, which is synced to disk at the end."""
        with (self.path / name).open("wb") as stream:
            file = NewFile(stream)
            yield file
            stream.flush()
            os.fsync(stream.fileno())
        self.files[name] = file.fingerprint()

    def write(self, name: str, data: bytes | bytearray | memoryview) -> None:
        """Write a file in one piece."""
        with self.open(name) as file:
            file.write(data)

    def write_json(self, name: str, value: Any) -> None:
        """Write a readable JSON file."""
        self.write(name, to_json(name, value))


@contextmanager
def new_folder(path: Path) -> Iterator[NewFolder]:
    """Fill a new folder, which replaces the one at `path`, or is deleted after an error."""
    clear_leftovers(path)
    with ExitStack() as exits:
        beside, _ = make_beside(path, Path.mkdir, exits)
        try:
            yield NewFolder(beside)
            _copy_permissions(path, beside)
            sync(beside)
            _swap(beside, path)
        except BaseException:
            remove(beside)
            raise


def _names(folder: Path) -> set[str]:
    """List a folder that others may replace, whose old files they remove one by one."""
    while True:
        before = folder.stat()
        names = {entry.name for entry in folder.iterdir()}
        if os.path.samestat(before, folder.stat()):
            return names


def check_writable(path: Path) -> None:
    """Raise the `OSError` that making or replacing a folder at `path` would raise."""
    with ExitStack() as exits:
        probe, _ = make_beside(path, Path.mkdir, exits)
        exits.callback(remove, probe)
        (probe / "file").touch()
        try:
            path.rename(probe)  # which isn't empty, so that nothing but the checks is done
        except OSError as error:
            if error.errno not in OTHERS:
                raise
        else:
            probe.rename(path)


def remove_folder(path: Path) -> None:
    """Remove a folder after renaming it, so that it is never seen half removed."""
    aside = beside(path, "new")
    with suppress(OSError):
        path.rename(aside)
        remove(aside)


def _copy_permissions(source: Path, target: Path) -> None:
    """Give a folder and its files the permissions of the one that it replaces."""
    for new in [*target.iterdir(), target]:
        with suppress(OSError):
            old = source / new.relative_to(target)
            new.chmod(stat.S_IMODE(old.stat().st_mode))


def _swap(new: Path, target: Path) -> None:
    """Give a folder the name of another one, which is removed; others may do the same."""
    for attempt in range(TRIES):
        try:
            old = _replace(new, target)
            break
        except OSError as error:
            if error.errno not in OTHERS or attempt == TRIES - 1:
                raise
    sync(target.parent)
    if old is not None:
        remove(old)


def _replace(new: Path, target: Path) -> Path | None:
    """Rename a folder to `target`, and return what was there under its new name."""
    if not os.path.lexists(target):
        new.rename(target)
        return None
    if _exchange(new, target):
        return new
    old = beside(target, "old")
    with ExitStack() as exits:
        hold(target, exits)  # or others would put it back
        target.rename(old)
        try:
            new.rename(target)
        except BaseException:
            with suppress(OSError):
                old.rename(target)
            raise
    return old


def _exchange(one: Path, other: Path) -> bool:
    """Swap the names of two folders in one step, if the system and the file system can."""
    rename = _renameat2()
    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE
    return rename is not None and (
        rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0
    )


@cache
def _renameat2() -> Callable[..., int] | None:
    """Return Linux's call to exchange names, which Python does not have."""
    with suppress(OSError, TypeError):
        function: Callable[..., int] | None = getattr(ctypes.CDLL(None), "renameat2", None)
        return function
    return None


@dataclass(frozen=True, kw_only=True)
class FolderFormat:
    """A kind of saved folder: its names and `argument` in messages, and its files."""

    kind: str
    what: str
    argument: str
    manifest: str
    others: Collection[str]

    def prepare(self, path: str | os.PathLike[str]) -> Path:
        """Return the real path of a folder that can be made or replaced; make its parents."""
        target = self._check_target(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            if Path.cwd().is_relative_to(target):
                rule = "a folder other than the current one and those that hold it"
                raise InvalidValueError(expected(self.argument, rule, os.fspath(path)))
        try:
            check_writable(target)
        except OSError as error:
            if error.errno == errno.EBUSY:
                rule = "a folder in a mounted one, not a mount point itself"
                raise InvalidValueError(expected(self.argument, rule, str(target))) from None
            raise OSError(error.errno, error.strerror, str(target.parent)) from None
        return target

    def _check_target(self, path: str | os.PathLike[str]) -> Path:
        """Return the real path of a folder that is new, empty or of this kind."""
        target = Path(os.path.realpath(path))
        rule = f"a new or empty folder, or one with nothing but {self.what}"
        try:
            names = _names(target)
        except FileNotFoundError:
            return target
        except NotADirectoryError:
            if not target.exists():  # a parent is a file
                return target
            raise InvalidValueError(expected(self.argument, rule, str(target))) from None
        strange = names - {self.manifest, *self.others}
        if names and (self.manifest not in names or strange):
            raise InvalidValueError(
                f"Expected `{self.argument}` to be {rule}, but {target} holds {listing(strange)}."
            )
        return target

    @contextmanager
    def replace(self, path: str | os.PathLike[str]) -> Iterator[NewFolder]:
        """Fill a new folder that replaces the one at `path`; make its parents."""
        target = self.prepare(path)
        with new_folder(target) as folder:
            yield folder
            self._check_target(target)  # somebody may have put files there

    @contextmanager
    def open(self, path: str | os.PathLike[str]) -> Iterator[OpenFolder]:
        """Open all files of a folder, which is of this kind if it has the manifest."""
        with open_folder(path, (self.manifest, *self.others)) as folder:
            if self.manifest not in folder:
                raise self.unlike(path, f"it has no {self.manifest}")
            yield folder

    def unlike(self, path: str | os.PathLike[str], reason: str) -> CorruptFileError:
        """Return the error for a folder of another kind."""
        return CorruptFileError(f"{show(os.fspath(path))} is not a {self.kind}: {reason}.")

"""Write files and folders atomically, with checksums; read untrusted ones safely."""

import hashlib
import json
import math
import os
import secrets
import shutil
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from textrnn.errors import CorruptFileError, InvalidValueError, expected, listing, show

__all__ = [
    "MAX_JSON_BYTES",
    "FolderFormat",
    "NewFile",
    "NewFolder",
    "check_file",
    "check_unchanged",
    "check_writable",
    "corrupt",
    "fingerprint",
    "new_folder",
    "parse_json",
    "read_json",
    "remove_folder",
    "write_atomically",
    "write_json",
]

MAX_JSON_BYTES = 256 * 2**20
"""Maximum size of a JSON file, read or written: 256 MiB, about ten million words."""

# Only Windows distinguishes text from binary files.
_WRITE_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


# Files


def write_atomically(path: str | os.PathLike[str], data: bytes | bytearray | memoryview) -> None:
    """Write a file so that it holds either all of `data` or its old content."""
    target = Path(os.path.realpath(path))
    beside = _beside(target, "tmp")
    mode = None
    with suppress(OSError):
        mode = target.stat().st_mode & 0o777
    try:
        descriptor = os.open(beside, _WRITE_NEW, 0o666)
    except FileNotFoundError as error:
        raise FileNotFoundError(error.errno, error.strerror, str(target.parent)) from None
    try:
        try:
            rest = memoryview(data).cast("B")
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if mode is not None:
            beside.chmod(mode)
        beside.replace(target)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
    _sync(target.parent)


def corrupt(path: str | os.PathLike[str], what: str, reason: str) -> CorruptFileError:
    """Return the error for a damaged file; `what` names its content, `reason` is a clause."""
    return CorruptFileError(f"The {what} file {show(os.fspath(path))} is damaged: {reason}.")


def fingerprint(path: Path) -> dict[str, Any]:
    """Return the size and checksum of a file, as an entry of a manifest."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def check_file(path: Path, what: str, size: int | None = None) -> None:
    """Raise the `corrupt` error for another size, or for a pipe, which might never end."""
    try:
        status = path.stat()
    except OSError as error:
        raise corrupt(path, what, f"it can't be read ({error.strerror})") from error
    if not stat.S_ISREG(status.st_mode):
        raise corrupt(path, what, "it is not a regular file")
    if size is not None and size != status.st_size:
        reason = f"it has {status.st_size} bytes, and had {size} when it was written"
        raise corrupt(path, what, reason)


def check_unchanged(path: Path, what: str, found: object, written: object) -> None:
    """Raise the `corrupt` error if a fingerprint or checksum is not the one in the manifest."""
    if found != written:
        raise corrupt(path, what, "it was changed since it was written")


def _beside(path: Path, suffix: str) -> Path:
    """Return a new hidden name in the same folder."""
    return path.with_name(f".{path.name[:64]}.{secrets.token_hex(8)}.{suffix}")


def _sync(folder: Path) -> None:
    """Make the names in `folder` durable, if the system can sync folders."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# JSON


def write_json(path: str | os.PathLike[str], value: Any, *, indent: int | None = 2) -> None:
    """Write `value` as readable JSON, atomically."""
    write_atomically(path, _to_json(path, value, indent))


def read_json(path: str | os.PathLike[str], *, what: str, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Read an untrusted JSON file of finite numbers, or raise the `corrupt` error."""
    with Path(path).open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise corrupt(path, what, f"it is longer than {max_bytes} bytes")
    try:
        return parse_json(data)
    except RecursionError:
        raise corrupt(path, what, "it is nested too deeply") from None
    except ValueError as error:  # also UnicodeDecodeError and JSONDecodeError
        raise corrupt(path, what, f"it is not the JSON expected ({error})") from None


def parse_json(data: bytes, *, finite: bool = True) -> Any:
    """Parse JSON in which no object names a key twice and, if `finite`, every number is finite."""
    number = _finite if finite else float
    return json.loads(
        data.decode("utf-8", "surrogatepass"),
        object_pairs_hook=_object,
        parse_constant=number,
        parse_float=number,
    )


def _to_json(path: str | os.PathLike[str], value: Any, indent: int | None = 2) -> bytes:
    """Return `value` as JSON for the file at `path`."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent) + "\n"
    # Words may have lone surrogates. Two escaped ones in a row would be read as one character.
    data = text.encode("utf-8", "surrogatepass")
    if len(data) > MAX_JSON_BYTES:
        raise InvalidValueError(
            f"Expected {show(os.fspath(path))} to need at most {MAX_JSON_BYTES} bytes, "
            f"but got {len(data)}."
        )
    return data


def _finite(literal: str) -> float:
    """Parse a number that must be finite."""
    number = float(literal)
    if not math.isfinite(number):
        raise ValueError(f"{show(literal)} is not a finite number")
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object, unless it names a key twice."""
    items = dict(pairs)
    if len(items) < len(pairs):
        raise ValueError("an object names a key twice")
    return items


# Folders


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
        self.write(name, _to_json(self.path / name, value))


@contextmanager
def new_folder(path: Path) -> Iterator[NewFolder]:
    """Fill a new folder, which replaces the one at `path`, or is deleted after an error."""
    aside = _beside(path, "tmp")
    try:
        aside.mkdir()
        yield NewFolder(aside)
        _sync(aside)
        _swap(aside, path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    _sync(path.parent)


def check_writable(path: Path) -> None:
    """Raise the `OSError` that making a folder beside `path` would raise."""
    probe = _beside(path, "tmp")
    probe.mkdir()
    probe.rmdir()


def remove_folder(path: Path) -> None:
    """Remove a folder after renaming it, so that it is never seen half removed."""
    aside = _beside(path, "tmp")
    with suppress(OSError):
        path.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def _swap(aside: Path, target: Path) -> None:
    """Replace a folder by a new one; restore it if that fails."""
    if not target.exists():
        aside.rename(target)
        return
    old = _beside(target, "old")
    target.rename(old)
    try:
        aside.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


@dataclass(frozen=True, kw_only=True)
class FolderFormat:
    """A kind of saved folder: its name and `argument` in messages, and its files."""

    what: str
    argument: str
    manifest: str
    others: Collection[str]

    def check_target(self, path: str | os.PathLike[str]) -> Path:
        """Return the real path of a folder that is new, empty or of this kind."""
        target = Path(os.path.realpath(path))
        if not os.path.lexists(target):
            return target
        rule = f"a new or empty folder, or one with nothing but {self.what}"
        if not target.is_dir():
            raise InvalidValueError(expected(self.argument, rule, str(target)))
        names = {entry.name for entry in target.iterdir()}
        strange = names - {self.manifest, *self.others}
        if names and (self.manifest not in names or strange):
            raise InvalidValueError(
                f"Expected `{self.argument}` to be {rule}, but {target} holds {listing(strange)}."
            )
        return target

    @contextmanager
    def replace(self, path: str | os.PathLike[str]) -> Iterator[NewFolder]:
        """Fill a new folder that replaces the one at `path`; make its parents."""
        target = self.check_target(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with new_folder(target) as folder:
            yield folder

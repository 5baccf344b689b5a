"""Write files atomically, beside their target and locked; remove what killed writers left."""

import errno
import hashlib
import importlib
import os
import re
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from textrnn.errors import CorruptFileError, shorten, show

__all__ = [
    "OTHERS",
    "READ",
    "TRIES",
    "beside",
    "check_unchanged",
    "claim",
    "clear_leftovers",
    "corrupt",
    "hold",
    "leftovers",
    "make_beside",
    "remove",
    "sync",
    "write_atomically",
]

# Windows has no such locks.
fcntl: Any = importlib.import_module("fcntl") if os.name == "posix" else None

# Only Windows distinguishes text from binary files.
_BINARY = getattr(os, "O_BINARY", 0)
_WRITE_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY

READ = os.O_RDONLY | _BINARY | getattr(os, "O_NONBLOCK", 0)
"""Flags that open a file, and do not wait for the writer of a pipe."""

TRIES = 100
"""Attempts while other processes replace a folder."""

OTHERS = frozenset({errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY})
"""Errors of a rename that such a process causes."""


def write_atomically(path: str | os.PathLike[str], data: bytes | bytearray | memoryview) -> None:
    """Write a file so that it holds either all of `data` or its old content."""
    target = Path(os.path.realpath(path))
    clear_leftovers(target)
    mode = None
    with suppress(OSError):
        mode = target.stat().st_mode & 0o777
    with ExitStack() as exits:
        try:
            new, descriptor = make_beside(target, _create, exits)
            assert descriptor is not None  # noqa: S101 # since `_create` returned one
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
                new.chmod(mode)
            new.replace(target)
        except BaseException:
            with suppress(OSError):
                new.unlink()
            raise
    sync(target.parent)


def corrupt(path: str | os.PathLike[str], what: str, reason: str) -> CorruptFileError:
    """Return the error for a damaged file; `what` names its content, `reason` is a clause."""
    return CorruptFileError(
        f"The {what} file {show(os.fspath(path))} is damaged: {shorten(reason)}."
    )


def check_unchanged(path: Path, what: str, found: object, written: object) -> None:
    """Raise the `corrupt` error if a checksum is not the one in the manifest."""
    if found != written:
        raise corrupt(path, what, "it was changed since it was written")


def _create(path: Path) -> int:
    return os.open(path, _WRITE_NEW, 0o666)


def sync(folder: Path) -> None:
    """Make the names in `folder` durable, if the system can sync folders."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# What is being written stands beside its target under a hidden name. Its writer holds a lock on it,
# which the system releases when the writer dies: whatever is not locked was left by a killed one.


def clear_leftovers(target: Path) -> None:
    """Remove what killed writers of `target` left beside it, or put the old folder back."""
    for leftover in leftovers(target):
        with suppress(OSError), ExitStack() as exits:
            descriptor = os.open(leftover, READ | getattr(os, "O_NOFOLLOW", 0))
            exits.callback(os.close, descriptor)
            if not _lock(descriptor, wait=False):
                continue
            if leftover.name.endswith("old") and not os.path.lexists(target):
                leftover.rename(target)
            else:
                remove(leftover)


def leftovers(target: Path) -> list[Path]:
    """Return what is, or was, being written beside `target`."""
    pattern = re.compile(rf"\.{re.escape(_short_name(target))}\.[0-9a-f]{{16}}\.textrnn-(new|old)")
    paths: list[Path] = []
    with suppress(OSError):
        paths = list(target.parent.iterdir())
    return [path for path in paths if pattern.fullmatch(path.name)]


def beside(target: Path, suffix: str) -> Path:
    """Return a new hidden name in the same folder."""
    return target.with_name(f".{_short_name(target)}.{os.urandom(8).hex()}.textrnn-{suffix}")


def _short_name(path: Path) -> str:
    """Return the name, or a checksum of it if no more characters can be added."""
    name = os.fsencode(path.name)
    return path.name if len(name) <= 200 else hashlib.sha256(name).hexdigest()


def make_beside(
    target: Path, make: Callable[[Path], int | None], exits: ExitStack
) -> tuple[Path, int | None]:
    """Make a file or folder under a hidden name, locked until `exits`; return it and its handle."""
    while True:
        new = beside(target, "new")
        descriptor = make(new)
        if fcntl is None:
            return new, descriptor
        with suppress(FileNotFoundError):
            handle = os.open(new, os.O_RDONLY) if descriptor is None else os.dup(descriptor)
            _lock(handle, wait=True)
            if new.exists():
                exits.callback(os.close, handle)
                return new, descriptor
            os.close(handle)
        # Another process took it for a leftover before it was locked.
        if descriptor is not None:
            os.close(descriptor)


def hold(folder: Path, exits: ExitStack) -> None:
    """Lock an existing folder until `exits`, where the system can."""
    if fcntl is not None:
        descriptor = os.open(folder, os.O_RDONLY)
        exits.callback(os.close, descriptor)
        _lock(descriptor, wait=True)


def claim(path: Path, owner: str, exits: ExitStack) -> bool:
    """Lock a file made for this until `exits`; return False if another owner has the lock."""
    while fcntl is not None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            has_locks = _lock(descriptor, wait=False)
        except BlockingIOError:
            is_own = os.read(descriptor, 1000) == owner.encode()
            os.close(descriptor)
            return is_own
        if has_locks and path.exists() and os.path.samestat(path.stat(), os.fstat(descriptor)):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, owner.encode())
            _claims.add(descriptor)
            exits.callback(_release, descriptor, path)
            break
        os.close(descriptor)
        if not has_locks:
            path.unlink(missing_ok=True)
            break
    return True


_claims: set[int] = set()


def _release(descriptor: int, path: Path) -> None:
    """Remove and close the file of a claim, unless it is another process's."""
    if descriptor in _claims:
        _claims.remove(descriptor)
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _leave_claims() -> None:
    """Close the parent's claims: a worker lives some seconds longer than its killed parent."""
    while _claims:
        os.close(_claims.pop())


if fcntl is not None:
    os.register_at_fork(after_in_child=_leave_claims)


def _lock(descriptor: int, *, wait: bool) -> bool:
    """Lock an open file or folder; return whether the system can."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError:  # a file system without locks
        return False
    return True


def remove(path: Path) -> None:
    """Remove a file or a folder, as far as that is possible."""
    with suppress(OSError):
        if path.is_dir():
            import shutil  # with its compressors, which readers do not need

            path.chmod(0o700)
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()

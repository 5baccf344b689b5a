"""Reading and writing the files of a model: whole or not at all, and never trusted."""

import json
import math
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from textrnn.errors import CorruptFileError, InvalidValueError, show

__all__ = ["MAX_JSON_BYTES", "corrupt", "read_json", "write_atomically", "write_json"]

MAX_JSON_BYTES = 256 * 2**20
"""The largest JSON file that is read or written: 256 MiB, some ten million words."""

# Some file systems and Windows can't sync a folder, and Windows alone tells text from binary.
_WRITE_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


def write_atomically(path: str | os.PathLike[str], data: bytes | bytearray | memoryview) -> None:
    """Write a file so that it holds either all of `data` or what it held before.

    The bytes go into a new file beside the old one, which is synced to the disk and then renamed
    over it. A symbolic link is followed, and a file that exists keeps its permissions.

    Args:
        path: The file to write; its folder must exist.
        data: What it shall hold.

    Raises:
        OSError: If the folder is missing or the data can't be written. The old file is intact and
            nothing else is left behind.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_atomically(f"{folder}/words.txt", b"oil prices")
        ...     Path(folder, "words.txt").read_bytes()
        b'oil prices'
    """
    target = Path(os.path.realpath(path))
    beside = target.with_name(f".{target.name[:64]}.{secrets.token_hex(8)}.tmp")
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
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable where the system can do that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def corrupt(path: str | os.PathLike[str], what: str, reason: str) -> CorruptFileError:
    """Return the error that says what is wrong with a file.

    Args:
        path: The file.
        what: What it should be, for example ``"vocabulary"``.
        reason: A clause without a full stop that says what is wrong.

    Example:
        >>> print(corrupt("model/words.json", "vocabulary", "the key 'words' is missing"))
        The vocabulary file 'model/words.json' is damaged: the key 'words' is missing.
    """
    return CorruptFileError(f"The {what} file {show(os.fspath(path))} is damaged: {reason}.")


def write_json(path: str | os.PathLike[str], value: Any, *, indent: int | None = 2) -> None:
    """Write `value` as JSON that a person can read, whole or not at all.

    Args:
        path: The file to write.
        value: Anything JSON can hold; NaN and infinity are refused.
        indent: Columns by which inner lines are indented; None writes one line.

    Raises:
        InvalidValueError: If the file would be larger than `read_json` accepts.
        ValueError: If `value` holds NaN or infinity.
        TypeError: If `value` holds something that JSON can't.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent) + "\n"
    # Words may hold lone surrogates. Escaping them would not do: two in a row read as one letter.
    data = text.encode("utf-8", "surrogatepass")
    if len(data) > MAX_JSON_BYTES:
        raise InvalidValueError(
            f"Expected {show(os.fspath(path))} to need at most {MAX_JSON_BYTES} bytes, "
            f"but got {len(data)}."
        )
    write_atomically(path, data)


def read_json(path: str | os.PathLike[str], *, what: str, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Read a JSON file from an untrusted source.

    Args:
        path: The file.
        what: What it should be, for the message, for example ``"vocabulary"``.
        max_bytes: A longer file is refused before it is parsed.

    Returns:
        The parsed value. No number in it is NaN or infinite, and no object names a key twice.

    Raises:
        OSError: If the file is missing or can't be read.
        CorruptFileError: If it is too long or is no such JSON.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_json(f"{folder}/words.json", ["oil", "prices"])
        ...     read_json(f"{folder}/words.json", what="word")
        ['oil', 'prices']
    """
    with Path(path).open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise corrupt(path, what, f"it is longer than {max_bytes} bytes")
    try:
        return json.loads(
            data.decode("utf-8", "surrogatepass"),
            object_pairs_hook=_object,
            parse_constant=_finite,
            parse_float=_finite,
        )
    except RecursionError:
        raise corrupt(path, what, "it is nested too deeply") from None
    except ValueError as error:  # also UnicodeDecodeError and JSONDecodeError
        raise corrupt(path, what, f"it is not the JSON expected ({error})") from None


def _finite(literal: str) -> float:
    """Return the number that `literal` stands for, unless that is NaN or infinite."""
    number = float(literal)
    if not math.isfinite(number):
        raise ValueError(f"{show(literal)} is not a finite number")
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object's pairs as a `dict`, unless a key occurs twice."""
    items = dict(pairs)
    if len(items) < len(pairs):
        raise ValueError("an object names a key twice")
    return items

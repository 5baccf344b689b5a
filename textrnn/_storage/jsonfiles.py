"""Write readable JSON; read untrusted JSON of limited size and finite numbers."""

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from textrnn._storage.files import corrupt, write_atomically
from textrnn.errors import InvalidValueError, show

__all__ = [
    "MAX_JSON_BYTES",
    "MAX_JSON_VALUES",
    "from_json",
    "parse_json",
    "read_json",
    "to_json",
    "write_json",
]

MAX_JSON_BYTES = 256 * 2**20
"""Maximum size of a JSON file, read or written: 256 MiB, about ten million words."""

MAX_JSON_VALUES = 2**25
"""Maximum number of values of a JSON file, since each takes far more memory than its bytes."""

_MARKS = b",:[{"  # before each value but the first
_IS_MARK = np.zeros(256, np.bool_)  # by byte
_IS_MARK[list(_MARKS)] = True
_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
_BLOCK = 2**24  # bytes that are counted at a time


def write_json(path: str | os.PathLike[str], value: Any, *, indent: int | None = 2) -> None:
    """Write `value` as readable JSON, atomically."""
    write_atomically(path, to_json(path, value, indent))


def read_json(path: str | os.PathLike[str], *, what: str) -> Any:
    """Read an untrusted JSON file of finite numbers, or raise the `corrupt` error."""
    with Path(path).open("rb") as file:
        data = file.read(MAX_JSON_BYTES + 1)
    if len(data) > MAX_JSON_BYTES:
        raise corrupt(path, what, f"it is longer than {MAX_JSON_BYTES} bytes")
    return from_json(path, what, data)


def parse_json(data: bytes, *, finite: bool = True, max_values: int | None = None) -> Any:
    """Parse JSON of not too many values, whose objects name no key twice; floats may be finite."""
    max_values = MAX_JSON_VALUES if max_values is None else max_values
    if _count_values(data) > max_values:
        raise ValueError(f"it holds more than {max_values} values")
    number = _finite if finite else float
    # An integer of 300 digits has ten at every 30th place. Few files need the slower parser.
    has_giants = b"0" * 10 in data[::30].translate(_DIGITS)
    return json.loads(
        data.decode("utf-8", "surrogatepass"),
        object_pairs_hook=_object,
        parse_constant=number,
        parse_float=number,
        parse_int=_integer if has_giants else None,
    )


def from_json(
    path: str | os.PathLike[str], what: str, data: bytes, max_values: int | None = None
) -> Any:
    """Parse the JSON of a file, or raise the `corrupt` error."""
    try:
        return parse_json(data, max_values=max_values)
    except RecursionError:
        raise corrupt(path, what, "it is nested too deeply") from None
    except ValueError as error:  # also UnicodeDecodeError and JSONDecodeError
        raise corrupt(path, what, f"it is not the JSON expected ({error})") from None


def to_json(path: str | os.PathLike[str], value: Any, indent: int | None = 2) -> bytes:
    """Return `value` as JSON for the file at `path`."""
    name = show(Path(path).name)
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent) + "\n"
    except ValueError as error:  # a number that is not finite, or has thousands of digits
        raise InvalidValueError(f"Expected {name} to hold JSON, but got: {error}.") from None
    # Words may have lone surrogates. Two escaped ones in a row would be read as one character.
    data = text.encode("utf-8", "surrogatepass")
    if len(data) > MAX_JSON_BYTES:
        raise InvalidValueError(
            f"Expected {name} to need at most {MAX_JSON_BYTES} bytes, but got {len(data)}."
        )
    if (values := _count_values(data)) > MAX_JSON_VALUES:
        raise InvalidValueError(
            f"Expected {name} to hold at most {MAX_JSON_VALUES} values, but got {values}."
        )
    return data


def _count_values(data: bytes) -> int:
    """Return at least the number of values that JSON holds, keys included."""
    most = sum(map(data.count, _MARKS)) + 1
    if most < 2**16:
        return most
    # Only outside of strings do these marks separate values.
    data = data.replace(rb"\\", b"").replace(rb"\"", b"")
    count, inside = 1, False
    for first in range(0, len(data), _BLOCK):
        block = np.frombuffer(data, np.uint8, min(_BLOCK, len(data) - first), first)
        in_string = np.logical_xor.accumulate(block == ord('"')) ^ inside
        count += int(np.count_nonzero(_IS_MARK[block] & ~in_string))
        inside = bool(in_string[-1])
    return count


def _finite(literal: str) -> float:
    """Parse a number that must be finite."""
    number = float(literal)
    if not math.isfinite(number):
        raise ValueError(f"{show(literal)} is not a finite number")
    return number


def _integer(literal: str) -> int:
    """Parse an integer that a float can be made of."""
    _finite(literal)
    return int(literal)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object, unless it names a key twice."""
    items = dict(pairs)
    if len(items) < len(pairs):
        raise ValueError("an object names a key twice")
    return items

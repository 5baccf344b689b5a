"""Read weights in the safetensors format, without trusting the file."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn._storage import parse_json
from textrnn.errors import show, unlike_keys
from textrnn.runtime.compact import MAX_WEIGHT
from textrnn.runtime.configuration import Layout

__all__ = ["needed_bytes", "parse_weights"]

_TYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I8": np.dtype("i1"),
    "I64": np.dtype("<i8"),
}
_ENTRY = {"dtype", "shape", "data_offsets"}
_MAX_VALUES = 2**20  # of the header
_KEYS = ("keys", "char_keys")  # of n-grams, which are searched


def needed_bytes(layout: Layout) -> int:
    """Return the size of all weights."""
    return sum(np.dtype(kind).itemsize * math.prod(shape) for kind, shape in layout.values())


def parse_weights(data: bytes, layout: Layout) -> dict[str, NDArray[Any]]:
    """Return read-only views of the weights in a file, if they are as their layout has it."""
    try:
        weights = _parse(data)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"it is not in the safetensors format ({error})") from error
    for name, array in weights.items():
        if name not in layout or array.shape != layout[name][1]:
            raise ValueError(f"{show(name)} is not as the configuration has it")
        kind = layout[name][0]
        low, high = float(array.min()), float(array.max())  # NaN if there is one
        if array.dtype != kind or not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"{show(name)} is not made of finite {kind} numbers")
        if array.dtype.kind == "f" and max(-low, high) > MAX_WEIGHT:
            raise ValueError(f"{show(name)} has numbers beyond {MAX_WEIGHT:g}")
    if missing := sorted(layout.keys() - weights.keys()):
        raise ValueError(f"{show(missing[0])} is not as the configuration has it")
    for name, keys in weights.items():
        is_keys = name.rpartition(".")[2] in _KEYS
        if is_keys and (keys[0] < 0 or not (keys[1:] > keys[:-1]).all()):
            raise ValueError(f"{show(name)} do not rise from 0 on")
    return weights


def _parse(data: bytes) -> dict[str, NDArray[Any]]:
    """Return views of the tensors, which fill the file after a header in JSON."""
    # https://huggingface.co/docs/safetensors: the length of the header in eight bytes, the header,
    # and the bytes of all tensors without gaps.
    start = 8 + int.from_bytes(data[:8], "little")
    if start > len(data):
        raise ValueError("the header is longer than the file")
    header = parse_json(data[8:start], max_values=_MAX_VALUES)
    if not isinstance(header, dict):
        raise TypeError(f"the header is {show(header)}")
    header.pop("__metadata__", None)
    arrays, end = {}, start
    for name, entry in sorted(header.items(), key=lambda item: _offsets(item[1])):
        first, last = _offsets(entry)
        kind = _TYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
        shape = entry["shape"]
        if kind is None:
            raise ValueError(f"{show(name)} is of the type {show(entry['dtype'])}")
        if not isinstance(shape, list) or any(type(size) is not int or size < 1 for size in shape):
            raise ValueError(f"{show(name)} is of the shape {show(shape)}")
        count = math.prod(shape)
        size = count * kind.itemsize
        if start + first != end or last - first != size or size > len(data) - end:
            raise ValueError(f"{show(name)} is at the wrong place")
        arrays[name] = np.frombuffer(data, kind, count, end).reshape(shape)
        end = start + last
    if end != len(data):
        raise ValueError("bytes belong to no tensor")
    return arrays


def _offsets(entry: Any) -> tuple[int, int]:
    """Return the first byte of a tensor and the one after its last, if it is described."""
    if not isinstance(entry, dict) or entry.keys() != _ENTRY:
        raise ValueError(f"a tensor {unlike_keys(entry, _ENTRY)}")
    offsets = entry["data_offsets"]
    if not isinstance(offsets, list) or list(map(type, offsets)) != [int, int]:
        raise ValueError(f"a tensor has the offsets {show(offsets)}")
    return offsets[0], offsets[1]

"""Store weights in fewer bytes: as half-precision floats, or as integers of eight bits."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textrnn.errors import InvalidValueError, expected, show
from textrnn.runtime.configuration import Layout

__all__ = ["MAX_WEIGHT", "PRECISIONS", "compact", "compact_layout", "expand"]

PRECISIONS = ("fp32", "fp16", "int8")
"""Number formats of stored weights; "int8" is that of the network's matrices, beside fp16."""

MAX_WEIGHT = 1e9
"""Maximum weight: sums of products of three weights are finite then."""

_SCALE = ".scale"  # ends the name of the scales of a matrix's rows
_LARGEST = 127


def compact_layout(layout: Layout, precision: str) -> Layout:
    """Return the layout of weights stored with a precision."""
    stored: Layout = {}
    for name, (kind, shape) in layout.items():
        if kind != "float32" or precision == "fp32":
            stored[name] = kind, shape
        elif _is_quantized(name, len(shape), precision):
            stored[name] = "int8", shape
            stored[name + _SCALE] = "float32", shape[:1]
        else:
            stored[name] = "float16", shape
    return stored


def compact(weights: Mapping[str, NDArray[Any]], precision: str) -> dict[str, NDArray[Any]]:
    """Return weights as they are stored with a precision."""
    stored: dict[str, NDArray[Any]] = {}
    for name, array in weights.items():
        if array.dtype.kind != "f" or precision == "fp32":
            stored[name] = array
        elif _is_quantized(name, array.ndim, precision):
            scale = np.abs(array).max(axis=1) / np.float32(_LARGEST)  # (rows,)
            divisor = np.where(scale > 0, scale, 1)[:, np.newaxis]
            stored[name] = np.rint(array / divisor).clip(-_LARGEST, _LARGEST).astype(np.int8)
            stored[name + _SCALE] = scale
        else:
            limit = np.finfo(np.float16).max
            if np.abs(array).max() > limit:
                rule = f"'fp32', since {show(name)} has weights beyond {limit}"
                raise InvalidValueError(expected("weights", rule, precision))
            stored[name] = array.astype(np.float16)
    return stored


def expand(stored: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return weights in single precision from those that `compact` made."""
    weights: dict[str, NDArray[Any]] = {}
    for name, array in stored.items():
        if array.dtype == np.int8:
            scale = stored[name + _SCALE]  # (rows,)
            if scale.max() > MAX_WEIGHT / 128:
                raise ValueError(f"{show(name)} has numbers beyond {MAX_WEIGHT:g}")
            weights[name] = array * scale[:, np.newaxis]
        elif array.dtype == np.float16:
            weights[name] = array.astype(np.float32)
        elif not name.endswith(_SCALE):
            weights[name] = array
    return weights


def _is_quantized(name: str, dimensions: int, precision: str) -> bool:
    """Tell whether a weight is stored as int8: the network's matrices, but not n-grams."""
    # Rounded to eight bits, n-grams cost ten times as much accuracy as the whole network.
    is_linear = name.removeprefix("ngrams.") in {"weight", "char_weight"}
    return precision == "int8" and dimensions == 2 and not is_linear

"""Positions of texts in a data set, checked and counted from the beginning."""

import operator
from collections.abc import Sequence
from typing import SupportsIndex, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textrnn.errors import InvalidTypeError, expected

__all__ = ["Positions", "read_position", "read_positions"]

Positions: TypeAlias = Sequence[int] | NDArray[np.integer] | Tensor
"""Numbers of texts in a data set."""


def read_position(index: SupportsIndex, texts: int) -> int:
    """Return the position of one text, from 0.

    Args:
        index: The position; a negative one counts from the end.
        texts: How many texts there are.

    Raises:
        InvalidTypeError: If `index` is not an integer.
        IndexError: If there is no such text.

    Example:
        >>> read_position(-1, 10)
        9
    """
    try:
        position = operator.index(index)
    except TypeError:
        position = None
    if position is None or isinstance(index, bool):
        raise InvalidTypeError(expected("index", "an integer", index))
    if not -texts <= position < texts:
        raise _no_such_text(position, texts)
    return position % texts


def read_positions(indices: Positions, texts: int) -> Tensor:
    """Return the positions of texts, from 0, int64 of shape `(indices,)`.

    Args:
        indices: The positions; negative ones count from the end.
        texts: How many texts there are.

    Raises:
        InvalidTypeError: If the positions are not integers.
        IndexError: If one of the texts doesn't exist.

    Example:
        >>> read_positions([0, -1], 10)
        tensor([0, 9])
    """
    try:
        positions = np.asarray(indices)  # for short lists faster than torch's
    except (TypeError, ValueError):
        positions = np.empty(())
    if positions.ndim == 1 and not len(positions):
        return torch.empty(0, dtype=torch.int64)
    if positions.ndim != 1 or positions.dtype.kind not in "iu":
        raise InvalidTypeError(expected("indices", "a sequence of integers", indices))
    low, high = int(positions.min()), int(positions.max())
    if low < -texts or high >= texts:
        raise _no_such_text(low if low < -texts else high, texts)
    positions = positions.astype(np.int64)
    return torch.from_numpy(positions if low >= 0 else positions % texts)


def _no_such_text(position: int, texts: int) -> IndexError:
    # Python's own class is what ends a loop over a sequence.
    return IndexError(expected("index", f"that of one of the {texts} texts", position))

"""Batches of encoded texts, which bound the memory of predictions."""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["batches_by_length", "consecutive"]

_Integers: TypeAlias = NDArray[np.int64]


def consecutive(lengths: _Integers, *, max_ids: int) -> Iterator[tuple[slice, slice]]:
    """Yield slices of texts, and of their ids, at most so many unless a text alone has more."""
    ends = lengths.cumsum()  # (texts,)
    first = start = 0
    while first < len(lengths):
        last = max(int(ends.searchsorted(start + max_ids, "right")), first + 1)
        end = int(ends[last - 1])
        yield slice(first, last), slice(start, end)
        first, start = last, end


def batches_by_length(lengths: _Integers, *, max_ids: int, max_texts: int) -> Iterator[_Integers]:
    """Yield the positions of texts batch by batch, the longest first; padding counts as ids."""
    order = np.argsort(-lengths, kind="stable")
    first = 0
    while first < len(order):
        texts = max_ids // int(lengths[order[first]])
        rows = order[first : first + min(max(texts, 1), max_texts)]
        yield rows
        first += len(rows)

"""Threads of PyTorch: fewer of them for a while, or batches that are computed side by side."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock, local
from typing import TypeVar

import torch

__all__ = ["limited_threads", "side_by_side"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class _ThreadLimit:
    """Limit the threads of PyTorch; the number before the first of several limits comes back."""

    # The number belongs to the calling thread, but a new thread begins with the last one set.

    def __init__(self) -> None:
        self._lock = Lock()
        self._limits = 0  # in force, in any thread
        self._before = 0
        self._own = local()  # the limit in force in this thread

    @contextmanager
    def __call__(self, count: int | None) -> Iterator[None]:
        """Use at most `count` threads in the calling thread; None sets no limit."""
        with self._lock:
            if not self._limits:
                self._before = torch.get_num_threads()
            self._limits += 1
        outer: int | None = getattr(self._own, "limit", None)
        limit = outer or self._before
        self._own.limit = min(count or limit, limit)
        try:
            torch.set_num_threads(self._own.limit)
            yield
        finally:
            self._own.limit = outer
            with self._lock:
                self._limits -= 1
                torch.set_num_threads(limit)


limited_threads = _ThreadLimit()
"""Limit the threads of PyTorch in a `with` statement."""


def side_by_side(
    work: Callable[[_Item], _Result], items: Iterable[_Item], count: int
) -> Iterator[_Result]:
    """Yield the results of items in order, computed by `count` threads of one core each.

    So threads wait for each other at the end alone, and not in each operation.
    """
    if count == 1:
        yield from map(work, items)
        return
    with limited_threads(1), ThreadPoolExecutor(count) as pool:
        yield from pool.map(work, items)

"""Run worker processes in order, and block Ctrl-C while processes start."""

import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from textrnn.errors import InvalidTypeError, expected

__all__ = ["check_picklable", "map_in_order", "sheltered_from_ctrl_c"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

# Items in flight per worker: enough to keep it busy, few enough to bound the memory.
_AHEAD = 3
_function: Callable[[Any], Any]  # of this worker process


def check_picklable(name: str, value: object) -> None:
    """Raise an `InvalidTypeError` if an argument can't be sent to another process."""
    try:
        pickle.dumps(value)
    except (pickle.PicklingError, AttributeError, TypeError):
        rule = "picklable for worker processes, such as a function of a module"
        raise InvalidTypeError(expected(name, rule, value)) from None


def map_in_order(
    make: Callable[[], Callable[[_Item], _Result]],
    items: Iterable[_Item],
    *,
    num_workers: int,
) -> Generator[_Result, None, None]:
    """Apply the function that `make` builds in each worker to items, in order."""
    # Closing the generator ends the workers, which ignore Ctrl-C.
    if not num_workers:
        yield from map(make(), items)
        return
    pool = ProcessPoolExecutor(num_workers, initializer=_begin, initargs=(make,))
    try:
        waiting: deque[Future[_Result]] = deque()
        for item in items:
            with sheltered_from_ctrl_c():
                waiting.append(pool.submit(_apply, item))
            if len(waiting) > _AHEAD * num_workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(make: Callable[[], Callable[[Any], Any]]) -> None:
    """Set up a worker process."""
    global _function  # noqa: PLW0603 - a worker process keeps one function for life
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for Windows
    _function = make()


def _apply(item: Any) -> Any:
    """Apply the function of this worker process."""
    return _function(item)


@contextmanager
def sheltered_from_ctrl_c() -> Iterator[None]:
    """Block SIGINT, so that processes started meanwhile inherit the block."""
    main = threading.current_thread() is threading.main_thread()
    if not main or not hasattr(signal, "pthread_sigmask"):  # Windows lacks it
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

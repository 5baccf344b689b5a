"""One function over many items, in several processes where asked, the results in order."""

import pickle
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, TypeVar

from textrnn._signals import sheltered_from_ctrl_c
from textrnn.errors import InvalidTypeError, expected

__all__ = ["check_picklable", "map_in_order"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

# Per worker: enough that none waits for the next item, few enough to bound the memory.
_AHEAD = 3
_function: Callable[[Any], Any]  # of a worker process


def check_picklable(name: str, value: object) -> None:
    """Raise an `InvalidTypeError` if something can't be sent to another process."""
    try:
        pickle.dumps(value)
    except (pickle.PicklingError, AttributeError, TypeError):
        rule = "picklable where there are workers, as a function of a module is"
        raise InvalidTypeError(expected(name, rule, value)) from None


def map_in_order(
    make: Callable[[], Callable[[_Item], _Result]],
    items: Iterable[_Item],
    *,
    num_workers: int,
) -> Generator[_Result, None, None]:
    """Apply a function to items, never holding more than a few of them.

    Close the iterator where it may not have come to its end: that ends the workers, which don't
    hear a Ctrl-C themselves.

    Args:
        make: Makes the function, in each process anew.
        items: The items, read in this process.
        num_workers: How many processes; 0 does the work in this one.

    Returns:
        An iterator over the results, in the order of the items whatever the number of workers.

    Example:
        >>> import operator
        >>> list(map_in_order(lambda: operator.itemgetter(0), ["oil", "gas"], num_workers=0))
        ['o', 'g']
    """
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
    global _function  # noqa: PLW0603 - a worker process has one function, and that for life
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for Windows
    _function = make()


def _apply(item: Any) -> Any:
    return _function(item)

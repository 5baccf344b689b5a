"""Worker processes: ordered results, bounded memory, and a clean end."""

import functools
import multiprocessing
import os
import signal
from itertools import count, islice

import pytest

from textrnn._processes import check_picklable, map_in_order, sheltered_from_ctrl_c
from textrnn.errors import InvalidTypeError


def double(item):
    """Return twice the item, or raise for 13."""
    if item == 13:
        raise ValueError("13 is not doubled")
    return 2 * item


def make_double(offset=0):
    """Build the function, as each process does."""
    return lambda item: double(item) + offset


def make_process_id():
    """Build a function that returns the id of its process."""
    return lambda _: os.getpid()


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_results_keep_the_order_of_the_items(num_workers):
    """Results equal those of `map`, whichever worker finishes first."""
    make = functools.partial(make_double, 1)
    results = map_in_order(make, iter(range(0, 200, 2)), num_workers=num_workers)
    assert list(results) == [2 * item + 1 for item in range(0, 200, 2)]


def test_workers_are_other_processes():
    """Without workers the function runs in this process, otherwise in others."""
    assert list(map_in_order(make_process_id, [1], num_workers=0)) == [os.getpid()]
    assert os.getpid() not in list(map_in_order(make_process_id, range(9), num_workers=2))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_few_items_are_in_memory(num_workers):
    """An endless iterator is read only as far as needed, and closing ends the workers."""
    read = []
    items = (read.append(item) or item for item in count())
    results = map_in_order(make_double, items, num_workers=num_workers)
    assert list(islice(results, 5)) == [0, 2, 4, 6, 8]
    assert len(read) <= 5 + 1 + 3 * num_workers
    results.close()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_errors_of_the_function_are_raised(num_workers):
    """An error in a worker is raised here after the results before it, and no process remains."""
    results = map_in_order(make_double, range(100), num_workers=num_workers)
    assert [next(results) for _ in range(13)] == list(range(0, 26, 2))
    with pytest.raises(ValueError, match="13 is not doubled"):
        next(results)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_errors_of_the_items_are_raised(num_workers):
    """An error while reading the items ends the workers."""
    results = map_in_order(make_double, (1 // n for n in (1, 0)), num_workers=num_workers)
    with pytest.raises(ZeroDivisionError):
        list(results)
    assert not multiprocessing.active_children()


def test_unpicklable_arguments_are_refused():
    """A function of a module can be pickled, a lambda can't."""
    check_picklable("tokenizer", double)
    with pytest.raises(InvalidTypeError, match=r"`tokenizer` to be picklable .*, but got <f"):
        check_picklable("tokenizer", lambda text: text)


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="Windows has no signal masks")
def test_ctrl_c_is_blocked_only_inside_the_shelter():
    """SIGINT is blocked inside and as before afterwards, also after an error."""

    def blocked():
        return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())

    def fail_inside():
        with sheltered_from_ctrl_c():
            assert blocked()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_inside()
    assert not blocked()

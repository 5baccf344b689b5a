"""One function over many items in several processes: in order, bounded, ended in order."""

import functools
import multiprocessing
import os
from itertools import count, islice

import pytest

from textrnn.errors import InvalidTypeError
from textrnn.text._parallel import check_picklable, map_in_order


def double(item):
    """Return twice the item; refuse 13."""
    if item == 13:
        raise ValueError("13 is not doubled")
    return 2 * item


def make_double(offset=0):
    """Make the function, as each process does."""
    return lambda item: double(item) + offset


def make_process_id():
    """Make a function that tells in which process it runs."""
    return lambda _: os.getpid()


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_results_come_in_the_order_of_the_items(num_workers):
    """Whoever is done first, the results are those of `map`."""
    make = functools.partial(make_double, 1)
    results = map_in_order(make, iter(range(0, 200, 2)), num_workers=num_workers)
    assert list(results) == [2 * item + 1 for item in range(0, 200, 2)]


def test_workers_are_other_processes():
    """Without workers the work is done here, with them elsewhere."""
    assert list(map_in_order(make_process_id, [1], num_workers=0)) == [os.getpid()]
    assert os.getpid() not in list(map_in_order(make_process_id, range(9), num_workers=2))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_few_items_are_held(num_workers):
    """An endless iterator is read only so far as results are taken; closing ends the workers."""
    read = []
    items = (read.append(item) or item for item in count())
    results = map_in_order(make_double, items, num_workers=num_workers)
    assert list(islice(results, 5)) == [0, 2, 4, 6, 8]
    assert len(read) <= 5 + 1 + 3 * num_workers
    results.close()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_error_ends_it_all(num_workers):
    """What a worker raises comes out here, at its place, and no process is left."""
    results = map_in_order(make_double, range(100), num_workers=num_workers)
    assert [next(results) for _ in range(13)] == list(range(0, 26, 2))
    with pytest.raises(ValueError, match="13 is not doubled"):
        next(results)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_error_of_the_items_comes_out(num_workers):
    """Reading the items may fail, which ends the workers too."""
    results = map_in_order(make_double, (1 // n for n in (1, 0)), num_workers=num_workers)
    with pytest.raises(ZeroDivisionError):
        list(results)
    assert not multiprocessing.active_children()


def test_what_can_not_be_sent_is_named():
    """A function of a module can be sent, one without a name can't."""
    check_picklable("tokenizer", double)
    with pytest.raises(InvalidTypeError, match=r"`tokenizer` to be picklable .*, but got <f"):
        check_picklable("tokenizer", lambda text: text)

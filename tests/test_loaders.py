"""The feed: each batch of an epoch once, from any place in it."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, Subset

from tests import toys
from textrnn import Batch, BucketBatchSampler, PaddingCollator, WordDataset
from textrnn.errors import InvalidTypeError, InvalidValueError, TrainingError
from textrnn.training.loaders import Feed, check_batch, iterate, required_labels

DATA = toys.make_dataset(10)
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


class CountingCollator(PaddingCollator):
    """Counts the batches that it makes."""

    made = 0

    def __call__(self, items: Any) -> Batch:
        """Make a batch."""
        self.made += 1
        return super().__call__(items)


def indices(feed: Feed, count: int = 1) -> list[list[int]]:
    """Take all that is left and return the texts' indices."""
    taken = []
    while not feed.exhausted():
        taken += [batch.indices.tolist() for batch in feed.take(count)]  # type: ignore[union-attr] # they have some
    return taken


def test_batches_come_in_groups_the_last_of_which_may_be_short():
    """The feed knows the last group before it is taken again."""
    batches = toys.make_batches((1, 2, 3, 4, 5))
    feed = Feed(batches, epoch=0)
    sizes = []
    while not feed.exhausted():
        sizes.append([len(batch) for batch in feed.take(2)])
    assert sizes == [[1, 2], [3, 4], [5]]
    assert feed.take(2) == []


def test_one_batch_is_read_ahead():
    """It is the next one, and None at the end."""
    batches = toys.make_batches((1, 2))
    feed = Feed(batches, epoch=0)
    assert feed.ahead is batches[0]
    feed.take(1)
    assert feed.ahead is batches[1]
    feed.take(1)
    assert feed.ahead is None


@pytest.mark.parametrize("consumed", range(3))
@pytest.mark.parametrize("epoch", range(2))
@pytest.mark.parametrize("kind", ["buckets", "list", "subset"])
def test_a_feed_goes_on_where_another_was(consumed, epoch, kind):
    """From any place it gives what was left."""
    data = Subset(DATA, list(range(9, 0, -1))) if kind == "subset" else DATA
    loader = toys.make_batches((3, 2, 4)) if kind == "list" else toys.bucketed(data, 4)
    whole = indices(Feed(loader, epoch=epoch))
    assert indices(Feed(loader, epoch=epoch, consumed=consumed)) == whole[consumed:]


def test_consumed_batches_of_buckets_are_not_even_fetched():
    """Where batches don't depend on those before, resuming costs nothing."""
    fetched: list[int] = []

    class Counted(WordDataset):
        pass

    def counting(self: WordDataset, positions: Any) -> Any:
        fetched.append(len(positions))
        return original(self, positions)

    original = WordDataset.__getitems__
    WordDataset.__getitems__ = counting  # type: ignore[method-assign] # put back below
    try:
        Feed(toys.bucketed(DATA, 4), epoch=0, consumed=2)
        assert len(fetched) == 1
        fetched.clear()
        # A collator of another kind may draw random numbers for each batch that it makes.
        collate = CountingCollator()
        Feed(toys.bucketed(DATA, 4, collate_fn=collate), epoch=0, consumed=2)
        assert len(fetched) == collate.made == 3
        fetched.clear()
        part = DATA.select(range(8))
        part.__class__ = Counted  # nor is another kind of data set left out
        Feed(toys.bucketed(part, 4), epoch=0, consumed=1)
        assert len(fetched) == 2
    finally:
        WordDataset.__getitems__ = original  # type: ignore[method-assign]


def test_a_batch_that_was_read_ahead_is_taken_back():
    """The loader's own one is dropped for it."""
    batches, other = toys.make_batches((1, 2, 3)), toys.make_batches((4,))[0]
    feed = Feed(batches, epoch=0, consumed=1, ahead=other)
    assert [len(batch) for batch in feed.take(9)] == [4, 3]


def test_a_loader_that_is_too_short_is_another_loader():
    """A run can't go on where the loader has already ended."""
    for consumed in (2, 3):
        with pytest.raises(TrainingError, match=f"The loader ends at batch {consumed} or before"):
            Feed(toys.make_batches((1, 2)), epoch=0, consumed=consumed)


class Epochs:
    """Anything that wants to know the epoch."""

    def __init__(self) -> None:
        self.epochs: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        """Note it."""
        self.epochs.append(epoch)


class EpochData(Epochs, Dataset[Any]):
    """A data set that wants to know."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        return DATA[index]


class EpochSampler(Epochs, RandomSampler):
    """A sampler that wants to know."""

    def __init__(self, data: Any) -> None:
        Epochs.__init__(self)
        RandomSampler.__init__(self, data)


class EpochLoader(Epochs):
    """A loader of one's own that wants to know."""

    def __iter__(self) -> Iterator[Batch]:
        return iter(toys.make_batches((1,)))


def test_whoever_wants_to_know_the_epoch_is_told():
    """The loader, its data set, its sampler, the sampler of its batches: each once."""
    own = EpochLoader()
    Feed(own, epoch=4)
    assert own.epochs == [4]
    data = EpochData()
    sampler = EpochSampler(data)
    batches = BatchSampler(sampler, 2, drop_last=False)
    Feed(DataLoader(data, batch_sampler=batches, collate_fn=PaddingCollator()), epoch=5)
    assert sampler.epochs == [5]
    sampler = EpochSampler(data)
    Feed(DataLoader(data, 2, sampler=sampler, collate_fn=PaddingCollator()), epoch=6)
    assert sampler.epochs == [6]
    assert data.epochs == [5, 6]
    buckets = toys.bucketed(DATA)
    Feed(buckets, epoch=7)
    assert isinstance(buckets.batch_sampler, BucketBatchSampler)
    assert buckets.batch_sampler.epoch == 7


@pytest.mark.parametrize("given", [3, None, {"input_ids": 1}])
def test_what_is_no_batch_is_refused(given):
    """The message says how a DataLoader gives batches."""
    message = "Expected the loader to give `Batch` objects, but got .*collate_fn=PaddingCollator"
    with pytest.raises(InvalidTypeError, match=message):
        check_batch(given)
    with pytest.raises(InvalidTypeError, match=message):
        Feed([given], epoch=0)


def test_what_can_not_be_iterated_is_refused():
    """A number is no loader."""
    with pytest.raises(InvalidTypeError, match="`loader` to be an iterable of batches, but got 3"):
        iterate(3)  # type: ignore[arg-type] # that is the point


def test_labels_can_be_required():
    """A batch without labels says so."""
    (batch,) = toys.make_batches((2,))
    assert required_labels(batch) is batch.labels
    with pytest.raises(InvalidValueError, match="Expected the batches to have labels, but they"):
        required_labels(Batch(batch.input_ids, batch.lengths))


class MaskedCollator(PaddingCollator):
    """Tells through the labels whether Ctrl-C reaches the process."""

    def __call__(self, items: Any) -> Batch:
        """Make a batch."""
        masked = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
        batch = super().__call__(items)
        return Batch(batch.input_ids, batch.lengths, torch.full((len(batch),), int(masked)))


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="there are no signal masks")
def test_workers_are_not_reached_by_ctrl_c():
    """A Ctrl-C goes to all processes of a terminal; workers have to live through it."""
    for num_workers, masked in ((0, 0), (1, 1)):
        loader = toys.bucketed(DATA, collate_fn=MaskedCollator(), num_workers=num_workers)
        assert next(iterate(loader)).labels[0] == masked
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_workers_that_stay_cost_as_many_random_numbers():
    """Whether workers live for an epoch or for all, the order of the texts is the same."""
    orders = []
    for settings in ({}, {"num_workers": 1}, {"num_workers": 1, "persistent_workers": True}):
        torch.manual_seed(3)
        loader = toys.shuffled(DATA, 4, **settings)
        orders.append([indices(Feed(loader, epoch=epoch)) for epoch in range(3)])
    assert orders[0] == orders[1] == orders[2]
    assert orders[0][0] != orders[0][1]

"""Bucketed batches: each text once, similar lengths together, a reproducible order."""

from collections import Counter
from itertools import chain, pairwise
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pyarrow.parquet import read_table
from torch.utils.data import Dataset, Subset

from textrnn.data import sampler as sampler_module
from textrnn.data.sampler import BucketBatchSampler
from textrnn.errors import InvalidTypeError, InvalidValueError

LENGTHS = st.lists(st.integers(0, 40), max_size=60)
SIZES = st.integers(1, 9)
SMALL_POOLS = mock.patch.object(sampler_module, "_POOL_BATCHES", 2)


class Texts(Dataset):
    """A data set with nothing but the lengths of its texts."""

    def __init__(self, lengths) -> None:
        self.lengths = torch.tensor(lengths)


def padding(batches, lengths):
    """Return the size of all padded batches divided by the number of ids."""
    batches = [lengths[batch] for batch in batches]
    return sum(b.max() * len(b) for b in batches) / sum(b.sum() for b in batches)


@SMALL_POOLS
@given(LENGTHS, SIZES, st.booleans(), st.integers(0, 5), st.integers(0, 3))
def test_every_epoch_holds_each_text_once(lengths, batch_size, shuffle, seed, epoch):
    """No text is missing or repeated, all batches but the last are full, and `len` is exact."""
    sampler = BucketBatchSampler(lengths, batch_size, shuffle=shuffle, seed=seed)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert all(isinstance(i, int) for batch in batches for i in batch)
    assert len(batches) == len(sampler) == -(-len(lengths) // batch_size)


@SMALL_POOLS
@given(LENGTHS, SIZES, st.booleans(), st.integers(0, 3))
def test_dropping_the_last_batch_drops_only_the_short_one(lengths, batch_size, shuffle, epoch):
    """All batches are full, and fewer texts than a batch are missing."""
    sampler = BucketBatchSampler(lengths, batch_size, shuffle=shuffle, drop_last=True)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert [len(batch) for batch in batches] == [batch_size] * (len(lengths) // batch_size)
    assert len({i for batch in batches for i in batch}) == len(batches) * batch_size
    assert len(batches) == len(sampler)


def test_each_epoch_drops_different_texts():
    """Dropped texts are drawn at random, long ones as often as short ones."""
    lengths = np.arange(10)
    sampler = BucketBatchSampler(lengths, 4, drop_last=True)
    dropped = Counter()
    for epoch in range(500):
        sampler.set_epoch(epoch)
        dropped.update(set(range(10)) - {i for batch in sampler for i in batch})
    # Each text is expected 100 times, with a standard deviation of 9.
    assert all(60 < dropped[i] < 140 for i in range(10))


def test_the_short_batch_has_texts_of_any_length():
    """Over many epochs, every text is once in the short last batch."""
    sampler = BucketBatchSampler(np.arange(22), 4)
    short = set()
    for epoch in range(100):
        sampler.set_epoch(epoch)
        short.update(list(sampler)[-1])
    assert short == set(range(22))


@given(LENGTHS, SIZES, st.integers(0, 5), st.integers(0, 5))
def test_the_order_depends_only_on_seed_and_epoch(lengths, batch_size, seed, epoch):
    """Earlier iterations and global generators have no effect."""
    first = BucketBatchSampler(lengths, batch_size, seed=seed)
    first.set_epoch(epoch)
    expected = list(first)
    second = BucketBatchSampler(np.array(lengths, dtype=np.int32), batch_size, seed=seed)
    list(second)
    torch.manual_seed(9)
    second.set_epoch(epoch)
    assert list(second) == expected
    assert list(second) == expected


def test_global_generators_are_not_used():
    """Drawing an order neither reads nor seeds torch's generator."""
    before = torch.get_rng_state()
    list(BucketBatchSampler(range(100), 7))
    assert torch.equal(torch.get_rng_state(), before)


def test_epochs_and_seeds_have_different_orders():
    """Another epoch or another seed gives other batches in another order."""
    orders = set()
    for seed, epoch in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        sampler = BucketBatchSampler([5] * 100, 10, seed=seed)
        sampler.set_epoch(epoch)
        orders.add(str(list(sampler)))
    assert len(orders) == 4


def test_a_started_epoch_is_not_changed_by_the_next():
    """An iterator keeps the epoch in which it was made, as prefetching loaders need."""
    sampler = BucketBatchSampler(range(50), 4)
    expected = list(sampler)
    iterator = iter(sampler)
    sampler.set_epoch(1)
    assert list(iterator) == expected


@given(LENGTHS, SIZES, st.data())
def test_an_epoch_can_start_at_any_batch(lengths, batch_size, data):
    """Batches from `start_batch` on are the same, until the next `set_epoch`."""
    sampler = BucketBatchSampler(lengths, batch_size)
    sampler.set_epoch(2)
    whole = list(sampler)
    start = data.draw(st.integers(0, len(whole)))
    sampler.set_epoch(2, start_batch=start)
    assert list(sampler) == whole[start:]
    assert len(sampler) == len(whole)
    sampler.set_epoch(2)
    assert list(sampler) == whole


def test_without_shuffling_batches_go_from_the_longest_to_the_shortest():
    """The order is by descending length, and stable, in every epoch."""
    sampler = BucketBatchSampler([3, 9, 3, 8, 1], 2, shuffle=False)
    sampler.set_epoch(7)
    assert list(sampler) == [[1, 3], [0, 2], [4]]


@given(LENGTHS, SIZES)
def test_without_shuffling_the_lengths_of_batches_do_not_overlap(lengths, batch_size):
    """No text is shorter than the longest text of the next batch."""
    batches = list(BucketBatchSampler(lengths, batch_size, shuffle=False))
    bounds = [(lengths[batch[-1]], lengths[batch[0]]) for batch in batches]
    assert all(shortest >= longest for (shortest, _), (_, longest) in pairwise(bounds))


def test_shuffled_batches_hold_little_padding():
    """With such lengths, random batches are four times as large, these at most a tenth larger."""
    generator = np.random.default_rng(0)
    lengths = np.exp(generator.normal(3.5, 0.7, 64 * 500)).astype(int) + 2
    assert padding(generator.permutation(len(lengths)).reshape(-1, 64), lengths) > 4
    assert padding(BucketBatchSampler(lengths, 64), lengths) < 1.1


def test_batches_of_ag_news_have_less_than_five_percent_padding(data_dir):
    """Random batches of 128 news are more than twice as large as their texts."""
    texts = read_table(data_dir / "ag_news" / "train.parquet")["text"].to_pylist()
    lengths = np.array([len(text.split()) + 2 for text in texts])
    assert padding(np.arange(len(lengths) // 128 * 128).reshape(-1, 128), lengths) > 2
    sampler = BucketBatchSampler(lengths, 128)
    for epoch in range(3):
        sampler.set_epoch(epoch)
        assert padding(sampler, lengths) < 1.05


def test_the_last_pool_includes_the_remainder():
    """A few remaining texts don't make a small, badly sorted pool."""
    lengths = np.random.default_rng(0).permutation(1020)
    batches = [lengths[batch] for batch in BucketBatchSampler(lengths, 10)]
    assert max(np.ptp(batch) for batch in batches) < 20


def test_short_and_long_batches_come_in_random_order():
    """The lengths of consecutive batches are not correlated."""
    lengths = np.random.default_rng(0).integers(1, 500, 30_000)
    means = np.array([lengths[b].mean() for b in BucketBatchSampler(lengths, 30)])
    assert abs(np.corrcoef(means[1:], means[:-1])[0, 1]) < 0.1


@SMALL_POOLS
def test_pools_mix_all_texts():
    """Over many epochs, a text is in a batch with every other text of its length."""
    sampler = BucketBatchSampler([5] * 40, 4)
    met = set()
    for epoch in range(60):
        sampler.set_epoch(epoch)
        met.update(next(set(batch) for batch in sampler if 0 in batch))
    assert met == set(range(40))


@SMALL_POOLS
@given(
    st.lists(st.integers(0, 40), min_size=8, max_size=60),
    st.integers(1, 5),
    st.integers(1, 8),
    st.fixed_dictionaries({"shuffle": st.booleans(), "drop_last": st.booleans()}),
    st.integers(0, 3),
)
def test_each_batch_is_divided_among_the_ranks(lengths, batch_size, world_size, options, epoch):
    """Each text goes to one rank; together they have the batches of one process."""

    def epoch_of(size, **shard):
        sampler = BucketBatchSampler(lengths, size, seed=1, **options, **shard)
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(sampler) == len(batches)
        return batches

    ranks = [epoch_of(batch_size, rank=r, world_size=world_size) for r in range(world_size)]
    one = epoch_of(batch_size * world_size)
    together = [[i for part in parts for i in part] for parts in zip(*ranks, strict=True)]
    assert sorted(chain(*together)) == sorted(chain(*one))
    assert all(part for rank in ranks for part in rank)
    for parts in zip(*ranks, strict=True):
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 1
    same = len(one) - 2 if one and len(one[-1]) < world_size else len(one)
    assert together[:same] == one[:same]
    if batch_size > 1:
        assert len(together) == len(one)
        assert max((len(part) for rank in ranks for part in rank), default=0) <= batch_size


def test_a_last_batch_with_fewer_texts_than_ranks_borrows():
    """Each rank gets one text in the last batch; missing ones come from the batch before."""
    ranks = [
        list(BucketBatchSampler(range(9), 2, shuffle=False, rank=r, world_size=4)) for r in range(4)
    ]
    assert ranks == [[[8], [3]], [[7], [2]], [[6], [1]], [[5, 4], [0]]]


def test_a_last_batch_that_can_not_borrow_is_merged_with_the_one_before():
    """With one text per rank and batch, some rank gets two in the last batch."""
    ranks = [
        list(BucketBatchSampler(range(4), 1, shuffle=False, rank=r, world_size=3)) for r in range(3)
    ]
    assert ranks == [[[3]], [[2]], [[1, 0]]]


def test_more_ranks_than_texts_are_refused():
    """A rank would have no batch; `drop_last` leaves no batches at all."""
    sampler = BucketBatchSampler([4, 4], 8, rank=0, world_size=3)
    with pytest.raises(InvalidValueError, match="one text for each of the 3 processes, but got 2"):
        len(sampler)
    assert list(BucketBatchSampler([4, 4], 8, drop_last=True, rank=0, world_size=3)) == []


def test_ranks_come_from_torch_distributed(monkeypatch):
    """By default, batches are divided as soon as there is a process group."""
    sampler = BucketBatchSampler(range(11), 3, seed=4)
    alone = list(sampler)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    parts = []
    for rank in range(2):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        parts.append(list(sampler))
        assert len(sampler) == len(parts[rank])
    assert [a + b for a, b in zip(*parts, strict=True)] == list(
        BucketBatchSampler(range(11), 6, seed=4, rank=0, world_size=1)
    )
    assert alone == list(BucketBatchSampler(range(11), 3, seed=4, rank=0, world_size=1))


def test_a_subset_is_sampled_by_its_own_positions():
    """The lengths of a subset, and of a subset of it, come from the data set."""
    texts = Texts([5, 1, 9, 3, 7])
    subset = Subset(texts, [0, 2, 4])
    assert list(BucketBatchSampler(subset, 2, shuffle=False)) == [[1, 2], [0]]
    nested = Subset(subset, torch.tensor([2, 0]))
    assert list(BucketBatchSampler(nested, 2, shuffle=False)) == [[0, 1]]
    assert list(BucketBatchSampler(Subset(texts, range(1, 3)), 1, shuffle=False)) == [[1], [0]]


@pytest.mark.parametrize(
    "lengths", [[2, 5], (2, 5), torch.tensor([2, 5]), np.array([2, 5], np.uint8), Texts([2, 5])]
)
def test_lengths_may_be_of_any_type(lengths):
    """Sequences, tensors, arrays and data sets with lengths are accepted."""
    assert list(BucketBatchSampler(lengths, 2, shuffle=False)) == [[1, 0]]


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"batch_size": 0}, InvalidValueError, "`batch_size` to be a positive integer, but got 0"),
        ({"batch_size": "8"}, InvalidTypeError, "`batch_size` .* but got '8'"),
        ({"seed": -1}, InvalidValueError, "`seed` to be a non-negative integer, but got -1"),
        ({"rank": 0}, InvalidValueError, "`rank` and `world_size` .* together, but got 0 and None"),
        ({"world_size": 2}, InvalidValueError, "given together, but got None and 2"),
        ({"rank": 2, "world_size": 2}, InvalidValueError, "`rank` to be below 2, but got 2"),
        ({"rank": -1, "world_size": 2}, InvalidValueError, "`rank` .* but got -1"),
        ({"rank": 0, "world_size": 0}, InvalidValueError, "`world_size` .* but got 0"),
        (
            {"dataset_or_lengths": [3, -1]},
            InvalidValueError,
            "`lengths` to be non-negative, but got -1",
        ),
        ({"dataset_or_lengths": [0.5]}, InvalidTypeError, r"lengths, but got \[0.5\]"),
        ({"dataset_or_lengths": [True]}, InvalidTypeError, r"lengths, but got \[True\]"),
        ({"dataset_or_lengths": ["a"]}, InvalidTypeError, r"lengths, but got \['a'\]"),
        ({"dataset_or_lengths": [[1], [2, 3]]}, InvalidTypeError, "a sequence of lengths, but got"),
        ({"dataset_or_lengths": 5}, InvalidTypeError, "`dataset_or_lengths` .* but got 5"),
        ({"dataset_or_lengths": None}, InvalidTypeError, "lengths, but got None"),
        ({"dataset_or_lengths": Dataset()}, InvalidTypeError, "a WordDataset, a Subset of one"),
    ],
)
def test_invalid_arguments_are_refused(arguments, kind, message):
    """The sampler checks its arguments at once."""
    with pytest.raises(kind, match=message):
        BucketBatchSampler(**({"dataset_or_lengths": [1, 2], "batch_size": 2} | arguments))


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((-1,), InvalidValueError, "`epoch` to be a non-negative integer, but got -1"),
        ((0.5,), InvalidTypeError, "`epoch` .* but got 0.5"),
        ((0, -1), InvalidValueError, "`start_batch` .* but got -1"),
        ((0, 4), InvalidValueError, r"at most the number of batches \(3\), but got 4"),
    ],
)
def test_an_invalid_epoch_is_refused_and_changes_nothing(arguments, kind, message):
    """The sampler is as before after the error."""
    sampler = BucketBatchSampler([1] * 5, 2)
    sampler.set_epoch(2, 1)
    with pytest.raises(kind, match=message):
        sampler.set_epoch(*arguments)
    assert sampler.epoch == 2
    assert len(list(sampler)) == 2

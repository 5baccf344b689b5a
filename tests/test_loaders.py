"""Loaders: the batches of an epoch from any position, their labels, and invalid loaders."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Subset,
    TensorDataset,
)

from tests import toys
from textrnn import Batch, BucketBatchSampler, PaddingCollator, WordDataset
from textrnn.errors import InvalidTypeError, InvalidValueError, TrainingError
from textrnn.training.loaders import (
    EpochBatches,
    check_batch,
    check_labels,
    check_loader,
    count_steps,
    iterate,
    labels_of,
    required_labels,
    subset_positions,
    to_device,
)

DATA = toys.make_dataset(10)
PART = Subset(Subset(DATA, [8, 6, 4, 2, 0]), [3, 1, 1])
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


class CountingCollator(PaddingCollator):
    """A collator that counts its batches."""

    made = 0

    def __call__(self, items: Any) -> Batch:
        """Make a batch."""
        self.made += 1
        return super().__call__(items)


def indices(batches: EpochBatches, count: int = 1) -> list[list[int]]:
    """Take all remaining batches and return the indices of their texts."""
    taken = []
    while not batches.exhausted():
        taken += [batch.indices.tolist() for batch in batches.take(count)]  # type: ignore[union-attr] # they have some
    return taken


def test_batches_are_taken_in_groups():
    """The last group may be short, and the end is known once it is taken."""
    batches = EpochBatches(toys.make_batches((1, 2, 3, 4, 5)), epoch=0)
    sizes = []
    while not batches.exhausted():
        sizes.append([len(batch) for batch in batches.take(2)])
    assert sizes == [[1, 2], [3, 4], [5]]
    assert batches.take(2) == []


def test_one_batch_is_prefetched():
    """It is the next one, and None at the end."""
    loader = toys.make_batches((1, 2))
    batches = EpochBatches(loader, epoch=0)
    assert batches.prefetched is loader[0]
    batches.take(1)
    assert batches.prefetched is loader[1]
    batches.take(1)
    assert batches.prefetched is None


@pytest.mark.parametrize("consumed", range(3))
@pytest.mark.parametrize("epoch", range(2))
@pytest.mark.parametrize("kind", ["buckets", "list", "subset"])
def test_an_epoch_continues_at_any_position(consumed, epoch, kind):
    """After consumed batches, exactly the remaining ones follow."""
    data = Subset(DATA, list(range(9, 0, -1))) if kind == "subset" else DATA
    loader = toys.make_batches((3, 2, 4)) if kind == "list" else toys.bucketed(data, 4)
    whole = indices(EpochBatches(loader, epoch=epoch))
    assert indices(EpochBatches(loader, epoch=epoch, consumed=consumed)) == whole[consumed:]


def test_consumed_batches_of_buckets_are_not_fetched():
    """If batches don't depend on earlier ones, resuming costs nothing."""
    fetched: list[int] = []

    class Counted(WordDataset):
        pass

    def counting(self: WordDataset, positions: Any) -> Any:
        fetched.append(len(positions))
        return original(self, positions)

    original = WordDataset.__getitems__
    WordDataset.__getitems__ = counting  # type: ignore[method-assign] # put back below
    try:
        EpochBatches(toys.bucketed(DATA, 4), epoch=0, consumed=2)
        assert len(fetched) == 1
        fetched.clear()
        # Another collator may draw random numbers for each batch.
        collate = CountingCollator()
        EpochBatches(toys.bucketed(DATA, 4, collate_fn=collate), epoch=0, consumed=2)
        assert len(fetched) == collate.made == 3
        fetched.clear()
        part = DATA.select(range(8))
        part.__class__ = Counted  # and so may another data set
        EpochBatches(toys.bucketed(part, 4), epoch=0, consumed=1)
        assert len(fetched) == 2
    finally:
        WordDataset.__getitems__ = original  # type: ignore[method-assign]


def test_a_saved_prefetched_batch_is_used():
    """It replaces the loader's own batch."""
    loader, other = toys.make_batches((1, 2, 3)), toys.make_batches((4,))[0]
    batches = EpochBatches(loader, epoch=0, consumed=1, prefetched=other)
    assert [len(batch) for batch in batches.take(9)] == [4, 3]


def test_a_loader_that_is_too_short_is_refused():
    """A run can't continue where the loader has already ended."""
    for consumed in (2, 3):
        with pytest.raises(TrainingError, match=f"The loader ends at batch {consumed} or before"):
            EpochBatches(toys.make_batches((1, 2)), epoch=0, consumed=consumed)


class Epochs:
    """A mixin that records its epochs."""

    def __init__(self) -> None:
        self.epochs: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        """Record the epoch."""
        self.epochs.append(epoch)


class EpochData(Epochs, Dataset[Any]):
    """A data set with `set_epoch`."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        return DATA[index]


class EpochSampler(Epochs, RandomSampler):
    """A sampler with `set_epoch`."""

    def __init__(self, data: Any) -> None:
        Epochs.__init__(self)
        RandomSampler.__init__(self, data)


class EpochLoader(Epochs):
    """A custom loader with `set_epoch`."""

    def __iter__(self) -> Iterator[Batch]:
        return iter(toys.make_batches((1,)))


def test_the_epoch_is_set_in_all_parts_of_a_loader():
    """In the loader, its data set, its sampler and the sampler of its batches: once each."""
    own = EpochLoader()
    EpochBatches(own, epoch=4)
    assert own.epochs == [4]
    data = EpochData()
    sampler = EpochSampler(data)
    batches = BatchSampler(sampler, 2, drop_last=False)
    EpochBatches(DataLoader(data, batch_sampler=batches, collate_fn=PaddingCollator()), epoch=5)
    assert sampler.epochs == [5]
    sampler = EpochSampler(data)
    EpochBatches(DataLoader(data, 2, sampler=sampler, collate_fn=PaddingCollator()), epoch=6)
    assert sampler.epochs == [6]
    assert data.epochs == [5, 6]
    buckets = toys.bucketed(DATA)
    EpochBatches(buckets, epoch=7)
    assert isinstance(buckets.batch_sampler, BucketBatchSampler)
    assert buckets.batch_sampler.epoch == 7


@pytest.mark.parametrize("given", [3, None, {"input_ids": 1}])
def test_objects_other_than_batches_are_refused(given):
    """The message says how to make a DataLoader give batches."""
    message = "Expected the loader to give `Batch` objects, but got .*collate_fn=PaddingCollator"
    with pytest.raises(InvalidTypeError, match=message):
        check_batch(given)
    with pytest.raises(InvalidTypeError, match=message):
        EpochBatches([given], epoch=0)


def test_a_loader_must_be_iterable():
    """A number is not a loader."""
    with pytest.raises(InvalidTypeError, match="`loader` to be an iterable of batches, but got 3"):
        iterate(3)  # type: ignore[arg-type] # that is the point


def test_required_labels_must_exist():
    """A batch without labels is an error."""
    (batch,) = toys.make_batches((2,))
    assert required_labels(batch) is batch.labels
    with pytest.raises(InvalidValueError, match="Expected the batches to have labels, but they"):
        required_labels(Batch(batch.input_ids, batch.lengths))


class MaskedCollator(PaddingCollator):
    """A collator whose labels are 1 if the process ignores Ctrl-C."""

    def __call__(self, items: Any) -> Batch:
        """Make a batch."""
        masked = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
        batch = super().__call__(items)
        return Batch(batch.input_ids, batch.lengths, torch.full((len(batch),), int(masked)))


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="there are no signal masks")
def test_workers_ignore_ctrl_c():
    """A terminal sends Ctrl-C to all processes, and the main process still needs the workers."""
    for num_workers, masked in ((0, 0), (1, 1)):
        loader = toys.bucketed(DATA, collate_fn=MaskedCollator(), num_workers=num_workers)
        assert next(iterate(loader)).labels[0] == masked
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_persistent_workers_draw_as_many_random_numbers():
    """Whether workers live for one epoch or for all, the order of the texts is the same."""
    orders = []
    for settings in ({}, {"num_workers": 1}, {"num_workers": 1, "persistent_workers": True}):
        torch.manual_seed(3)
        loader = toys.shuffled(DATA, 4, **settings)
        orders.append([indices(EpochBatches(loader, epoch=epoch)) for epoch in range(3)])
    assert orders[0] == orders[1] == orders[2]
    assert orders[0][0] != orders[0][1]


class Stream(IterableDataset[Any]):
    """A data set without a length."""

    def __iter__(self) -> Any:
        return iter([DATA[0], DATA[1], DATA[2]])


def stream() -> DataLoader[Any]:
    """Return a loader without a length."""
    return DataLoader(Stream(), 2, collate_fn=PaddingCollator())


@pytest.mark.parametrize(
    ("loader", "error", "message"),
    [
        (3, InvalidTypeError, "Expected `loader` to be iterable anew each time, such as a DataLo"),
        (iter([]), InvalidTypeError, "Expected `loader` to be iterable anew each time"),
        ((b for b in toys.make_batches()), InvalidTypeError, "iterable anew each time"),
        ([], InvalidValueError, "Expected `loader` to be at least one batch"),
        (toys.bucketed(toys.make_dataset(0)), InvalidValueError, "to be at least one batch"),
        (toys.shuffled(DATA, 11, drop_last=True), InvalidValueError, "to be at least one batch"),
        (
            toys.bucketed(toys.make_dataset(3, labelled=False)),
            InvalidValueError,
            "Expected the data set to have labels, but it has none",
        ),
    ],
)
def test_invalid_loaders_are_refused(loader, error, message):
    """Both loaders of `fit` are checked before the first step."""
    with pytest.raises(error, match=message):
        check_loader("loader", loader, toys.NUM_CLASSES)
    trainer = toys.make_trainer()
    before = toys.weights_of(trainer.model)
    with pytest.raises(error, match=message.replace("`loader`", "`eval_loader`")):
        trainer.fit(toys.bucketed(DATA), loader, epochs=1)
    assert toys.worst_difference(before, toys.weights_of(trainer.model)) == 0.0


def test_a_valid_loader_gives_its_labels():
    """If they are unknown, the result is None without an error."""
    assert check_loader("loader", toys.bucketed(DATA), 3) is DATA.labels
    assert check_loader("loader", stream(), 3) is None


@pytest.mark.parametrize("wrong", ["loader", "eval_loader"])
def test_labels_out_of_range_are_found_before_the_first_step(wrong):
    """In a data set, a subset and a list of batches."""
    model = toys.make_model(num_classes=2)
    trainer = toys.make_trainer(model)
    good = [Batch(b.input_ids, b.lengths, b.labels.clamp(max=1)) for b in toys.make_batches()]  # type: ignore[union-attr] # they have labels
    before = toys.weights_of(model)
    subset = Subset(DATA, [0, 1, 2])
    for bad in (toys.bucketed(DATA), toys.shuffled(subset), toys.make_batches()):
        loaders = (bad, good) if wrong == "loader" else (good, bad)
        with pytest.raises(
            InvalidValueError, match=f"the labels of `{wrong}` to be from 0 to 1, b"
        ):
            trainer.fit(*loaders, epochs=1)
    assert toys.worst_difference(before, toys.weights_of(model)) == 0.0


def test_steps_are_counted_if_the_loader_has_a_length():
    """A short last group of batches is a step, too."""
    assert count_steps(toys.make_batches((1, 2, 3, 4, 5)), 2) == 3
    assert count_steps(toys.bucketed(toys.make_dataset(7), 2), 1) == 4
    assert count_steps(stream(), 1) is None
    assert count_steps((b for b in toys.make_batches()), 1) is None


def test_labels_of_data_sets_and_their_subsets_are_found():
    """A nested subset has the labels of its texts in its own order, with repeats."""
    assert labels_of(toys.bucketed(DATA)).tolist() == DATA.labels.tolist()
    loader = toys.shuffled(PART, 2)
    assert subset_positions(loader).tolist() == [2, 6, 6]
    assert labels_of(loader).tolist() == DATA.labels[[2, 6, 6]].tolist()
    assert subset_positions(toys.bucketed(DATA)) is None


def test_labels_of_a_list_of_batches_are_found():
    """They are concatenated batch by batch."""
    batches = toys.make_batches((2, 3))
    assert labels_of(batches).tolist() == torch.cat([b.labels for b in batches]).tolist()
    assert subset_positions(batches) is None


def test_unknown_labels_are_none():
    """Neither an iterable nor a data set without `labels` is run to find them."""
    assert labels_of(iter(toys.make_batches())) is None
    assert labels_of(DataLoader(TensorDataset(torch.arange(3)))) is None
    assert labels_of([1, 2]) is None
    assert labels_of([]) is None


def test_missing_labels_are_found():
    """In a data set, or in one batch of several."""
    with pytest.raises(InvalidValueError, match="Expected the data set to have labels, but it has"):
        labels_of(toys.bucketed(toys.make_dataset(5, labelled=False)))
    first, second = toys.make_batches((2, 3))
    with pytest.raises(InvalidValueError, match="Expected the batches to have labels, but they"):
        labels_of([first, Batch(second.input_ids, second.lengths)])


def test_labels_of_two_forms_are_refused():
    """Class ids and multi-label floats don't mix."""
    mixed = [*toys.make_batches((2,)), *toys.make_batches((2,), multilabel=True)]
    with pytest.raises(InvalidValueError, match="labels of one form, but they differ"):
        labels_of(mixed)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (torch.tensor([0, 2]), 3),
        (torch.tensor([0, 2], dtype=torch.uint8), None),
        (torch.tensor([], dtype=torch.int64), 3),
        (torch.tensor([[0.0, 1.0, 0.5]]), 3),
        (torch.tensor([[0.0, 1.0]], dtype=torch.float64), None),
        (torch.zeros(0, 3), 3),
    ],
)
def test_valid_labels_pass(labels, classes):
    """Class ids of any integer type, and floats from 0 to 1."""
    check_labels(labels, classes)


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([0, 5, 9], 3, "Expected `labels` to be from 0 to 2, but text 1 has 5"),
        ([0, -1], 3, "from 0 to 2, but text 1 has -1"),
        ([0, -1], None, "to be 0 or more, but text 1 has -1"),
        ([[0, 1]], 2, "to be class ids, one per text, or floats with 2 columns, one per class"),
        ([True, False], 2, "to be class ids, one per text, .* but got torch.bool of shape .2,."),
        ([0.5, 1.0], 2, "but got torch.float32 of shape .2,."),
        ([0.5, 1.0], None, "or floats with one column per class"),
        ([[0.5, 1.0]], 3, "floats with 3 columns, one per class, but got torch.float32 of shape"),
        ([[0.0, 1.0], [0.0, 1.5]], 2, "from 0 to 1, but text 1 has 1.5"),
        ([[0.0, float("nan")]], 2, "from 0 to 1, but text 0 has nan"),
    ],
)
def test_invalid_labels_are_named(labels, classes, message):
    """The message names the first text with a wrong label, and the label."""
    with pytest.raises(InvalidValueError, match=message):
        check_labels(torch.tensor(labels), classes)


def test_the_loader_of_invalid_labels_is_named():
    """Texts of a subset are counted in the subset's order."""
    with pytest.raises(InvalidValueError, match="the labels of `eval_loader` to be from 0 to 0, b"):
        check_loader("eval_loader", toys.bucketed(DATA), 1)
    part = Subset(DATA, [0, 3, 5])
    with pytest.raises(InvalidValueError, match="from 0 to 1, but text 2 has 2"):
        check_loader("loader", toys.shuffled(part), 2)


def test_batches_are_moved_if_their_labels_are_valid():
    """Labels are checked before the move, and a batch on the device is not copied."""
    (batch,) = toys.make_batches((3,))
    assert to_device(batch, torch.device("cpu"), 1) is batch
    moved = to_device(batch, torch.device("meta"), toys.NUM_CLASSES)
    assert moved.input_ids.device.type == "meta"
    assert moved.lengths.device.type == "cpu"
    with pytest.raises(InvalidValueError, match="Expected `labels` to be from 0 to 0"):
        to_device(batch, torch.device("meta"), 1)
    unlabelled = Batch(batch.input_ids, batch.lengths)
    assert to_device(unlabelled, torch.device("meta"), 1).labels is None

"""The labels of loaders: found without running them, checked before the first step."""

import pytest
import torch
from torch.utils.data import DataLoader, Subset, TensorDataset

from tests import toys
from textrnn import Batch
from textrnn.errors import InvalidValueError
from textrnn.training.loaders import (
    check_labels,
    check_labels_of,
    labels_of,
    on_device,
    positions_of,
)

DATA = toys.make_dataset(9)
PART = Subset(Subset(DATA, [8, 6, 4, 2, 0]), [3, 1, 1])


def test_labels_of_data_sets_and_their_subsets_are_found():
    """A subset of a subset has those of its texts, in its order, repeated where they are."""
    assert labels_of(toys.bucketed(DATA)).tolist() == DATA.labels.tolist()
    loader = toys.shuffled(PART, 2)
    assert positions_of(loader).tolist() == [2, 6, 6]
    assert labels_of(loader).tolist() == DATA.labels[[2, 6, 6]].tolist()
    assert positions_of(toys.bucketed(DATA)) is None


def test_labels_of_ready_batches_are_found():
    """They come one batch after the other."""
    batches = toys.make_batches((2, 3))
    assert labels_of(batches).tolist() == torch.cat([b.labels for b in batches]).tolist()
    assert positions_of(batches) is None


def test_labels_that_can_not_be_known_are_none():
    """Neither an iterable nor a data set without the attribute is run."""
    assert labels_of(iter(toys.make_batches())) is None
    assert labels_of(DataLoader(TensorDataset(torch.arange(3)))) is None
    assert labels_of([1, 2]) is None
    assert labels_of([]) is None
    assert check_labels_of("loader", iter([]), 3) is None


def test_missing_labels_are_found():
    """Whether of a data set or of one batch among many."""
    with pytest.raises(InvalidValueError, match="Expected the data set to have labels, but it has"):
        labels_of(toys.bucketed(toys.make_dataset(5, labelled=False)))
    first, second = toys.make_batches((2, 3))
    with pytest.raises(InvalidValueError, match="Expected the batches to have labels, but they"):
        labels_of([first, Batch(second.input_ids, second.lengths)])


def test_labels_of_two_forms_are_refused():
    """Class ids and multi-label targets don't mix."""
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
def test_labels_that_fit_pass(labels, classes):
    """Class ids of every integer type, and targets from 0 to 1."""
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
def test_labels_that_do_not_fit_are_named(labels, classes, message):
    """The message tells the first text that has a wrong label, and which."""
    with pytest.raises(InvalidValueError, match=message):
        check_labels(torch.tensor(labels), classes)


def test_the_loader_of_wrong_labels_is_named():
    """Texts of a subset are counted as the subset has them."""
    with pytest.raises(InvalidValueError, match="the labels of `eval_loader` to be from 0 to 0, b"):
        check_labels_of("eval_loader", toys.bucketed(DATA), 1)
    part = Subset(DATA, [0, 3, 5])
    with pytest.raises(InvalidValueError, match="from 0 to 1, but text 2 has 2"):
        check_labels_of("loader", toys.shuffled(part), 2)


def test_batches_are_moved_if_their_labels_fit():
    """A batch that is there already is not copied; labels are looked at before they leave."""
    (batch,) = toys.make_batches((3,))
    assert on_device(batch, torch.device("cpu"), 1) is batch
    moved = on_device(batch, torch.device("meta"), toys.NUM_CLASSES)
    assert moved.input_ids.device.type == "meta"
    assert moved.lengths.device.type == "cpu"
    with pytest.raises(InvalidValueError, match="Expected `labels` to be from 0 to 0"):
        on_device(batch, torch.device("meta"), 1)
    unlabelled = Batch(batch.input_ids, batch.lengths)
    assert on_device(unlabelled, torch.device("meta"), 1).labels is None

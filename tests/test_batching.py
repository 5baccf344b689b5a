"""Batches, fetched texts, and padding to one length."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import default_collate

from tests import toys
from textrnn.data.batching import Batch, FetchedTexts, PaddingCollator
from textrnn.errors import InvalidTypeError, InvalidValueError, MissingKeyError

IDS = st.lists(st.integers(0, 50), min_size=1, max_size=12)
TEXTS = st.lists(IDS, min_size=1, max_size=8)


def make_items(texts, labels=None):
    """Make the items that a data set would give for these ids."""
    items = [{"input_ids": torch.tensor(ids), "index": i} for i, ids in enumerate(texts)]
    return (
        items if labels is None else [i | {"label": c} for i, c in zip(items, labels, strict=True)]
    )


def fetch(texts, order, labels=None):
    """Fetch texts in some order from a flat array of them."""
    lengths = torch.tensor([len(ids) for ids in texts])
    starts = lengths.cumsum(0) - lengths
    flat = torch.tensor([i for ids in texts for i in ids], dtype=torch.int32)
    order = torch.tensor(order)
    return FetchedTexts(
        flat, starts[order], lengths[order], None if labels is None else labels[order], order
    )


# --- Batch ----------------------------------------------------------------------------------------


def test_a_batch_has_a_length_and_is_immutable():
    """Its length is the number of texts, and no field can be set."""
    batch = Batch(torch.ones(3, 4, dtype=torch.long), torch.tensor([4, 2, 1]))
    assert len(batch) == 3
    assert batch.labels is None
    assert batch.indices is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        batch.labels = torch.zeros(3)


def test_moving_a_batch_leaves_its_lengths_on_the_cpu():
    """All tensors move but the lengths; missing ones stay None."""
    batch = Batch(
        torch.ones(2, 3), torch.tensor([3, 1]), torch.tensor([0, 1]), torch.tensor([5, 6])
    )
    moved = batch.to("meta", non_blocking=True)
    assert moved.lengths is batch.lengths
    assert {moved.input_ids.device.type, moved.labels.device.type, moved.indices.device.type} == {
        "meta"
    }
    bare = Batch(torch.ones(1, 1), torch.tensor([1])).to(torch.device("meta"))
    assert bare.input_ids.device.type == "meta"
    assert bare.labels is None
    assert bare.indices is None


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="pinning memory needs a GPU")
def test_pinning_a_batch_pins_all_but_the_lengths():
    """Page-locked memory holds ids, labels and indices, not the lengths."""
    batch = Batch(
        torch.ones(2, 3), torch.tensor([3, 1]), torch.tensor([0, 1]), torch.tensor([5, 6])
    )
    pinned = batch.pin_memory()
    assert pinned.input_ids.is_pinned()
    assert pinned.labels.is_pinned()
    assert pinned.indices.is_pinned()
    assert pinned.lengths is batch.lengths
    assert pinned.to("cuda", non_blocking=True).input_ids.device.type == "cuda"


def test_pinning_calls_each_tensor_but_the_lengths(monkeypatch):
    """Without a GPU, at least the right tensors are called."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self + 1)
    batch = Batch(torch.zeros(2, 3), torch.tensor([3, 1]), indices=torch.tensor([5, 6]))
    pinned = batch.pin_memory()
    assert pinned.input_ids.sum() == 6
    assert pinned.indices.tolist() == [6, 7]
    assert pinned.lengths.tolist() == [3, 1]
    assert pinned.labels is None


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"input_ids": [[1]]}, InvalidTypeError, r"`input_ids` to be a tensor, but got \[\[1\]\]"),
        ({"lengths": [1, 1]}, InvalidTypeError, r"`lengths` to be a tensor, but got \[1, 1\]"),
        ({"labels": [0, 1]}, InvalidTypeError, r"`labels` to be a tensor or None"),
        (
            {"input_ids": torch.ones(2)},
            InvalidValueError,
            r"of shape \(batch, time\), but got \(2,\)",
        ),
        (
            {"lengths": torch.ones(3)},
            InvalidValueError,
            r"`lengths` .* each of the 2 texts, .*\(3,\)",
        ),
        ({"lengths": torch.ones(2, 1)}, InvalidValueError, r"`lengths` .* but got \(2, 1\)"),
        (
            {"lengths": torch.ones(2, device="meta")},
            InvalidValueError,
            "on the CPU, but got 'meta'",
        ),
        ({"labels": torch.ones(2, 1, 1)}, InvalidValueError, r"`labels` .* but got \(2, 1, 1\)"),
        ({"indices": torch.ones(1)}, InvalidValueError, r"`indices` .* but got \(1,\)"),
    ],
)
def test_a_batch_refuses_invalid_tensors(fields, kind, message):
    """The message names the tensor and its type, shape or device."""
    good = {"input_ids": torch.ones(2, 3), "lengths": torch.tensor([3, 1])}
    with pytest.raises(kind, match=message):
        Batch(**(good | fields))


# --- FetchedTexts ---------------------------------------------------------------------------------


@given(TEXTS, st.data())
def test_fetched_texts_are_a_sequence_of_items(texts, data):
    """They have a length, positions from both ends, slices and iteration, like a list."""
    order = data.draw(st.lists(st.integers(0, len(texts) - 1), min_size=1, max_size=10))
    labels = torch.arange(len(texts)) % 3
    fetched = fetch(texts, order, labels)
    assert len(fetched) == len(order)
    assert [item["input_ids"].tolist() for item in fetched] == [texts[i] for i in order]
    assert [item["label"] for item in fetched] == [i % 3 for i in order]
    assert [item["index"] for item in fetched] == order
    assert fetched[-1]["index"] == order[-1]
    assert [item["index"] for item in fetched[1:]] == order[1:]
    assert fetched[0]["input_ids"].dtype == torch.int64


def test_fetched_texts_leave_out_missing_labels_and_indices():
    """Without labels and indices, items have only ids."""
    fetched = FetchedTexts(torch.tensor([1, 2]), torch.tensor([0]), torch.tensor([2]))
    assert list(fetched[0]) == ["input_ids"]


def test_fetched_texts_pickle_as_a_list_of_small_items():
    """A worker process sends the texts of a batch, not the whole flat array."""
    flat = torch.zeros(10**6, dtype=torch.int32)
    fetched = FetchedTexts(flat, torch.tensor([7]), torch.tensor([2]), torch.tensor([1]))
    assert len(pickle.dumps(fetched)) < 2000
    copied = copy.deepcopy(fetched)  # copies the way pickling does
    assert type(copied) is list
    assert [item["input_ids"].tolist() for item in copied] == [[0, 0]]


def test_an_item_is_a_copy():
    """Changing the ids or targets of an item does not change the data set."""
    ids, labels = torch.tensor([7]), torch.tensor([[0.0, 1.0]])
    fetched = FetchedTexts(ids, torch.tensor([0]), torch.tensor([1]), labels)
    fetched[0]["input_ids"] += 5
    fetched[0]["label"] += 5
    assert ids.tolist() == [7]
    assert labels.tolist() == [[0.0, 1.0]]


def test_fetched_texts_work_with_default_collate():
    """Texts of one length are stacked like a list of items."""
    fetched = fetch([[1, 2], [3, 4]], [1, 0], torch.tensor([7, 8]))
    batch = default_collate(fetched)
    assert batch["input_ids"].tolist() == [[3, 4], [1, 2]]
    assert batch["label"].tolist() == [8, 7]


# --- PaddingCollator ------------------------------------------------------------------------------


@given(TEXTS, st.integers(0, 60))
def test_padding_equals_pad_sequence(texts, pad_id):
    """Without truncation, ids equal those of `pad_sequence`, and lengths those of the texts."""
    batch = PaddingCollator(pad_id)(make_items(texts))
    reference = pad_sequence(
        [torch.tensor(ids) for ids in texts], batch_first=True, padding_value=pad_id
    )
    torch.testing.assert_close(batch.input_ids, reference, rtol=0, atol=0)
    assert batch.input_ids.dtype == batch.lengths.dtype == batch.indices.dtype == torch.int64
    assert batch.lengths.tolist() == [len(ids) for ids in texts]
    assert batch.indices.tolist() == list(range(len(texts)))
    assert batch.labels is None


@given(TEXTS, st.integers(1, 15))
def test_truncation_keeps_the_last_id(texts, max_length):
    """A long text keeps its first ids and its last one; a short text is not changed."""
    batch = PaddingCollator(pad_id=99, max_length=max_length)(make_items(texts))
    cut = [ids if len(ids) <= max_length else [*ids[: max_length - 1], ids[-1]] for ids in texts]
    width = max(map(len, cut))
    assert batch.input_ids.tolist() == [ids + [99] * (width - len(ids)) for ids in cut]
    assert batch.lengths.tolist() == [len(ids) for ids in cut]


@given(
    TEXTS, st.none() | st.integers(1, 15), st.sampled_from(["none", "ids", "targets"]), st.data()
)
def test_texts_fetched_at_once_give_the_same_batch(texts, max_length, kind, data):
    """Gathering from the flat array equals padding single items, in any order."""
    order = data.draw(st.lists(st.integers(0, len(texts) - 1), min_size=1, max_size=10))
    labels = {
        "none": None,
        "ids": torch.arange(len(texts)),
        "targets": torch.rand(len(texts), 3, generator=torch.Generator().manual_seed(1)),
    }[kind]
    collate = PaddingCollator(pad_id=3, max_length=max_length)
    fetched = fetch(texts, order, labels)
    batch = collate(fetched)
    toys.assert_same_batches(batch, collate(list(fetched)))
    assert (labels is None) == (batch.labels is None)


def test_padding_does_not_change_the_data_set():
    """Padding is written in place into the batch, not into the flat array."""
    fetched = fetch([[1, 2, 3], [4]], [0, 1])
    before = fetched.input_ids.clone()
    PaddingCollator(pad_id=9)(fetched)
    assert torch.equal(fetched.input_ids, before)


@pytest.mark.parametrize(
    "ids",
    [[1, 2], (1, 2), np.array([1, 2], dtype=np.int32), torch.tensor([1, 2], dtype=torch.uint8)],
)
def test_ids_may_be_any_sequence_of_integers(ids):
    """Lists, tuples, arrays and tensors give the same int64 rows."""
    batch = PaddingCollator()([{"input_ids": ids}, {"input_ids": [5]}])
    assert batch.input_ids.tolist() == [[1, 2], [5, 0]]
    assert batch.input_ids.dtype == torch.int64
    assert batch.indices is None


@pytest.mark.parametrize(
    ("labels", "values", "dtype"),
    [
        ([1, 0], [1, 0], torch.int64),
        ([np.int32(1), torch.tensor(0)], [1, 0], torch.int64),
        ([[1, 0], (0.5, 1)], [[1, 0], [0.5, 1]], torch.float32),
        ([np.ones(2), torch.zeros(2)], [[1, 1], [0, 0]], torch.float32),
        ([None, None], None, None),
    ],
)
def test_labels_are_class_ids_or_targets(labels, values, dtype):
    """Integers become int64 class ids, vectors a float32 matrix, and only None no labels."""
    batch = PaddingCollator()([{"input_ids": [1], "label": label} for label in labels])
    assert (None if batch.labels is None else batch.labels.tolist()) == values
    assert (None if batch.labels is None else batch.labels.dtype) == dtype


def test_further_keys_are_ignored():
    """Items may have more keys than a batch needs."""
    batch = PaddingCollator()([{"input_ids": [1], "title": "x"}])
    assert len(batch) == 1


@pytest.mark.parametrize(
    ("items", "kind", "message"),
    [
        ([], InvalidValueError, r"`items` to be at least one item, but got \[\]"),
        (["text"], InvalidTypeError, "`items` to be mappings .* but got 'text'"),
        (
            [{"ids": 1, "label": 2}],
            MissingKeyError,
            "'input_ids', but got one with: 'ids', 'label'",
        ),
        ([{"input_ids": []}], InvalidValueError, r"`input_ids` .* one integer, but got \[\]"),
        ([{"input_ids": [[1]]}], InvalidValueError, r"`input_ids` .* but got \[\[1\]\]"),
        ([{"input_ids": 4}], InvalidValueError, "`input_ids` to be a flat .* but got 4"),
        ([{"input_ids": "ab"}], InvalidTypeError, "`input_ids` to be a flat .* but got 'ab'"),
        ([{"input_ids": None}], InvalidTypeError, "`input_ids` to be a flat .* but got None"),
        ([{"input_ids": [1.0]}], InvalidTypeError, r"`input_ids` .* but got \[1.0\]"),
        ([{"input_ids": [True]}], InvalidTypeError, r"`input_ids` .* but got \[True\]"),
        (
            [{"input_ids": [1], "label": 0}, {"input_ids": [1]}],
            InvalidValueError,
            "to have 'label' or none, but 1 of 2 have none",
        ),
        (
            [{"input_ids": [1], "index": None}, {"input_ids": [1], "index": 3}],
            InvalidValueError,
            "to have 'index' or none, but 1 of 2 have none",
        ),
        ([{"input_ids": [1], "label": -1}], InvalidValueError, "`label` .* but got -1"),
        ([{"input_ids": [1], "label": "b"}], InvalidTypeError, "`label` .* but got 'b'"),
        ([{"input_ids": [1], "label": True}], InvalidTypeError, "`label` .* but got True"),
        ([{"input_ids": [1], "label": 0.5}], InvalidTypeError, "`label` .* but got 0.5"),
        ([{"input_ids": [1], "index": "a"}], InvalidTypeError, "`index` .* but got 'a'"),
        (
            [{"input_ids": [1], "label": [1.0]}, {"input_ids": [1], "label": [1.0, 0.0]}],
            InvalidValueError,
            "a vector of as many numbers, but got",
        ),
        (
            [{"input_ids": [1], "label": [1.0]}, {"input_ids": [1], "label": 1}],
            InvalidValueError,
            "a vector of as many numbers, but got",
        ),
        (
            [{"input_ids": [1], "label": [[1.0]]}],
            InvalidValueError,
            "`label` .* of as many numbers",
        ),
        ([{"input_ids": [1], "label": ["a"]}], InvalidValueError, "a vector of as many numbers"),
        (
            [{"input_ids": [1], "label": 1}, {"input_ids": [1], "label": [1.0]}],
            InvalidTypeError,
            r"`label` .* but got \[1.0\]",
        ),
    ],
)
def test_invalid_items_are_refused(items, kind, message):
    """The message names the key and its value, instead of an error inside torch."""
    with pytest.raises(kind, match=message):
        PaddingCollator()(items)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"pad_id": -1}, InvalidValueError, "`pad_id` to be a non-negative integer, but got -1"),
        ({"pad_id": None}, InvalidTypeError, "`pad_id` .* but got None"),
        ({"max_length": 0}, InvalidValueError, "`max_length` to be a positive integer, but got 0"),
        ({"max_length": 2.5}, InvalidTypeError, "`max_length` .* but got 2.5"),
    ],
)
def test_invalid_arguments_are_refused(arguments, kind, message):
    """The collator checks its arguments at once."""
    with pytest.raises(kind, match=message):
        PaddingCollator(**arguments)


def test_the_collator_has_a_repr_and_pickles():
    """Its repr is the call, and it can be sent to worker processes."""
    collate = PaddingCollator(pad_id=2, max_length=7)
    assert repr(collate) == "PaddingCollator(pad_id=2, max_length=7)"
    assert len(pickle.dumps(collate)) < 200

"""Encoded data sets: single texts, batches, selections and invalid arguments."""

import copy
import pickle
import random
from unittest import mock

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Subset

from tests import toys
from textrnn.data import BucketBatchSampler, PaddingCollator, WordDataset
from textrnn.data import flat as flat_module
from textrnn.data.batching import FetchedTexts
from textrnn.errors import InvalidTypeError, InvalidValueError
from textrnn.text import Vocabulary, WordTokenizer

WORDS = ["oil", "prices", "soar", "fall", "again"]
VOCABULARY = Vocabulary.build([WORDS])
PAD, UNK, BOS, EOS = range(4)
TOKENIZER = WordTokenizer()
TEXT = st.lists(st.sampled_from([*WORDS, "unheard", "..."]), max_size=8).map(" ".join)
TEXTS = st.lists(TEXT, min_size=1, max_size=20)


def make(texts, labels=None, **options):
    """Encode texts with the vocabulary of this module."""
    return WordDataset(texts, labels, VOCABULARY, TOKENIZER, **options)


def make_labels(kind, count):
    """Make labels of a kind for some texts."""
    if kind == "ids":
        return torch.arange(count) % 3
    if kind == "targets":
        return torch.rand(count, 2, generator=torch.Generator().manual_seed(0))
    return None


LABELS = st.sampled_from(["none", "ids", "targets"])


def assert_same_items(first, second):
    """Compare items value by value, with their types."""
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert list(one) == list(other)
        torch.testing.assert_close(one, other, rtol=0, atol=0)


# --- one text -------------------------------------------------------------------------------------


@given(TEXTS, st.booleans(), st.booleans(), st.none() | st.integers(2, 6))
def test_each_text_is_tokenized_and_encoded(texts, add_bos, add_eos, max_length):
    """Ids follow tokenizer and vocabulary; truncation keeps the end token."""
    dataset = make(texts, add_bos=add_bos, add_eos=add_eos, max_length=max_length)
    room = len(TOKENIZER(" ".join(texts))) if max_length is None else max_length - add_bos - add_eos
    for index, text in enumerate(texts):
        words = VOCABULARY.encode(TOKENIZER(text))[:room]
        ids = [BOS] * add_bos + words + [EOS] * add_eos
        item = dataset[index]
        assert item["input_ids"].tolist() == (ids or [UNK])
        assert item["input_ids"].dtype == torch.int64
        assert item["index"] == index
        assert "label" not in item


@pytest.mark.parametrize(
    ("add_bos", "add_eos", "ids"),
    [(True, True, [BOS, EOS]), (True, False, [BOS]), (False, True, [EOS]), (False, False, [UNK])],
)
def test_a_text_without_words_has_at_least_one_id(add_bos, add_eos, ids):
    """It is `<bos>` and `<eos>`, or `<unk>`; the texts beside it keep their ids."""
    texts = ["", "oil", "...", " \n ", "soar oil", "!"]
    dataset = make(texts, add_bos=add_bos, add_eos=add_eos)
    empty = [0, 2, 3, 5]
    assert [dataset[i]["input_ids"].tolist() for i in empty] == [ids] * 4
    assert min(dataset.lengths) >= 1
    framed = {BOS, EOS} & set(ids)
    inner = [i for i in dataset[4]["input_ids"].tolist() if i not in framed]
    assert VOCABULARY.decode(inner) == ["soar", "oil"]


def test_labels_are_ints_or_vectors():
    """A class id is a plain int; targets are a copy, which may be changed."""
    dataset = make(["oil", "soar"], [2, 0])
    assert [dataset[i]["label"] for i in range(2)] == [2, 0]
    assert type(dataset[0]["label"]) is int
    several = make(["oil", "soar"], [[1, 0.5], [0, 1]])
    assert several[0]["label"].tolist() == [1, 0.5]
    several[0]["label"].zero_()
    assert several[0]["label"].tolist() == [1, 0.5]


def test_attributes_are_as_documented():
    """Ids are flat int32; offsets, lengths and labels are int64."""
    dataset = make(["oil soar", "", "fall"], [0, 1, 0], max_length=5)
    assert dataset.input_ids.dtype == torch.int32
    assert dataset.offsets.tolist() == [0, 4, 6, 9]
    assert dataset.offsets.dtype == dataset.lengths.dtype == dataset.labels.dtype == torch.int64
    assert dataset.lengths.tolist() == [4, 2, 3]
    assert dataset.vocabulary is VOCABULARY
    assert dataset.tokenizer is TOKENIZER
    assert dataset.max_length == 5
    assert repr(dataset) == "<WordDataset: 3 texts, 9 ids, 2 classes>"


@pytest.mark.parametrize(
    ("labels", "classes", "shown"),
    [
        (None, 0, "no labels"),
        ([0, 4], 5, "5 classes"),
        ([[0, 1, 1]] * 2, 3, "3 classes"),
    ],
)
def test_num_classes_follows_from_the_labels(labels, classes, shown):
    """It is the largest class id + 1, the number of columns of the targets, or 0."""
    dataset = make(["oil", "soar"], labels)
    assert dataset.num_classes == classes
    assert shown in repr(dataset)


def test_no_texts_make_an_empty_data_set():
    """It has length 0, and sampling and selecting work."""
    for dataset in (make([]), make([], []), make(iter([]), [])):
        assert len(dataset) == len(dataset.input_ids) == 0
        assert dataset.offsets.tolist() == [0]
        assert dataset.num_classes == 0
        assert list(BucketBatchSampler(dataset, 4)) == []
        assert len(dataset.select([])) == 0
        assert list(dataset) == []


def test_a_data_set_is_a_sequence():
    """Negative positions count from the end, NumPy integers are accepted, and a loop ends."""
    dataset = make(["oil", "soar", "fall"], [0, 1, 2])
    assert_same_items([dataset[-1]] * 2, [dataset[np.int64(2)], dataset[torch.tensor(2)]])
    assert dataset[-1]["index"] == 2
    assert [item["label"] for item in dataset] == [0, 1, 2]


@pytest.mark.parametrize("index", [3, -4, 10**12, -(10**12), 10**30])
def test_a_text_that_does_not_exist_is_an_index_error(index):
    """The message has the position and the number of texts."""
    dataset = make(["oil", "soar", "fall"])
    with pytest.raises(IndexError, match=f"`index` .* one of the 3 texts, but got {index}"):
        dataset[index]


@pytest.mark.parametrize("index", ["0", 1.0, None, True, slice(0, 2)])
def test_a_position_must_be_an_integer(index):
    """Anything else is a type error, slices too; use `select` for those."""
    with pytest.raises(InvalidTypeError, match="`index` to be an integer"):
        make(["oil", "soar"])[index]


# --- several texts --------------------------------------------------------------------------------


@given(TEXTS, LABELS, st.data())
def test_texts_fetched_at_once_are_the_items(texts, kind, data):
    """`__getitems__` equals single positions, in any order, with repeats."""
    dataset = make(texts, make_labels(kind, len(texts)))
    positions = st.integers(-len(texts), len(texts) - 1)
    order = data.draw(st.lists(positions, max_size=12))
    fetched = dataset.__getitems__(order)
    assert isinstance(fetched, FetchedTexts)
    assert_same_items(fetched, [dataset[i] for i in order])
    if order:
        collate = PaddingCollator(PAD, max_length=5)
        toys.assert_same_batches(collate(fetched), collate([dataset[i] for i in order]))


@pytest.mark.parametrize(
    "positions",
    [[2, 0], (2, 0), np.array([2, 0], np.int16), torch.tensor([-1, 0]), range(2, -1, -2)],
)
def test_positions_may_be_of_any_type(positions):
    """Sequences, arrays and tensors of integers are accepted."""
    dataset = make(["oil", "soar", "fall"])
    assert [item["index"] for item in dataset.__getitems__(positions)] == [2, 0]
    assert dataset.select(positions).input_ids.tolist() == [2, 5, 3, 2, 6, 3]


@pytest.mark.parametrize(
    ("positions", "kind", "message"),
    [
        ([0, 3], IndexError, "of one of the 3 texts, but got 3"),
        ([-4, 0], IndexError, "of one of the 3 texts, but got -4"),
        ([0.0], InvalidTypeError, r"`indices` to be a sequence of integers, but got \[0.0\]"),
        (torch.tensor([True, False, True]), InvalidTypeError, "a sequence of integers"),
        ([[0]], InvalidTypeError, "a sequence of integers"),
        ([[0], [1, 2]], InvalidTypeError, "a sequence of integers"),
        (["a"], InvalidTypeError, "a sequence of integers"),
        (None, InvalidTypeError, "a sequence of integers, but got None"),
        (1, InvalidTypeError, "a sequence of integers, but got 1"),
    ],
)
def test_invalid_positions_are_refused(positions, kind, message):
    """A mask, a float or a position out of range never selects something else."""
    dataset = make(["oil", "soar", "fall"])
    for method in (dataset.__getitems__, dataset.select):
        with pytest.raises(kind, match=message):
            method(positions)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loader_yields_every_text_once(num_workers):
    """With the bucket sampler and the collator, in this process or in workers."""
    generator = random.Random(0)
    texts = [" ".join(generator.choices(WORDS, k=generator.randrange(9))) for _ in range(50)]
    dataset = make(texts, list(range(50)))
    loader = DataLoader(
        dataset,
        batch_sampler=BucketBatchSampler(dataset, 8),
        collate_fn=PaddingCollator(PAD),
        num_workers=num_workers,
    )
    seen = []
    for batch in loader:
        assert batch.labels.tolist() == batch.indices.tolist()
        for row, length, index in zip(batch.input_ids, batch.lengths, batch.indices, strict=True):
            assert row[:length].tolist() == dataset[int(index)]["input_ids"].tolist()
            assert (row[length:] == PAD).all()
            seen.append(int(index))
    assert sorted(seen) == list(range(50))


def test_a_loader_over_a_subset_fetches_batches_at_once():
    """Items of a `Subset` keep their positions in the whole data set."""
    dataset = make(["oil", "soar again", "fall", "oil oil oil"], [0, 1, 2, 3])
    subset = Subset(dataset, [3, 1])
    assert isinstance(subset.__getitems__([0, 1]), FetchedTexts)
    sampler = BucketBatchSampler(subset, 2, shuffle=False)
    (batch,) = DataLoader(subset, batch_sampler=sampler, collate_fn=PaddingCollator(PAD))
    assert batch.labels.tolist() == batch.indices.tolist() == [3, 1]


def test_a_pickled_data_set_is_small():
    """A pickle for worker processes has the arrays and little else."""
    texts = ["oil prices soar"] * 2000
    dataset = make(texts, [0] * 2000)
    flat = 4 * len(dataset.input_ids) + 8 * (3 * len(texts) + 1)
    assert len(pickle.dumps(dataset)) < flat + 5000
    assert_same_items(list(copy.deepcopy(dataset))[:3], list(dataset)[:3])


# --- selections -----------------------------------------------------------------------------------


@given(TEXTS, LABELS, st.integers(1, 5), st.data())
def test_a_selection_is_renumbered(texts, kind, block, data):
    """A selection equals a data set of its texts, for any block size of the copy."""
    labels = make_labels(kind, len(texts))
    order = data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=12))
    with mock.patch.object(flat_module, "_TEXTS_AT_A_TIME", block):
        part = make(texts, labels).select(order)
    expected = make([texts[i] for i in order], None if labels is None else labels[order])
    for name in ("input_ids", "offsets", "lengths", "labels"):
        one, other = getattr(part, name), getattr(expected, name)
        assert (one is None and other is None) or torch.equal(one, other)
    assert_same_items(list(part), list(expected))


def test_a_selection_is_a_copy():
    """Changing a selection does not change the data set."""
    dataset = make(["oil", "soar"], [0, 1])
    part = dataset.select([0, 1])
    part.input_ids.zero_()
    part.labels += 5
    assert dataset.input_ids.tolist() == [2, 6, 3, 2, 8, 3]
    assert dataset.labels.tolist() == [0, 1]
    assert part.vocabulary is dataset.vocabulary


# --- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "labels"),
    [
        (["oil", "soar"], [0, 1]),
        (pd.Series(["oil", "soar"]), pd.Series([0, 1])),
        (pa.chunked_array([["oil"], ["soar"]]), pa.chunked_array([[0], [1]])),
    ],
)
def test_columns_of_any_kind_make_a_data_set(texts, labels):
    """Lists, pandas columns and Arrow columns give the same data set."""
    dataset = make(texts, labels)
    assert [item["label"] for item in dataset] == [0, 1]
    assert torch.equal(dataset.input_ids, make(["oil", "soar"]).input_ids)


def test_iterators_make_a_data_set():
    """A generator of texts and an iterator of labels are read once, and must be as many."""
    dataset = make((text for text in ["oil", "soar"]), iter([0, 1]))
    assert dataset.labels.tolist() == [0, 1]
    assert torch.equal(dataset.input_ids, make(["oil", "soar"]).input_ids)
    with pytest.raises(InvalidValueError, match="`labels` to be as many as the 1 texts, but got 0"):
        make(iter(["oil"]), [])


@pytest.mark.parametrize(
    ("texts", "labels", "kind", "message"),
    [
        ("one text", None, InvalidTypeError, r"`texts` to be a column .* but got 'one text'"),
        (["oil", None], None, InvalidTypeError, r"`texts\[1\]` to be a string, but got None"),
        (["oil", 3], None, InvalidTypeError, r"`texts\[1\]` to be a string, but got 3"),
        (pd.Series(["oil", None]), None, InvalidTypeError, r"`texts\[1\]` to be a string, but got"),
        (pa.array(["oil", None]), None, InvalidTypeError, r"`texts\[1\]` .* but got None"),
        (["oil"], [0, 1], InvalidValueError, "`labels` to be as many as the 1 texts, but got 2"),
        (["oil"], [[0, 1]] * 2, InvalidValueError, "as many as the 1 texts, but got 2"),
        (["oil", "soar"], [0, None], InvalidValueError, r"`labels\[1\]` to be a class id"),
        (["oil", "soar"], [0, -1], InvalidValueError, r"`labels\[1\]` .* but got -1"),
        (["oil", "soar"], [True, False], InvalidTypeError, r"`labels\[0\]` .* but got True"),
        (["oil", "soar"], ["a", "b"], InvalidTypeError, r"`labels\[0\]` .* but got 'a'"),
    ],
)
def test_invalid_texts_and_labels_are_refused(texts, labels, kind, message):
    """The message names the row."""
    with pytest.raises(kind, match=message):
        make(texts, labels)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"vocabulary": {"oil": 1}}, InvalidTypeError, "`vocabulary`"),
        ({"tokenizer": "split"}, InvalidTypeError, "`tokenizer`"),
        ({"tokenizer": len}, InvalidTypeError, "`tokenizer` to return a list of strings"),
        ({"max_length": 1}, InvalidValueError, "`max_length` .* of at least 2, but got 1"),
        ({"max_length": 0, "add_bos": False}, InvalidValueError, "`max_length` .* but got 0"),
        ({"max_length": "9"}, InvalidTypeError, "`max_length` .* but got '9'"),
    ],
)
def test_invalid_arguments_are_refused(arguments, kind, message):
    """Vocabulary, tokenizer and maximum length are checked."""
    good = {"texts": ["oil"], "labels": None, "vocabulary": VOCABULARY, "tokenizer": TOKENIZER}
    with pytest.raises(kind, match=message):
        WordDataset(**(good | arguments))


def test_labels_are_checked_before_the_texts_are_encoded():
    """Invalid labels are found before minutes of tokenizing."""

    def tokenizer(text):
        pytest.fail(f"{text} was tokenized")

    for labels in ([0], [0, -1]):
        with pytest.raises(InvalidValueError, match="labels"):
            WordDataset(["oil", "soar"], labels, VOCABULARY, tokenizer)


def test_a_very_long_text_and_lone_surrogates_are_encoded():
    """A text of ten million characters and half a surrogate pair are encoded."""
    dataset = make(["oil " * 2_500_000, "\ud800 oil"])
    assert dataset.lengths.tolist() == [2_500_002, 4]
    assert dataset[1]["input_ids"].tolist()[1] == UNK

"""Items: what one text looks like, and many of them that are fetched at once."""

import copy
import pickle

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import default_collate

from textrnn.data.batching import FetchedTexts

TEXTS = st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=12), min_size=1, max_size=8)


def fetch(texts, order, labels=None):
    """Fetch texts in some order from a flat array of them."""
    lengths = torch.tensor([len(ids) for ids in texts])
    starts = lengths.cumsum(0) - lengths
    flat = torch.tensor([i for ids in texts for i in ids], dtype=torch.int32)
    order = torch.tensor(order)
    return FetchedTexts(
        flat, starts[order], lengths[order], None if labels is None else labels[order], order
    )


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


def test_fetched_texts_leave_out_what_is_not_there():
    """Without labels and indices the items have none."""
    fetched = FetchedTexts(torch.tensor([1, 2]), torch.tensor([0]), torch.tensor([2]))
    assert list(fetched[0]) == ["input_ids"]


def test_fetched_texts_pickle_as_a_list_of_small_items():
    """A worker process that sends them sends its texts, not the array they are cut from."""
    flat = torch.zeros(10**6, dtype=torch.int32)
    fetched = FetchedTexts(flat, torch.tensor([7]), torch.tensor([2]), torch.tensor([1]))
    assert len(pickle.dumps(fetched)) < 2000
    copied = copy.deepcopy(fetched)  # copies the way pickling does
    assert type(copied) is list
    assert [item["input_ids"].tolist() for item in copied] == [[0, 0]]


def test_an_item_is_a_copy():
    """Changing an item's ids or targets doesn't change the data set's."""
    ids, labels = torch.tensor([7]), torch.tensor([[0.0, 1.0]])
    fetched = FetchedTexts(ids, torch.tensor([0]), torch.tensor([1]), labels)
    fetched[0]["input_ids"] += 5
    fetched[0]["label"] += 5
    assert ids.tolist() == [7]
    assert labels.tolist() == [[0.0, 1.0]]


def test_fetched_texts_serve_torchs_own_collate_function():
    """Texts of one length are stacked by `default_collate` as a list of items would be."""
    fetched = fetch([[1, 2], [3, 4]], [1, 0], torch.tensor([7, 8]))
    batch = default_collate(fetched)
    assert batch["input_ids"].tolist() == [[3, 4], [1, 2]]
    assert batch["label"].tolist() == [8, 7]

"""The network in NumPy: the logits of PyTorch's for every configuration, whatever the batch."""

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from textrnn import RecurrentClassifier
from textrnn.estimator.model import logits_of
from textrnn.runtime.batches import batches_by_length, consecutive
from textrnn.runtime.network import RecurrentNetwork

NAMES = ("max", "mean", "last", "attention")
POOLINGS = [*NAMES, *(each for count in (2, 3, 4) for each in permutations(NAMES, count))]


@st.composite
def classifiers(draw) -> RecurrentClassifier:
    """Draw a classifier whose states are far from zero, with weights of any size."""
    torch.manual_seed(draw(st.integers(0, 2**32)))
    vocab_size = draw(st.integers(4, 40))
    network = RecurrentClassifier(
        vocab_size,
        num_classes=draw(st.integers(1, 5)),
        cell=draw(st.sampled_from(["rnn", "gru", "lstm"])),
        hidden_size=draw(st.integers(1, 21)),
        embedding_size=draw(st.integers(1, 17)),
        num_layers=draw(st.integers(1, 3)),
        bidirectional=draw(st.booleans()),
        pooling=draw(st.sampled_from(POOLINGS)),
        padding_id=draw(st.integers(0, vocab_size - 1)),
    )
    network.embedding.weight.data.mul_(draw(st.sampled_from([1.0, 10.0, 100.0])))
    network.head[-1].weight.data.mul_(draw(st.sampled_from([1.0, 10.0])))
    return network.eval()


def in_numpy(network: RecurrentClassifier) -> RecurrentNetwork:
    """Return the same network on arrays that nothing can write to."""
    weights = {name: value.numpy().copy() for name, value in network.state_dict().items()}
    for array in weights.values():
        array.setflags(write=False)
    return RecurrentNetwork(network.config, weights)


def make_texts(
    lengths: list[int], *, vocab_size: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return random ids of texts of these lengths."""
    sizes = np.array(lengths, dtype=np.int64)
    ids = np.random.default_rng(seed).integers(0, vocab_size, sizes.sum(), dtype=np.int32)
    return ids, sizes


def assert_same(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Compare logits to a few roundings, and the probabilities that follow from them."""
    assert ours.dtype == np.float32
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=2e-6)
    one, two = torch.from_numpy(ours).double(), torch.from_numpy(theirs).double()
    for probabilities in (torch.sigmoid, lambda logits: torch.softmax(logits, dim=1)):
        assert torch.allclose(probabilities(one), probabilities(two), rtol=0, atol=1e-6)


@given(classifiers(), st.lists(st.integers(1, 12) | st.integers(1, 90), max_size=9), st.data())
@settings(max_examples=120)
def test_logits_are_those_of_pytorch(network, lengths, data):
    """Every cell, depth, direction and pooling agrees at every shape, also of no text at all."""
    seed = data.draw(st.integers(0, 2**32))
    ids, sizes = make_texts(lengths, vocab_size=network.vocab_size, seed=seed)
    ours = in_numpy(network).logits(ids, sizes)
    assert_same(ours, logits_of(network, ids, sizes).numpy())


@given(classifiers(), st.lists(st.integers(1, 30), min_size=2, max_size=8))
@settings(max_examples=30)
def test_logits_do_not_depend_on_the_batch(network, lengths):
    """A text has the same logits alone, among others and in another order."""
    ids, sizes = make_texts(lengths, vocab_size=network.vocab_size)
    network = in_numpy(network)
    together = network.logits(ids, sizes)
    parts = np.split(ids, sizes.cumsum()[:-1])
    for row, part in zip(together, parts, strict=True):
        assert_same(network.logits(part, np.array([len(part)])), row[np.newaxis])
    backward = network.logits(np.concatenate(parts[::-1]), sizes[::-1])
    assert_same(backward[::-1].copy(), together)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("same_word", [False, True])
def test_long_texts_are_as_exact_as_short_ones(cell, same_word):
    """Sums over a thousand tokens, in more texts than a batch has, agree with double precision."""
    network = RecurrentClassifier(
        50, num_classes=3, cell=cell, hidden_size=20, bidirectional=True, pooling=NAMES
    ).eval()
    network.embedding.weight.data.mul_(10)
    ids, lengths = make_texts([1000] * 17 + [2, 2, 3], vocab_size=50)
    if same_word:
        ids[:] = 7
    exact = logits_of(network.double(), ids, lengths).numpy()
    assert_same(in_numpy(network.float()).logits(ids, lengths), exact)


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 100), st.integers(1, 10))
def test_batches_are_bounded_and_sorted(lengths, max_ids, max_texts):
    """All texts are taken once, the longest first; only a text that is too long is alone."""
    sizes = np.array(lengths, dtype=np.int64)
    batches = list(batches_by_length(sizes, max_ids=max_ids, max_texts=max_texts))
    order = np.concatenate([np.empty(0, dtype=np.int64), *batches])
    assert sorted(order.tolist()) == list(range(len(lengths)))
    assert (np.diff(sizes[order]) <= 0).all()
    for rows in batches:
        assert 1 <= len(rows) <= max_texts
        assert len(rows) == 1 or len(rows) * sizes[rows].max() <= max_ids


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 100))
def test_consecutive_texts_are_bounded(lengths, max_ids):
    """Slices follow one another and are as long as allowed; only a text too long is alone."""
    sizes = np.array(lengths, dtype=np.int64)
    slices = list(consecutive(sizes, max_ids=max_ids))
    assert [row for texts, _ in slices for row in range(len(sizes))[texts]] == [*range(len(sizes))]
    for texts, ids in slices:
        assert ids == slice(sizes[: texts.start].sum(), sizes[: texts.stop].sum())
        assert texts.stop - texts.start == 1 or ids.stop - ids.start <= max_ids
        assert texts.stop == len(sizes) or ids.stop - ids.start + sizes[texts.stop] > max_ids


def test_many_texts_are_computed_in_batches(monkeypatch):
    """The result is the same with batches of any size."""
    network = RecurrentClassifier(30, num_classes=3, hidden_size=8, bidirectional=True).eval()
    ids, lengths = make_texts([4, 1, 9, 9, 2, 5], vocab_size=30)
    whole = in_numpy(network).logits(ids, lengths)
    monkeypatch.setattr("textrnn.runtime.network._MAX_SHARED_IDS", 21)
    assert_same(in_numpy(network).logits(ids, lengths), whole)
    monkeypatch.setattr("textrnn.runtime.network._MAX_IDS", 10)
    assert_same(in_numpy(network).logits(ids, lengths), whole)
    monkeypatch.setattr("textrnn.runtime.network._MAX_TEXTS", 1)
    assert_same(in_numpy(network).logits(ids, lengths), whole)

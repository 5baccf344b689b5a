"""The linear model over n-grams in NumPy: the logits of PyTorch's, whatever the batch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from textrnn.estimator.model import logits_of
from textrnn.ngrams import NgramClassifier
from textrnn.ngrams.model import ngram_keys
from textrnn.runtime.ngrams import Ngrams
from textrnn.text.spelling import UnknownWords, char_keys

VOCAB_SIZE = 9
SEEN = ["awful", "awfully", "full", "xyzzy", ""]  # of which the last two have no n-grams
CHAR_KEYS = np.unique(char_keys(SEEN[:3])[0])[::2]


@st.composite
def cases(draw) -> tuple[NgramClassifier, np.ndarray, np.ndarray, UnknownWords]:
    """Draw a model that knows some n-grams of texts, and the ids of these with unknown words."""
    text = st.lists(st.integers(0, VOCAB_SIZE - 1), min_size=1, max_size=12)
    texts = draw(st.lists(text, max_size=6))
    ids = np.array([each for text in texts for each in text], dtype=np.int32)
    max_order = draw(st.integers(1, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    known = torch.randint(VOCAB_SIZE**max_order, (3,), generator=generator)
    for text in texts:
        row, size = torch.tensor([text]), torch.tensor([len(text)])
        keys = ngram_keys(row, size, vocab_size=VOCAB_SIZE, max_order=max_order)[0]
        known = torch.cat([known, keys[torch.rand(len(keys), generator=generator) < 0.5]])
    known = known[known >= 0].unique()
    model = NgramClassifier(
        VOCAB_SIZE,
        num_classes=draw(st.integers(1, 4)),
        num_ngrams=len(known),
        max_order=max_order,
        num_char_ngrams=draw(st.sampled_from([0, len(CHAR_KEYS)])),
        vector_size=draw(st.integers(0, 3)),
    )
    if model.vectors is not None:
        model.vectors.normal_(generator=generator)
        model.vectors[torch.rand(VOCAB_SIZE, generator=generator) < 0.3] = 0.0
    model.keys.copy_(known)
    model.idf.uniform_(0.5, 5.0, generator=generator)
    model.idf[torch.rand(len(model.idf), generator=generator) < 0.2] = 0.0
    model.weight.data.normal_(0.0, 3.0, generator=generator)
    model.bias.data.normal_(generator=generator)
    if model.num_char_ngrams:
        model.char_keys.copy_(torch.from_numpy(CHAR_KEYS))
        model.char_idf.uniform_(0.5, 5.0, generator=generator)
        model.char_weight.normal_(0.0, 3.0, generator=generator)
    rows = [draw(st.integers(0, len(SEEN) - 1)) for _ in range(int((ids == 1).sum()))]
    unknown = UnknownWords(SEEN, np.flatnonzero(ids == 1), np.array(rows, dtype=np.int32))
    return model, ids, np.array([len(text) for text in texts], dtype=np.int64), unknown


def in_numpy(model: NgramClassifier) -> Ngrams:
    """Return the same model on arrays that nothing can write to."""
    weights = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    for array in weights.values():
        array.setflags(write=False)
    return Ngrams(model.config, weights)


def assert_same(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Compare logits to a few roundings."""
    assert ours.dtype == np.float32
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=2e-6)


@given(cases())
@settings(max_examples=120)
def test_logits_are_those_of_pytorch(case):
    """N-grams of every length, with spelling and vectors or without, agree at every shape."""
    model, *texts = case
    assert_same(in_numpy(model).logits(*texts), logits_of(model, *texts).numpy())
    assert_same(in_numpy(model).logits(*texts[:2]), logits_of(model, *texts[:2]).numpy())


@given(cases())
@settings(max_examples=30)
def test_logits_do_not_depend_on_the_batch(case):
    """A text has the same logits alone as among others."""
    model, ids, lengths, unknown = case
    model = in_numpy(model)
    together = model.logits(ids, lengths, unknown)
    starts = lengths.cumsum() - lengths
    for row, start, length in zip(together, starts, lengths, strict=True):
        held = (unknown.positions >= start) & (unknown.positions < start + length)
        own = UnknownWords(SEEN, unknown.positions[held] - start, unknown.rows[held])
        part = ids[start : start + length]
        assert_same(model.logits(part, np.array([length]), own), row[np.newaxis])


@given(cases(), st.integers(0, 3))
@settings(max_examples=30)
def test_contributions_add_up_to_the_logit(case, target):
    """The tokens of a text share its logit, unknown words included, for every class."""
    model, ids, lengths, unknown = case
    ids = np.where(ids == model.padding_id, 2, ids)  # no text has it
    targets = np.full(len(lengths), min(target, model.num_classes - 1))
    logits = logits_of(model, ids, lengths, unknown).numpy()[np.arange(len(lengths)), targets]
    shares = in_numpy(model).contributions(ids, lengths, targets, unknown)
    owners = np.arange(len(lengths)).repeat(lengths)
    sums = np.bincount(owners, shares, len(lengths)) + model.bias.detach().numpy()[targets]
    np.testing.assert_allclose(sums, logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("limit", [1, 5, 8])
def test_many_texts_are_computed_in_batches(monkeypatch, limit):
    """The result is the same with batches of any size, also if a text is longer than one."""
    model = NgramClassifier(VOCAB_SIZE, num_classes=2, num_ngrams=60, vector_size=2)
    model.weight.data.normal_()
    model.vectors.normal_()
    lengths = np.array([4, 1, 9, 3, 2], dtype=np.int64)
    ids = np.random.default_rng(0).integers(1, VOCAB_SIZE, lengths.sum(), dtype=np.int32)
    whole = in_numpy(model).logits(ids, lengths)
    monkeypatch.setattr("textrnn.runtime.ngrams._MAX_IDS", limit)
    assert_same(in_numpy(model).logits(ids, lengths), whole)


def test_weights_may_be_in_half_precision():
    """The logits are then those of the same weights in single precision."""
    model = NgramClassifier(VOCAB_SIZE, num_classes=2, num_ngrams=60, num_char_ngrams=4)
    model.weight.data.normal_()
    model.idf.uniform_(1.0, 5.0)
    half = {
        name: value.half().numpy() if name in {"weight", "idf"} else value.numpy()
        for name, value in model.state_dict().items()
    }
    model.half().float()
    ids, lengths = np.array([1, 5, 7, 5, 8, 3, 5, 7], dtype=np.int32), np.array([6, 2])
    ours = Ngrams(model.config, half).logits(ids, lengths)
    assert_same(ours, logits_of(model, ids, lengths).numpy())

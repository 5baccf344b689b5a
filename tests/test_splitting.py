"""Stratified splits: exact sizes, class proportions and reproducible draws."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from textrnn.data import WordDataset
from textrnn.data.dataset import draw_stratified
from textrnn.errors import InvalidTypeError, InvalidValueError
from textrnn.text import Vocabulary

FRACTIONS = st.floats(0, 1, exclude_min=True, exclude_max=True)


def make(texts, labels=None):
    """Encode texts with a vocabulary of one word."""
    return WordDataset(texts, labels, Vocabulary.build([["oil"]]), str.split)


def draw(labels, fraction, seed=0):
    """Draw from the strata of some labels; return strata and choice."""
    strata = np.unique(labels, return_inverse=True)[1]
    return strata, draw_stratified(strata, fraction, np.random.default_rng(seed))


@given(st.lists(st.integers(0, 5), min_size=2, max_size=80), FRACTIONS, st.integers(0, 5))
def test_the_total_and_the_shares_are_exact(labels, fraction, seed):
    """The total is rounded, but not 0 or all; each share is off by less than one text."""
    strata, chosen = draw(labels, fraction, seed)
    assert chosen.sum() == min(max(round(len(labels) * fraction), 1), len(labels) - 1)
    counts = np.bincount(strata)
    drawn = np.bincount(strata[chosen], minlength=len(counts))
    assert (np.abs(drawn - counts * fraction) < 1 + 1e-9).all()
    assert (drawn <= counts).all()


@pytest.mark.parametrize("fraction", [5e-324, 1e-9, 1 - 1e-9, np.nextafter(1, 0)])
def test_the_smallest_and_the_largest_fraction_leave_one_text(fraction):
    """No part is empty, even if the fraction rounds to 0 or to all texts."""
    _, chosen = draw([0] * 5 + [1] * 5, fraction)
    assert chosen.sum() in {1, 9}


def test_the_largest_remainders_are_rounded_up():
    """Half of 3, 3 and 4 texts is 5: 2 from the even stratum, and at random 1 and 2."""
    seen = set()
    for seed in range(30):
        strata, chosen = draw([0, 0, 0, 1, 1, 1, 2, 2, 2, 2], 0.5, seed)
        seen.add(tuple(np.bincount(strata[chosen])))
    assert seen == {(1, 2, 2), (2, 1, 2)}


def test_every_text_has_the_same_probability():
    """Over many draws, each text of a stratum is chosen equally often."""
    labels = [0] * 8 + [1] * 4
    times = sum(draw(labels, 0.25, seed)[1].astype(int) for seed in range(2000))
    # Expected 500 each, with a standard deviation of 19.
    assert (np.abs(times - 500) < 100).all()


def test_the_draw_depends_only_on_the_generator():
    """The same seed chooses the same texts, another seed other texts."""
    labels = [0, 1, 2] * 20
    assert (draw(labels, 0.3, 1)[1] == draw(labels, 0.3, 1)[1]).all()
    assert (draw(labels, 0.3, 1)[1] != draw(labels, 0.3, 2)[1]).any()


@given(
    st.lists(st.integers(0, 3), min_size=2, max_size=40),
    st.floats(0.01, 0.99),
    st.integers(0, 3),
    st.sampled_from(["none", "ids", "targets"]),
)
def test_a_split_keeps_the_order_of_the_texts(labels, fraction, seed, kind):
    """Both parts keep the order of the texts, and each text is in one of them."""
    texts = [" ".join(["oil"] * i) for i in range(len(labels))]  # text i is found by its length
    targets = {"none": None, "ids": labels, "targets": torch.zeros(len(labels), 2)}[kind]
    dataset = make(texts, targets)
    rest, part = dataset.split(fraction, seed=seed)
    first, second = (list(d.lengths.numpy() - 2) for d in (rest, part))
    assert first == sorted(first)
    assert second == sorted(second)
    assert sorted(first + second) == list(range(len(labels)))
    assert len(part) == min(max(round(len(labels) * fraction), 1), len(labels) - 1)
    if kind == "ids":
        assert part.labels.tolist() == [labels[i] for i in second]
        shares = np.bincount(part.labels, minlength=4) - fraction * np.bincount(labels, minlength=4)
        assert (np.abs(shares) < 1 + 1e-9).all()


def test_a_split_is_reproducible_and_uses_no_global_generator():
    """The parts depend only on the seed; global generators are neither read nor set."""
    dataset = make([" ".join(["oil"] * i) for i in range(40)], [0, 1] * 20)
    states = random.getstate(), str(np.random.get_state()), torch.get_rng_state()  # noqa: NPY002 - the global generator is tested
    first, again, other = (dataset.split(0.5, seed=seed)[1].lengths for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (random.getstate(), str(np.random.get_state())) == states[:2]  # noqa: NPY002 - see above
    assert torch.equal(torch.get_rng_state(), states[2])


def test_huge_class_ids_can_be_split():
    """Memory depends on the number of distinct classes, not on the largest id."""
    rest, part = make(["oil"] * 4, [5, 2**60, 5, 2**60]).split(0.5)
    assert sorted(rest.labels.tolist()) == sorted(part.labels.tolist()) == [5, 2**60]


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"fraction": 0}, InvalidValueError, "`fraction` to be a number between 0 and 1, both"),
        ({"fraction": 1.0}, InvalidValueError, "`fraction` .* but got 1.0"),
        ({"fraction": float("nan")}, InvalidValueError, "`fraction` .* but got nan"),
        ({"fraction": "half"}, InvalidTypeError, "`fraction` .* but got 'half'"),
        ({"fraction": 0.5, "seed": -1}, InvalidValueError, "`seed` .* but got -1"),
        ({"fraction": 0.5, "seed": None}, InvalidTypeError, "`seed` .* but got None"),
    ],
)
def test_invalid_arguments_of_a_split_are_refused(arguments, kind, message):
    """Fraction and seed are checked."""
    with pytest.raises(kind, match=message):
        make(["oil", "soar"]).split(**arguments)


@pytest.mark.parametrize("texts", [[], ["oil"]])
def test_fewer_than_two_texts_can_not_be_split(texts):
    """Otherwise one part would be empty."""
    with pytest.raises(
        InvalidValueError, match=f"at least two texts to split, but got {len(texts)}"
    ):
        make(texts).split(0.5)

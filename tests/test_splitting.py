"""Stratified draws: the right total, and each stratum's share."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textrnn.data.dataset import draw_stratified

FRACTIONS = st.floats(0, 1, exclude_min=True, exclude_max=True)


def draw(labels, fraction, seed=0):
    """Draw from the strata of some labels; return strata and choice."""
    strata = np.unique(labels, return_inverse=True)[1]
    return strata, draw_stratified(strata, fraction, np.random.default_rng(seed))


@given(st.lists(st.integers(0, 5), min_size=2, max_size=80), FRACTIONS, st.integers(0, 5))
def test_total_and_shares_are_right(labels, fraction, seed):
    """The total is the fraction rounded, neither nothing nor all; no share is off by a text."""
    strata, chosen = draw(labels, fraction, seed)
    assert chosen.sum() == min(max(round(len(labels) * fraction), 1), len(labels) - 1)
    counts = np.bincount(strata)
    drawn = np.bincount(strata[chosen], minlength=len(counts))
    assert (np.abs(drawn - counts * fraction) < 1 + 1e-9).all()
    assert (drawn <= counts).all()


@pytest.mark.parametrize("fraction", [5e-324, 1e-9, 1 - 1e-9, np.nextafter(1, 0)])
def test_the_smallest_and_the_largest_fraction_leave_one_text(fraction):
    """Neither part is ever empty, even where the fraction rounds to nothing or to all."""
    _, chosen = draw([0] * 5 + [1] * 5, fraction)
    assert chosen.sum() in {1, 9}


def test_remainders_go_to_those_who_lose_most():
    """Half of 3, 3 and 4 texts are 5: the even stratum gives 2, and lots decide on 1 and 2."""
    seen = set()
    for seed in range(30):
        strata, chosen = draw([0, 0, 0, 1, 1, 1, 2, 2, 2, 2], 0.5, seed)
        seen.add(tuple(np.bincount(strata[chosen])))
    assert seen == {(1, 2, 2), (2, 1, 2)}


def test_every_text_has_the_same_chance():
    """Over many draws each text of a stratum is chosen equally often."""
    labels = [0] * 8 + [1] * 4
    times = sum(draw(labels, 0.25, seed)[1].astype(int) for seed in range(2000))
    # Expected 500 each, with a standard deviation of 19.
    assert (np.abs(times - 500) < 100).all()


def test_the_draw_depends_on_the_generator_alone():
    """The same seed chooses the same texts, another one others."""
    labels = [0, 1, 2] * 20
    assert (draw(labels, 0.3, 1)[1] == draw(labels, 0.3, 1)[1]).all()
    assert (draw(labels, 0.3, 1)[1] != draw(labels, 0.3, 2)[1]).any()

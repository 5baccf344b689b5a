"""The statistics of the AG News example, compared with SciPy."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from examples.ag_news.analysis import bootstrap_interval, holm, sign_flip_test


@given(st.integers(0, 700), st.integers(0, 700))
def test_sign_flip_test_of_one_seed_is_mcnemars_test(gained, lost):
    """With differences of -1, 0 and 1 the test is McNemar's exact test."""
    differences = np.array([1] * gained + [0] * 5 + [-1] * lost)
    mcnemar = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert sign_flip_test(differences) == pytest.approx(mcnemar, rel=1e-9, abs=1e-300)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9))
def test_sign_flip_test_equals_enumeration(differences):
    """The p-value is the share of sign choices whose sum is at least as extreme."""
    observed = abs(sum(differences))
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, differences, strict=True)))
        for signs in itertools.product((-1, 1), repeat=len(differences))
    ]
    expected = sum(value >= observed for value in sums) / len(sums)
    assert sign_flip_test(np.array(differences)) == pytest.approx(expected, abs=1e-12)


def test_sign_flip_test_equals_scipys_permutation_test():
    """With several seeds the test equals SciPy's exact paired permutation test."""
    differences = np.array([3, -1, 2, 2, 0, 1, -2, 1, 3, 1])
    theirs = stats.permutation_test(
        (differences,), np.sum, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip_test(differences) == pytest.approx(theirs.pvalue)


@pytest.mark.parametrize("seeds", [1, 3])
def test_bootstrap_interval_equals_scipys(seeds):
    """The interval equals SciPy's percentile bootstrap, except for random draws."""
    generator = np.random.default_rng(1)
    differences = generator.integers(-1, 2, size=(seeds, 500)) + (generator.random(500) < 0.02)
    theirs = stats.bootstrap(
        (differences.mean(axis=0),), np.mean, n_resamples=20_000, method="percentile", rng=generator
    ).confidence_interval
    assert bootstrap_interval(differences) == pytest.approx((theirs.low, theirs.high), abs=5e-3)


@pytest.mark.parametrize("difference", [0, 1])
def test_bootstrap_interval_is_pointlike_for_equal_differences(difference):
    """The interval has no width where a resample is like any other."""
    differences = np.full((2, 6), difference)
    assert bootstrap_interval(differences) == (difference, difference)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_keeps_order_and_only_raises(p_values):
    """Adjusted values are between raw and Bonferroni values, in the same order."""
    adjusted = holm(p_values)
    for raw, value in zip(p_values, adjusted, strict=True):
        assert raw <= value <= min(1.0, len(p_values) * raw)
    ranks = sorted(range(len(p_values)), key=p_values.__getitem__)
    assert [adjusted[i] for i in ranks] == sorted(adjusted)


def test_holm_equals_a_worked_example():
    """Values computed by hand: 4 x 0.005, 3 x 0.01, 2 x 0.03, and no less for 0.04."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []

"""Statistical tests and confidence intervals of the report.

Comparisons are paired, because two models classify the same test texts.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "bootstrap_interval",
    "holm",
    "mcnemar",
    "sign_flip_test",
    "wilson_interval",
]

_Z = 1.959963984540054  # 97.5 % point of the standard normal distribution


def wilson_interval(successes: float, trials: int) -> tuple[float, float]:
    """Return Wilson's 95 % confidence interval of a proportion.

    Paper: E. B. Wilson, *Probable inference, the law of succession, and statistical inference*,
    Journal of the American Statistical Association 22, 1927.
    """
    share, square = successes / trials, _Z * _Z / trials
    center = share + square / 2
    spread = _Z * math.sqrt((share * (1 - share) + square / 4) / trials)
    low, high = (center - spread) / (1 + square), (center + spread) / (1 + square)
    return max(0.0, low), min(1.0, high)


def mcnemar(gained: int, lost: int) -> float:
    """Return the two-sided p-value of McNemar's exact test.

    Paper: Q. McNemar, *Note on the sampling error of the difference between correlated proportions
    or percentages*, Psychometrika 12, 1947.
    """
    return sign_flip_test([1] * gained + [-1] * lost)


def sign_flip_test(differences: Sequence[int] | NDArray[np.integer]) -> float:
    """Return the exact two-sided p-value of a paired sign-flip test for integer differences.

    It is the share of all choices of signs whose sum is at least as far from 0. With differences of
    -1, 0 and 1 this is McNemar's exact test; sums over several seeds are larger integers.
    """
    values = np.asarray(differences, dtype=np.int64)
    sizes, counts = np.unique(np.abs(values[values != 0]), return_counts=True)
    probabilities = np.ones(1)  # of the sums from -total to total, in steps of 1
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        # The sum of `count` signs is a binomial variable, scaled by `size`.
        stretched = np.zeros(2 * size * count + 1)
        stretched[:: 2 * size] = _binomial_half(count)
        probabilities = np.convolve(probabilities, stretched)
    total = len(probabilities) // 2
    sums = np.arange(-total, total + 1)
    return min(1.0, float(probabilities[np.abs(sums) >= abs(int(values.sum()))].sum()))


def _binomial_half(trials: int) -> NDArray[np.float64]:
    """Return the binomial probabilities of 0 to `trials` successes with probability 1/2."""
    logs = np.array([math.lgamma(k + 1) for k in range(trials + 1)])
    probabilities: NDArray[np.float64] = np.exp(logs[-1] - logs - logs[::-1] - trials * math.log(2))
    return probabilities


def bootstrap_interval(
    differences: ArrayLike, *, resamples: int = 20_000, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % percentile interval of a mean difference by the paired bootstrap.

    The counts of the distinct differences in a resample are drawn from a multinomial distribution.

    Paper: B. Efron, *Bootstrap methods: another look at the jackknife*, Annals of Statistics 7,
    1979.
    """
    values, counts = np.unique(np.asarray(differences, dtype=np.float64), return_counts=True)
    texts = int(counts.sum())
    drawn = np.random.default_rng(seed).multinomial(texts, counts / texts, size=resamples)
    low, high = np.percentile(drawn @ values / texts, (2.5, 97.5))
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values of several tests to control the family-wise error rate.

    Paper: S. Holm, *A simple sequentially rejective multiple test procedure*, Scandinavian Journal
    of Statistics 6, 1979.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted

"""A random part of some texts with every class in proportion."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw_stratified"]


def draw_stratified(
    strata: NDArray[np.int64], fraction: float, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """Choose a fraction of the texts, from every stratum its share.

    The total is the fraction rounded, but at least one text is chosen and one is not. Each stratum
    gives its share rounded down, and those with the largest remainders one more, until the total is
    met (the method of Hamilton for seats in a parliament); equal remainders are drawn by lot.

    Args:
        strata: Stratum of each text, counted from 0 without gaps, of shape `(texts,)`; there are
            at least two texts.
        fraction: Share of the texts to choose, between 0 and 1.
        generator: Source of the randomness.

    Returns:
        Whether each text is chosen, of shape `(texts,)`.

    Example:
        >>> strata = np.array([0, 0, 0, 0, 1, 1])
        >>> chosen = draw_stratified(strata, 0.5, np.random.default_rng(0))
        >>> np.bincount(strata[chosen])
        array([2, 1])
    """
    counts = np.bincount(strata)
    share = counts * fraction
    quota = share.astype(np.int64)
    total = min(max(round(len(strata) * fraction), 1), len(strata) - 1)
    lot = generator.permutation(len(counts))
    by_remainder = np.lexsort((lot, quota - share))
    quota[by_remainder[: total - int(quota.sum())]] += 1
    # Shuffled, then stratum after stratum: the first ones of each are the chosen.
    order = generator.permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]
    place = np.arange(len(strata)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = np.empty(len(strata), dtype=np.bool_)
    chosen[order] = place < np.repeat(quota, counts)
    return chosen

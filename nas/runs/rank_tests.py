"""Two-sided rank tests that are exact for small samples, ties included: of two samples and of pairs.

The test of pairs is always exact, that of two samples up to `MOST_EXACT`; beyond, it is the normal approximation.
"""

from collections.abc import Sequence
from typing import Any

MOST_EXACT = 30 * 30
"""Product of the sizes of two samples up to which their test is exact."""
DECIMALS = 12
"""Values that agree so far differ by rounding alone."""


def mann_whitney_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Returns the two-sided p-value of the Mann-Whitney U test: twice the smaller tail, ties taken into account.

    Up to `MOST_EXACT` it is exact: all ways to deal the pooled ranks to the two sides are counted.

    Raises:
        ValueError: If a side has no values.
    """
    if not first or not second:
        raise ValueError("a test needs at least one value on each side")
    import numpy as np
    from scipy import stats

    values = np.round([*first, *second], DECIMALS)
    if values.min() == values.max():
        return 1.0
    if len(first) * len(second) > MOST_EXACT:
        sides = values[: len(first)], values[len(first) :]
        return float(stats.mannwhitneyu(*sides, alternative="two-sided", method="asymptotic").pvalue)
    ranks = np.rint(2 * stats.rankdata(values)).astype(int)  # doubled, since ties share a mean rank
    fewer = ranks[: len(first)] if len(first) <= len(second) else ranks[len(first) :]
    ways = np.zeros((len(fewer) + 1, ranks.sum() + 1))  # by how many ranks the side was dealt, and their sum
    ways[0, 0] = 1
    for rank in np.sort(ranks):
        ways[1:, rank:] += ways[:-1, :-rank]
    return _two_tails(ways[-1], int(fewer.sum()))


def signed_rank_p(differences: Sequence[float]) -> float:
    """Returns the exact two-sided p-value of Wilcoxon's signed-rank test; differences of 0 are left out.

    All signs that the differences could have had are counted, ties included.

    Raises:
        ValueError: If there are no differences.
    """
    if not differences:
        raise ValueError("a test needs at least one pair")
    import numpy as np
    from scipy import stats

    values = np.round(differences, DECIMALS)
    values = values[values != 0]
    ranks = np.rint(2 * stats.rankdata(abs(values))).astype(int)
    ways = np.ones(1)
    for rank in np.sort(ranks):
        skipped = np.zeros(rank)
        ways = (np.concatenate([ways, skipped]) + np.concatenate([skipped, ways])) / 2  # kept as shares: 2ⁿ overflows
    return _two_tails(ways, int(ranks[values > 0].sum()))


def _two_tails(ways: Any, reached: int) -> float:
    """Returns twice the smaller tail at a place of a distribution, at most 1."""
    return min(1.0, 2 * float(min(ways[: reached + 1].sum(), ways[reached:].sum()) / ways.sum()))

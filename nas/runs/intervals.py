"""Comparisons of repeated measurements: spread, intervals within the bounds of a quantity, rank tests, verdicts.

A side is called better only if a rank test rejects at 5 % and the interval of the difference excludes 0. Where so few
values could not reach the level in any order, there is no verdict. The test of pairs is always exact, that of two
samples up to `MOST_EXACT`, ties included; beyond, it is the normal approximation.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Interval = tuple[float, float]
UNBOUNDED = -math.inf, math.inf
FRACTIONS = 0.0, 1.0
LEVEL = 0.05
"""At which tests reject, and which intervals leave out."""
MOST_EXACT = 30 * 30
"""Product of the sizes of two samples up to which their test is exact."""
DECIMALS = 12
"""Values that agree so far differ by rounding alone."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and sample standard deviation of n values; the deviation of one value is NaN."""

    mean: float
    std: float
    n: int
    values: tuple[float, ...]

    def percent(self) -> str:
        """Returns the spread of fractions as text, such as `97.31 ± 0.20 % (n = 3)`."""
        return f"{plus_minus(100 * self.mean, 100 * self.std)} % (n = {self.n})"


def spread(values: Sequence[float]) -> Spread:
    """Summarises values.

    Raises:
        ValueError: If there are none.
    """
    if not values:
        raise ValueError("a spread needs at least one value")
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    return Spread(mean=statistics.fmean(values), std=deviation, n=len(values), values=tuple(values))


def plus_minus(mean: float, std: float | None) -> str:
    """Returns a mean and its deviation as text, such as `97.31 ± 0.20`; without a deviation the mean alone."""
    return f"{mean:.2f}" if std is None or math.isnan(std) else f"{mean:.2f} ± {std:.2f}"


def mean_interval(values: Sequence[float], *, bounds: Interval = UNBOUNDED) -> Interval | None:
    """Returns Student's 95 % confidence interval of a mean, cut off at the bounds of the values.

    None for values without spread, of which the interval is not known: a single one, or all equal.
    """
    error = _squared_error(values)
    if not error:
        return None
    return _around(statistics.fmean(values), error, freedom=len(values) - 1, bounds=bounds)


def difference_interval(
    first: Sequence[float], second: Sequence[float], *, bounds: Interval = UNBOUNDED
) -> Interval | None:
    """Returns Welch's 95 % interval of mean(first) − mean(second), cut off where the bounds of the values end it.

    None if a side has a single value, or neither has any spread.
    """
    if len(first) < 2 or len(second) < 2:
        return None
    errors = [_squared_error(values) for values in (first, second)]
    if not any(errors):
        return None
    freedom = sum(errors) ** 2 / sum(
        error**2 / (len(values) - 1) for error, values in zip(errors, (first, second), strict=True)
    )
    gap = statistics.fmean(first) - statistics.fmean(second)
    reach = bounds[1] - bounds[0]
    return _around(gap, sum(errors), freedom=freedom, bounds=(-reach, reach))


def wilson_interval(rate: float, trials: int) -> Interval:
    """Returns Wilson's 95 % interval of a success rate (Wilson 1927, JASA 22).

    Args:
        rate: Such as an accuracy, in [0, 1].
        trials: The number of trials, such as images; at least 1.

    Raises:
        ValueError: If a number is out of range.
    """
    if trials < 1 or not 0 <= rate <= 1:
        raise ValueError(f"expected a rate of successes in [0, 1] and at least 1 trial, got {rate} of {trials}")
    weight = 1.96 * 1.96 / trials
    middle = (rate + weight / 2) / (1 + weight)
    half = math.sqrt(rate * (1 - rate) * weight + weight * weight / 4) / (1 + weight)
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What repeated measurements show of the mean difference first − second.

    Attributes:
        counts: The number of values, as text.
        p: Two-sided p-value of the rank test.
        least_p: The least that any values of these counts could give; 1 for a single value, which has no interval.
        interval: Interval of the mean difference; None where it is not known.
        sign: Sign of the mean difference: −1, 0 or 1.
    """

    counts: str
    p: float
    least_p: float
    interval: Interval | None
    sign: int

    @property
    def decidable(self) -> bool:
        """Whether any values of these counts could show a difference."""
        return self.least_p <= LEVEL

    @property
    def shown(self) -> int:
        """Returns 1 if the first is shown to be higher, −1 if the second is, otherwise 0."""
        rejects = self.decidable and self.p <= LEVEL
        excludes = self.interval is None or self.interval[0] > 0 or self.interval[1] < 0
        return self.sign if rejects and excludes else 0

    def sentence(self, names: tuple[str, str], *, scale: float = 1.0, digits: int = 2) -> str:
        """Says which of two names is better, or that this is not shown, or not to be shown by so few values.

        Args:
            names: The names of the first and the second.
            scale: Makes a difference points.
            digits: Digits of the points after the decimal point.
        """
        if not self.decidable:
            reason = f": the least possible p is {self.least_p:#.2g}" if self.least_p < 1 else ""
            return f"too few to tell ({self.counts}{reason})"
        verdict = {1: f"{names[0]} is better", -1: f"{names[1]} is better", 0: "no difference shown"}[self.shown]
        if self.interval is None:
            return f"{verdict} (p = {self.p:#.2g}; without spread there is no interval)"
        low, high = (f"{scale * end:+.{digits}f}" for end in self.interval)
        interval = f"95 % interval of the difference {low} … {high} points"
        return f"{verdict} (p = {self.p:#.2g}; {interval})"


def compare_samples(first: Sequence[float], second: Sequence[float], *, bounds: Interval = UNBOUNDED) -> Comparison:
    """Compares two independent samples: Mann-Whitney's test and Welch's interval.

    Args:
        first: Its values.
        second: Its values.
        bounds: Between which every value lies.

    Raises:
        ValueError: If a side has no values.
    """
    p, counts = mann_whitney_p(first, second), (len(first), len(second))
    return Comparison(
        counts=f"{counts[0]} and {counts[1]} values",
        p=p,
        least_p=min(1.0, 2 / math.comb(sum(counts), counts[0])) if min(counts) > 1 else 1.0,
        interval=difference_interval(first, second, bounds=bounds),
        sign=_sign(statistics.fmean(first) - statistics.fmean(second)),
    )


def compare_pairs(differences: Sequence[float], *, bounds: Interval = UNBOUNDED) -> Comparison:
    """Compares pairs by the difference first − second of each: Wilcoxon's signed-rank test and Student's interval.

    Args:
        differences: One a pair.
        bounds: Between which every value of a pair lies.

    Raises:
        ValueError: If there are none.
    """
    reach = bounds[1] - bounds[0]
    return Comparison(
        counts=f"{len(differences)} pair{'s'[: len(differences) > 1]}",
        p=signed_rank_p(differences),
        least_p=2.0 ** (1 - len(differences)),
        interval=mean_interval(differences, bounds=(-reach, reach)),
        sign=_sign(statistics.fmean(differences)),
    )


def verdict(first: Sequence[float], second: Sequence[float], *, names: tuple[str, str]) -> str:
    """Says in a sentence which mean of accuracies in [0, 1] is higher, or that these values do not show it."""
    return compare_samples(first, second, bounds=FRACTIONS).sentence(names, scale=100)


def paired_verdict(differences: Sequence[float], *, names: tuple[str, str]) -> str:
    """Says the same of pairs of accuracies, from the difference first − second of each."""
    return compare_pairs(differences, bounds=FRACTIONS).sentence(names, scale=100)


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
        sides = np.split(values, [len(first)])
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


def _squared_error(values: Sequence[float]) -> float:
    """Returns the squared standard error of a mean; 0 without spread."""
    if len(values) < 2 or max(values) - min(values) < 10.0**-DECIMALS:
        return 0.0
    return statistics.variance(values) / len(values)


def _around(centre: float, squared_error: float, *, freedom: float, bounds: Interval) -> Interval:
    from scipy.special import stdtrit

    reach = float(stdtrit(freedom, 1 - LEVEL / 2)) * math.sqrt(squared_error)
    return max(centre - reach, bounds[0]), min(centre + reach, bounds[1])


def _sign(number: float) -> int:
    return (number > 0) - (number < 0)

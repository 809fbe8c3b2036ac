"""Comparing repeated measurements honestly: spread always, and no "better" inside the interval."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and sample standard deviation of n values; the deviation of one value is NaN."""

    mean: float
    std: float
    n: int
    values: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns the spread as JSON-ready data."""
        return asdict(self)

    def percent(self) -> str:
        """Returns the spread of fractions as text, such as `97.31 ± 0.20 % (n = 3)`."""
        deviation = "" if math.isnan(self.std) else f" ± {100 * self.std:.2f}"
        return f"{100 * self.mean:.2f}{deviation} % (n = {self.n})"


def spread(values: Sequence[float]) -> Spread:
    """Summarises values.

    Raises:
        ValueError: If there are none.
    """
    if not values:
        raise ValueError("a spread needs at least one value")
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    return Spread(mean=statistics.fmean(values), std=deviation, n=len(values), values=tuple(values))


def difference_interval(
    first: Sequence[float], second: Sequence[float], *, confidence: float = 0.95
) -> tuple[float, float] | None:
    """Returns Welch's confidence interval of mean(first) − mean(second); None if a side has fewer than two values.

    Values that are all equal on both sides give an interval of no width.
    """
    if len(first) < 2 or len(second) < 2:
        return None
    gap = statistics.fmean(first) - statistics.fmean(second)
    errors = [statistics.variance(values) / len(values) for values in (first, second)]
    if sum(errors) == 0:
        return gap, gap
    from scipy import stats

    freedom = sum(errors) ** 2 / sum(
        error**2 / (len(values) - 1) for error, values in zip(errors, (first, second), strict=True)
    )
    reach = float(stats.t.ppf((1 + confidence) / 2, freedom)) * math.sqrt(sum(errors))
    return gap - reach, gap + reach


def mean_interval(values: Sequence[float], *, confidence: float = 0.95) -> tuple[float, float] | None:
    """Returns Student's confidence interval of a mean, such as that of paired differences; None for one value."""
    if len(values) < 2:
        return None
    from scipy import stats

    error = statistics.stdev(values) / math.sqrt(len(values))
    reach = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1)) * error
    centre = statistics.fmean(values)
    return centre - reach, centre + reach


def verdict(
    first: Sequence[float], second: Sequence[float], *, names: tuple[str, str], confidence: float = 0.95
) -> str:
    """Says in a sentence which mean is higher, or that these values do not show it."""
    interval = difference_interval(first, second, confidence=confidence)
    if interval is None:
        return "no interval: each side needs at least two values"
    return _told(interval, names, confidence)


def paired_verdict(differences: Sequence[float], *, names: tuple[str, str], confidence: float = 0.95) -> str:
    """Says the same of pairs of values, from the difference first − second of each."""
    interval = mean_interval(differences, confidence=confidence)
    if interval is None:
        return "no interval: it needs at least two pairs"
    return _told(interval, names, confidence)


def _told(interval: tuple[float, float], names: tuple[str, str], confidence: float) -> str:
    low, high = (100 * end for end in interval)
    bounds = f"{100 * confidence:.0f} % interval of the difference {low:+.2f} … {high:+.2f} points"
    if low > 0:
        return f"{names[0]} is better ({bounds})"
    if high < 0:
        return f"{names[1]} is better ({bounds})"
    return f"no difference shown ({bounds})"

"""From values to places on an axis, and the round values that are marked there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

MARGIN = 0.04  # of the span, beside the outermost values
STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values from `low` … `high` to places from `start` … `end`, linearly or by their logarithms."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Returns the place of a value; NaN has none."""
        low, high, at = (
            (math.log(v) for v in (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        )
        return self.start + (self.end - self.start) * (at - low) / (high - low)


def fitted(values: Sequence[float], *, limits: tuple[float | None, float | None], log: bool) -> tuple[float, float]:
    """Returns ends of an axis that shows all values, `low` below `high`.

    Args:
        values: Finite, and above 0 for a logarithmic axis.
        limits: Ends that are given.
        log: Whether the axis is logarithmic.
    """
    low, high = min(values, default=1.0), max(values, default=1.0)
    if log:
        spare = (high / low) ** MARGIN if high > low else 1.5
        ends = low / spare, high * spare
    else:
        spare = MARGIN * (high - low) if high > low else abs(high) * 0.05 or 0.5
        ends = low - spare, high + spare
    below, above = (end if given is None else given for end, given in zip(ends, limits, strict=True))
    return (below, above) if below < above else (above - 1, above)


def linear_ticks(low: float, high: float, *, count: int = 6, whole: bool = False) -> list[float]:
    """Returns at most `count` round values in low … high at even distances."""
    rough = (high - low) / max(1, count - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in STEPS if factor * power >= rough * (1 - 1e-9))
    if whole:
        step = max(1.0, math.ceil(step))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def log_ticks(low: float, high: float, *, count: int = 6) -> list[float]:
    """Returns round values in low … high of a logarithmic axis: powers of ten, and others where there is room."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9), (1, 1.5, 2, 3, 5, 7), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        ticks = [factor * 10.0**power for power in powers for factor in factors]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= count:
            return ticks if len(ticks) > 1 else linear_ticks(low, high, count=count)
    return ticks[:: math.ceil(len(ticks) / count)]


def tick_text(value: float) -> str:
    """Returns a round value as text: `0.25`, `12k`, `1.5M`."""
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= factor:
            return f"{value / (1e3 if unit == 'k' else factor):.4g}{unit}"
    return f"{value:.6g}"

"""Series of the rows of a file: which values are known, and few enough of them for a page."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from nas.reporting.figures.figures import NAN, Series
from nas.reporting.page.records import number

Rows = Sequence[Mapping[str, Any]]
MAX_CURVE = 180  # points of a curve, one every three px
MAX_CLOUD = 300  # dots of a cloud


def curve(rows: Rows, key: str, *, along: str, name: str = "", scale: float = 1.0, **looks: Any) -> Series:
    """Returns a column over another as a line, rows where one is not known left out, from left to right.

    Args:
        rows: Of a file.
        key: Of the values.
        along: Of the places.
        name: In the legend.
        scale: The values are multiplied by this.
        looks: Of the series.
    """
    points = [(number(row.get(along)), scale * number(row.get(key))) for row in rows]
    points = thinned(sorted(point for point in points if math.isfinite(sum(point))), MAX_CURVE)
    return Series(name=name, x=[x for x, _ in points], y=[y for _, y in points], **looks)


def joined(pieces: Sequence[Series], **looks: Any) -> Series:
    """Returns several lines as one series."""
    x = [value for piece in pieces for value in [*piece.x, NAN]]
    y = [value for piece in pieces for value in [*piece.y, NAN]]
    return Series(x=x[:-1], y=y[:-1], **looks)


def spread_dots(groups: Mapping[Any, Sequence[float]], **looks: Any) -> Series:
    """Returns the mean of each group of values at its place as a dot, with one standard deviation to either side."""
    means = [statistics.fmean(values) for values in groups.values()]
    stds = [statistics.stdev(values) if len(values) > 1 else NAN for values in groups.values()]
    low = [mean - std for mean, std in zip(means, stds, strict=True)]
    high = [mean + std for mean, std in zip(means, stds, strict=True)]
    return Series(x=[*groups], y=means, mark="dots", low=low, high=high, **looks)


def thinned(points: Sequence[Any], most: int) -> list[Any]:
    """Returns at most `most` points at even distances, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]


def smoothed(values: Sequence[float], window: int) -> list[float]:
    """Returns the running mean over the last `window` values."""
    return [statistics.fmean(values[max(0, end - window) : end]) for end in range(1, len(values) + 1)]


def grouped(rows: Rows, key: str) -> dict[str, list[Mapping[str, Any]]]:
    """Returns the rows by what they have in a column, in order of first appearance."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(str(row[key]), []).append(row)
    return groups

"""Series of the rows of a file: which values are known, and few enough of them for a page."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nas.reporting.figures.figures import NAN, Series
from nas.reporting.page.records import number

MAX_CURVE = 240  # points of a curve; more than a figure has px between them
MAX_CLOUD = 600  # dots of a cloud


def curve(
    rows: Sequence[Mapping[str, Any]],
    key: str,
    *,
    along: str,
    name: str,
    colour: int = 0,
    scale: float = 1.0,
    **looks: Any,
) -> Series:
    """Returns a column over another as a line, rows where one is not known left out, from left to right.

    Args:
        rows: Of a file.
        key: Of the values.
        along: Of the places.
        name: In the legend.
        colour: Number of the colour.
        scale: The values are multiplied by this.
        looks: Of the series.
    """
    points = sorted(
        (at, scale * value)
        for at, value in ((number(row.get(along)), number(row.get(key))) for row in rows)
        if math.isfinite(at + value)
    )
    points = thinned(points, MAX_CURVE)
    return Series(name=name, x=[x for x, _ in points], y=[y for _, y in points], colour=colour, **looks)


def joined(pieces: Sequence[Series], *, name: str, colour: int) -> Series:
    """Returns several lines as one series of one colour."""
    x: list[float] = []
    y: list[float] = []
    for piece in pieces:
        x += [*piece.x, NAN]
        y += [*piece.y, NAN]
    return Series(name=name, x=x[:-1], y=y[:-1], colour=colour)


def thinned(points: Sequence[Any], most: int) -> list[Any]:
    """Returns at most `most` points at even distances, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]


def smoothed(values: Sequence[float], window: int) -> list[float]:
    """Returns the running mean over the last `window` values."""
    starts = [max(0, end - window) for end in range(1, len(values) + 1)]
    return [sum(values[start:end]) / (end - start) for end, start in enumerate(starts, start=1)]

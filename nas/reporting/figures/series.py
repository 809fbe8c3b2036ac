"""Series made from the rows of a file: known values only, and few enough of them for a page."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from nas.reporting.figures.figures import Axis, Series
from nas.reporting.page.records import number

Rows = Sequence[Mapping[str, Any]]
MAX_CURVE = 180  # points of a curve, one every three px
MAX_CLOUD = 300  # dots of a cloud
TEMPO = {"epoch": "epoch of the search", "queries": "cells rewarded"}
"""Titles of the axis along a search, by the column that counts its steps."""


def tempo(rows: Rows) -> str:
    """Returns the column that counts the steps of a search."""
    return next((key for key in TEMPO if rows and key in rows[0]), "epoch")


def search_axis(rows: Rows) -> Axis:
    """Returns the axis along the steps of a search."""
    return Axis(TEMPO[tempo(rows)], whole=True)


def curve(rows: Rows, key: str, *, along: str, name: str = "", scale: float = 1.0, **looks: Any) -> Series:
    """Returns a column over another as a line, rows where one is not known left out, from left to right.

    Args:
        rows: Rows of a file.
        key: Key of the values.
        along: Key of the places.
        name: Name in the legend.
        scale: The values are multiplied by this.
        looks: Further arguments of the series.
    """
    points = [(number(row.get(along)), scale * number(row.get(key))) for row in rows]
    points = thinned(sorted(point for point in points if math.isfinite(sum(point))), MAX_CURVE)
    return Series(name=name, x=[x for x, _ in points], y=[y for _, y in points], **looks)


def joined(pieces: Sequence[Series], **looks: Any) -> Series:
    """Returns several lines as one series."""
    x = [value for piece in pieces for value in [*piece.x, math.nan]]
    y = [value for piece in pieces for value in [*piece.y, math.nan]]
    return Series(x=x[:-1], y=y[:-1], **looks)


def dots(x: Sequence[Any], y: Sequence[Any], stds: Sequence[float], **looks: Any) -> Series:
    """Returns means as dots, with one standard deviation to either side; x is dependent where y has categories."""
    means = x if y and isinstance(y[0], str) else y
    low = [mean - std for mean, std in zip(means, stds, strict=True)]
    high = [mean + std for mean, std in zip(means, stds, strict=True)]
    return Series(x=x, y=y, mark="dots", low=low, high=high, **looks)


def deviation(values: Sequence[float]) -> float:
    """Returns the standard deviation of values; NaN for a single one."""
    return statistics.stdev(values) if len(values) > 1 else math.nan


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

"""Pareto fronts of two aims: a cost that should be low and a value, such as accuracy, that should be high."""

import math
from collections.abc import Sequence

Point = tuple[float, float]
"""(cost, value)."""


def nondominated(points: Sequence[Point]) -> list[int]:
    """Returns the numbers of the points that no other dominates, by ascending cost.

    A point dominates another if it costs no more and is worth no less, and differs in one of the two. Of equal points
    the first stands for all.

    Raises:
        ValueError: If a coordinate is not finite.
    """
    if not all(math.isfinite(coordinate) for point in points for coordinate in point):
        raise ValueError("costs and values must be finite")
    front: list[int] = []
    for number in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1], i)):
        if not front or points[number][1] > points[front[-1]][1]:
            front.append(number)
    return front


def hypervolume(points: Sequence[Point], *, reference: Point) -> float:
    """Returns the area that the points dominate above and left of a reference point.

    Args:
        points: Those beyond the reference, costlier or worth less, add nothing.
        reference: The largest cost and the least value that count.

    Raises:
        ValueError: If a coordinate is not finite.
    """
    inside = [point for point in points if point[0] < reference[0] and point[1] > reference[1]]
    area, least = 0.0, reference[1]
    for number in nondominated(inside):
        cost, value = inside[number]
        area += (reference[0] - cost) * (value - least)
        least = value
    return area

"""Pareto fronts against brute force."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.costs.pareto import hypervolume, nondominated

grid = st.integers(min_value=0, max_value=8)
point_lists = st.lists(st.tuples(grid, grid), max_size=12)


def dominates(a, b) -> bool:
    return a[0] <= b[0] and a[1] >= b[1] and a != b


@given(point_lists)
def test_the_front_is_the_set_that_no_point_dominates(points):
    front = {points[i] for i in nondominated(points)}
    assert front == {p for p in points if not any(dominates(q, p) for q in points)}


@given(point_lists)
def test_the_front_ascends_in_cost_and_value_and_names_each_point_once(points):
    chosen = [points[i] for i in nondominated(points)]
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(chosen))


def test_of_equal_points_the_first_stands_for_all():
    assert nondominated([(2, 1), (1, 1), (1, 1)]) == [1]


@given(point_lists)
def test_hypervolume_counts_the_unit_squares_that_are_dominated(points):
    squares = sum(any(p[0] <= x and p[1] >= y + 1 for p in points) for x in range(7) for y in range(1, 8))
    assert hypervolume(points, reference=(7, 1)) == squares


def test_hypervolume_of_two_points_by_hand():
    # (5 - 1) * 0.5 for the cheap point, and (5 - 3) * (0.75 - 0.5) that the better one adds
    assert hypervolume([(1.0, 0.5), (3.0, 0.75)], reference=(5.0, 0.0)) == pytest.approx(2.5)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="must be finite"):
        nondominated([(1.0, 0.5), (bad, 0.5)])

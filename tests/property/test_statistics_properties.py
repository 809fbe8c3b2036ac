"""Verdicts claim a difference no more often than their level allows, and depend on nothing but the values."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.runs.intervals import compare_pairs, compare_samples

IMAGES = 500
accuracies = st.integers(0, IMAGES).map(lambda correct: correct / IMAGES)
samples = st.lists(accuracies, min_size=1, max_size=10)
differences = st.lists(st.integers(-IMAGES, IMAGES).map(lambda images: images / IMAGES), min_size=1, max_size=10)


def claims_at_most(claims: int, comparisons: int, level: float = 0.05) -> bool:
    """Whether so many claims are what a level comes to by chance, within three and a half standard deviations."""
    return claims <= level * comparisons + 3.5 * math.sqrt(level * (1 - level) * comparisons)


@pytest.mark.parametrize("others", [2, 3, 4, 6, 10])
@pytest.mark.parametrize("deviation", [0.002, 0.02])
def test_equal_samples_are_told_apart_no_more_often_than_the_level(others, deviation):
    """Accuracies on 500 images, so that there are ties, of which many where the deviation is one image."""
    generator = np.random.default_rng(others)
    comparisons, claims = 0, 0
    for count in range(2, 11):
        for row in generator.normal(0.9, deviation, size=(40, count + others)).clip(0, 1):
            values = (np.rint(row * IMAGES) / IMAGES).tolist()
            found = compare_samples(values[:count], values[count:], bounds=(0, 1))
            comparisons += found.decidable
            claims += found.shown != 0
    assert claims_at_most(claims, comparisons)


@pytest.mark.parametrize("step", [1 / IMAGES, 1 / 50])
def test_pairs_without_a_difference_are_told_apart_no_more_often_than_the_level(step):
    generator = np.random.default_rng(1)
    comparisons, claims = 0, 0
    for count in range(2, 11):
        for row in generator.normal(0, 0.02, size=(150, count)):
            found = compare_pairs((np.rint(row / step) * step).tolist(), bounds=(0, 1))
            comparisons += found.decidable
            claims += found.shown != 0
    assert claims_at_most(claims, comparisons)


@pytest.mark.parametrize(("trainings", "cells"), [(3, 5), (4, 4), (10, 10)])
def test_a_cell_as_good_as_the_average_one_is_called_neither_better_nor_worse(trainings, cells):
    """Trainings of one cell differ less than cells do, so that ranks alone would claim too much."""
    generator = np.random.default_rng(2)
    found = generator.normal(0.9, 0.002, size=(400, trainings)).tolist()
    random = generator.normal(0.9, 0.01, size=(400, cells)).tolist()
    claims = sum(compare_samples(*pair, bounds=(0, 1)).shown != 0 for pair in zip(found, random, strict=True))
    assert claims_at_most(claims, 400)


@settings(max_examples=30)
@given(st.integers(2, 4), st.lists(st.integers(448, 452).map(lambda correct: correct / IMAGES), min_size=6, max_size=8))
def test_of_all_ways_to_deal_values_to_two_sides_at_most_the_level_shows_a_difference(count, values):
    places = range(len(values))
    shown = [
        compare_samples([values[i] for i in dealt], [values[i] for i in places if i not in dealt], bounds=(0, 1)).shown
        for dealt in itertools.combinations(places, count)
    ]
    assert sum(map(abs, shown)) <= 0.05 * len(shown)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 5).map(lambda images: images / IMAGES), min_size=2, max_size=7))
def test_of_all_signs_of_differences_at_most_the_level_shows_a_difference(values):
    flips = itertools.product((-1, 1), repeat=len(values))
    shown = [compare_pairs([sign * one for sign, one in zip(signs, values, strict=True)]).shown for signs in flips]
    assert sum(map(abs, shown)) <= 0.05 * len(shown)


@given(samples, samples, st.randoms(use_true_random=False))
def test_two_samples_may_change_sides_and_order(first, second, random):
    found = compare_samples(first, second, bounds=(0, 1))
    swapped = compare_samples(random.sample(second, len(second)), random.sample(first, len(first)), bounds=(0, 1))
    assert swapped.p == found.p
    assert swapped.shown == -found.shown
    assert swapped.interval == (found.interval and (-found.interval[1], -found.interval[0]))
    assert compare_samples(random.sample(first, len(first)), second, bounds=(0, 1)) == found


@given(differences, st.randoms(use_true_random=False))
def test_pairs_may_change_sides_and_order(values, random):
    found = compare_pairs(values, bounds=(0, 1))
    swapped = compare_pairs([-one for one in random.sample(values, len(values))], bounds=(0, 1))
    assert (swapped.p, swapped.shown) == (found.p, -found.shown)
    assert swapped.interval == (found.interval and (-found.interval[1], -found.interval[0]))


@given(samples, samples, differences)
def test_what_is_said_is_possible(first, second, values):
    for found in (compare_samples(first, second, bounds=(0, 1)), compare_pairs(values, bounds=(0, 1))):
        assert 0 < found.p <= 1
        assert found.least_p <= 1
        assert found.interval is None or -1 <= found.interval[0] < found.interval[1] <= 1
        if found.shown:
            assert found.least_p * (1 - 1e-9) <= found.p <= 0.05

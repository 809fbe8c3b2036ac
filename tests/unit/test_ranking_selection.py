import itertools
import statistics

import numpy as np
import pytest

from nas.studies.ranking.estimates import best_of_random, best_of_top, gain_of_top


def best_over_all_orders(predictions, values, k) -> float:
    """The mean over all orders in which cells may be tried, ties of the predictions broken each way equally often."""
    orders = itertools.permutations(range(len(values)))
    tops = [sorted(order, key=lambda i: -predictions[i])[:k] for order in orders]
    return statistics.fmean(max(values[i] for i in top) for top in tops)


def test_the_best_of_random_cells_computed_by_hand():
    assert best_of_random([1, 2, 3], k=1) == pytest.approx(2)
    assert best_of_random([3, 1, 2], k=2) == pytest.approx(8 / 3)  # of the pairs one has 2 as its best, two have 3
    assert best_of_random([3, 1, 2], k=3) == pytest.approx(3)


def test_the_best_of_the_top_without_ties_is_a_look_up():
    predictions, values = [0.9, 0.1, 0.8, 0.2], [10, 50, 30, 20]
    assert [float(best_of_top(predictions, values, k=k)) for k in (1, 2, 3, 4)] == [10, 30, 30, 50]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("k", [1, 2, 4, 6])
def test_both_are_what_enumeration_gives(seed, k):
    generator = np.random.default_rng(seed)
    predictions, values = generator.integers(0, 3, size=6).tolist(), generator.integers(0, 5, size=6).tolist()
    assert best_of_top(predictions, values, k=k) == pytest.approx(best_over_all_orders(predictions, values, k))
    subsets = itertools.combinations(values, k)
    assert best_of_random(values, k=k) == pytest.approx(statistics.fmean(map(max, subsets)))


def test_negative_values_and_many_rows_are_taken():
    generator = np.random.default_rng(0)
    predictions, values = generator.integers(0, 3, size=(5, 7)), -generator.random((5, 7))
    together = best_of_top(predictions, values, k=3)
    alone = [float(best_of_top(row, column, k=3)) for row, column in zip(predictions, values, strict=True)]
    assert together.tolist() == pytest.approx(alone)
    assert (together < 0).all()


def test_many_cells_do_not_overflow():
    values = np.arange(2000)
    assert best_of_random(values, k=500) == pytest.approx(2001 * 500 / 501 - 1)  # the mean of a maximum of ranks


def test_predictions_that_say_nothing_gain_nothing_and_inverted_ones_lose():
    values = np.arange(10.0)
    assert gain_of_top(np.ones(10), values, k=4) == pytest.approx(0)
    assert gain_of_top(values, values, k=4) > 0 > gain_of_top(-values, values, k=4)

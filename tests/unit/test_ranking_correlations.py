import itertools
import math

import numpy as np
import pytest

from nas.studies.ranking import estimates
from nas.studies.ranking.estimates import bootstrap, kendall_tau, ranks, spearman_rho

TIED = [np.random.default_rng(seed).integers(0, 4, size=(2, 9)).astype(float) for seed in range(8)]


def pair_by_pair(first, second) -> float:
    """Tau-b by its definition: (C − D) / √((pairs untied in first) (pairs untied in second))."""
    concordant = discordant = untied_first = untied_second = 0
    for i, j in itertools.combinations(range(len(first)), 2):
        a, b = first[i] - first[j], second[i] - second[j]
        concordant += a * b > 0
        discordant += a * b < 0
        untied_first += a != 0
        untied_second += b != 0
    return (concordant - discordant) / math.sqrt(untied_first * untied_second)


@pytest.mark.parametrize(
    ("first", "second", "tau", "rho"),
    [
        ([1, 2, 3, 4], [1, 2, 4, 3], 4 / 6, 0.8),
        ([1, 1, 2, 3], [1, 2, 2, 3], 4 / 5, 3.75 / 4.5),
        ([1, 2, 3, 4, 5], [3, 2, 1, 5, 4], 0.2, 0.5),
        ([5, 1, 9], [50, 10, 90], 1.0, 1.0),
        ([1, 2, 3], [3, 2, 1], -1.0, -1.0),
        ([-math.inf, -math.inf, 0.0], [1, 2, 3], 2 / math.sqrt(6), 1.5 / math.sqrt(3)),
    ],
)
def test_correlations_computed_by_hand(first, second, tau, rho):
    assert kendall_tau(first, second) == pytest.approx(tau)
    assert spearman_rho(first, second) == pytest.approx(rho)


@pytest.mark.parametrize("columns", TIED)
def test_tau_is_that_of_counting_every_pair(columns):
    assert kendall_tau(*columns) == pytest.approx(pair_by_pair(*columns.tolist()))


@pytest.mark.parametrize("columns", TIED)
def test_both_agree_with_scipy_on_ties(columns):
    from scipy import stats

    assert kendall_tau(*columns) == pytest.approx(stats.kendalltau(*columns).statistic)
    assert spearman_rho(*columns) == pytest.approx(stats.spearmanr(*columns).statistic)


def test_many_pairs_at_once_give_what_each_gives_alone():
    first, second = np.stack(TIED)[:, 0], np.stack(TIED)[:, 1]
    for correlation in (kendall_tau, spearman_rho):
        assert correlation(first, second).tolist() == [float(correlation(*columns)) for columns in TIED]


def test_equal_values_share_the_mean_of_their_ranks():
    assert ranks([7, 3, 7, 1]).tolist() == [3.5, 2.0, 3.5, 1.0]


def test_a_side_without_differences_has_no_correlation():
    assert math.isnan(kendall_tau([1, 1, 1], [1, 2, 3]))
    assert math.isnan(spearman_rho([1, 2, 3], [4, 4, 4]))


def test_the_bootstrap_has_the_quantiles_of_all_resamples():
    def mean(values):
        return values.mean(axis=-1)

    # Of the 27 resamples of 0, 0, 1 the mean is 0 in 8 (0.30) and 1 in one (0.037): between 0.025 and 0.05.
    wide = bootstrap(mean, [0, 0, 1], seed=0, resamples=20_000)
    assert (wide["low"], wide["high"]) == (0.0, 1.0)
    assert wide["value"] == pytest.approx(1 / 3)
    assert wide["cells"] == 3
    narrow = bootstrap(mean, [0, 0, 1], seed=0, resamples=20_000, confidence=0.9)
    assert (narrow["low"], narrow["high"]) == (0.0, pytest.approx(2 / 3))


def test_the_bootstrap_is_a_function_of_its_seed(monkeypatch):
    columns = np.random.default_rng(0).random((2, 12))
    once = bootstrap(kendall_tau, *columns, seed=3)
    assert bootstrap(kendall_tau, *columns, seed=3) == once
    assert bootstrap(kendall_tau, *columns, seed=4) != once
    monkeypatch.setattr(estimates, "PAIRS_AT_ONCE", 1000)
    assert bootstrap(kendall_tau, *columns, seed=3) == once


def test_the_interval_of_tau_covers_it_and_narrows_with_more_cells():
    generator = np.random.default_rng(0)
    widths = []
    for cells in (20, 80):
        truth = generator.standard_normal(cells)
        found = bootstrap(kendall_tau, truth, truth + generator.standard_normal(cells), seed=0)
        assert found["low"] < 0.5 < found["high"]  # 2 / π · arcsin √½
        widths.append(found["high"] - found["low"])
    assert widths[1] < 0.7 * widths[0]


def test_a_perfect_order_has_an_interval_of_no_width_and_no_order_has_none():
    perfect = bootstrap(kendall_tau, [1, 2, 3, 4, 5], [2, 4, 6, 8, 10], seed=0)
    assert (perfect["value"], perfect["low"], perfect["high"]) == (1.0, 1.0, 1.0)
    nothing = bootstrap(kendall_tau, [1, 1, 1], [1, 2, 3], seed=0)
    assert all(math.isnan(value) for value in (nothing["value"], nothing["low"], nothing["high"]))

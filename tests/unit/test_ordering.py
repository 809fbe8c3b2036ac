"""Figures of how scores order cells of known quality."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import kendalltau

from nas.studies.ranking.ordering import Truth, ordering

RNG = np.random.default_rng(3)


def truth_of(values, **groups):
    return Truth(
        values=np.asarray(values, dtype=float),
        groups={key: np.asarray(value) for key, value in groups.items()},
        classes=np.arange(len(values)),
    )


def test_tau_is_that_of_scipy_within_each_part():
    values, scores = RNG.normal(size=60), RNG.integers(0, 12, size=60).astype(float)  # scores with ties
    found = ordering(scores, truth_of(values), resamples=1)
    for name, quantile in (("tau", 0), ("better half", 0.5), ("best tenth", 0.9)):
        part = values >= np.quantile(values, quantile)
        assert found[name]["value"] == pytest.approx(kendalltau(scores[part], values[part]).statistic, abs=1e-6)


def test_pairs_of_one_group_are_counted_by_hand():
    found = ordering([1, 2, 2, 9, 0], truth_of([1, 3, 2, 5, 4], size=[0, 0, 0, 1, 1]), resamples=1)
    # (1,3): right; (1,2): right; (3,2): tied scores, 0; (5,4): right
    assert found["equal size"]["value"] == pytest.approx(3 / 4)


def test_precision_and_regret_by_hand():
    values = np.arange(100.0)
    scores = values.copy()
    scores[[99, 98]] = -1  # two of the five best are scored worst, so 94 and 93 take their places
    found = ordering(scores, truth_of(values), resamples=1)
    assert found["P@5 %"]["value"] == pytest.approx(3 / 5)
    assert [found[f"regret@{k}"]["value"] for k in (1, 10, 50)] == [2, 2, 2]


def test_a_group_of_one_cell_has_no_pairs():
    assert ordering([1, 2], truth_of([1, 2], size=[0, 1]), resamples=1)["equal size"]["value"] == 0


def test_several_seeds_are_averaged_and_widen_the_interval():
    values = RNG.normal(size=40)
    good, bad = values + RNG.normal(size=40) / 9, -values
    both = ordering([good, bad], truth_of(values), resamples=300)["tau"]
    alone = ordering(good, truth_of(values), resamples=300)["tau"]
    taus = [kendalltau(one, values).statistic for one in (good, bad)]
    assert both["value"] == pytest.approx(np.mean(taus), abs=1e-6)
    assert both["low"] < -0.5  # both seeds may be the same in a resample
    assert both["high"] > 0.5
    assert alone["low"] <= alone["value"] <= alone["high"]
    assert alone["high"] - alone["low"] < 0.4


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """Of samples from a distribution of known tau, 95 % intervals cover it in most of 60 cases."""
    correlation, covered = 0.5, 0
    tau = 2 / math.pi * math.asin(correlation)  # of the bivariate normal distribution
    for number in range(60):
        pair = np.random.default_rng(number).multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], size=80)
        found = ordering(pair[:, 0], truth_of(pair[:, 1]), seed=number, resamples=200)["tau"]
        covered += found["low"] <= tau <= found["high"]
    assert covered >= 50


def test_a_resampled_cell_makes_no_pair_with_itself():
    """Enumerates all resamples of three cells: only those with two different cells have pairs."""
    values, scores = np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 2.0])
    found = ordering(scores, truth_of(values, size=[0, 0, 0]), resamples=400)
    taus = {0.0 if len(set(draw)) == 1 else 1.0 for draw in itertools.product(range(3), repeat=3)}
    assert taus == {0.0, 1.0}
    assert (found["equal size"]["low"], found["equal size"]["high"]) == (0.0, 1.0)


def test_cells_of_one_class_are_drawn_together():
    """Ten copies of each cell say no more than one: the interval is as wide."""
    values, scores = RNG.normal(size=30), RNG.normal(size=30)
    once = ordering(scores, truth_of(values), resamples=400)["tau"]
    copies = Truth(values=np.repeat(values, 10), groups={}, classes=np.repeat(np.arange(30), 10))
    tenfold = ordering(np.repeat(scores, 10), copies, resamples=400)["tau"]
    assert tenfold["value"] == pytest.approx(once["value"], abs=1e-6)
    assert tenfold["high"] - tenfold["low"] == pytest.approx(once["high"] - once["low"], rel=0.2)


def test_blocks_of_rows_change_nothing(monkeypatch):
    values, scores = RNG.normal(size=50), RNG.normal(size=50)
    groups = {"size": RNG.integers(0, 4, size=50)}
    whole = ordering(scores, truth_of(values, **groups))
    monkeypatch.setattr("nas.studies.ranking.ordering.BLOCK", 7)
    blocks = ordering(scores, truth_of(values, **groups))
    assert all(blocks[column]["value"] == pytest.approx(whole[column]["value"], abs=1e-9) for column in whole)
    assert blocks["equal size"]["low"] == pytest.approx(whole["equal size"]["low"], abs=1e-9)


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite"):
        ordering([1, 2, math.nan], truth_of([1, 2, 3]))

from collections import Counter

import numpy as np
import pytest

from nas.studies.ranking.chosen_cells import STRATA, best_threshold, draw_stratified, joint_prediction
from nas.studies.ranking.settings import RankSettings


def test_every_stratum_gives_as_many_cells_and_the_better_ones_what_is_left():
    predictions = np.random.default_rng(0).random(200)
    assert Counter(stratum for stratum, _ in draw_stratified(predictions, count=18, seed=0).values()) == dict.fromkeys(
        STRATA, 6
    )
    counts = Counter(stratum for stratum, _ in draw_stratified(predictions, count=20, seed=0).values())
    assert counts == {"lower half": 6, "upper half": 7, "best tenth": 7}


def test_strata_are_quantiles_of_the_predictions():
    predictions = np.random.default_rng(1).permutation(100)
    within = {"lower half": range(50), "upper half": range(50, 90), "best tenth": range(90, 100)}
    drawn = draw_stratified(predictions, count=24, seed=0)
    assert all(predictions[index] in within[stratum] for index, (stratum, _) in drawn.items())
    assert len(drawn) == 24


def test_shares_sum_to_those_of_the_strata():
    drawn = draw_stratified(np.arange(60), count=10, seed=0)
    for name, share in STRATA.items():
        assert sum(part for stratum, part in drawn.values() if stratum == name) == pytest.approx(share)


def test_chance_orders_equal_predictions_and_the_seed_decides_it():
    drawn = [draw_stratified(np.zeros(50), count=9, seed=seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert max(index for index, (stratum, _) in drawn[0].items() if stratum == "lower half") >= 25


def test_a_pool_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match="the best tenth of 30 distinct uniform draws has 3 cells, 4 are asked for"):
        draw_stratified(np.arange(30), count=12, seed=0)


def test_several_runs_have_the_same_say_whatever_their_scale():
    assert joint_prediction([[0.1, 0.2, 0.3], [30, 20, 10]]).tolist() == [2, 2, 2]
    assert joint_prediction([[0.1, 0.2, 0.3], [10, 10, 20]]).tolist() == [1.25, 1.75, 3]


@pytest.mark.parametrize(
    ("shares", "fraction", "threshold"),
    [
        ([1, 1, 1, 1], 0.5, 0.3),
        ([1, 1, 1, 1], 0.25, 0.4),
        ([1, 1, 1, 1], 0.26, 0.3),
        ([0.5, 0, 0.4, 0.1], 0.1, 0.4),
        ([0.5, 0, 0.4, 0.1], 0.5, 0.3),
        ([0.5, 0.5, 0, 0], 0.1, 0.2),  # the cells above stand for none of the space
    ],
)
def test_the_threshold_covers_the_fraction_of_the_shares(shares, fraction, threshold):
    assert best_threshold([0.1, 0.2, 0.3, 0.4], shares, fraction=fraction) == threshold


def test_shares_recover_the_quantile_of_a_space_from_a_sample_rich_in_good_cells():
    truth = np.random.default_rng(0).random(5000)
    drawn = draw_stratified(truth + np.random.default_rng(1).normal(0, 0.1, size=5000), count=300, seed=0)
    sample, shares = truth[list(drawn)], [share for _, share in drawn.values()]
    assert best_threshold(sample, shares, fraction=0.1) == pytest.approx(0.9, abs=0.03)
    assert best_threshold(sample, np.ones(300), fraction=0.1) > 0.95


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"architectures": 5, "policy_architectures": 0}, "architectures"),
        ({"policy_architectures": 24}, "policy_architectures .* 24"),
        ({"pool": 10}, "pool .* architectures 24"),
        ({"top": [25]}, "top .* architectures 24"),
    ],
)
def test_numbers_of_cells_that_do_not_go_together_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        RankSettings(**changed)

import math

import numpy as np
import pytest

from nas.studies.ranking.figures import Bootstrapping, ranking_figures, reliability
from nas.studies.ranking.plots import ranking_plot
from nas.studies.ranking.tables import difference_sentence, print_figures, reliability_sentence, run_sentence, signed

ESTIMATE = Bootstrapping(seed=0, resamples=300)
TRUTH = np.linspace(0.5, 0.9, 20)


def planted(*runs, seeds=1, log_prob=None):
    """Cells whose stand-alone accuracy is TRUTH, and what runs predict of them."""
    return [
        {
            "source": "uniform",
            "share": 1 / len(TRUTH),
            "stand_alone": [float(TRUTH[i])] * seeds,
            "shared": {f"run{n}": {"recalibrate-4": run[i], "batch": -run[i]} for n, run in enumerate(runs)},
            "log_prob": {} if log_prob is None else {"run0": log_prob[i]},
        }
        for i in range(len(TRUTH))
    ]


def figures_of(cells):
    runs = {}
    for name in cells[0]["shared"]:
        own = sorted(cell["shared"][name]["recalibrate-4"] for cell in cells)
        runs[name] = {"mode": "recalibrate-4", "thresholds": {"better half": own[10], "best tenth": own[18]}}
    return ranking_figures(cells, runs, top=[1, 5, 99], estimate=ESTIMATE)


def test_a_perfect_proxy_is_known_as_such():
    figures = figures_of(planted(TRUTH))
    run = figures["runs"]["run0"]
    for kind in ("all", "better half by stand-alone", "better half by prediction"):
        assert {key: run["within"][kind]["tau"][key] for key in ("value", "low", "high")} == dict.fromkeys(
            ("value", "low", "high"), 1.0
        )
    assert [run["within"][kind]["cells"] for kind in run["within"]] == [20, 10, 10, 2, 2]
    assert [entry["k"] for entry in run["top"]] == [1, 5]
    assert run["top"][0]["gain"]["value"] == pytest.approx(0.9 - TRUTH.mean())
    assert run["top"][1]["gain"]["low"] > 0
    assert "the best of its top 5 is better than the best of 5 random ones" in run_sentence("run0", run)


def test_an_inverted_proxy_is_worse_than_chance():
    run = figures_of(planted(-TRUTH))["runs"]["run0"]
    assert run["within"]["all"]["tau"]["value"] == run["within"]["all"]["rho"]["value"] == -1
    assert run["top"][0]["top"]["value"] == 0.5
    assert run["top"][0]["gain"]["high"] < 0
    assert "is worse than" in run_sentence("run0", run)


def test_an_order_that_is_inverted_among_good_cells_shows_although_the_whole_looks_well():
    predicted = np.concatenate([TRUTH[:10], TRUTH[:9:-1]])  # rises up to the half, then falls, all above the lower half
    within = figures_of(planted(predicted))["runs"]["run0"]["within"]
    assert within["all"]["tau"]["value"] > 0.3
    assert within["better half by stand-alone"]["tau"]["high"] == -1


def test_too_few_cells_give_words_not_numbers(capsys):
    figures = figures_of(planted(TRUTH))
    tenth = figures["runs"]["run0"]["within"]["best tenth by stand-alone"]
    assert math.isnan(tenth["tau"]["value"])
    assert signed(tenth["tau"]) == "too few"
    print_figures(figures)
    shown = capsys.readouterr()
    assert "too few" in shown.err
    assert "run0: tau +1.00 (+1.00 … +1.00) over all 20 cells" in shown.out


def test_treatments_of_batch_norm_stand_beside_the_runs_own():
    modes = figures_of(planted(TRUTH))["runs"]["run0"]["modes"]
    assert modes["recalibrate-4"]["tau_difference"] is None
    assert modes["batch"]["tau"]["value"] == -1
    assert modes["batch"]["tau_difference"]["value"] == modes["batch"]["tau_difference"]["high"] == -2


def test_runs_are_held_against_the_first_on_the_same_cells():
    noise = np.random.default_rng(0).normal(0, 0.3, size=20)
    better, same = figures_of(planted(TRUTH + noise, TRUTH, TRUTH + noise))["differences"]
    assert better["tau_difference"]["low"] > 0
    assert difference_sentence(better).startswith("run1 ranks better than run0")
    assert {same["tau_difference"][key] for key in ("value", "low", "high")} == {0.0}
    assert "is not shown to rank otherwise than run0" in difference_sentence(same)


def test_the_policys_log_probability_is_held_against_both():
    log_prob = [None, None, *range(18)]  # null is what JSON has for minus infinity
    policy = figures_of(planted(-TRUTH, log_prob=log_prob))["runs"]["run0"]["log_prob"]
    assert policy["stand_alone"]["tau"]["value"] == pytest.approx(189 / math.sqrt(190 * 189))
    assert policy["shared"]["tau"]["value"] == -policy["stand_alone"]["tau"]["value"]
    assert figures_of(planted(TRUTH))["runs"]["run0"]["log_prob"] is None


def test_reliability_is_the_agreement_between_seeds_and_bounds_a_proxy():
    assert reliability(planted(TRUTH), estimate=ESTIMATE) is None
    exact = reliability(planted(TRUTH, seeds=3), estimate=ESTIMATE)
    assert exact["between_seeds"]["tau"]["value"] == exact["ceiling"]["rho"]["value"] == 1
    noisy = [{"stand_alone": [a, b]} for a, b in zip([1, 2, 3, 4, 5], [3, 2, 1, 5, 4], strict=True)]
    found = reliability(noisy, estimate=ESTIMATE)
    assert found["between_seeds"]["tau"]["value"] == pytest.approx(0.2)
    assert found["between_seeds"]["rho"]["value"] == pytest.approx(0.5)
    assert found["ceiling"]["rho"]["value"] == pytest.approx(math.sqrt(2 * 0.5 / 1.5))
    assert "no proxy is expected beyond rho +0.82" in reliability_sentence(found)


def test_the_ceiling_is_about_what_a_noiseless_proxy_reaches():
    generator = np.random.default_rng(0)
    truth = generator.standard_normal(1000)
    measured = truth[:, None] + generator.standard_normal((1000, 2))
    found = reliability(
        [{"stand_alone": row} for row in measured.tolist()], estimate=Bootstrapping(seed=0, resamples=1)
    )
    from scipy import stats

    reached = stats.spearmanr(truth, measured.mean(axis=1)).statistic
    assert found["ceiling"]["rho"]["value"] == pytest.approx(reached, abs=0.03)
    assert found["between_seeds"]["rho"]["value"] < reached - 0.2


def test_the_plot_is_the_same_whenever_the_figures_are(tmp_path):
    cells = planted(TRUTH, -0.5 * TRUTH + 0.5)
    runs = figures_of(cells)["runs"]
    for name in ("one.svg", "two.svg"):
        ranking_plot(cells, runs, reward_images=300, test_images=400, path=tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()

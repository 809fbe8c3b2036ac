import json
import math
import pickle
from functools import partial
from pathlib import Path

import pytest
import torch

from controllers.evolution import Evolution
from controllers.uniform import Uniform
from nas.compute.worker_pool import run_tasks
from nas.runs.intervals import mann_whitney_p
from nas.searching.evaluators import accuracy_reward
from nas.searching.reward_functions import latency_aware
from nas.searching.table_lookup import open_table
from nas.studies.controller_comparison.figures import (
    accuracy_figures,
    by_controller,
    curves,
    front_figures,
)
from nas.studies.controller_comparison.plots import comparison_plot
from nas.studies.controller_comparison.settings import ComparisonSettings, FrontSettings
from nas.studies.controller_comparison.trials import (
    Trial,
    TrialRunner,
    append_finished,
    drop_cut_off,
    found_front,
    incumbent_reports,
    read_finished,
)
from search_spaces.nasbench201 import NASBench201Space, arch_string

FILE = Path(__file__).parents[1] / "data" / "nasbench201_cifar10.csv.gz"
SETTINGS = ComparisonSettings(
    baseline="uniform",
    **{"controllers": ["lstm", "uniform"], "seeds": 3, "budget": 4, "at": [2, 9]},
    published={"lstm": [93.0, 0.5]},
    samples_per_update={"default": 5},
)


def figures(controller: str, seed: int, reports: list[float], *, last: float = 0.0, seconds: float = 1.0):
    row = {"part": "accuracy", "controller": controller, "seed": seed, "reports": reports}
    return {**row, "last_mean": last, "proposals": 2 * len(reports), "own": 1.0, "seconds": seconds}


GROUPS = {
    "lstm": [
        figures("lstm", 0, [50.0, 60.0, 60.0, 90.0], last=70.0, seconds=4.0),
        figures("lstm", 1, [50.0, 70.0, 80.0, 92.0], last=80.0, seconds=8.0),
        figures("lstm", 2, [50.0, 50.0, 60.0, 94.0], last=75.0, seconds=12.0),
    ],
    "uniform": [
        figures("uniform", 0, [50.0, 60.0, 60.0, 60.0]),
        figures("uniform", 1, [50.0, 70.0, 70.0, 61.0]),
        figures("uniform", 2, [50.0, 50.0, 50.0, 62.0]),
    ],
}


def test_marks_end_at_the_budget():
    assert ComparisonSettings(budget=120, at=[100, 50, 500]).marks == [50, 100, 120]
    assert ComparisonSettings(budget=100, at=[100]).marks == [100]


def test_samples_per_update_fall_back_on_the_default():
    settings = ComparisonSettings(samples_per_update={"default": 7, "lstm": 2})
    assert (settings.batch("lstm"), settings.batch("enas")) == (2, 7)
    with pytest.raises(ValueError, match="samples_per_update names neither enas nor default"):
        ComparisonSettings(samples_per_update={"lstm": 2}).batch("enas")


def test_the_incumbent_is_the_first_of_the_highest_rewards():
    scored = [{"reward": r, "report": t} for r, t in [(0.5, 90.0), (0.4, 99.0), (0.5, 80.0), (0.6, 70.0)]]
    assert incumbent_reports(scored) == [90.0, 90.0, 90.0, 70.0]


def test_a_front_is_chosen_by_accuracy_and_stands_with_its_reports():
    scored = [
        {"ms": 1.0, "accuracy": 0.5, "report": 10.0},
        {"ms": 2.0, "accuracy": 0.4, "report": 99.0},  # beaten in what the search sees
        {"ms": 3.0, "accuracy": 0.6, "report": 5.0},
    ]
    assert found_front(scored, cost="ms") == [(1.0, 10.0), (3.0, 5.0)]


def test_four_seeds_may_show_a_difference_of_controllers():
    groups = {name: [*group, {**group[1], "seed": 3}] for name, group in GROUPS.items()}
    lstm, _ = accuracy_figures(groups, settings=SETTINGS, bounds=(0.0, 95.0))
    assert lstm["p_at_4"] == pytest.approx(2 / 70)
    assert lstm["verdict"].startswith("lstm is better")


def test_searches_with_cost_are_as_many_as_the_others_at_most_thirty_unless_given():
    front = FrontSettings(reward=latency_aware())
    assert [front.num_seeds(compared) for compared in (3, 30, 100)] == [3, 30, 30]
    assert [FrontSettings(reward=latency_aware(), seeds=n).num_seeds(3) for n in (0, 5)] == [0, 5]


def test_accuracies_are_summarised_by_controller():
    lstm, uniform = accuracy_figures(GROUPS, settings=SETTINGS, bounds=(0.0, 95.0))
    assert (lstm["controller"], lstm["seeds"], lstm["samples_per_update"]) == ("lstm", 3, 5)
    assert (lstm["mean_at_2"], lstm["std_at_2"], lstm["median_regret_at_2"]) == (60.0, 10.0, 35.0)
    assert (lstm["mean_at_4"], lstm["std_at_4"], lstm["median_regret_at_4"]) == (92.0, 2.0, 3.0)
    assert (lstm["last_mean"], lstm["last_worst"]) == (75.0, 70.0)
    assert lstm["seconds_per_query"] == 2.0  # the median of 1, 2 and 3
    assert (lstm["published"], uniform["published"]) == ([93.0, 0.5], None)
    assert lstm["p_at_4"] == mann_whitney_p([90.0, 92.0, 94.0], [60.0, 61.0, 62.0])
    assert lstm["p_at_4"] == pytest.approx(0.1)
    assert lstm["verdict"].startswith("too few to tell")
    assert lstm["gain_low_at_4"] < 31.0 < lstm["gain_high_at_4"]
    assert lstm["gain_low_at_2"] == -lstm["gain_high_at_2"]
    assert "p_at_4" not in uniform


def test_without_a_baseline_nothing_is_tested():
    (row,) = accuracy_figures({"lstm": GROUPS["lstm"]}, settings=SETTINGS, bounds=(0.0, 95.0))
    assert not any(key.startswith(("p_", "gain")) for key in row)


def test_areas_are_shares_of_the_true_one():
    groups = {
        "lstm": [{"areas": {"2": 1.0, "4": 3.0}}, {"areas": {"2": 2.0, "4": 4.0}}],
        "uniform": [{"areas": {"2": 1.0, "4": 1.0}}, {"areas": {"2": 1.0, "4": 1.0}}],
    }
    lstm, uniform = front_figures(groups, settings=SETTINGS, true_area=4.0)
    assert (lstm["ratio_at_2"], lstm["ratio_at_4"], lstm["ratio_worst"]) == (0.375, 0.875, 0.75)
    assert 0 <= lstm["low_at_4"] < 0.875 < lstm["high_at_4"] <= 1
    assert lstm["gain_low_at_4"] >= -1
    assert lstm["gain_high_at_4"] <= 1
    assert lstm["p_at_4"] == mann_whitney_p([3.0, 4.0], [1.0, 1.0])
    assert "p_at_4" not in uniform


def test_curves_have_a_row_for_each_query():
    rows = curves(GROUPS, part="accuracy")
    assert len(rows) == 8
    assert [row["mean"] for row in rows[:4]] == [50.0, 60.0, 200 / 3, 92.0]
    assert math.isnan(rows[0]["low"])  # all are 50
    assert math.isnan(rows[0]["high"])
    assert rows[3]["low"] < 92.0 < rows[3]["high"]
    assert curves(GROUPS, part="accuracy", bounds=(91.0, 94.0))[3] == {**rows[3], "low": 91.0, "high": 94.0}


def test_groups_are_in_order_of_seeds_and_leave_out_the_other_part():
    trials = [figures("lstm", 7, [1.0]), figures("lstm", 3, [2.0]), {**figures("lstm", 1, [3.0]), "part": "front"}]
    groups = by_controller(trials, "accuracy", ["uniform", "lstm"])
    assert {name: [trial["seed"] for trial in group] for name, group in groups.items()} == {"lstm": [3, 7]}


@pytest.mark.parametrize("with_front", [True, False])
def test_the_plot_is_the_same_whenever_the_figures_are(tmp_path, with_front):
    fronts = [
        {"controller": "lstm", "seeds": 2}
        | {f"{key}_at_{mark}": 0.5 for key in ("ratio", "low", "high") for mark in (2, 4)}
    ]
    for name in ("a.svg", "b.svg"):
        comparison_plot(
            curves(GROUPS, part="accuracy"),
            fronts if with_front else [],
            marks=[2, 4],
            optimum=95.0,
            names=["lstm", "uniform"],
            path=tmp_path / name,
        )
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_line_that_was_cut_off_is_forgotten(tmp_path):
    file = tmp_path / "trials.jsonl"
    assert read_finished(file) == {}
    for row in GROUPS["lstm"]:
        append_finished(file, row)
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"part": "accur')
    assert list(read_finished(file)) == [Trial("accuracy", "lstm", seed) for seed in range(3)]
    drop_cut_off(file)
    assert file.read_bytes() == whole
    file.write_bytes(b"nonsense\n" + whole)
    with pytest.raises(ValueError, match=r"trials.jsonl is damaged, remove it to start anew"):
        read_finished(file)


@pytest.fixture(scope="module")
def runner() -> TrialRunner:
    lookup, cost = open_table(
        path=str(FILE),
        key="arch",
        key_of=arch_string,
        reward="cifar10_valid_12",
        report="cifar10_test_200",
        cost="latency_1080ti_b256_ms",
        reward_scale=0.01,
    )
    assert cost is not None
    return TrialRunner(
        settings=ComparisonSettings(budget=30, at=[10], last=5, samples_per_update={"default": 4}),
        space=NASBench201Space(),
        controllers={"evolution": partial(Evolution, population_size=5), "uniform": Uniform},
        lookup=lookup,
        rewards={"accuracy": accuracy_reward, "front": latency_aware().bind(cost, target=20.0)},
        cost=cost,
        reference=(40.0, 50.0),
    )


def without_times(row):
    return {key: value for key, value in row.items() if key != "seconds"}


def test_a_trial_depends_on_its_seed_alone(runner):
    trial = Trial("front", "evolution", 3)
    first = runner.run(trial)
    torch.manual_seed(99)
    runner.run(Trial("accuracy", "uniform", 1))
    again = pickle.loads(pickle.dumps(runner)).run(trial)
    assert without_times(first) == without_times(again)
    assert without_times(runner.run(Trial("front", "evolution", 4)))["reports"] != first["reports"]
    assert (len(first["reports"]), set(first["areas"])) == (30, {"10", "30"})
    assert 0 < first["areas"]["10"] < 40.0 * 50.0
    assert json.loads(json.dumps(first)) == first


def test_processes_give_what_this_one_gives(runner):
    trials = [Trial("accuracy", name, seed) for seed in range(2) for name in ("evolution", "uniform")]
    threads = torch.get_num_threads()
    here = list(run_tasks(runner, trials, workers=1))
    there = list(run_tasks(runner, trials, workers=2))
    assert torch.get_num_threads() == threads

    def key(row):
        return row["seed"], row["controller"]

    assert [without_times(row) for row in sorted(there, key=key)] == [
        without_times(row) for row in sorted(here, key=key)
    ]
    assert list(run_tasks(runner, [], workers=1)) == []

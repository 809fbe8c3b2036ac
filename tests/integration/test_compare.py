"""Searches and comparisons in a table: their folders, and how they go on."""

import csv
import gzip
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

from nas.jobs import compare, search
from nas.models.genotype_files import load_genotype
from nas.searching.search import Search
from search_spaces.nasbench201 import arch_string
from tests.commands import nas

TABLE = Path(__file__).parents[1] / "data" / "nasbench201_cifar10.csv.gz"
SMALL = (
    f"table.path={TABLE}",
    "compare.controllers=[evolution,uniform]",
    "compare.seeds=3",
    "compare.budget=20",
    "compare.at=[10]",
    "compare.workers=1",
    "front.controllers=[uniform,reinforce]",
    "front.seeds=2",
)


def config(command: str, *overrides: str) -> DictConfig:
    with initialize_config_module("conf", version_base="1.3"):
        return compose(command, overrides=list(overrides))


def search_config(*overrides: str) -> DictConfig:
    return config("search", "experiment=nasbench201", f"table.path={TABLE}", "search.queries=60", *overrides)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_search_in_a_table_leaves_every_file(tmp_path):
    best = search.run(search_config("search.top_k=4"), tmp_path)
    files = {"search.csv", "search.svg", "choices.svg", "scored.csv", "checkpoint.pt", "genotype.json", "cells.svg"}
    files |= {"candidates.json", "pareto.json", "diagnostics.csv", "diagnostics.svg", "warnings.json", "data.json"}
    files |= {"cost.json", "pareto.svg", "insight.json"}
    assert files == {path.name for path in tmp_path.iterdir()}
    assert json.loads((tmp_path / "warnings.json").read_text())["settings"]["action"] == "warn"
    last, noted = (read_csv(tmp_path / name)[-1] for name in ("search.csv", "diagnostics.csv"))
    assert {key: noted[key] for key in ("unique", "repeats", "regret")} == {
        key: last[key] for key in ("unique", "repeats", "regret")
    }
    scored = read_csv(tmp_path / "scored.csv")
    assert len(scored) == 60
    assert best["key"] == arch_string(load_genotype(tmp_path))
    assert best["reward"] == pytest.approx(max(float(row["reward"]) for row in scored), abs=1e-6)
    candidates = json.loads((tmp_path / "candidates.json").read_text())
    assert len(candidates) == 4
    assert all(entry["latency_ms"] > 0 and entry["report"] > 10 for entry in candidates)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert search.run(search_config("search.top_k=4"), tmp_path) == best
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


RESTARTED = (
    "search.samples_per_update=5",
    "search.guard.action=restart",
    "search.guard.entropy=0.99",
    "controller.entropy.weight_end=0",
)


@pytest.mark.parametrize(
    ("overrides", "restarts"),
    [(("controller=lstm",), 0), (("controller=evolution",), 0), (("controller=lstm", *RESTARTED), 1)],
    ids=["lstm", "evolution", "restarted"],
)
def test_a_search_that_was_stopped_ends_as_it_would_have(tmp_path, monkeypatch, capsys, overrides, restarts):
    cfg = search_config(*overrides, "search.checkpoint_seconds=0")
    whole = search.run(cfg, tmp_path / "whole")
    assert capsys.readouterr().err.count("the controller begins anew") == restarts
    found = json.loads((tmp_path / "whole" / "warnings.json").read_text())["findings"]
    assert [finding["epoch"] < 7 for finding in found if finding["action"] == "restart"] == [True] * restarts
    epoch = Search.epoch

    def stopping(self: Search[Any]) -> dict[str, float]:
        if len(self.rows) == 7:
            raise KeyboardInterrupt
        return epoch(self)

    with monkeypatch.context() as patch:
        patch.setattr(Search, "epoch", stopping)
        with pytest.raises(KeyboardInterrupt):
            search.run(cfg, tmp_path / "stopped")
    assert search.run(cfg, tmp_path / "stopped") == whole
    for name in ("search.csv", "scored.csv", "diagnostics.csv", "warnings.json", "candidates.json", "pareto.json"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_reward_of_latency_finds_faster_cells(tmp_path):
    overrides = ("controller=evolution", "search.queries=300", "search.samples_per_update=1")
    accurate = search.run(search_config(*overrides), tmp_path / "accurate")
    fast = search.run(search_config(*overrides, "reward=latency_aware", "reward.beta=-1"), tmp_path / "fast")
    assert fast["latency_ms"] < 0.8 * accurate["latency_ms"]
    assert fast["accuracy"] < accurate["accuracy"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("table.reward=valid",), "has no column 'valid' for the reward"),
        (("table.cost=null", "reward=latency_aware"), "name its column with table.cost=COLUMN"),
        (("reward=latency_aware", "reward.cost=parameters"), "the reward asks for the cost parameters, got latency"),
        (("search.queries=0",), r"^search\.queries .* got 0"),
        (("search_space=shufflenas",), "nasbench201"),
        (("table.cost_name=joule",), "cost must be one of latency"),
    ],
)
def test_a_mistake_names_the_key(tmp_path, overrides, message):
    with pytest.raises(ValueError, match=message):
        search.run(search_config(*overrides), tmp_path)


def test_a_table_needs_the_settings_of_a_tabular_search(tmp_path):
    cfg = config("search", "experiment=nasbench201", f"table.path={TABLE}", "settings@search=search")
    with pytest.raises(ValueError, match="evaluator=table needs settings@search=queries"):
        search.run(cfg, tmp_path)
    with pytest.raises(ValueError, match=r"table.path is not set; add table.path=VALUE"):
        search.run(config("search", "experiment=nasbench201"), tmp_path)


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> tuple[Path, dict[str, object]]:
    folder = tmp_path_factory.mktemp("compare")
    return folder, compare.run(config("compare", *SMALL), folder)


def test_a_comparison_leaves_every_file(compared):
    folder, _ = compared
    files = {"compare.json", "compare.csv", "curves.csv", "compare.svg", "trials.jsonl", "data.json"}
    assert files == {path.name for path in folder.iterdir()}
    written = json.loads((folder / "compare.json").read_text())
    assert {"settings", "controllers", "front", "environment", "optimum", "configs"} <= set(written)
    assert [row["controller"] for row in written["controllers"]] == ["evolution", "uniform"]
    assert written["optimum"] == pytest.approx(94.3733)
    assert [row["published"] for row in written["controllers"]] == [[93.92, 0.3], [93.7, 0.36]]
    assert 0 < written["front"]["controllers"][1]["ratio_at_20"] < 1
    assert written["front"]["target"] > 0
    rows = read_csv(folder / "compare.csv")
    assert [row["controller"] for row in rows] == ["evolution", "uniform", "reinforce"]
    assert rows[0]["p_at_20"]
    assert len(read_csv(folder / "curves.csv")) == 20 * (2 + 2)


def test_a_comparison_that_was_stopped_runs_only_what_is_left(compared, tmp_path, monkeypatch):
    folder, report = compared
    lines = (folder / "trials.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "trials.jsonl").write_text("".join(lines[:4]) + lines[4][:30])
    left = []
    run_tasks = compare.run_tasks

    def counting(runner, trials, **keys):
        left.extend(trials)
        return run_tasks(runner, trials, **keys)

    monkeypatch.setattr(compare, "run_tasks", counting)
    again = compare.run(config("compare", *SMALL), tmp_path)
    assert len(left) == 3 * 2 + 2 * 2 - 4
    assert (tmp_path / "curves.csv").read_bytes() == (folder / "curves.csv").read_bytes()
    for row, other in zip(again["controllers"], report["controllers"], strict=True):
        assert {**row, "seconds_per_query": 0} == {**other, "seconds_per_query": 0}
    left.clear()
    compare.run(config("compare", *SMALL), tmp_path)
    assert left == []


def test_a_trial_is_the_search_of_that_seed(compared, tmp_path):
    folder, _ = compared
    settings = ("controller=evolution", "search.queries=20", "search.samples_per_update=1", "seed=2")
    search.run(search_config(*settings), tmp_path)
    trials = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    (trial,) = (t for t in trials if (t["part"], t["controller"], t["seed"]) == ("accuracy", "evolution", 2))
    reports = [float(row["report"]) for row in read_csv(tmp_path / "search.csv")]
    assert reports == pytest.approx(trial["reports"], abs=1e-3)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("compare.controllers=[lstmm]", "there is no controller 'lstmm'"),
        ("table.report=null", "without a report column"),
        ("table.cost=null", "name its column with table.cost=COLUMN"),
        ("reward@front.reward=accuracy", "front.reward must ask for a cost"),
    ],
)
def test_a_mistake_in_a_comparison_names_the_key(tmp_path, override, message):
    with pytest.raises(ValueError, match=message):
        compare.run(config("compare", *SMALL, override), tmp_path)


def own_table(folder: Path, *, cost: float | None) -> Path:
    """A copy of the table without its column of costs, or with the same cost for all."""
    with gzip.open(TABLE, "rt") as file:
        rows = [line.rstrip("\n").split(",") for line in file]
    added = [] if cost is None else ["latency_1080ti_b256_ms"]
    lines = [",".join([*rows[0][:3], *added])]
    lines += [",".join([*row[:3], *(str(cost) for _ in added)]) for row in rows[1:]]
    path = folder / "own.csv"
    path.write_text("\n".join(lines))
    return path


FEW = ("compare.controllers=[uniform]", "compare.seeds=2", "compare.budget=5", "compare.at=[]", "compare.workers=1")


@pytest.mark.parametrize("cost", [None, 20.0], ids=["none", "constant"])
def test_a_table_without_costs_is_compared_without_them(tmp_path, capsys, cost):
    table = own_table(tmp_path, cost=cost)
    report = compare.run(config("compare", f"table.path={table}", *FEW), tmp_path / "run")
    assert (report["front"], report["settings"]["front"]["seeds"]) == (None, 0)
    assert {json.loads(line)["part"] for line in (tmp_path / "run/trials.jsonl").read_text().splitlines()} == {
        "accuracy"
    }
    assert capsys.readouterr().err.count("the part with cost is left out") == 1


@pytest.mark.parametrize(
    ("cost", "override", "message"),
    [
        (None, "front.seeds=1", "name its column with table.cost=COLUMN"),
        (20.0, "front.seeds=1", "no cell is both cheaper than the dearest and better than the median"),
        (None, "table.cost=ms", "has no column 'ms' for the cost; it has arch, cifar10_valid_12, cifar10_test_200"),
    ],
)
def test_a_part_with_cost_that_was_asked_for_is_not_left_out(tmp_path, cost, override, message):
    table = own_table(tmp_path, cost=cost)
    with pytest.raises(ValueError, match=message):
        compare.run(config("compare", f"table.path={table}", *FEW, override), tmp_path / "run")


def test_a_table_without_costs_is_searched_for_accuracy(tmp_path):
    table = own_table(tmp_path, cost=None)
    overrides = ("experiment=nasbench201", f"table.path={table}", "search.queries=20")
    best = search.run(config("search", *overrides), tmp_path / "run")
    assert "latency_ms" not in best
    with pytest.raises(ValueError, match=r"name its column with table\.cost=COLUMN"):
        search.run(config("search", *overrides, "reward=latency_aware"), tmp_path / "other")


def test_searches_with_cost_are_no_more_than_those_without(tmp_path):
    report = compare.run(config("compare", f"table.path={TABLE}", *FEW, "front.controllers=[uniform]"), tmp_path)
    assert [row["seeds"] for row in report["front"]["controllers"]] == [2]


def test_a_comparison_is_not_continued_with_another_table(tmp_path):
    (tmp_path / "data.json").write_text(json.dumps({"sha256": "0"}))
    with pytest.raises(ValueError, match="was begun with other data"):
        compare.run(config("compare", *SMALL), tmp_path)


def test_controllers_of_ones_own_are_compared_too(tmp_path):
    (tmp_path / "own" / "controller").mkdir(parents=True)
    own = "_target_: controllers.evolution.Evolution\npopulation_size: 4\n"
    (tmp_path / "own" / "controller" / "mine.yaml").write_text(own)
    chosen = ("compare.controllers=[mine,uniform]", "front.seeds=0", "name=mine", "--config-dir", "own")
    done = nas("compare", *(one for one in SMALL if not one.startswith("front")), *chosen, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "mine: " in done.stdout
    report = json.loads((tmp_path / "results/runs/mine/compare.json").read_text())
    assert report["configs"]["mine"]["population_size"] == 4
    assert report["front"] is None


def member_config(folder: Path, *overrides: str) -> DictConfig:
    """The config of a comparison, written down as the command line does."""
    cfg = config("compare", *SMALL, "name=whole", *overrides)
    folder.mkdir(parents=True)
    OmegaConf.save(cfg, folder / "config.yaml", resolve=True)
    return cfg


def test_portions_come_to_the_same_as_the_whole(compared, tmp_path, monkeypatch):
    folder, report = compared
    cut = ("compare.portions=2", "compare.workers=2")
    members = [(tmp_path / f"portion-{k}", f"compare.portion={k}") for k in (0, 1)]
    for below, portion in members:
        part = compare.run(member_config(below, *cut, portion, "compare.workers=1"), below)
        assert part["controllers"][0]["seeds"] == (2 if portion.endswith("0") else 1)
    lines = (tmp_path / "portion-1" / "trials.jsonl").read_text()
    (tmp_path / "portion-1" / "trials.jsonl").write_text(lines + '{"part": "accu')  # it is still at work
    left = []
    monkeypatch.setattr(compare, "run_tasks", lambda runner, trials, **keys: left.extend(trials) or [])
    joined = compare.run(config("compare", *SMALL, "name=whole"), tmp_path)
    assert left == []
    assert (tmp_path / "curves.csv").read_bytes() == (folder / "curves.csv").read_bytes()
    assert [row["p_at_20"] for row in joined["front"]["controllers"][1:]] == [
        row["p_at_20"] for row in report["front"]["controllers"][1:]
    ]
    assert (tmp_path / "portion-1" / "trials.jsonl").read_text().endswith("accu")  # and is left alone


def test_a_portion_with_other_settings_is_not_taken_over(tmp_path):
    below = tmp_path / "other"
    member_config(below, "compare.budget=10")
    (below / "trials.jsonl").write_text("")
    with pytest.raises(ValueError, match=r"compare.budget \(was 10, is 20\)"):
        compare.run(config("compare", *SMALL, "name=whole"), tmp_path)


def test_portions_without_work_are_refused(tmp_path):
    with pytest.raises(ValueError, match="portions must be at most 2"):  # seeds of the part with cost
        compare.run(config("compare", *SMALL, "compare.portions=3"), tmp_path)


def test_constants_of_a_controller_can_be_changed(tmp_path):
    settings = ("compare.controllers=[evolution]", "compare.seeds=1", "compare.baseline=null", "front.seeds=0")
    changed = "+controller.evolution.population_size=3"
    report = compare.run(config("compare", *SMALL, *settings, changed), tmp_path)
    assert report["configs"]["evolution"]["population_size"] == 3
    with pytest.raises(ValueError, match=r"controller.lstm is not compared; compare.controllers names evolution"):
        compare.run(config("compare", *SMALL, *settings, "+controller.lstm.optimizer.lr=1"), tmp_path / "other")
    old = ("compare.controllers=[lstm]", "+controller.lstm.learning_rate=1")
    with pytest.raises(ValueError, match=r"learning_rate is unknown; did you mean controller\.lstm\.optimizer\.lr"):
        compare.run(config("compare", *SMALL, *settings, *old), tmp_path / "old")


def tune(folder: Path, *overrides: str) -> Path:
    """Has Optuna choose a few constants; returns the folder of the members."""
    settings = ("compare.seeds=1", "compare.budget=20", "compare.workers=1", "objective=controllers.0.mean_at_20")
    settings += (f"table.path={TABLE}",)
    done = nas("compare", "-m", "experiment=tune_lstm", "name=tuned", *settings, *overrides, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "results" / "runs" / "tuned"


@pytest.mark.launcher
def test_optuna_finds_the_best_of_what_it_tried_and_goes_on_where_it_was(tmp_path):
    pytest.importorskip("hydra_plugins", reason="needs hydra_optuna_sweeper")
    if importlib.util.find_spec("hydra_plugins.hydra_optuna_sweeper") is None:
        pytest.skip("needs hydra_optuna_sweeper")
    folder = tune(tmp_path, "hydra.sweeper.n_trials=2")
    first = {file: file.stat().st_mtime_ns for file in folder.glob("*/trials.jsonl")}
    assert len(first) == 2
    tune(tmp_path, "hydra.sweeper.n_trials=3")
    assert first == {file: file.stat().st_mtime_ns for file in first}  # read back, not run
    reports = [json.loads(file.read_text()) for file in folder.glob("*/compare.json")]
    assert len(reports) == 3
    best = OmegaConf.load(folder / "optimization_results.yaml")
    means = {one["configs"]["lstm"]["optimizer"]["lr"]: one["controllers"][0]["mean_at_20"] for one in reports}
    assert best.best_value == max(means.values())
    assert means[best.best_params["+controller.lstm.optimizer.lr"]] == best.best_value
    assert all(0.002 <= rate <= 0.1 for rate in means)


def test_several_tables_are_compared_each_in_a_folder_of_its_own(tmp_path):
    cfg = config(
        "compare",
        f"table.path={TABLE}",
        "compare.controllers=[local_search,uniform]",
        "compare.seeds=2",
        "compare.budget=30",
        "compare.workers=1",
        "front.seeds=0",
        "+tables.short={}",
        "+tables.long={reward: cifar10_test_200}",
    )
    found = compare.run(cfg, tmp_path)
    assert set(found) == {"short", "long"}
    assert found["long"]["table"]["reward"] == "cifar10_test_200"
    for name, report in found.items():
        assert json.loads((tmp_path / name / "compare.json").read_text())["optimum"] == report["optimum"]
    short, long = ([row["mean_at_30"] for row in found[name]["controllers"]] for name in ("short", "long"))
    assert long[1] > short[1]  # uniform draws, the same cells: the best by what is reported is the best reported
    before = {path: path.read_bytes() for path in tmp_path.rglob("trials.jsonl")}
    assert compare.run(cfg, tmp_path) == found
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("trials.jsonl")}


def test_every_search_of_a_comparison_begins_with_the_cells_of_a_file(tmp_path):
    (tmp_path / "scores.csv").write_text("actions,combined\n3 3 3 3 3 3,9\n0 0 0 0 0 0,1\n1 3 3 3 3 3,8\n")
    cfg = config(
        "compare",
        f"table.path={TABLE}",
        "compare.controllers=[local_search,uniform]",
        "compare.seeds=2",
        "compare.budget=8",
        "compare.workers=1",
        "front.seeds=0",
        f"compare.warm_up.file={tmp_path / 'scores.csv'}",
        "compare.warm_up.cells=2",
    )
    rows = compare.run(cfg, tmp_path)["controllers"]
    assert {row["own"] for row in rows} == {6 / 8}
    trials = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    with gzip.open(TABLE, "rt") as file:
        reports = {row["arch"]: float(row["cifar10_test_200"]) for row in csv.DictReader(file)}
    largest = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    assert {trial["reports"][0] for trial in trials} == {reports[largest]}

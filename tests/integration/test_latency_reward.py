"""Searches that count latency, and the command that tests the predictor, at toy size in this process."""

import csv
import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from nas.costs.pareto import nondominated
from nas.jobs import predictor, search
from nas.models.genotype_files import load_genotypes
from nas.searching.search import Search
from search_spaces.genotype import Genotype

TINY = (
    "experiment=toy",
    "search.epochs=3",
    "search.checkpoint_seconds=0",
    "search.final_samples=6",
    "search_space.blocks=2",
    "network.stages=2",
)
FEW = {"rounds": 1, "calibration_genotypes": 2}


def config(command: str, *overrides: str) -> DictConfig:
    with initialize_config_module("conf", version_base="1.3"):
        return compose(command, overrides=list(overrides))


def search_config(tables: Path, *overrides: str) -> DictConfig:
    few = [f"search.latency.{key}={value}" for key, value in FEW.items()]
    return config("search", *TINY, *few, f"search.latency.folder={tables}", *overrides)


def scored(run: Path) -> list[dict[str, str]]:
    with (run / "scored.csv").open() as file:
        return list(csv.DictReader(file))


def entries(run: Path, name: str) -> list[dict]:
    return json.loads((run / name).read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A latency-aware run, with its tables beside it."""
    folder = tmp_path_factory.mktemp("aware")
    search.run(search_config(folder / "tables", "reward=latency_aware"), folder / "run")
    return folder / "run"


def test_every_rewarded_cell_is_recorded_with_its_cost_and_reward(finished):
    target = json.loads((finished / "cost.json").read_text())["target"]
    rows = scored(finished)
    assert [row["epoch"] for row in rows] == ["0"] * 3 + ["1"] * 3 + ["2"] * 3
    for row in rows:
        ratio = float(row["latency_ms"]) / target
        assert float(row["reward"]) == pytest.approx(float(row["accuracy"]) * ratio**-0.07, rel=1e-4)
        assert len(row["actions"].split()) == 8
        assert int(row["parameters"]) > 0


def test_candidates_and_random_cells_have_all_costs_and_are_ranked_by_reward(finished):
    for name in ("candidates.json", "random.json", "pareto.json"):
        for entry in entries(finished, name):
            assert entry["latency_ms"] > 0
            assert isinstance(entry["parameters"], int)
            assert isinstance(entry["multiply_adds"], int)
    rewards = [entry["reward"] for entry in entries(finished, "candidates.json")]
    assert rewards == sorted(rewards, reverse=True)


def test_the_front_holds_candidates_that_none_beats_and_can_be_retrained(finished):
    front = entries(finished, "pareto.json")
    points = [(entry["latency_ms"], entry["shared_accuracy"]) for entry in front]
    assert nondominated(points) == list(range(len(front)))
    assert len(load_genotypes(finished / "pareto.json")) == len(front)
    assert (finished / "pareto.svg").read_text().startswith("<svg")
    cost = json.loads((finished / "cost.json").read_text())
    assert cost["cost"] == "latency_ms"
    assert cost["hypervolume"] >= 0
    assert cost["target_from"] == "median of 100 random genotypes"


def test_a_search_that_was_stopped_leaves_the_same_files_even_without_the_tables(finished, tmp_path, monkeypatch):
    whole = finished.parent / "tables"
    tables = tmp_path / "tables"
    tables.mkdir()
    for file in whole.iterdir():
        (tables / file.name).write_bytes(file.read_bytes())
    cfg = search_config(tables, "reward=latency_aware")
    epoch = Search.epoch

    def stopped_in_the_third(self):
        if len(self.rows) == 2:
            raise KeyboardInterrupt
        return epoch(self)

    monkeypatch.setattr(Search, "epoch", stopped_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        search.run(cfg, tmp_path / "run")
    for file in tables.iterdir():
        file.unlink()
    monkeypatch.setattr(Search, "epoch", epoch)
    search.run(cfg, tmp_path / "run")
    assert not list(tables.glob("*.json"))
    for name in ("scored.csv", "candidates.json", "random.json", "pareto.json", "cost.json", "latency_table.json"):
        assert (tmp_path / "run" / name).read_bytes() == (finished / name).read_bytes(), name


def test_an_accuracy_search_records_counts_and_latency_only_if_asked(tmp_path):
    best = search.run(search_config(tmp_path / "tables"), tmp_path / "plain")
    assert "latency_ms" not in best
    assert best["reward"] == best["shared_accuracy"]
    assert "latency_ms" not in scored(tmp_path / "plain")[0]
    assert json.loads((tmp_path / "plain" / "cost.json").read_text())["cost"] == "multiply_adds"
    assert not (tmp_path / "tables").exists()
    best = search.run(search_config(tmp_path / "tables", "search.cost=latency"), tmp_path / "timed")
    assert best["latency_ms"] > 0
    assert (tmp_path / "timed" / "latency_table.json").exists()


@pytest.mark.parametrize(
    "overrides",
    [
        ("reward=latency_absolute", "reward.cost=parameters", "reward.target=1500"),
        ("reward=latency_limit", "reward.cost=multiply_adds"),
        ("reward=latency_aware", "search_space=nasnet", "network.filters=4", "network.cells_per_stage=1"),
    ],
)
def test_other_rewards_costs_and_spaces(overrides, tmp_path):
    given = [value for value in TINY if not (value.startswith("network.stages") and "search_space=nasnet" in overrides)]
    few = [f"search.latency.{key}={value}" for key, value in FEW.items()]
    cfg = config("search", *given, *few, f"search.latency.folder={tmp_path / 'tables'}", *overrides)
    best = search.run(cfg, tmp_path / "run")
    assert Genotype.from_dict(best["genotype"])
    cost = json.loads((tmp_path / "run" / "cost.json").read_text())
    if "reward=latency_limit" in overrides:
        for row in scored(tmp_path / "run"):
            within = int(row["multiply_adds"]) <= cost["target"]
            assert float(row["reward"]) == (float(row["accuracy"]) if within else 0.0)
    if "reward=latency_absolute" in overrides:
        assert cost["target"] == 1500
        assert cost["target_from"] == "given"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("reward=latency_aware", "reward.alpha=0.1"), "reward.alpha must be at most 0"),
        (("reward=latency_aware", "reward.cost=watts"), "reward.cost must be one of latency, parameters"),
        (("search.cost=watts",), r"^search\.cost must be 'latency', 'parameters'"),
        (("search.latency.rounds=0",), r"^search\.latency\.rounds .* got 0"),
    ],
)
def test_mistakes_name_the_setting(overrides, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        search.run(config("search", *TINY, *overrides), tmp_path)


def test_the_predictor_command_leaves_its_files(tmp_path):
    few = [f"predictor.latency.{key}={value}" for key, value in FEW.items()]
    size = ["predictor.image_shape=[3,8,8]", "predictor.num_classes=3", "predictor.genotypes=4"]
    network = ["network.filters=4", "network.cells_per_stage=1", "search_space.blocks=2"]
    cfg = config("predictor", *few, *size, *network, f"predictor.latency.folder={tmp_path / 'tables'}")
    figures = predictor.run(cfg, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "predictor.json").read_text())["corrected"] == figures["corrected"]
    assert len(figures["genotypes"]) == 4
    for row in figures["genotypes"]:
        corrected = figures["correction"]["slope"] * row["sum_ms"] + figures["correction"]["intercept"]
        assert row["predicted_ms"] == pytest.approx(corrected)
    assert {"predictor.svg", "predictor.csv"} <= {path.name for path in (tmp_path / "run").iterdir()}
    calibration = {space_key(cfg, g) for g in predictor.calibration_genotypes(space(cfg), 2)}
    assert not calibration & {space_key(cfg, Genotype.from_dict(row["genotype"])) for row in figures["genotypes"]}


def test_the_predictor_refuses_networks_without_cells(tmp_path):
    with pytest.raises(ValueError, match="has no cells to choose"):
        predictor.run(
            config("predictor", "network=shufflenet_v2", "predictor.image_shape=[3,32,32]", "predictor.num_classes=10"),
            tmp_path,
        )


def space(cfg: DictConfig):
    from nas.jobs.building.config import build

    return build(cfg.search_space, "search_space")


def space_key(cfg: DictConfig, genotype: Genotype):
    return space(cfg).canonical(genotype)

"""Searches and retrainings of several ranks against those of one process, in forked processes; no torchrun."""

import csv
import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from nas.compute.distributed.joining import joined
from nas.compute.distributed.ranks import ALONE, Ranks
from nas.jobs import retrain, search
from nas.jobs.building.parts import build_runtime
from nas.jobs.building.run_folder import joint_run
from nas.runs.checkpoints import load_checkpoint, load_weights
from tests.ranks import together

SMALL = (
    *("data=synthetic", "data.num_images=240", "data.image_size=8", "data.num_classes=3", "data.crop_padding=1"),
    *("network.filters=8", "network.stages=2", "runtime.threads=1", "name=x"),
)
SEARCH = (
    *("search_space.blocks=3", "search.epochs=2", "search.batch_size=32", "search.lr_max=0.001"),
    *("search.controller_samples=4", "search.samples_per_update=2", "search.final_samples=3", "search.random_cells=1"),
    "search.checkpoint_seconds=0",
)
RETRAIN = (
    *("retrain.epochs=2", "retrain.batch_size=32", "retrain.lr_max=0.001", "retrain.seeds=[0]"),
    *("retrain.evaluate_every=1", "retrain.last_epochs=1", "retrain.checkpoint_seconds=0"),
)
JOBS = {"search": search, "retrain": retrain}


def config(command: str, *overrides: str) -> DictConfig:
    with initialize_config_module("conf", version_base="1.3"):
        return compose(command, overrides=[*SMALL, *(SEARCH if command == "search" else RETRAIN), *overrides])


def run(command: str, out: Path, *overrides: str, size: int = 1, **settings: str) -> list:
    """Runs a job in a folder, by so many ranks; returns what it returned on each."""
    cfg = config(command, *overrides, *(f"distributed.{key}={value}" for key, value in settings.items()))

    def work(ranks: Ranks):
        joined.ranks = None if ranks.alone else ranks
        own = out if ranks.first else out.with_name(f"{out.name}-{ranks.rank}")
        runtime = build_runtime(cfg)
        with joint_run(cfg, own, runtime=runtime, command=command):
            return JOBS[command].run(cfg, own)

    if size == 1:
        return [work(ALONE)]
    return together(work, size=size, **settings)


def rows(out: Path, file: str) -> list[dict[str, float]]:
    with (out / file).open() as lines:
        return [{key: number(value) for key, value in row.items()} for row in csv.DictReader(lines)]


def number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def without_times(table: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in table]


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """A search by this process, which leaves all that jobs import for those that are forked."""
    out = tmp_path_factory.mktemp("alone") / "search"
    run("search", out)
    return out


def test_two_ranks_search_as_one_process(alone, tmp_path):
    out = tmp_path / "two"
    first, other = run("search", out, size=2, batch_norm="sync")
    assert first["genotype"] == other["genotype"]
    found, expected = (without_times(rows(folder, "search.csv")) for folder in (out, alone))
    assert len(found) == 2
    for row, wanted in zip(found, expected, strict=True):
        assert row == pytest.approx(wanted, abs=1e-5)
    assert rows(out, "scored.csv") == rows(alone, "scored.csv")
    for name in ("candidates.json", "random.json"):
        entries, wanted = (json.loads((folder / name).read_text()) for folder in (out, alone))
        for entry, known in zip(entries, wanted, strict=True):
            assert entry.pop("genotype") == known.pop("genotype")
            assert entry == pytest.approx(known, abs=1e-5)
    state, known = (load_checkpoint(folder / "checkpoint.pt")["network"] for folder in (out, alone))
    assert max((state[name].double() - known[name].double()).abs().max().item() for name in known) < 1e-5
    environment = json.loads((out / "environment.json").read_text())
    assert environment["distributed"] == "2 ranks, sampling shared, average touched, bn sync"


def test_a_search_goes_on_with_another_number_of_ranks(alone, tmp_path, monkeypatch):
    out = tmp_path / "changing"
    monkeypatch.setattr("nas.searching.search.Search.finished", property(lambda search: len(search.rows) >= 1))
    monkeypatch.setattr("nas.searching.search.Search.candidates", lambda search: pytest.fail("was to be stopped"))
    with pytest.raises(RuntimeError, match="was to be stopped"):
        run("search", out, size=2, batch_norm="sync")
    assert len(load_checkpoint(out / "checkpoint.pt")["rows"]) == 1
    monkeypatch.undo()
    run("search", out)
    for row, wanted in zip(*(without_times(rows(f, "search.csv")) for f in (out, alone)), strict=True):
        assert row == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("sampling", ["shared", "independent"])
def test_drop_path_warm_up_and_local_statistics_leave_ranks_in_step(tmp_path, sampling):
    """That rows and controllers agree is checked at the end of every epoch."""
    overrides = ("search.drop_path=0.1", "search.warmup=0.5", "search.random_cells=0")
    first, other = run("search", tmp_path / "local", *overrides, size=2, sampling=sampling)
    assert first["genotype"] == other["genotype"]
    assert len(rows(tmp_path / "local", "search.csv")) == 2


def test_two_ranks_retrain_as_one_process(alone, tmp_path):
    overrides = (f"genotype={alone}", f"random_cells={alone}/random.json")
    (expected,) = run("retrain", tmp_path / "one", *overrides)
    first, other = run("retrain", tmp_path / "two", *overrides, size=2, batch_norm="sync")
    assert [entry["test_accuracy"] for entry in first["members"]] == pytest.approx(
        [entry["test_accuracy"] for entry in expected["members"]]
    )
    assert first["members"] == other["members"]
    found, wanted = (without_times(rows(tmp_path / name, "retrain.csv")) for name in ("two", "one"))
    assert len(found) == 4
    for row, known in zip(found, wanted, strict=True):
        assert row == pytest.approx(known, abs=1e-5)
    weights, known = (load_weights(tmp_path / name / "weights.safetensors") for name in ("two", "one"))
    assert max((weights[name].double() - known[name].double()).abs().max().item() for name in known) < 1e-5


def test_local_statistics_of_a_retraining_are_one_and_the_same_when_saved(alone, tmp_path):
    run("retrain", tmp_path / "run", f"genotype={alone}", "retrain.epochs=1", size=2)
    states = [load_weights(tmp_path / "run" / "weights.safetensors")]
    states += [load_weights(tmp_path / "run-1" / "weights.safetensors")]
    assert all((states[0][name] == states[1][name]).all() for name in states[0])


def test_what_does_not_fit_the_ranks_is_said_before_any_work(tmp_path):
    with pytest.raises(RuntimeError, match=r"search\.batch_size 32 .* divisible by their number, 3"):
        run("search", tmp_path / "three", size=3)
    assert not (tmp_path / "three").exists()

"""A run does the same again: in another process, from its own record, and whatever the number of threads decides."""

import json
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from nas.compute.device import make_runtime
from nas.compute.environment import code_digest, environment_differences
from nas.compute.settings import RuntimeSettings
from nas.jobs import replay, search
from nas.jobs.building.parts import build_runtime
from nas.jobs.building.run_folder import opened_run
from nas.jobs.building.search_parts import build_search
from nas.runs.checkpoints import load_checkpoint, save_checkpoint
from nas.runs.comparison import compare_runs, first_difference
from nas.runs.seeds import derive_seed, seed_everything
from tests.commands import nas
from tests.faults.campaign import SEARCH, SMALL

SHORT = ("search.epochs=2", "search.final_samples=2")


def config(command: str, *overrides: str):
    with initialize_config_module("conf", version_base="1.3"):
        return compose(command, overrides=list(overrides))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of a finished search."""
    run = tmp_path_factory.mktemp("runs") / "first"
    cfg = config("search", *SMALL, *SEARCH, *SHORT)
    with opened_run(cfg, run, runtime=build_runtime(cfg), command="search"):
        search.run(cfg, run)
    return run


def test_a_run_records_what_it_takes_to_repeat_it(finished):
    record = json.loads((finished / "environment.json").read_text())
    assert record["job"] == "search"
    assert record["seed"] == 3
    assert record["code_sha256"] == code_digest()
    assert {"device", "threads", "packages", "git_commit", "inputs"} <= set(record)
    digests = json.loads((finished / "digests.json").read_text())
    assert {"data", "genotype.json", "candidates.json"} <= set(digests)
    assert digests["data"] == json.loads((finished / "data.json").read_text())["data_sha256"]


def test_a_replay_in_another_process_is_equal_to_the_bit(finished, tmp_path):
    done = nas("replay", f"run={finished}", "name=again", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "equal to the bit: data.json, search.csv, scored.csv, checkpoint.pt" in done.stdout
    report = json.loads((tmp_path / "results/runs/again/replay.json").read_text())
    assert report["equal"] is True
    assert set(report["files"].values()) == {"equal"}


def test_a_replay_says_where_a_run_differs_first(finished, tmp_path, capsys):
    changed = tmp_path / "changed"
    changed.mkdir()
    for name in ("config.yaml", "environment.json", "digests.json", "data.json", "search.csv", "genotype.json"):
        (changed / name).write_bytes((finished / name).read_bytes())
    rows = (finished / "search.csv").read_text().splitlines()
    fields = rows[2].split(",")
    fields[2] = "9.5"
    (changed / "search.csv").write_text("\n".join([*rows[:2], ",".join(fields)]) + "\n")
    record = json.loads((changed / "environment.json").read_text())
    record["packages"]["torch"] = "1.0"
    (changed / "environment.json").write_text(json.dumps(record))
    report = replay.run(OmegaConf.create({"run": str(changed)}), tmp_path / "out")
    assert report["equal"] is False
    assert report["files"]["data.json"] == "equal"
    assert report["files"]["search.csv"].startswith("[1].loss is 9.5 and ")
    assert report["files"]["candidates.json"].startswith("only in ")
    assert any(line.startswith("torch 1.0 → ") for line in report["environment_differences"])
    assert "differs first in search.csv: [1].loss is 9.5 and" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no run at .*: it has no config.yaml"),
        ({"config.yaml": "seed: 0"}, "job unknown; only search, retrain, pipeline"),
        ({"config.yaml": "seed: 0", "environment.json": '{"job": "latency"}'}, "job latency; only search"),
        ({"config.yaml": "seed: 0", "environment.json": '{"job": "search"}'}, "is not finished"),
    ],
)
def test_what_cannot_be_replayed_is_said(files, message, tmp_path):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        replay.run(OmegaConf.create({"run": str(tmp_path)}), tmp_path / "out")
    with pytest.raises(ValueError, match="run is not set"):
        replay.run(OmegaConf.create({"run": None}), tmp_path / "out")


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ({"a": [1, {"b": 2.0}]}, {"a": [1, {"b": 2.5}]}, "a[1].b is 2.0 and 2.5"),
        ({"a": 1}, {"a": 1, "b": 2}, "b is only in the second"),
        ([1, 2], [1], "it has 2 entries and 1"),
        ({"w": torch.zeros(3)}, {"w": torch.tensor([0, 0, 1e-9])}, "w differs in 1 of 3 numbers, by up to 1e-09"),
        ({"w": torch.zeros(3)}, {"w": torch.zeros(4)}, "w is float32 (3,) and float32 (4,)"),
        ({"w": torch.tensor([torch.nan])}, {"w": torch.zeros(1)}, "w differs in 1 of 1"),
        (1, 1.0, "it is 1 and 1.0"),
        ({"seconds": 1, "a": float("nan")}, {"seconds": 2, "a": float("nan")}, None),
        ({"w": torch.tensor([torch.nan, 1])}, {"w": torch.tensor([torch.nan, 1])}, None),
        ({"w": torch.tensor([torch.nan, 1])}, {"w": torch.tensor([torch.nan, 2])}, "w differs in"),
    ],
)
def test_the_first_difference_is_found_and_times_do_not_count(first, second, found):
    difference = first_difference(first, second)
    assert difference == found or (found is not None and difference is not None and difference.startswith(found))


def test_a_weight_of_a_checkpoint_that_differs_in_one_bit_is_found(finished, tmp_path):
    state = load_checkpoint(finished / "checkpoint.pt")
    save_checkpoint(tmp_path / "checkpoint.pt", state)
    assert {c.difference for c in compare_runs(finished, tmp_path) if c.file == "checkpoint.pt"} == {None}
    weight = next(value for value in state["network"].values() if value.is_floating_point())
    weight.view(-1)[0] = torch.nextafter(weight.view(-1)[0], torch.tensor(9.0))
    save_checkpoint(tmp_path / "checkpoint.pt", state)
    (found,) = (c.difference for c in compare_runs(finished, tmp_path) if c.file == "checkpoint.pt")
    assert found.startswith("network.")
    assert "differs in 1 of" in found


def test_environments_differ_in_what_results_depend_on():
    old = {"threads": 1, "platform": "a", "packages": {"torch": "2.11"}, "seed": 1}
    assert environment_differences(old, {**old, "platform": "b", "seed": 2}) == []
    assert environment_differences(old, {**old, "threads": 2, "packages": {"torch": "2.12"}}) == [
        "threads 1 → 2",
        "torch 2.11 → 2.12",
    ]


def test_initial_weights_samples_and_batches_do_not_depend_on_the_number_of_threads():
    """Sums over many numbers do, by their order; what is drawn does not."""

    def drawn(threads: int):
        make_runtime(RuntimeSettings(threads=threads), device="cpu")
        cfg = config("search", *SMALL, *SEARCH, *SHORT, f"runtime.threads={threads}")
        made = build_search(cfg, build_runtime(cfg))[0]
        seed_everything(derive_seed(0, "epoch", 0))
        data = made.evaluator.data
        batches = data.train.batches(32, seed=5, augmentation=data.augmentation, drop_last=True)
        return {
            "network": made.evaluator.trainer.network.state_dict(),
            "actions": made.controller.sample(8).actions,
            "batches": [list(batch) for batch in batches],
        }

    try:
        assert first_difference(drawn(1), drawn(2)) is None
    finally:
        torch.set_num_threads(1)

"""The commands as a user starts them: as processes, in a folder of their own."""

import csv
import fcntl
import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nas.jobs.building.run_folder import _taken
from tests.commands import ENVIRONMENT, nas, started

SMALL = ("experiment=toy", "search_space.blocks=2", "network.stages=2")


def rows_without_times(run: Path) -> list[dict[str, str]]:
    with (run / "search.csv").open() as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A toy pipeline and the folder it ran in."""
    folder = tmp_path_factory.mktemp("pipeline")
    return folder, nas("pipeline", *SMALL, "name=toy", cwd=folder)


def test_help_lists_the_commands_without_importing_torch(tmp_path):
    begun = time.perf_counter()
    command = [sys.executable, "-m", "nas", "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert time.perf_counter() - begun < 2.0  # a fifth of a second on an idle machine; torch alone takes longer
    for command in ("search", "retrain", "latency", "pipeline", "show"):
        assert f"\n  {command}" in done.stdout


def test_pipeline_leaves_every_file(pipeline):
    folder, done = pipeline
    assert done.returncode == 0, done.stderr
    run = folder / "results" / "runs" / "toy"
    names = {path.name for path in run.iterdir()}
    assert names >= {
        "config.yaml",
        "environment.json",
        "data.json",
        "search.csv",
        "search.svg",
        "diagnostics.csv",
        "diagnostics.svg",
        "warnings.json",
        "checkpoint.pt",
        "genotype.json",
        "candidates.json",
        "random.json",
        "cells.svg",
        "retrain.csv",
        "retrain.svg",
        "metrics.json",
        "weights.safetensors",
        "latency.json",
        "latency.svg",
    }
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["found"]["test_accuracy"]["n"] == 2
    assert metrics["random"]["cells"] == 2
    assert "comparison" in metrics
    with (run / "search.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert set(rows[0]) >= {"loss", "reward", "baseline", "entropy", "best", "seconds"}
    assert [entry["batch_size"] for entry in json.loads((run / "latency.json").read_text())["latency"]] == [1, 4]


def test_console_shows_header_rows_and_next_command(pipeline):
    _, done = pipeline
    assert "run folder" in done.stderr
    assert "space" in done.stderr
    assert (
        "next: nas retrain genotype=results/runs/toy random_cells=results/runs/toy/random.json experiment=toy"
        in done.stderr
    )
    widths = {len(line) for line in done.stderr.splitlines() if re.match(r" +[01]  +\d\.\d{4} ", line)}
    assert len(widths) == 1
    assert "found cell:   test accuracy" in done.stdout
    assert "random cells: test accuracy" in done.stdout


def test_each_candidate_is_retrainable_and_can_be_shown(pipeline):
    folder, _ = pipeline
    reference = "genotype=results/runs/toy/candidates.json#1"
    done = nas("retrain", "experiment=toy", reference, "name=second", "retrain.seeds=[3]", cwd=folder)
    assert done.returncode == 0, done.stderr
    candidates = json.loads((folder / "results/runs/toy/candidates.json").read_text())
    assert json.loads((folder / "results/runs/second/genotype.json").read_text()) == candidates[1]["genotype"]
    shown = nas("show", reference, "svg=cell.svg", cwd=folder)
    assert shown.returncode == 0, shown.stderr
    assert "parameters" in shown.stdout
    assert (folder / "cell.svg").read_text().startswith("<svg")


def test_a_finished_run_started_again_changes_nothing(pipeline):
    folder, _ = pipeline
    run = folder / "results" / "runs" / "toy"
    before = {name: (run / name).read_bytes() for name in ("search.csv", "candidates.json", "metrics.json")}
    weights = (run / "weights.safetensors").read_bytes()
    done = nas("pipeline", *SMALL, "name=toy", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert all((run / name).read_bytes() == data for name, data in before.items())
    assert (run / "weights.safetensors").read_bytes() == weights


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("serach",), "unknown command 'serach'; did you mean search?"),
        (("search", "search.epoch=3"), "did you mean search.epochs"),
        (("search", "experiment=toy", "name="), "name must be that of a folder below results/runs, got ''"),
        (("search", "experiment=toy", "name=../x"), "name must be that of a folder below results/runs, got '../x'"),
        (("search", "data=cifar11"), "cifar10"),
        (("search", "search_space.blocks=0"), "search_space.blocks must lie in 1 … 64, got 0"),
        (("search", "search_space.blocks=many"), "search_space.blocks must be a number, got 'many'"),
        (("search", "data=cifar10", "data.root=nowhere"), "data.download=true"),
        (("search", "network.stages=6"), "halves the image 5 times"),
        (("search", "device=warp"), "device 'warp' is not available"),
        (("retrain",), "genotype is not set; add genotype=RUN"),
        (("retrain", "genotype=absent.json"), "no genotype at absent.json; `nas search` writes one"),
        (("latency", "genotype=bad.json"), "bad.json: normal: block 0 reads node 7"),
        (("latency", "models=[enas,darts_v3]"), "no run folder, file or model 'darts_v3'; near it: darts_v2"),
        (("latency", "models=[enas]", "latency.backends=[tensorrt]"), "latency.backends must be 'eager', 'compile'"),
        (("show", "genotype=list.json"), "choose an entry of the list with #INDEX"),
    ],
)
def test_a_mistake_ends_in_a_few_lines_without_a_traceback(tmp_path, arguments, expected):
    blocks = [{"inputs": [7], "ops": ["identity"]}]
    (tmp_path / "bad.json").write_text(json.dumps({"space": "shufflenas", "normal": {"blocks": blocks}}))
    (tmp_path / "list.json").write_text("[]")
    done = nas(*arguments, cwd=tmp_path)
    assert done.returncode not in (0, None)
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 25
    assert not any((tmp_path / "results" / "runs").glob("*")) if (tmp_path / "results").exists() else True


def test_the_traceback_is_there_for_those_who_ask(tmp_path):
    done = nas("search", "search_space.blocks=0", cwd=tmp_path, HYDRA_FULL_ERROR="1")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_hydra_keeps_its_own_options(tmp_path):
    shown = nas("search", "--cfg", "job", "search.epochs=7", cwd=tmp_path)
    assert "epochs: 7" in shown.stdout
    assert "search_space" in nas("search", "--help", cwd=tmp_path).stdout
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    (tmp_path / "own" / "experiment" / "mine.yaml").write_text("# @package _global_\nsearch: {epochs: 9}\n")
    own = nas("search", "--config-dir", "own", "experiment=mine", "--cfg", "job", cwd=tmp_path)
    assert "epochs: 9" in own.stdout


def test_multirun_makes_one_run_for_each_value(tmp_path):
    done = nas(
        "search",
        "-m",
        "experiment=toy",
        "network.stages=2",
        "name=sweep",
        "search_space.blocks=1,2",
        "controller=uniform",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    runs = sorted(path.parent.name for path in (tmp_path / "results/runs/sweep").glob("*/genotype.json"))
    assert runs == ["search_space.blocks-1", "search_space.blocks-2"]


def test_a_search_killed_at_any_moment_goes_on_and_ends_the_same(tmp_path):
    settings = (*SMALL, "search.epochs=6", "search.checkpoint_seconds=0", "data.num_images=200")
    whole = nas("search", *settings, "name=whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    run = tmp_path / "results" / "runs" / "killed"
    with started("search", *settings, "name=killed", cwd=tmp_path):
        deadline = time.monotonic() + 120
        while not (run / "checkpoint.pt").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert not (run / "genotype.json").exists()
    again = nas("search", *settings, "name=killed", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "going on after" in again.stderr
    for name in ("candidates.json", "genotype.json", "random.json", "diagnostics.csv", "warnings.json"):
        assert (run / name).read_bytes() == (tmp_path / "results/runs/whole" / name).read_bytes()
    assert rows_without_times(run) == rows_without_times(tmp_path / "results/runs/whole")
    other = nas("search", *settings[:-1], "data.num_images=201", "name=killed", cwd=tmp_path)
    assert other.returncode != 0
    assert "data.num_images (was 200, is 201)" in other.stderr


def test_a_second_process_leaves_the_first_ones_folder_alone(tmp_path):
    run = tmp_path / "results" / "runs" / "busy"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("seed: 0\n")
    with (run / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = nas("search", "experiment=toy", "name=busy", cwd=tmp_path)
    assert done.returncode != 0
    assert "another process is at work" in done.stderr
    assert (run / "config.yaml").read_text() == "seed: 0\n"


def test_a_look_at_a_folder_does_not_keep_a_run_from_starting(tmp_path):
    """Whoever asks whether a run is at work holds its lock for a moment."""
    lock = (tmp_path / "lock").open("w")
    with (tmp_path / "lock").open() as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        threading.Timer(0.05, asking.close).start()
        assert _taken(lock)
    lock.close()
    with (tmp_path / "lock").open("w") as first, (tmp_path / "lock").open("w") as second:
        assert _taken(first)
        assert not _taken(second)


def test_wandb_offline_writes_a_run_into_the_folder(tmp_path):
    done = nas("search", *SMALL, "name=offline", "logger=wandb", "logger.mode=offline", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "results" / "runs" / "offline"
    assert json.loads((run / "wandb.json").read_text())["mode"] == "offline"
    assert list(run.glob("wandb/offline-run-*/*.wandb"))

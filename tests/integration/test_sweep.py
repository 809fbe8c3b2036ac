"""Sweeps as a user starts them: failures, second starts, kills, launchers."""

import csv
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import ENVIRONMENT, nas, nas_afresh, started

TINY = (
    "experiment=toy",
    "network.stages=2",
    "search.epochs=1",
    "search.random_cells=0",
    "retrain.epochs=1",
    "retrain.seeds=[0]",
    "latency.batch_sizes=[1]",
)
IMPORTS_TORCH = re.compile(r"\| +torch$", re.MULTILINE)
GOOD, BAD = ("search_space.blocks-1+seed-0", "search_space.blocks-1+seed-1"), "search_space.blocks-0+seed-0"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Iterator[tuple[Path, int]]:
    """The folder of a sweep of four members, two of which fail, and its exit code."""
    folder = tmp_path_factory.mktemp("sweep")
    code = nas("sweep", *TINY, "search_space.blocks=0,1", "seed=0,1", "name=mine", cwd=folder).returncode
    return folder / "results" / "sweeps" / "mine", code


def test_a_failing_member_stops_no_other_and_shows_in_the_exit_code(sweep):
    folder, code = sweep
    assert code == 1
    for name in GOOD:
        assert (folder / name / "latency.json").exists()
        assert "found cell:" in (folder / name / "output.txt").read_text()
    assert "blocks must lie in 1 … 64, got 0" in json.loads((folder / BAD / "failed.json").read_text())["error"]


def test_the_summary_has_a_row_for_each_value_and_all_members(sweep):
    folder, _ = sweep
    report = json.loads((folder / "sweep.json").read_text())
    assert report["keys"] == ["search_space.blocks"]
    assert [member["state"] for member in report["members"]] == ["failed", "failed", "finished", "finished"]
    accuracies = [json.loads((folder / name / "metrics.json").read_text())["found"]["test_accuracy"] for name in GOOD]
    with (folder / "sweep.csv").open() as file:
        bad, good = csv.DictReader(file)
    assert (bad["search_space.blocks"], bad["finished"], bad["test_accuracy"]) == ("0", "0", "")
    assert (good["search_space.blocks"], good["finished"], good["over"]) == ("1", "2", "searches")
    assert float(good["test_accuracy"]) == pytest.approx(sum(one["mean"] for one in accuracies) / 2, rel=1e-5)
    assert report["environment"]["job"] == "pipeline"
    assert "<svg" in (folder / "sweep.svg").read_text()


def test_a_finished_sweep_is_only_reported_and_without_torch(sweep):
    folder, _ = sweep
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    command = ("sweep", *TINY, "search_space.blocks=choice(1)", "seed=0,1", "name=mine")
    done = nas_afresh(*command, cwd=folder.parents[2], options=("-X", "importtime"))
    assert done.returncode == 0, done.stderr
    assert "2 of 2 members finished" in done.stdout
    assert not IMPORTS_TORCH.search(done.stderr)
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_other_settings_in_the_same_sweep_are_refused(sweep):
    folder, _ = sweep
    swept = ("search_space.blocks=1,2", "seed=0,1")
    done = nas("sweep", *TINY, "retrain.batch_size=8", *swept, "name=mine", cwd=folder.parents[2])
    assert done.returncode == 1
    assert "retrain.batch_size (was not given, is 8)" in done.stderr
    assert not (folder / "search_space.blocks-2+seed-0").exists()


def test_runs_lists_the_members_without_torch(sweep):
    folder, _ = sweep
    done = nas_afresh("runs", "state=failed", cwd=folder.parents[2], options=("-X", "importtime"))
    assert done.returncode == 0, done.stderr
    assert "blocks must lie in 1 … 64, got 0" in done.stdout
    assert GOOD[0] not in done.stdout
    assert not IMPORTS_TORCH.search(done.stderr)


def test_two_members_are_compared_from_the_command_line(sweep):
    folder, _ = sweep
    done = nas("runs", "--compare", *(f"mine/{name}" for name in GOOD), cwd=folder.parents[2])
    assert done.returncode == 0
    assert done.stdout.splitlines() == ["seed (was 0, is 1)", "environment.seed (was 0, is 1)"]


def test_a_mistake_that_concerns_all_members_leaves_nothing_behind(tmp_path):
    done = nas("sweep", "search.epohcs=3", "seed=0,1", "name=wrong", cwd=tmp_path)
    assert done.returncode == 1
    assert "did you mean search.epochs" in done.stderr
    assert not (tmp_path / "results" / "sweeps" / "wrong").exists()


def test_a_killed_sweep_goes_on_where_it_was(tmp_path):
    settings = (*TINY, "search.epochs=8", "search.checkpoint_seconds=0", "seed=choice(0)", "name=killed")
    folder = tmp_path / "results" / "sweeps" / "killed"
    with started("sweep", *settings, cwd=tmp_path):
        deadline = time.monotonic() + 300
        while not (folder / "seed-0" / "checkpoint.pt").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert not (folder / "seed-0" / "candidates.json").exists()
    assert nas("sweep", *settings, cwd=tmp_path).returncode == 0
    assert "going on after" in (folder / "seed-0" / "output.txt").read_text()
    (member,) = json.loads((folder / "sweep.json").read_text())["members"]
    assert member["state"] == "finished"


def test_many_candidates_are_retrained_by_one_command(sweep):
    folder, _ = sweep
    candidates = (folder / GOOD[0] / "candidates.json").relative_to(folder.parents[2])
    several = f"genotype={candidates}#0,{candidates}#1"
    settings = ("experiment=toy", "retrain.epochs=1", "retrain.seeds=[0]", "name=retrained")
    assert nas("retrain", "-m", several, *settings, cwd=folder.parents[2]).returncode == 0
    runs = sorted((folder.parents[1] / "runs" / "retrained").glob("*/metrics.json"))
    assert all(run.parent.name.startswith("genotype-_results_sweeps_mine") for run in runs)  # and not in folders below
    trained = {(run.parent / "genotype.json").read_text() for run in runs}
    wanted = json.loads((folder.parents[2] / candidates).read_text())[:2]
    assert {json.dumps(json.loads(text), sort_keys=True) for text in trained} == {
        json.dumps(one["genotype"], sort_keys=True) for one in wanted
    }


LAUNCHERS = {
    "parallel": ("hydra_joblib_launcher", "hydra.launcher.n_jobs=1"),
    "slurm_rehearsal": ("hydra_submitit_launcher",),
    "ray_tasks": ("hydra_ray_launcher",),
}
"""Of each its plugin, and what keeps it from starting a second process for two short members."""


def skip_without(plugin: str) -> None:
    if importlib.util.find_spec("hydra_plugins") is None or importlib.util.find_spec(f"hydra_plugins.{plugin}") is None:
        pytest.skip(f"needs {plugin}")


def figures(member: Path) -> dict[str, object]:
    """All that a member found out, but for what tells of time and place."""
    kept = ("metrics.json", "candidates.json", "genotype.json", "data.json", "weights.safetensors", "scored.csv")
    found: dict[str, object] = {name: (member / name).read_bytes() for name in kept}
    for name in ("search.csv", "retrain.csv"):
        with (member / name).open() as file:
            found[name] = [{**row, "seconds": ""} for row in csv.DictReader(file)]
    return found


@pytest.mark.launcher
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_every_launcher_gives_what_the_basic_one_gives(sweep, tmp_path, launcher):
    plugin, *more = LAUNCHERS[launcher]
    skip_without(plugin)
    swept = ("search_space.blocks=0,1", "seed=choice(1)", *more)
    done = nas_afresh("sweep", *TINY, *swept, "name=side", f"hydra/launcher={launcher}", cwd=tmp_path)
    folder = tmp_path / "results" / "sweeps" / "side"
    assert done.returncode == 1, done.stderr
    states = [member["state"] for member in json.loads((folder / "sweep.json").read_text())["members"]]
    assert states == ["failed", "finished"]
    assert figures(folder / GOOD[1]) == figures(sweep[0] / GOOD[1])
    assert "found cell:" in (folder / GOOD[1] / "output.txt").read_text()
    assert "found cell:" not in done.stdout


def holder(lock: Path) -> int:
    """The process that holds the lock of a run folder."""
    inode = str(lock.stat().st_ino)
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if "FLOCK" in fields and fields[-3].split(":")[-1] == inode:
            return int(fields[-4])
    raise AssertionError(f"nobody holds {lock}")


@pytest.mark.launcher
def test_a_member_killed_while_it_trains_is_finished_by_starting_the_sweep_again(tmp_path):
    skip_without("hydra_joblib_launcher")
    settings = (*TINY, "search.epochs=8", "search.checkpoint_seconds=0", "seed=0,1", "name=killed")
    sweep = subprocess.Popen(  # not forked: joblib's processes do not start from a forked one
        [sys.executable, "-m", "nas", "sweep", *settings, "hydra/launcher=parallel"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    member = tmp_path / "results" / "sweeps" / "killed" / "seed-0"
    deadline = time.monotonic() + 300
    while not (member / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(holder(member / ".lock"), signal.SIGKILL)
    assert sweep.wait(timeout=300) == 1
    assert not (member / "candidates.json").exists()
    assert nas("sweep", *settings, cwd=tmp_path).returncode == 0
    assert "going on after" in (member / "output.txt").read_text()
    members = json.loads((member.parent / "sweep.json").read_text())["members"]
    assert [one["state"] for one in members] == ["finished", "finished"]

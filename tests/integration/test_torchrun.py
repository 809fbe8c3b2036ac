"""Jobs as torchrun starts them: two processes that end, or fail, as one.

The first test starts torchrun itself. In the others torchrun's agent forks the two processes, which it else starts
afresh: whatever it tells them, and makes of their ends, is the same.
"""

import csv
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nas.runs.checkpoints import load_checkpoint
from tests.commands import ENVIRONMENT, Command, nas, started

SOURCE = Path(__file__).parents[2]

TOY = (
    *("experiment=toy", "network.filters=4", "network.stages=2", "search.final_samples=2", "search.random_cells=1"),
    *("search.controller_samples=2", "search.checkpoint_seconds=0", "retrain.seeds=[0]", "latency.batch_sizes=[1]"),
)
REWARD = """
import os, signal

calls = 0

def reward(score, genotype):
    global calls
    calls += 1
    first_start = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    if calls == 3 and os.environ["RANK"] == "1" and first_start:  # in the second epoch
        if os.environ["WHAT"] == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise RuntimeError("broken on purpose")
    return score.accuracy
"""


def until_row(command: Command, number: int) -> float:
    """Returns the time at which a search has printed the row of an epoch."""
    row = re.compile(rf"^ *{number} ", re.MULTILINE)
    deadline = time.monotonic() + 200
    while not row.search(command.stderr):
        assert command.process.is_alive(), command.stderr
        assert time.monotonic() < deadline, command.stderr
        time.sleep(0.01)
    return time.monotonic()


def column(file: Path, name: str) -> list[str]:
    with file.open() as lines:
        return [row[name] for row in csv.DictReader(lines)]


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with a reward that fails."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "failing.py").write_text(REWARD)
    return tmp_path


def test_a_pipeline_is_written_and_told_once(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--nproc-per-node=2",
            "-m",
            "nas",
            "pipeline",
            *TOY,
            "name=two",
        ],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
        check=False,
    )
    shown = done.stdout
    assert done.returncode == 0, shown
    for line in ("found cell:", "2 processes, the first on cpu", "everything is in"):
        assert shown.count(line) == (2 if line.startswith("2 processes") else 1), shown
    run = tmp_path / "results" / "runs" / "two"
    assert [path.name for path in run.parent.iterdir()] == ["two"]
    names = {path.name for path in run.iterdir()}
    assert names >= {"genotype.json", "candidates.json", "metrics.json", "weights.safetensors", "latency.json"}
    assert json.loads((run / "environment.json").read_text())["distributed"].startswith("2 ranks, sampling shared")


def test_a_rank_that_is_killed_ends_the_job(folder):
    overrides, environment = failing(folder)
    with started("search", *TOY, *overrides, cwd=folder, ranks=2, **environment, WHAT="killed") as command:
        begun = until_row(command, 0)
        done = command.wait()
    assert done.returncode != 0
    assert time.monotonic() - begun < 60
    assert "rank 0: error: another process of this job has ended" in done.stderr, done.stderr
    assert len(load_checkpoint(folder / "results" / "runs" / "failing" / "checkpoint.pt")["rows"]) == 1


def test_a_rank_that_raises_is_told_of_and_a_restarted_job_goes_on_from_the_checkpoint(folder):
    overrides, environment = failing(folder)
    done = nas("search", *TOY, *overrides, cwd=folder, ranks=2, restarts=1, **environment, WHAT="raised")
    assert done.returncode == 0, done.stderr
    assert "rank 1: Traceback" in done.stderr
    assert "RuntimeError: broken on purpose" in done.stderr
    assert "going on after 1" in done.stderr
    run = folder / "results" / "runs" / "failing"
    assert column(run / "search.csv", "epoch") == ["0", "1"]
    assert (run / "candidates.json").exists()


def failing(folder: Path) -> tuple[tuple[str, ...], dict[str, str]]:
    """Overrides and environment of a search whose second rank fails in the second epoch of its first start."""
    return ("reward._target_=failing.reward", "name=failing"), {"PYTHONPATH": f"{folder / 'mine'}:{SOURCE}"}


def test_sigterm_saves_at_the_end_of_an_epoch_and_one_process_goes_on(tmp_path):
    more = ("search.epochs=40", "name=stopped", "search.checkpoint_seconds=1000")
    with started("search", *TOY, *more, cwd=tmp_path, ranks=2) as command:
        until_row(command, 1)
        command.process.terminate()
        done = command.wait()
    assert done.returncode != 0
    assert done.stderr.count("stopping after this epoch") == 1, done.stderr
    assert "stopped; to go on: nas search name=stopped" in done.stderr
    checkpoint = tmp_path / "results" / "runs" / "stopped" / "checkpoint.pt"
    assert 2 <= len(load_checkpoint(checkpoint)["rows"]) < 40


def test_a_mistake_is_told_in_one_line_and_nothing_is_left(tmp_path):
    done = nas("search", *TOY, "search.batch_size=15", "name=odd", cwd=tmp_path, ranks=2)
    assert done.returncode != 0
    assert done.stderr.count("search.batch_size 15 is that of all processes together") == 1, done.stderr
    assert not list((tmp_path / "results").rglob("odd"))

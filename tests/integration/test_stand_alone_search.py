"""One loop: every controller searches with every evaluator; searches that train each cell, as a user starts them."""

import contextlib
import csv
import json
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from nas.jobs.building.parts import process_runtime
from nas.runs.checkpoints import load_checkpoint
from nas.runs.comparison import compare_runs
from tests.commands import nas, started
from tests.integration.test_jobs import config

ROOT = Path(__file__).parents[2]
TOY = ("experiment=toy", "network.stages=2", "search_space.blocks=2")
ALONE = ("evaluator=stand_alone", *TOY, "evaluator.training.epochs=1")
EVALUATORS = {
    "shared_weights": TOY,
    "table": ("evaluator=table", f"table.path={ROOT}/tests/data/nasbench201_cifar10.csv.gz", "search.queries=12"),
    "stand_alone": (*ALONE, "search.queries=4", "evaluator.workers=1", "search.random_cells=0"),
}
TIMES = ("seconds", "train_seconds")
CONTROLLERS = sorted(file.stem for file in (ROOT / "conf/controller").glob("*.yaml") if file.stem != "reinforce")


def rows_of(file: Path, *left_out: str) -> list[dict[str, str]]:
    with file.open() as lines:
        return [{key: value for key, value in row.items() if key not in left_out} for row in csv.DictReader(lines)]


@pytest.mark.parametrize("controller", CONTROLLERS)
@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_every_controller_searches_with_every_evaluator(evaluator, controller, tmp_path):
    done = nas("search", *EVALUATORS[evaluator], f"controller={controller}", "name=found", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "results" / "runs" / "found"
    scored, rows = rows_of(run / "scored.csv"), rows_of(run / "search.csv")
    assert ("queries" in rows[-1]) == (evaluator != "shared_weights")
    assert int(rows[-1].get("queries", len(scored))) == len(scored)
    assert float(rows[-1]["best"]) == max(float(row["reward"]) for row in scored)
    assert json.loads((run / "candidates.json").read_text())[0]["reward"] >= 0
    assert "next: nas " in done.stderr


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A pipeline whose search trained every cell, in one process."""
    folder = tmp_path_factory.mktemp("whole")
    done = nas("pipeline", *ALONE, "search.queries=8", "evaluator.workers=1", "name=alone", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "stand-alone accuracy" in done.stdout
    return folder / "results" / "runs" / "alone"


def test_what_a_pipeline_found_is_what_its_trainings_came_to(whole):
    results = [json.loads(file.read_text()) for file in (whole / "trainings").glob("*.json")]
    scored = rows_of(whole / "scored.csv")
    best = json.loads((whole / "candidates.json").read_text())[0]
    assert best["stand_alone_accuracy"] == pytest.approx(max(float(row["accuracy"]) for row in scored), abs=1e-6)
    random_cells = json.loads((whole / "random.json").read_text())
    assert len(random_cells) == 2
    trained = {one["accuracy"] for one in results}
    assert {best["stand_alone_accuracy"], *(cell["stand_alone_accuracy"] for cell in random_cells)} <= trained
    assert not list((whole / "trainings").glob("*.pt"))
    assert "found" in json.loads((whole / "metrics.json").read_text())


def test_the_number_of_processes_changes_nothing(whole, tmp_path):
    arguments = ("search", *ALONE, "search.queries=8", "evaluator.workers=2", "name=alone")
    assert nas(*arguments, cwd=tmp_path).returncode == 0
    run = tmp_path / "results" / "runs" / "alone"
    for name in ("search.csv", "scored.csv"):
        assert rows_of(run / name, *TIMES) == rows_of(whole / name, *TIMES)


def test_a_killed_search_goes_on_and_trains_nothing_twice(whole, tmp_path):
    arguments = ("search", *ALONE, "search.queries=8", "evaluator.workers=1", "name=alone")
    run = tmp_path / "results" / "runs" / "alone"
    with started(*arguments, cwd=tmp_path):
        deadline = time.monotonic() + 120
        while len(list(run.glob("trainings/*.json"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert not (run / "candidates.json").exists()
    before = {file: file.stat().st_mtime_ns for file in run.glob("trainings/*.json")}
    done = nas(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(before) >= 3
    assert before == {file: file.stat().st_mtime_ns for file in before}
    for name in ("search.csv", "scored.csv"):
        assert rows_of(run / name, *TIMES) == rows_of(whole / name, *TIMES)


def test_sigterm_ends_an_update_after_the_trainings_checkpoints_and_the_search_goes_on_to_the_same_end(tmp_path):
    more = ("search.queries=4", "search.random_cells=0", "evaluator.workers=1", "name=alone")
    arguments = ("search", *ALONE, *more, "evaluator.training.epochs=30", "evaluator.training.checkpoint_seconds=0")
    stopped, whole = (tmp_path / name / "results" / "runs" / "alone" for name in ("stopped", "whole"))
    for folder in ("stopped", "whole"):
        (tmp_path / folder).mkdir()
    with started(*arguments, "evaluator.workers=2", cwd=tmp_path / "stopped") as command:
        deadline = time.monotonic() + 120
        while not list(stopped.glob("trainings/*.pt")) and time.monotonic() < deadline:
            time.sleep(0.01)
        command.process.terminate()
        done = command.wait()
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert "stopped; to go on: nas search name=alone" in done.stderr
    assert "Traceback" not in done.stderr
    checkpoints = [file for file in stopped.glob("trainings/*.pt") if file.stem[-9:] != ".previous"]
    assert checkpoints
    assert all(0 < len(load_checkpoint(file)["rows"]) < 30 for file in checkpoints)
    for folder in ("stopped", "whole"):
        done = nas(*arguments, cwd=tmp_path / folder)
        assert done.returncode == 0, done.stderr
    assert [one for one in compare_runs(whole, stopped) if one.difference is not None] == []


def test_it_is_repeated_to_the_bit(whole):
    done = nas("replay", "run=results/runs/alone", "name=again", cwd=whole.parents[2])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "equal to the bit" in done.stdout


def test_a_worker_computes_with_one_thread_whatever_the_run_does():
    before = torch.get_num_threads()
    try:
        process_runtime(config("search", "runtime.threads=2"))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_processes_end_with_a_search_that_is_killed(tmp_path):
    more = ("search.queries=200", "evaluator.workers=2", "evaluator.training.epochs=200", "name=orphans")
    with started("search", *ALONE, *more, cwd=tmp_path) as command:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("results/runs/orphans/trainings/*.pt")) and time.monotonic() < deadline:
            time.sleep(0.01)
        workers = descendants(command.process.pid)
    assert workers
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{one}").exists() for one in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [one for one in workers if Path(f"/proc/{one}").exists()] == []


def descendants(process: int) -> set[int]:
    """Returns the processes that a process started, and those that these did."""
    parents = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(file.parent.name)] = int(file.read_text().rpartition(")")[2].split()[1])
    found: set[int] = set()
    while more := {child for child, parent in parents.items() if parent in {process, *found}} - found:
        found |= more
    return found


def test_a_space_of_ones_own_will_do(tmp_path):
    shutil.copytree(ROOT / "tests" / "examples", tmp_path / "mine")
    settings = ("search_space=chain", "search_space.ops=[conv_1x1,identity]", "search_space.blocks=2")
    done = nas(
        *("search", "--config-dir", "mine/configs", *ALONE, *settings, "search.queries=4", "evaluator.workers=1"),
        cwd=tmp_path,
        PYTHONPATH="mine",
    )
    assert done.returncode == 0, done.stderr


def test_a_sweep_of_such_pipelines_is_summed_up(tmp_path):
    settings = (*ALONE, "search.queries=2", "search.random_cells=0", "evaluator.workers=1", "retrain.epochs=1")
    done = nas("sweep", *settings, "seed=0,1", "name=several", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "results/sweeps/several/sweep.csv")
    assert float(rows[0]["search_seconds"]) > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((*ALONE, "retrain.warm_start=search"), "retrain.warm_start=search needs shared weights"),
        (("experiment=toy", *EVALUATORS["table"]), "evaluator=table is for nas search"),
    ],
)
def test_a_pipeline_that_could_not_end_does_not_begin(arguments, said, tmp_path):
    done = nas("pipeline", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert said in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            (*ALONE, "search.epochs=3"),
            "search.epochs is unknown; it takes samples_per_update, ",
        ),
        ((*ALONE, "evaluator.workers=0"), "evaluator.workers must be greater than 0, got 0"),
        ((*ALONE, "evaluator.training.epochs=0"), "evaluator.training.epochs must be greater than 0, got 0"),
        ((*ALONE, "evaluator.training.batch_size=500"), "evaluator.training.batch_size"),
        ((*TOY, "evaluator=standalone"), "did you mean stand_alone?"),
        ((*TOY, "settings@search=queries"), "evaluator=stand_alone trains every cell"),
    ],
)
def test_a_mistake_is_told_with_its_cure(arguments, said, tmp_path):
    done = nas("search", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert said in done.stderr, done.stderr
    assert not list(tmp_path.glob("results/runs/*"))


def test_several_ranks_are_refused(tmp_path):
    done = nas("search", *ALONE, "name=two", cwd=tmp_path, ranks=2)
    assert done.returncode != 0
    assert done.stderr.count("a search without shared weights has no use for torchrun") == 1, done.stderr

"""Jobs with a budget of time: whole results, a plan that is kept, and an end in time where all is slow."""

import json
import math
import subprocess

import pytest

from nas.compute.device import make_runtime
from nas.compute.settings import RuntimeSettings
from nas.jobs import pipeline, replay, retrain, search
from nas.jobs.building.run_folder import opened_run
from nas.runs.comparison import compare_runs
from tests.commands import nas
from tests.integration.test_jobs import TINY, config

FINALS = ("search.finalists=4", "search.finalist_epochs=[1,2]", "search.finals_workers=1", "search.final_samples=6")
LONGER = (
    "search.epochs=6",
    "retrain.epochs=4",
    "retrain.first_cycle=4",
    "retrain.seeds=[0,1]",
    "search.random_cells=2",
)
FILES = ("search.csv", "finals.csv", "candidates.json", "random.json", "retrain.csv", "metrics.json", "latency.json")
PARTS = {"search": (60.0, 1 / 6), "scoring": (6.0, 1 / 3), "finals": (30.0, 3 / 4), "figures": (4.0, 1.0)}
JOBS = {"search": search, "retrain": retrain, "pipeline": pipeline}


def setting(*more):
    keys = {one.partition("=")[0] for one in (*FINALS, *LONGER, *more)}
    tiny = [one for one in TINY if one.partition("=")[0] not in keys]
    return (*tiny, *FINALS, *LONGER, "name=x", "runtime.threads=1", *more)


def done(out, *overrides, command="pipeline"):
    """Runs a job in its folder and returns its plan, if there is one."""
    more = setting(*overrides)
    kept = [one for one in more if command == "pipeline" or one.partition(".")[0] not in ("latency", "retrain")]
    cfg = config(command, *kept)
    with opened_run(cfg, out, runtime=make_runtime(RuntimeSettings(threads=1)), command=command):
        JOBS[command].run(cfg, out)
    return json.loads((out / "plan.json").read_text()) if (out / "plan.json").exists() else None


@pytest.fixture
def planned(monkeypatch):
    """Parts of a pipeline as if they were measured."""
    parts = {**PARTS, "retrain": (96.0, 1 / 4), "latency": (4.0, 1.0)}
    monkeypatch.setattr("nas.jobs.pipeline.pipeline_parts", lambda cfg, out, runtime: parts)
    monkeypatch.setattr("nas.jobs.search.search_parts", lambda cfg, out, runtime: PARTS)


def differing(*runs):
    return [one for one in compare_runs(*runs) if one.difference is not None]


def epochs(file, column="epoch"):
    lines = file.read_text().splitlines()
    return [line.split(",")[lines[0].split(",").index(column)] for line in lines[1:]]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A pipeline without a budget."""
    out = tmp_path_factory.mktemp("plain") / "x"
    assert done(out) is None
    return out


def test_a_plan_is_measured_and_what_is_shorter_is_not_stretched(plain, tmp_path, capsys):
    plan = done(tmp_path / "x", "budget=1h")
    assert plan["lengths"] == {}
    assert list(plan["parts"]) == ["search", "scoring", "finals", "figures", "retrain", "latency"]
    assert all(0 < seconds < 60 for seconds in plan["parts"].values())
    said = capsys.readouterr().err
    assert said.index("of 1h are planned") < said.index("search\n  run folder")
    assert differing(plain, tmp_path / "x") == []


def test_a_longer_plan_is_shortened_and_its_result_is_whole(planned, tmp_path, capsys):
    plan = done(tmp_path / "x", "budget=100s")
    assert plan["lengths"]["search.epochs"] == len(epochs(tmp_path / "x" / "search.csv")) < 6
    assert set(epochs(tmp_path / "x" / "retrain.csv", "label")) == {"found", "random-0", "random-1"}
    assert len(epochs(tmp_path / "x" / "retrain.csv")) == 4 * plan["lengths"]["retrain.epochs"]
    assert plan["lengths"]["retrain.epochs"] < 4
    assert all((tmp_path / "x" / name).exists() for name in (*FILES, "report.html", "digests.json"))
    assert "search.epochs=" in capsys.readouterr().err
    assert plan["spent"] < 100


def test_a_run_that_is_stopped_goes_on_with_its_plan(planned, tmp_path, monkeypatch):
    whole = done(tmp_path / "whole", "budget=100s")
    monkeypatch.setattr("nas.jobs.search.conclude", lambda *args, **more: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        done(tmp_path / "cut", "budget=100s")
    monkeypatch.undo()
    monkeypatch.setattr("nas.jobs.pipeline.pipeline_parts", lambda *args: pytest.fail("planned anew"))
    again = done(tmp_path / "cut", "budget=100s")
    for plan in (whole, again):
        del plan["decided"]["finals"]["epoch_seconds"]
    assert (again["lengths"], again["decided"]) == (whole["lengths"], whole["decided"])
    assert differing(tmp_path / "whole", tmp_path / "cut") == []


class SlowClock:
    """A clock that goes on by so many seconds whenever it is looked at."""

    def __init__(self, step):
        self.step, self.now = step, 0.0

    def __call__(self):
        self.now += self.step
        return self.now


def slow_down(monkeypatch, step):
    monkeypatch.setattr("nas.jobs.budget.clock", SlowClock(step))
    monkeypatch.setattr("nas.jobs.retrain.epoch_seconds", lambda *args, **more: 40.0)
    monkeypatch.setattr("nas.jobs.finals.epoch_seconds", lambda *args, **more: 40.0)


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """The folder of a pipeline whose machine became slow after the plan, its plan, and what was said."""
    out = tmp_path_factory.mktemp("slow") / "x"
    with pytest.MonkeyPatch.context() as patch:
        parts = {**PARTS, "retrain": (96.0, 1 / 4), "latency": (4.0, 1.0)}
        patch.setattr("nas.jobs.pipeline.pipeline_parts", lambda cfg, folder, runtime: parts)
        said = []
        for module in ("search", "retrain", "finals", "budget"):
            patch.setattr(f"nas.jobs.{module}.note", said.append)
        slow_down(patch, 10.0)
        plan = done(out, "budget=4m")
    return out, plan, said


def test_where_the_machine_is_slow_every_part_ends_early_with_a_whole_result(slow):
    out, plan, said = slow
    assert plan["lengths"].keys() == {"retrain.epochs", "retrain.first_cycle"}  # nothing before it began
    assert 1 <= plan["decided"]["search epochs"] == len(epochs(out / "search.csv")) < 6
    assert plan["decided"]["finals"]["rungs"][0][0] == 2
    assert plan["lengths"]["retrain.epochs"] == 1
    assert plan["decided"]["trainings"] == len(epochs(out / "retrain.csv")) < 4
    assert all((out / name).exists() for name in (*FILES, "report.html", "digests.json"))
    told = " / ".join(said)
    assert "the search ends after" in told
    assert "the finals of two cells take" in told
    assert "the retraining ends after" in told


def test_a_run_that_the_clock_cut_is_replayed_without_a_clock(slow, tmp_path, monkeypatch):
    out, plan, _ = slow
    monkeypatch.chdir(tmp_path)
    report = replay.run(config("replay", f"run={out}", "name=again"), tmp_path / "again")
    assert report["equal"], report["files"]
    again = json.loads((tmp_path / "again" / "again" / "plan.json").read_text())
    assert again["decided"] == plan["decided"]
    assert again["seconds"] is None


def test_a_finished_run_that_is_started_again_keeps_its_results(slow):
    out, plan, _ = slow
    before = (out / "metrics.json").read_text()
    again = done(out, "budget=4m")
    assert again["decided"] == plan["decided"]
    assert (out / "metrics.json").read_text() == before


def test_a_search_and_a_retraining_have_budgets_of_their_own(planned, tmp_path):
    plan = done(tmp_path / "search", "budget=50s", command="search")
    assert plan["lengths"]["search.epochs"] < 6
    assert (tmp_path / "search" / "candidates.json").exists()
    tiny = [one for one in setting() if not one.startswith(("search", "latency"))]
    cfg = config("retrain", *tiny, f"genotype={tmp_path / 'search'}", "budget=1h")
    retrain.run(cfg, tmp_path / "retrain")
    kept = json.loads((tmp_path / "retrain" / "plan.json").read_text())
    assert (list(kept["parts"]), kept["lengths"]) == (["retrain"], {})
    assert not math.isinf(kept["seconds"])


@pytest.mark.parametrize("given", ["ten", "0m", "'300 epochs'"])
def test_a_wrong_budget_is_refused_in_a_line_before_anything_runs(given, tmp_path):
    for command in ("search", "pipeline"):
        ended: subprocess.CompletedProcess[str] = nas(command, f"budget={given}", "name=x", cwd=tmp_path)
        assert ended.returncode == 1
        assert ended.stderr.startswith("error: budget must be a time such as 90s, 10m or 1.5h, got")
        assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "results/runs/x").exists()


def test_a_sweep_gives_each_member_its_share(tmp_path):
    tiny = ("experiment=toy", "network.stages=2", "search.epochs=1", "retrain.epochs=1", "search.random_cells=0")
    ended = nas("sweep", *tiny, "seed=0,1", "budget=10m", "name=s", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    plans = [json.loads(file.read_text()) for file in (tmp_path / "results/sweeps/s").glob("*/plan.json")]
    assert [plan["seconds"] for plan in plans] == [295.0, 295.0]

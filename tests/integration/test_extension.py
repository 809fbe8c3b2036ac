"""A finished run that becomes longer: equal to one that was as long from the start, or what differs is said."""

import json
from pathlib import Path

import pytest

from nas.compute.device import make_runtime
from nas.compute.settings import RuntimeSettings
from nas.jobs import retrain, search
from nas.jobs.building.run_folder import opened_run
from nas.runs.comparison import compare_runs
from tests.integration.test_jobs import TINY, config

SEARCH = tuple(setting for setting in TINY if setting.startswith(("data", "network", "search")))
RETRAIN = (*(one for one in TINY if one.startswith(("data", "network", "retrain"))), "genotype=shufflenasnet_a")
JOBS = {"search": (search, SEARCH), "retrain": (retrain, RETRAIN)}
STAND_ALONE = ("evaluator=stand_alone", "evaluator.training.epochs=1", "evaluator.workers=1")
SHARED = ("epochs", "batch_size", "controller_samples", "final_samples", "finalists")
"""Settings of a search with shared weights alone."""


def ran(out: Path, command: str, *overrides: str) -> None:
    job, settings = JOBS[command]
    if STAND_ALONE[0] in overrides:
        settings = tuple(one for one in settings if one.split("=")[0].removeprefix("search.") not in SHARED)
    cfg = config(command, *settings, "name=x", "runtime.threads=1", *overrides)
    with opened_run(cfg, out, runtime=make_runtime(RuntimeSettings(threads=1)), command=command):
        job.run(cfg, out)


@pytest.mark.parametrize(
    ("command", "length", "settings"),
    [
        ("search", "search.epochs", ("search.warmup=0", "search.finalists=2", "search.finalist_epochs=1")),
        ("search", "search.queries", STAND_ALONE),
        ("retrain", "retrain.epochs", ("retrain.evaluate_every=1", "retrain.ema=0.9", "retrain.seeds=[0,1]")),
    ],
)
def test_a_run_of_6_extended_to_12_equals_one_of_12(command, length, settings, tmp_path, capsys):
    ran(tmp_path / "x", command, *settings, f"{length}=6")
    ran(tmp_path / "x", command, *settings, f"{length}=12")
    assert f"the run goes on: {length} from 6 to 12" in capsys.readouterr().err
    ran(tmp_path / "whole", command, *settings, f"{length}=12")
    compared = compare_runs(tmp_path / "whole", tmp_path / "x")
    assert [one for one in compared if one.difference is not None] == []
    assert json.loads((tmp_path / "x" / "extended.json").read_text())[0]["differences"] == []


def test_what_differs_in_the_schedules_is_said(tmp_path, capsys):
    settings = ("search.warmup=0.5", "search.drop_path=0.2")
    ran(tmp_path, "search", *settings, "search.epochs=2")
    ran(tmp_path, "search", *settings, "search.epochs=4")
    said = capsys.readouterr().err
    assert "unlike a run of that length from the start: the warm-up had 1 epochs, and would have had 2" in said
    assert "drop-path had reached 0.1 in epoch 1 and would have been 0.05" in said
    assert "penalty" not in said
    assert len(json.loads((tmp_path / "extended.json").read_text())[0]["differences"]) == 2


def test_learned_mixers_penalty_and_hardening_are_among_what_is_said(tmp_path, capsys):
    settings = ("search_space=shufflenas_learned", "search_space.mixers=[auto_shuffle]")
    ran(tmp_path / "x", "search", *settings, "search.epochs=2")
    ran(tmp_path / "x", "search", *settings, "search.epochs=4")
    assert "the weight of the mixers' penalty had reached 0.0125 in epoch 1 and" in capsys.readouterr().err
    ran(tmp_path / "alone", "retrain", f"genotype={tmp_path / 'x'}", "retrain.epochs=3")
    ran(tmp_path / "alone", "retrain", f"genotype={tmp_path / 'x'}", "retrain.epochs=6")
    said = capsys.readouterr().err
    assert "the weight of the mixers' penalty had reached" in said
    assert "mixers were hardened before epoch 2, and would have been before 4" in said


def test_one_cycle_cannot_become_longer(tmp_path):
    settings = ("retrain.schedule=one_cycle",)
    ran(tmp_path, "retrain", *settings, "retrain.epochs=2")
    before = (tmp_path / "metrics.json").read_bytes()
    with pytest.raises(ValueError, match="the learning rate of the epochs that are done would have been another"):
        ran(tmp_path, "retrain", *settings, "retrain.epochs=4")
    assert (tmp_path / "metrics.json").read_bytes() == before


def test_a_run_that_a_budget_shortened_had_the_schedule_of_its_plan(tmp_path):
    ran(tmp_path, "search", "search.epochs=2", "search.first_cycle=2")
    (tmp_path / "plan.json").write_text('{"lengths": {"search.first_cycle": 1.0}}')
    with pytest.raises(ValueError, match="the learning rate of the epochs that are done would have been another"):
        ran(tmp_path, "search", "search.epochs=4", "search.first_cycle=2")


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (("search.epochs=1",), r"search\.epochs \(was 2, is 1\)"),
        (("search.epochs=4", "search.batch_size=8"), r"search\.batch_size"),
    ],
)
def test_a_shorter_run_and_whatever_else_differs_are_refused_by_name(overrides, named, tmp_path):
    ran(tmp_path, "search", "search.epochs=2")
    before = (tmp_path / "candidates.json").read_bytes()
    with pytest.raises(ValueError, match=named):
        ran(tmp_path, "search", *overrides)
    assert (tmp_path / "candidates.json").read_bytes() == before

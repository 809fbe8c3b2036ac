"""The plan of a budget by hand: the factor, the lengths, the shares of the time, and what is kept."""

import json
import math

import pytest

from nas.compute.device import make_runtime
from nas.jobs import sweep
from nas.jobs.budget import factor_for, make_plan, shorter
from nas.runs.configs import may_change
from nas.runs.listing import progress_of
from nas.searching.successive_halving import parse_time
from tests.integration.test_jobs import config


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on when it is told to."""
    now = [1000.0]
    monkeypatch.setattr("nas.jobs.budget.clock", lambda: now[0])
    return now


def made(out, *overrides, **parts):
    """The plan of a pipeline whose parts take those seconds, each with the share that is its least."""
    cfg = config("pipeline", "name=x", *overrides)
    return make_plan(cfg, out, make_runtime(), lambda: dict(parts), started=None), cfg


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400), ("2h", 7200), (" 3 m", 180)])
def test_a_time_is_read_as_seconds(text, seconds):
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["ten", "0m", "300 epochs", "-3m", "3", 90, "1d", "", "1h30m", "nan s"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match=r"budget must be a time such as 90s, 10m or 1\.5h, got"):
        parse_time(text)


def test_a_factor_shortens_all_parts_alike_but_those_at_their_least():
    assert factor_for([(60.0, 0.1), (40.0, 0.1)], 100) == 1.0
    assert factor_for([(60.0, 0.1), (40.0, 0.1)], 50) == 0.5
    assert factor_for([(60.0, 0.1), (40.0, 1.0)], 70) == 0.5  # 60 x 0.5 + 40
    assert factor_for([(100.0, 0.01), (100.0, 0.5)], 70) == 0.2  # 100 x 0.2 + 100 x 0.5
    assert factor_for([(60.0, 0.5)], 20) == 0.0


def test_lengths_are_shortened_with_the_schedules_that_are_told_in_epochs():
    search = {"epochs": 30, "first_cycle": 10, "keep_every": 6, "final_samples": 40, "warmup": 0.33}
    assert shorter(search, 0.5) == {"epochs": 15, "first_cycle": 5, "keep_every": 3, "final_samples": 20}
    assert shorter({"epochs": 15, "first_cycle": 15, "harden_epoch": 10}, 0.4) == {
        **{"epochs": 6, "first_cycle": 6.0},
        "harden_epoch": 4,
    }
    assert shorter({"queries": 500}, 0.5) == {"queries": 250}
    assert shorter(search, 1.0) == {}


def test_no_length_is_shortened_below_the_least():
    assert shorter({"epochs": 5, "first_cycle": 5, "final_samples": 60, "keep_every": 2}, 0.0) == {
        **{"epochs": 1, "first_cycle": 1.0, "final_samples": 2},
        "keep_every": 1,
    }


def test_a_plan_within_the_budget_changes_nothing(tmp_path, clock, capsys):
    plan, cfg = made(tmp_path, "budget=3m", search=(100.0, 0.1), retrain=(79.0, 0.2))
    assert plan.lengths == {}
    assert plan.config(cfg) == cfg
    assert "179 s of 3m are planned" in capsys.readouterr().err


def test_a_longer_plan_is_shortened_to_nine_tenths_of_the_budget(tmp_path, clock, capsys):
    plan, cfg = made(tmp_path, "budget=100s", search=(100.0, 1 / 15), retrain=(100.0, 0.2), latency=(10.0, 1.0))
    assert plan.parts == {"search": 40.0, "retrain": 40.0, "latency": 10.0}  # 0.4 of each, 90 s in all
    assert plan.lengths["search.epochs"] == 6
    assert plan.lengths["retrain.epochs"] == 2
    changed = plan.config(cfg)
    assert (changed.search.epochs, changed.search.first_cycle) == (6, 4)
    assert (changed.retrain.epochs, changed.retrain.first_cycle) == (2, 2)
    assert (changed.search.final_samples, changed.search.finalists) == (24, 18)
    said = capsys.readouterr().err
    assert "90 s of 100s are planned; as asked it would take 210 s" in said
    assert "search.epochs=6" in said


def test_a_budget_that_is_too_short_takes_the_least_plan_and_warns(tmp_path, clock, capsys):
    plan, _ = made(tmp_path, "budget=5s", search=(100.0, 1 / 15), retrain=(100.0, 0.2))
    assert (plan.lengths["search.epochs"], plan.lengths["retrain.epochs"]) == (1, 1)
    assert "warning: no plan is so short as budget=5s" in capsys.readouterr().err


def test_a_part_has_its_share_of_what_is_left_when_it_begins(tmp_path, clock):
    plan, _ = made(tmp_path, "budget=100s", search=(30.0, 0.1), retrain=(50.0, 0.2), latency=(10.0, 1.0))
    clock[0] += 10
    assert plan.left("search") == pytest.approx((100 - 10 - 10) * 30 / 80)
    clock[0] += 50
    assert plan.left("search") == pytest.approx(30 - 50)
    assert plan.left("retrain") == pytest.approx(100 - 60 - 10)
    assert math.isinf(plan.left("finals"))


def test_without_a_budget_nothing_is_bounded_or_written(tmp_path):
    plan, cfg = made(tmp_path, search=(1e9, 1.0))
    assert math.isinf(plan.left("search"))
    assert plan.config(cfg) == cfg
    assert plan.decide("cells", lambda: 3) == 3
    plan.keep()
    assert not any(tmp_path.iterdir())


def test_a_resumed_run_has_the_same_plan_and_the_time_that_was_spent_counts(tmp_path, clock):
    first, _ = made(tmp_path, "budget=100s", search=(100.0, 0.1), retrain=(100.0, 0.2))
    clock[0] += 30
    assert first.decide("cells of rung 1", lambda: 4) == 4
    clock[0] += 5000
    second, _ = made(tmp_path, "budget=100s", search=(1e9, 0.1))
    assert (second.parts, second.lengths) == (first.parts, first.lengths)
    assert second.elapsed == 30
    assert second.decide("cells of rung 1", lambda: 1) == 4
    without, _ = made(tmp_path)
    assert without.lengths == first.lengths
    assert math.isinf(without.left("search"))


def test_a_run_that_was_begun_without_a_budget_keeps_its_lengths(tmp_path, clock):
    (tmp_path / "checkpoint.pt").touch()
    assert made(tmp_path, "budget=10s", search=(100.0, 0.1))[0].lengths == {}


def test_a_part_that_is_measured_to_be_slower_is_cut_again(tmp_path, clock, capsys):
    plan, cfg = made(tmp_path, "budget=100s", "retrain.epochs=10", "retrain.first_cycle=10", retrain=(90.0, 0.1))
    settings = plan_settings(cfg)
    assert plan.cut("retrain", settings, lambda: 95.0) == {}
    assert plan.cut("retrain", settings, lambda: 200.0) == {"epochs": 4, "first_cycle": 4.0}  # 0.9 x 100 / 200
    assert "200 s, and 100 s are left, retrain.epochs=4" in capsys.readouterr().err


def plan_settings(cfg):
    from nas.jobs.building.config import build

    return build(cfg.retrain, "retrain")


def test_progress_is_told_of_the_planned_epochs(tmp_path, clock):
    (tmp_path / "config.yaml").write_text("search:\n  epochs: 15\nretrain:\n  epochs: 5\nlatency: {}\n")
    (tmp_path / "plan.json").write_text(json.dumps({"lengths": {"search.epochs": 6}}))
    assert progress_of(tmp_path) == "search 0/6"


SWEEP = ("seed=0,1,2,3", "name=x")


@pytest.mark.parametrize(
    ("given", "share"),
    [
        (("budget=410s",), ["budget=100s"]),
        (("budget=410s", "hydra/launcher=parallel"), ["budget=200s"]),
        (("budget=410s", "hydra/launcher=parallel", "hydra.launcher.n_jobs=4"), ["budget=400s"]),
        (("budget=5s",), ["budget=1s"]),
        ((), []),
    ],
)
def test_a_budget_is_divided_evenly_among_the_members_of_a_sweep(given, share, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sweep, "check_installed", lambda values: None)
    assert sweep.make_plan([*SWEEP, *given]).share() == share


def test_members_that_are_finished_leave_the_rest_to_the_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = sweep.make_plan([*SWEEP, "budget=410s"])
    for member in plan.members[:2]:
        folder = plan.folder / member.name
        folder.mkdir(parents=True)
        for name, record in (("member.json", {}), ("digests.json", {}), ("plan.json", {"spent": 50.0})):
            (folder / name).write_text(json.dumps(record))
    assert plan.share() == ["budget=150s"]  # (410 - 10 - 100) / 2
    assert may_change("budget")


@pytest.mark.parametrize("given", ["budget=1m,2m", "budget=ten"])
def test_a_sweep_has_one_budget(given):
    with pytest.raises(ValueError, match="budget"):
        sweep.make_plan([*SWEEP, given])

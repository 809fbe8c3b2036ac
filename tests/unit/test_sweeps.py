import json
from pathlib import Path

import pytest

from nas.jobs.sweep import make_plan
from nas.reporting.sweeps.members import Member, check_fixed, in_a_line, member_state, run_member
from nas.reporting.sweeps.report import sweep_plot
from nas.reporting.sweeps.summary import (
    aggregate,
    common_environment,
    distinct,
    number_or_text,
    read_members,
    swept_keys,
)

NONE: set[str] = set()  # of settings that may change
FIGURES = {
    "random_accuracy": 0.5,
    "shared_accuracy": 0.4,
    "parameters": 1000,
    "multiply_adds": 2e6,
    "latency_ms": 1.5,
    "search_seconds": 10.0,
    "retrain_seconds": 20.0,
}


def finished(settings: dict[str, object], *accuracies: float, **figures: float) -> dict[str, object]:
    mean = sum(accuracies) / len(accuracies)
    found = {"test_accuracy": mean, "test_accuracies": list(accuracies), "gain": mean - 0.5, "comparison": "of one"}
    return {"member": str(settings), "state": "finished", "settings": settings, **found, **FIGURES, **figures}


def member(**swept: str) -> Member:
    return Member(swept=swept, fixed={"data": "synthetic"})


def put_member(sweep: Path, **swept: str) -> Path:
    """Writes what a finished member leaves, as far as a summary reads it."""
    folder = sweep / member(**swept).name
    folder.mkdir(parents=True)
    files = {
        "member.json": {"swept": swept, "fixed": {"data": "synthetic"}},
        "metrics.json": {
            "found": {"test_accuracy": {"mean": 0.6, "values": [0.5, 0.7]}, "parameters": 7, "multiply_adds": 9}
        },
        "latency.json": {"latency": [{"median_ms": 2.5, "batch_size": 4}, {"median_ms": 9.0, "batch_size": 8}]},
        "candidates.json": [{"shared_accuracy": 0.3}, {"shared_accuracy": 0.2}],
        "environment.json": {"job": "pipeline", "seed": int(swept.get("seed", 0)), "torch": "2", "device": folder.name},
    }
    for name, data in files.items():
        (folder / name).write_text(json.dumps(data))
    (folder / "search.csv").write_text("epoch,seconds\n0,1.5\n1,2\n")
    (folder / "retrain.csv").write_text("label,seconds\nfound,3\n")
    (folder / "digests.json").write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("swept", "name"),
    [
        ({"search_space.blocks": "2", "seed": "0"}, "search_space.blocks-2+seed-0"),
        ({"search.lr_max": "1e-3"}, "search.lr_max-1e-3"),
        ({"+extra": "-1"}, "extra--1"),
        ({"controller": "lstm"}, "controller-lstm"),
    ],
)
def test_a_member_is_named_by_what_was_swept(swept, name):
    assert Member(swept=swept, fixed={}).name == name


def test_names_are_safe_short_and_differ_where_members_do():
    values = ["[a,b]", "[a.b]", "a/b", "a b", "a_b", "x" * 300, "x" * 301, "1e+5", "1e_5", "..", "'q'", "ü"]
    names = [Member(swept={"key": value}, fixed={}).name for value in values]
    assert len(set(names)) == len(values)
    for name in names:
        assert len(name) <= 100
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789._+-")
        assert name not in (".", "..")


def test_the_plan_has_every_combination_and_tells_swept_from_fixed():
    plan = make_plan(["search_space.blocks=2,3", "data=synthetic", "seed=range(0,3)", "name=mine"])
    assert plan.folder == Path("results/sweeps/mine")
    assert [one.name for one in plan.members[:4]] == [
        "search_space.blocks-2+seed-0",
        "search_space.blocks-2+seed-1",
        "search_space.blocks-2+seed-2",
        "search_space.blocks-3+seed-0",
    ]
    assert len(plan.members) == 6
    assert all(one.fixed == {"data": "synthetic"} for one in plan.members)
    assert plan.arguments.count("name=mine") == 1


def test_a_choice_of_one_is_swept_so_that_a_part_of_a_sweep_can_be_named():
    (only,) = make_plan(["search_space.blocks=choice(2)", "seed=1,1"]).members[:1]
    assert only.name == "search_space.blocks-2+seed-1"


def test_lists_are_values_and_not_sweeps():
    plan = make_plan(["retrain.seeds=[0,1]", "search_space.ops=[a,b],[c]"])
    assert [dict(one.swept) for one in plan.members] == [{"search_space.ops": "[a,b]"}, {"search_space.ops": "[c]"}]
    assert plan.members[0].fixed == {"retrain.seeds": "[0,1]"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seed=1"], "nothing is swept; give a key several values"),
        (["seed=1,2", "name=a,b"], "name is the name of the whole sweep"),
        (["seed=1,2", "search=[1"], r"cannot read search=\[1: no viable alternative"),
        (["seed=1,2", "objective=found"], "objective is for other commands; a sweep's is the test accuracy"),
        (["seed=1,2", "controller=glob(*)"], r"cannot read controller=glob\(\*\): "),
    ],
)
def test_a_command_that_is_no_sweep_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_plan(arguments)


def test_a_member_that_fails_says_why_in_its_folder_and_its_output(tmp_path, capsys):
    folder = tmp_path / "one"

    def work() -> None:
        (folder / "config.yaml").write_text("seed: 0\n")
        print("about to fail")
        raise RuntimeError("broken\nin two lines")

    assert run_member(member(seed="0"), folder, work, echo=False) == "failed"
    record = json.loads((folder / "failed.json").read_text())
    assert record["error"] == "RuntimeError: broken"
    assert "in two lines" in "\n".join(record["traceback"])
    assert "about to fail" in (folder / "output.txt").read_text()
    assert "about to fail" not in capsys.readouterr().out
    assert not (folder / "config.yaml").exists()  # nothing was computed: other settings may follow


def test_a_failure_is_forgotten_when_the_member_finishes(tmp_path, capsys):
    folder = tmp_path / "one"
    run_member(member(seed="0"), folder, lambda: 1 / 0, echo=True)
    assert member_state(folder) == "failed"

    def work() -> None:
        (folder / "digests.json").write_text("{}")
        print("done")

    assert run_member(member(seed="0"), folder, work, echo=True) == "finished"
    assert not (folder / "failed.json").exists()
    assert "done" in capsys.readouterr().out
    assert (folder / "output.txt").read_text().count("---") == 2


def test_an_interrupted_member_is_not_a_failed_one(tmp_path):
    def work() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_member(member(seed="0"), tmp_path, work, echo=False)
    assert member_state(tmp_path) == "resumable"


def test_members_begun_with_other_settings_are_not_mixed(tmp_path):
    folder = put_member(tmp_path, seed="0")
    other = Member(swept={"seed": "0"}, fixed={"data": "digits", "search.epochs": "3"})
    check_fixed(tmp_path, [other], free=NONE.__contains__)  # nothing was started there
    (folder / "config.yaml").write_text("")
    with pytest.raises(ValueError, match=r"data \(was synthetic, is digits\), search\.epochs \(was not given, is 3\)"):
        check_fixed(tmp_path, [other], free=NONE.__contains__)
    check_fixed(tmp_path, [other], free={"data", "search.epochs"}.__contains__)
    check_fixed(tmp_path, [member(seed="0"), member(seed="7")], free=NONE.__contains__)


def test_a_later_start_with_other_fixed_settings_is_refused_whatever_it_sweeps(tmp_path):
    folder = put_member(tmp_path, blocks="2")
    (folder / "config.yaml").write_text("")
    longer = Member(swept={"blocks": "3"}, fixed={"data": "synthetic", "retrain.epochs": "50"})
    with pytest.raises(ValueError, match=r"retrain\.epochs \(was not given, is 50\)"):
        check_fixed(tmp_path, [longer], free=NONE.__contains__)
    later = Member(swept={"seed": "1"}, fixed={"data": "synthetic", "blocks": "2"})
    check_fixed(tmp_path, [later], free=NONE.__contains__)


def test_a_run_under_two_names_counts_once(tmp_path):
    put_member(tmp_path, blocks="2")  # the first start swept blocks alone, with the seed 0 that is the default
    put_member(tmp_path, blocks="3")
    for seed in "01":
        put_member(tmp_path, blocks="2", seed=seed)
    put_member(tmp_path, seed="1", blocks="2")
    (tmp_path / "blocks-2+seed-1" / "digests.json").unlink()
    members = distinct(read_members(tmp_path))
    settings = [(member["settings"]["blocks"], member["settings"]["seed"]) for member in members]
    assert settings == [(2, 0), (3, 0), (2, 1)]
    assert all(member["state"] == "finished" for member in members)
    assert [row["test_accuracy_n"] for row in aggregate(members)] == [2, 2]  # two searches; two trainings of one


def test_what_was_fixed_in_one_start_and_swept_in_another_is_a_setting_of_all(tmp_path):
    put_member(tmp_path, seed="4")
    put_member(tmp_path, data="digits", seed="5")
    assert [record["settings"] for record in read_members(tmp_path)] == [
        {"data": "digits", "seed": 5},
        {"data": "synthetic", "seed": 4},
    ]


def test_an_error_names_its_kind_unless_it_speaks_to_the_user():
    assert in_a_line(ValueError("set back:\n  blocks")) == "set back: blocks"
    assert in_a_line(KeyError("x")) == "KeyError: 'x'"
    assert in_a_line(RuntimeError("one\ntwo")) == "RuntimeError: one"
    assert in_a_line(ValueError()) == "ValueError: "


def test_a_member_is_read_from_its_folder(tmp_path):
    put_member(tmp_path, blocks="2", lr="1e-3", seed="1")
    (record,) = read_members(tmp_path)
    assert record["settings"] == {"blocks": 2, "lr": 0.001, "seed": 1}
    assert record["test_accuracies"] == [0.5, 0.7]
    assert (record["random_accuracy"], record["gain"]) == (None, None)
    assert (record["latency_ms"], record["latency_batch_size"]) == (2.5, 4)
    assert (record["search_seconds"], record["retrain_seconds"]) == (3.5, 3.0)
    assert record["shared_accuracy"] == 0.3


def test_swept_values_are_numbers_where_they_can_be():
    assert [number_or_text(text) for text in ("2", "1e-3", "'a'", "true")] == [2, 0.001, "a", "true"]


def test_seeds_are_put_together_by_mean_and_deviation():
    members = [
        finished({"blocks": 10, "seed": 0}, 0.6, 0.8, parameters=100),
        finished({"blocks": 10, "seed": 1}, 0.9, parameters=300),
        finished({"blocks": 2, "seed": 0}, 0.5, 0.7),
        {"member": "bad", "state": "failed", "settings": {"blocks": 2, "seed": 1}},
        {"member": "worse", "state": "failed", "settings": {"blocks": 0, "seed": 1}},
    ]
    none, two, ten = aggregate(members)
    assert (none["blocks"], none["members"], none["finished"]) == (0, 1, 0)
    assert "test_accuracy" not in none
    assert ten["test_accuracy"] == pytest.approx(0.8)  # of 0.7 and 0.9
    assert ten["test_accuracy_std"] == pytest.approx(0.02**0.5)
    assert (ten["test_accuracy_n"], ten["over"]) == (2, "searches")
    assert (ten["parameters"], ten["parameters_std"]) == (200, pytest.approx(20000**0.5))
    assert (two["members"], two["finished"], two["over"]) == (2, 1, "trainings")
    assert two["test_accuracy_std"] == pytest.approx(0.02**0.5)  # of 0.5 and 0.7
    assert two["parameters_std"] is None


def test_found_and_random_cells_are_compared_search_by_search():
    """Signs of three gains can be all alike in 2 of 8 cases, those of six in 2 of 64."""
    (row,) = aggregate([finished({"seed": seed}, 0.5 + gain) for seed, gain in enumerate((0.1, 0.2, 0.3))])
    assert (row["gain"], row["gain_std"], row["gain_n"]) == (pytest.approx(0.2), pytest.approx(0.1), 3)
    assert row["comparison"] == "too few to tell (3 pairs: the least possible p is 0.25)"
    gains = (0.1, 0.2, 0.3, 0.1, 0.2, 0.3)
    (row,) = aggregate([finished({"seed": seed}, 0.5 + gain) for seed, gain in enumerate(gains)])
    assert row["comparison"].startswith("the found cell is better (p = 0.031")
    (row,) = aggregate([finished({"seed": 0}, 0.6, 0.8)])
    assert (row["gain"], row["comparison"]) == (pytest.approx(0.2), "of one")
    (row,) = aggregate([finished({"seed": 0}, 0.6) | {"gain": None, "comparison": None}])
    assert "gain" not in row
    assert "comparison" not in row


def test_rows_come_in_order_numbers_before_texts():
    settings = [{"a": "x", "b": 10}, {"a": "x", "b": 9}, {"a": 3, "b": 1}, {"b": 2}]
    rows = aggregate([finished(one, 0.5) for one in settings])
    assert [(row["a"], row["b"]) for row in rows] == [(3, 1), ("x", 9), ("x", 10), (None, 2)]
    assert swept_keys([finished({"seed": 0, "b": 1}, 0.5)]) == ["b"]


def test_seeds_alone_make_one_row():
    (row,) = aggregate([finished({"seed": seed}, accuracy) for seed, accuracy in enumerate((0.4, 0.6))])
    assert (row["members"], row["test_accuracy"]) == (2, 0.5)


def test_environments_are_joined_and_what_differs_is_listed(tmp_path):
    for seed in ("0", "1"):
        put_member(tmp_path, seed=seed)
    found = common_environment(tmp_path, read_members(tmp_path))
    assert found == {"job": "pipeline", "torch": "2", "differing": {"device": ["seed-0", "seed-1"]}}


@pytest.mark.parametrize(
    "settings",
    [
        [{"seed": 0}, {"seed": 1}],
        [{"lr": 0.001}, {"lr": 1.0}],
        [{"blocks": 2, "controller": "lstm", "ops": "a"}, {"blocks": 3, "controller": "ppo", "ops": "b"}],
        [{"blocks": 2}, {"controller": "lstm"}],
    ],
)
def test_the_picture_is_drawn_for_numbers_texts_and_several_keys(tmp_path, settings):
    members = [finished(one, 0.5, 0.6) for one in settings]
    sweep_plot(aggregate(members), swept_keys(members), tmp_path / "a.svg", batch_size=1)
    assert "<svg" in (tmp_path / "a.svg").read_text()


def test_nothing_finished_is_nothing_to_draw(tmp_path):
    rows = aggregate([{"member": "bad", "state": "failed", "settings": {"blocks": 2}}])
    with pytest.raises(ValueError, match="nothing to draw"):
        sweep_plot(rows, ["blocks"], tmp_path / "a.svg", batch_size=1)


def test_found_cells_are_held_against_random_search_pair_by_pair():
    gains = [0.01, 0.02, 0.03, 0.015, 0.025, 0.02]
    members = [
        finished({"seed": seed}, 0.6, equal_cost_accuracy=0.6 - gain, equal_cost_gain=gain, equal_cost_comparison="one")
        for seed, gain in enumerate(gains)
    ]
    (row,) = aggregate(members)
    assert row["equal_cost_gain"] == pytest.approx(0.02)
    assert row["equal_cost_gain_n"] == 6
    assert row["equal_cost_comparison"].startswith("the found cell is better (p = 0.031")
    assert aggregate(members[:1])[0]["equal_cost_comparison"] == "one"
    assert "equal_cost_gain" not in aggregate([finished({"seed": 0}, 0.6), finished({"seed": 1}, 0.6)])[0]


def test_the_cost_of_a_member_with_random_search_is_read(tmp_path):
    folder = put_member(tmp_path, seed="0")
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics |= {"random_search": {"test_accuracy": {"mean": 0.55}}, "comparison_at_equal_cost": "too few"}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (record,) = read_members(tmp_path)
    assert record["equal_cost_gain"] == pytest.approx(0.05)
    assert (record["equal_cost_comparison"], record["gain"]) == ("too few", None)

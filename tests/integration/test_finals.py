"""The best candidates trained stand-alone at the end of a search: what decides, what is seen, and going on."""

import csv
import json
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from nas.compute.device import make_runtime
from nas.compute.settings import RuntimeSettings
from nas.data.named import synthetic
from nas.jobs import finals, search, search_results
from nas.jobs.building.derived_models import initial_network
from nas.jobs.building.run_folder import opened_run
from nas.models.genotype_files import load_genotype
from nas.runs.checkpoints import load_checkpoint
from nas.runs.comparison import compare_runs
from nas.runs.listing import FINALS_FOLDER, progress_of
from nas.searching.search import Search
from nas.searching.settings import SearchSettings
from nas.searching.stand_alone import finals_data, finals_seed, finals_settings, outcome
from nas.searching.successive_halving import in_order
from nas.training.member import Member, train_member
from search_spaces.genotype import Genotype
from tests.commands import nas, started
from tests.integration.test_jobs import TINY, config
from tests.integration.test_joint_jobs import run as run_jointly

SETTINGS = (
    *(setting for setting in TINY if setting.startswith(("data", "network", "search"))),
    *("name=x", "search.final_samples=6", "search.finalists=3", "search.finalist_epochs=2", "search.top_k=40"),
    "search.finals_workers=1",
)


def searched(out, *overrides):
    cfg = config("search", *SETTINGS, "runtime.threads=1", *overrides)
    with opened_run(cfg, out, runtime=make_runtime(RuntimeSettings(threads=1)), command="search"):
        search.run(cfg, out)
    return json.loads((out / "candidates.json").read_text())


def cells(entries):
    return [json.dumps(entry["genotype"], sort_keys=True) for entry in entries]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "x"
    return out, searched(out)


def test_the_finalists_come_first_in_the_order_of_their_stand_alone_accuracies(whole, tmp_path):
    out, entries = whole
    plain = searched(tmp_path / "x", "search.finalists=0")
    assert set(cells(entries[:3])) == set(cells(plain[:3]))
    assert cells(entries[3:]) == cells(plain[3:])
    accuracies = [entry["stand_alone_accuracy"] for entry in entries[:3]]
    assert accuracies == sorted(accuracies, reverse=True)
    assert all("stand_alone_accuracy" not in entry for entry in entries[3:])
    assert load_genotype(out) == Genotype.from_dict(entries[0]["genotype"])
    shared = {cell: entry["shared_accuracy"] for cell, entry in zip(cells(plain), plain, strict=True)}
    assert {cell: entry["shared_accuracy"] for cell, entry in zip(cells(entries), entries, strict=True)} == shared


@pytest.mark.parametrize("by", ["zero_cost", "both"])
def test_the_finalists_are_those_that_untrained_networks_recommend(whole, tmp_path, by):
    entries = searched(tmp_path / "x", f"search.shortlist={by}")
    plain = whole[1]
    assert set(cells(entries)) == set(cells(plain))
    scores = [entry["zero_cost"] for entry in entries]
    assert min(scores[:3]) >= max(scores[3:])
    assert all("stand_alone_accuracy" in entry for entry in entries[:3])


def test_a_finalist_is_a_training_from_scratch_on_the_train_images_that_another_gives_again(whole, tmp_path):
    out, entries = whole
    cfg = config("search", *SETTINGS)
    data = synthetic(num_images=120, image_size=8, held_out=0.1)
    seen = replace(data, full=data.train, test=data.reward)
    settings = finals_settings(SearchSettings(epochs=1, batch_size=16, finalist_epochs=2))
    member = Member(label="again", seed=finals_seed(0), genotype=Genotype.from_dict(entries[0]["genotype"]))
    rows = train_member(
        member,
        initial_network(member, cfg, seen, settings),
        data=seen,
        settings=settings,
        runtime=make_runtime(RuntimeSettings(threads=1)),
        checkpoint=tmp_path / "again.pt",
        on_epoch=lambda row: None,
    )
    assert rows[-1]["test_accuracy"] == entries[0]["stand_alone_accuracy"]
    assert [row["epoch"] for row in rows] == [0, 1]
    with (out / "finals.csv").open() as file:
        logged = list(csv.DictReader(file))
    assert len(logged) == 6
    own = [row for row in logged if row["label"] == entries[0]["label"]]
    assert [float(row["loss"]) for row in own] == pytest.approx([row["loss"] for row in rows], rel=1e-5)
    assert float(own[-1]["reward_accuracy"]) == pytest.approx(entries[0]["stand_alone_accuracy"], rel=1e-5)
    assert not any("test" in key for key in logged[0])


def test_nothing_but_the_searchs_own_images_can_be_reached():
    data = synthetic(num_images=120)
    seen = finals_data(data)
    assert seen.full is data.train
    assert seen.test is data.reward


def test_finalists_are_trained_as_the_shared_weights_were_for_one_cosine():
    given = SearchSettings(epochs=30, batch_size=48, lr_max=0.07, weight_decay=1e-3, drop_path=0.2, finalist_epochs=7)
    settings = finals_settings(given)
    assert (settings.epochs, settings.first_cycle, settings.last_epochs, settings.evaluate_every) == (7, 7, 1, 0)
    assert (settings.batch_size, settings.lr_max, settings.weight_decay, settings.drop_path) == (48, 0.07, 1e-3, 0.2)
    assert settings.learning_rate(0) == 0.07
    assert settings.learning_rate(6.999) == pytest.approx(given.lr_min, abs=1e-4)
    assert settings.warm_start is None


def test_the_finals_have_another_seed_than_the_retrainings():
    assert len({finals_seed(seed) for seed in range(100)} | set(range(200))) == 300


@pytest.fixture
def cut_off(trained, tmp_path):
    """A search that was cut off when its finalists were trained, and the files of their results in their order."""
    out = shutil.copytree(trained, tmp_path / "x")
    candidates = json.loads((out / FINALS_FOLDER / "candidates.json").read_text())
    found = {cells([json.loads(file.read_text())])[0]: file for file in (out / FINALS_FOLDER).glob("*-seed*.json")}
    return out, [found[cell] for cell in cells(candidates[:3])]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    def cut(*args, **kwargs):
        raise KeyboardInterrupt

    out = tmp_path_factory.mktemp("trained") / "x"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nas.jobs.search_results.write_front", cut)
        with pytest.raises(KeyboardInterrupt):
            searched(out)
    assert not (out / "candidates.json").exists()
    assert progress_of(out) == "finals 6/6"
    return out


@pytest.mark.parametrize("finished", [(), (0,), (1,), (0, 1, 2)])
def test_a_search_cut_off_in_the_finals_goes_on_to_the_same_end(whole, cut_off, monkeypatch, finished):
    out, files = cut_off
    for number, file in enumerate(files):
        if number not in finished:
            file.unlink()
    monkeypatch.setattr("nas.searching.search.Search.candidates", lambda search: pytest.fail("scored once more"))
    searched(out)
    compared = compare_runs(whole[0], out)
    assert {"search.csv", "finals.csv", "candidates.json", "random.json"} <= {one.file for one in compared}
    assert [one for one in compared if one.difference is not None] == []
    assert not (out / FINALS_FOLDER).exists()


def changed(file, **values):
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_a_finished_finalist_is_not_trained_again(cut_off):
    out, files = cut_off
    changed(files[1], accuracy=2.0)
    first = searched(out)[0]
    assert (first["label"], first["stand_alone_accuracy"]) == ("candidate-1", 2.0)


def test_two_processes_train_the_same(whole, tmp_path):
    searched(tmp_path / "x", "search.finals_workers=2")
    assert [one for one in compare_runs(whole[0], tmp_path / "x") if one.difference is not None] == []


def test_sigterm_ends_the_processes_after_a_checkpoint_and_the_finals_go_on_to_the_same_end(tmp_path):
    more = ("search.finalist_epochs=30", "search.checkpoint_seconds=0", "runtime.threads=1", "device=cpu")
    settings = ("search", *SETTINGS, *more)
    out, whole = (tmp_path / name / "results" / "runs" / "x" for name in ("stopped", "whole"))
    for folder in ("stopped", "whole"):
        (tmp_path / folder).mkdir()
    with started(*settings, "search.finals_workers=2", cwd=tmp_path / "stopped") as command:
        deadline = time.monotonic() + 120
        while not list(out.glob(f"{FINALS_FOLDER}/*.pt")) and time.monotonic() < deadline:
            time.sleep(0.01)
        command.process.terminate()
        done = command.wait()
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert done.stderr.count("stopping; once more stops at once") == 1
    assert "stopped; to go on: nas search name=x" in done.stderr
    assert "Traceback" not in done.stderr
    checkpoints = [file for file in out.glob(f"{FINALS_FOLDER}/*.pt") if file.stem[-9:] != ".previous"]
    assert checkpoints
    assert all(0 < len(load_checkpoint(file)["rows"]) < 30 for file in checkpoints)
    for folder in ("stopped", "whole"):
        done = nas(*settings, cwd=tmp_path / folder)
        assert done.returncode == 0, done.stderr
    assert [one for one in compare_runs(whole, out) if one.difference is not None] == []


def test_damaged_candidates_are_named(cut_off):
    file = cut_off[0] / FINALS_FOLDER / "candidates.json"
    file.write_text(file.read_text()[:40])
    with pytest.raises(ValueError, match=r"finals/candidates.json is damaged, remove its folder"):
        searched(cut_off[0])
    file.unlink()
    assert "stand_alone_accuracy" in searched(cut_off[0])[0]


def test_finals_whose_effort_is_not_known_begin_anew(cut_off, whole):
    out, _ = cut_off
    (out / "effort.json").unlink()
    assert cells(searched(out)) == cells(whole[1])


def diverged(file: Path) -> None:
    changed(file, accuracy=0.0, diverged="the loss is not finite", rows=[])


def test_a_finalist_that_diverges_comes_last_whatever_the_reward(cut_off, capsys):
    out, files = cut_off
    diverged(files[0])
    entries = searched(out)
    assert entries[-1]["label"] == "candidate-0"
    assert entries[-1]["diverged"] == "the loss is not finite"
    assert "stand_alone_reward" not in entries[-1]
    assert [("stand_alone_reward" in entry) for entry in entries[:3]] == [True, True, False]
    assert "candidate-0 diverged, and counts as the last" in capsys.readouterr().err


def test_if_all_finalists_diverge_the_next_best_by_shared_weights_is_found(cut_off):
    out, files = cut_off
    (out / "finals.csv").unlink()
    for file in files:
        diverged(file)
    entries = searched(out)
    assert not any({"diverged", "stand_alone_reward"} & set(entry) for entry in entries[:-3])
    assert all("diverged" in entry for entry in entries[-3:])
    assert not (out / "finals.csv").exists()


def test_the_reward_function_decides(genotype):
    result = {"genotype": genotype.to_dict(), "accuracy": 0.75}
    assert outcome(result, lambda score, cell: score.accuracy - 10 if cell == genotype else 0) == {
        "stand_alone_accuracy": 0.75,
        "stand_alone_reward": -9.25,
    }
    entries = [{"cell": 0, "stand_alone_reward": 0.3, "stand_alone_accuracy": 0.9}, {"cell": 1}]
    entries.insert(1, {"cell": 2, "stand_alone_reward": 0.4, "stand_alone_accuracy": 0.5})
    entries.insert(0, {"cell": 3, "diverged": "why"})
    assert [entry["cell"] for entry in in_order(entries)] == [2, 0, 1, 3]


def loss_reward(score, genotype):
    return -score.loss


def test_a_reward_of_the_loss_is_refused_before_the_search(tmp_path, monkeypatch):
    reward = (f"reward._target_={__name__}.loss_reward",)
    monkeypatch.setattr("nas.searching.search.Search.epoch", lambda search: pytest.fail("searched"))
    with pytest.raises(ValueError, match="may not ask for the loss"):
        searched(tmp_path, *reward)
    with pytest.raises(pytest.fail.Exception, match="searched"):
        searched(tmp_path / "without", *reward, "search.finalists=0")


def test_a_run_below_another_of_the_name_finals_is_left_alone(tmp_path):
    (tmp_path / "finals").mkdir()
    (tmp_path / "finals" / "config.yaml").write_text("seed: 0\n")
    searched(tmp_path)
    assert (tmp_path / "finals" / "config.yaml").exists()


def test_what_a_kill_at_the_very_end_leaves_is_cleared_away(tmp_path, monkeypatch):
    monkeypatch.setattr("nas.jobs.finals.remove_checkpoints", lambda out: None)
    searched(tmp_path)
    assert len(list((tmp_path / FINALS_FOLDER).glob("*-seed*.json"))) == 3
    monkeypatch.undo()
    searched(tmp_path)
    assert not (tmp_path / FINALS_FOLDER).exists()


def test_a_final_of_one_is_refused():
    with pytest.raises(ValueError, match="finalists must be 0, or at least 2"):
        SearchSettings(finalists=1)


def test_more_finalists_than_candidates_are_all_of_them(tmp_path):
    entries = searched(tmp_path, "search.finalists=100", "search.finalist_epochs=1", "search.final_samples=2")
    assert all("stand_alone_accuracy" in entry for entry in entries)


def test_learned_mixers_are_hardened_within_the_finals(tmp_path):
    learned = ("search_space=shufflenas_learned", "search_space.mixers=[auto_shuffle]")
    entries = searched(tmp_path, *learned, "search.finalists=2", "search.final_samples=3")
    with (tmp_path / "finals.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["hard_reward_accuracy"]) for row in rows] == [False, True, False, True]
    last = {row["label"]: float(row["reward_accuracy"]) for row in rows if row["reward_accuracy"]}
    for entry in entries[:2]:
        assert last[entry["label"]] == pytest.approx(entry["stand_alone_accuracy"], rel=1e-5)


def test_two_ranks_train_the_finalists_together(tmp_path):
    more = ("search.finalists=2", "search.finalist_epochs=1")
    run_jointly("search", tmp_path / "one", *more)
    first, other = run_jointly("search", tmp_path / "two", *more, size=2, batch_norm="sync")
    assert first == other
    one, two = (json.loads((tmp_path / name / "candidates.json").read_text()) for name in ("one", "two"))
    assert cells(one) == cells(two)
    for entry, wanted in zip(two, one, strict=True):
        assert entry.get("stand_alone_accuracy") == pytest.approx(wanted.get("stand_alone_accuracy"), abs=1e-5)


def test_one_candidate_has_no_finals(tmp_path, monkeypatch, capsys):
    candidates = Search.candidates
    monkeypatch.setattr(Search, "candidates", lambda search: candidates(search)[:1])
    (entry,) = searched(tmp_path)
    assert "stand_alone_accuracy" not in entry
    assert not (tmp_path / "finals.csv").exists()
    assert "nothing to choose" in capsys.readouterr().err


def test_all_finalists_are_written_down(tmp_path):
    assert len(searched(tmp_path, "search.top_k=1", "search.finalist_epochs=1")) == 3


@pytest.mark.parametrize(
    ("number", "noise", "said"),
    [(0, 0, "not measured"), (5, 0, "too few to tell"), (24, 0, "they order"), (24, 1e3, "not shown to order")],
)
def test_a_search_says_how_far_its_shared_scores_can_be_trusted(number, noise, said, tmp_path):
    order = [(7 * place) % 24 for place in range(24)]
    entries = [{"reward": place, "stand_alone_reward": place + noise * order[place]} for place in range(number)]
    assert said in search_results.trust([{"reward": 1.0}, *entries], tmp_path)
    assert "not measured" in search_results.trust([{"reward": 1.0}, *entries], tmp_path, warm=True)


HALVING = ("search.finalists=4", "search.finalist_epochs=[1,2]", "search.final_samples=8")


def test_the_best_of_a_rung_enter_the_next_and_the_last_rung_decides(tmp_path):
    entries = searched(tmp_path, *HALVING)
    finalists = [entry for entry in entries if "rung" in entry]
    assert [entry["rung"] for entry in finalists] == [1, 1, 0, 0]
    assert [len(entry["rung_rewards"]) for entry in finalists] == [2, 2, 1, 1]
    assert min(entry["rung_rewards"][0] for entry in finalists[:2]) >= finalists[2]["rung_rewards"][0]
    assert finalists[0]["stand_alone_reward"] == finalists[0]["rung_rewards"][1]
    assert finalists[0]["stand_alone_reward"] >= finalists[1]["stand_alone_reward"]
    with (tmp_path / "finals.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["rung"], row["epoch"]) for row in rows] == [("0", "0")] * 4 + [("1", "0"), ("1", "1")] * 2
    effort = json.loads((tmp_path / "effort.json").read_text())
    assert effort["rungs"] == [[4, 1], [2, 2]]
    assert effort["finals_seconds"] == pytest.approx(sum(float(row["seconds"]) for row in rows), rel=1e-4)


@pytest.mark.parametrize("rung", [0, 1])
def test_halving_that_is_cut_off_goes_on_to_the_same_end(rung, tmp_path, monkeypatch):
    whole = searched(tmp_path / "whole", *HALVING)
    train = finals.Trainer.train

    def cut(trainer, entries, *, rung, epochs, at=rung):
        for number, result in enumerate(train(trainer, entries, rung=rung, epochs=epochs)):
            yield result
            if (rung, number) == (at, 0):
                raise KeyboardInterrupt

    monkeypatch.setattr(finals.Trainer, "train", cut)
    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path / "cut", *HALVING)
    monkeypatch.undo()
    assert searched(tmp_path / "cut", *HALVING) == whole
    assert [one for one in compare_runs(tmp_path / "whole", tmp_path / "cut") if one.difference is not None] == []


def test_a_budget_of_epochs_takes_fewer_finalists(tmp_path):
    entries = searched(tmp_path, *HALVING, "search.finals_budget=7 epochs")
    assert json.loads((tmp_path / "effort.json").read_text())["rungs"] == [[3, 1], [2, 2]]
    assert sum("rung" in entry for entry in entries) == 3
    with pytest.raises(ValueError, match="the finals of two cells take 6"):
        searched(tmp_path / "less", *HALVING, "search.finals_budget=3 epochs")


def test_a_budget_of_time_is_planned_from_measured_steps_and_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("nas.jobs.finals.epoch_seconds", lambda *args, **more: 2.0)
    entries = searched(tmp_path, *HALVING, "search.finals_budget=14s")  # 7 epochs of 2 seconds
    assert json.loads((tmp_path / "effort.json").read_text())["rungs"] == [[3, 1], [2, 2]]
    assert sum("rung" in entry for entry in entries) == 3
    assert "7 epochs, of 14s" in capsys.readouterr().err


def test_where_the_first_rung_was_slower_than_planned_the_finals_end_in_time(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("nas.jobs.finals.epoch_seconds", lambda *args, **more: 1e-9)
    entries = searched(tmp_path, *HALVING, "search.finals_budget=0.01s")
    assert {entry["rung"] for entry in entries if "rung" in entry} == {0}
    assert "the finals end with the rung of 1 epoch: the time for them is up" in capsys.readouterr().err


def test_a_time_too_short_for_two_cells_does_not_lose_the_search(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("nas.jobs.finals.epoch_seconds", lambda *args, **more: 10.0)
    entries = searched(tmp_path, *HALVING, "search.finals_budget=5s")
    assert json.loads((tmp_path / "effort.json").read_text())["rungs"] == [[2, 1], [2, 2]]
    assert sum("rung" in entry for entry in entries) == 2
    assert "the finals of two cells take 6" in capsys.readouterr().err


def test_the_measured_epoch_is_that_of_a_training(tmp_path):
    entries = searched(tmp_path, *HALVING, "search.finals_budget=1h")
    effort = json.loads((tmp_path / "effort.json").read_text())
    each = effort["finals_seconds"] / 8
    assert 0.05 * each < effort["epoch_seconds"] < 20 * each
    assert sum("rung" in entry for entry in entries) == 4


def test_a_part_of_the_finalists_is_drawn_from_all_sizes(tmp_path):
    entries = searched(tmp_path, *HALVING, "search.random_finalists=0.5", "search.finalist_epochs=1")
    trained = [entry for entry in entries if "rung" in entry]
    assert len(trained) == 4
    assert 1 <= sum(entry.get("drawn", False) for entry in trained) <= 2
    assert all("shared_accuracy" in entry for entry in trained)


def test_predicted_finalists_are_chosen_after_the_others_whatever_the_workers_or_a_kill(tmp_path, monkeypatch):
    guided = (*HALVING, "search.final_samples=12", "search.finalists=8", "search.predicted_finalists=0.75")
    whole = searched(tmp_path / "whole", *guided)
    assert sum("rung" in entry for entry in whole) == 8
    searched(tmp_path / "two", *guided, "search.finals_workers=2")
    train = finals.Trainer.train

    def cut(trainer, entries, *, rung, epochs):
        yield from train(trainer, entries, rung=rung, epochs=epochs)
        if len(trainer.rows) > 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(finals.Trainer, "train", cut)
    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path / "cut", *guided)
    monkeypatch.undo()
    searched(tmp_path / "cut", *guided)
    for name in ("two", "cut"):
        assert [one for one in compare_runs(tmp_path / "whole", tmp_path / name) if one.difference is not None] == []


def test_finalists_may_start_from_the_shared_weights(tmp_path):
    scratch, warm = (searched(tmp_path / start, f"search.finals_start={start}") for start in ("scratch", "shared"))
    by_cell = [dict(zip(cells(entries), entries, strict=True)) for entries in (scratch, warm)]
    trained = [cell for cell, entry in by_cell[0].items() if "rung" in entry]
    losses = []
    for start in ("scratch", "shared"):
        with (tmp_path / start / "finals.csv").open() as file:
            losses.append([float(row["loss"]) for row in csv.DictReader(file) if row["epoch"] == "0"])
    assert len(trained) == len(losses[0]) == 3
    assert losses[0] != losses[1]


def test_random_cells_pass_through_the_same_finals_for_the_same_core_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr("nas.jobs.finals.busy_cores", lambda device: 30)
    searched(tmp_path, *HALVING, "search.random_search=true")
    effort = json.loads((tmp_path / "effort.json").read_text())
    total = sum(effort[f"{part}_seconds"] for part in ("search", "scoring", "finals"))
    assert effort["random_search_seconds"] == pytest.approx(total, rel=0.25)
    opponents = json.loads((tmp_path / "random_search.json").read_text())
    assert len(opponents) == effort["random_search_cells"][0]
    assert sum(entry["rung"] == 1 for entry in opponents) == effort["random_search_cells"][1] >= 1
    best = max((entry for entry in opponents if entry["rung"] == 1), key=lambda entry: entry["stand_alone_reward"])
    assert opponents[0] == best
    assert len({json.dumps(entry["genotype"]) for entry in opponents}) == len(opponents)


def test_random_search_ends_where_every_cell_diverges(tmp_path, monkeypatch):
    def train(training):
        return {"genotype": training.genotype.to_dict(), "accuracy": 0.0, "diverged": "why", "seconds": 0.2, "rows": []}

    monkeypatch.setattr("nas.jobs.finals._trained", lambda pool, trainings, ranks: map(train, trainings))
    entries = searched(tmp_path, *HALVING, "search.random_search=true")
    assert sum("diverged" in entry for entry in entries) == 4
    assert all("diverged" in entry for entry in json.loads((tmp_path / "random_search.json").read_text()))


@pytest.mark.parametrize(
    ("name", "value"),
    [("finals_budget", "10m"), ("finals_start", "shared"), ("random_search", True)],
)
def test_a_setting_of_finals_without_finals_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} is of finals, and there are none"):
        SearchSettings(**{name: value})


def test_random_search_from_shared_weights_is_refused():
    with pytest.raises(ValueError, match="finals_start must be scratch"):
        SearchSettings(random_search=True, finals_start="shared", finalists=2)

"""Rankings at toy size: what they leave, how they go on, and that both sides are what other jobs give."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

from nas.compute.worker_pool import WorkerPool
from nas.jobs import rank, retrain, search
from nas.jobs.building.config import build
from nas.jobs.building.parts import build_runtime
from nas.jobs.building.ranked_runs import read_runs
from nas.models.genotype_files import load_genotype
from nas.runs.listing import state_of
from nas.searching import stand_alone
from nas.studies.ranking.shared_scores import log_probs, policy_cells, scoring_modes
from nas.training.evaluation import DivergedError
from search_spaces.genotype import Genotype

SEARCH = (
    "experiment=toy",
    "search_space.blocks=1",
    "search.epochs=1",
    "search.final_samples=2",
    "search.calibration_batches=2",
    "search.random_cells=0",
    "controller.optimizer.lr=0.5",
    "name=toy",
    "device=cpu",
)
SMALL = (
    "rank.architectures=6",
    "rank.policy_architectures=1",
    "rank.pool=50",
    "rank.calibration_batches=[1]",
    "rank.top=[1,2]",
    "rank.resamples=100",
    "rank.workers=1",
    "retrain.epochs=1",
    "retrain.first_cycle=2",
    "retrain.batch_size=16",
    "retrain.last_epochs=1",
    "name=rank",
    "device=cpu",
)


def config(command: str, *overrides: str) -> DictConfig:
    with initialize_config_module("conf", version_base="1.3"):
        return compose(command, overrides=list(overrides))


def trainings(folder: Path) -> dict[str, float]:
    files = sorted((folder / "stand_alone").iterdir())
    return {file.name: json.loads(file.read_text())["accuracy"] for file in files}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Path]:
    """A search as the command line leaves it; the same weights as another search, uniform and with other batch norm."""
    folder = tmp_path_factory.mktemp("searches")
    cfg = config("search", *SEARCH)
    search.run(cfg, folder / "first")
    OmegaConf.save(cfg, folder / "first" / "config.yaml", resolve=True)
    shutil.copytree(folder / "first", folder / "second")
    cfg.search.bn = "batch"
    cfg.controller = {"_target_": "controllers.uniform.Uniform"}
    OmegaConf.save(cfg, folder / "second" / "config.yaml", resolve=True)
    return [folder / "first", folder / "second"]


@pytest.fixture(scope="module")
def ranked(runs, tmp_path_factory):
    """A ranking of both searches, its folder and what it returned."""
    folder = tmp_path_factory.mktemp("rank")
    return folder, rank.run(config("rank", f"runs=[{runs[0]},{runs[1]}]", *SMALL), folder)


def test_a_ranking_leaves_every_file(ranked):
    folder, report = ranked
    assert {path.name for path in folder.iterdir()} == {
        "predictions.json",
        "rank.json",
        "rank.csv",
        "rank.svg",
        "stand_alone",
    }
    assert len(trainings(folder)) == 6  # and no checkpoint beside them
    written = json.loads((folder / "rank.json").read_text())
    assert {"cells", "figures", "settings", "environment"} <= set(written)
    assert written["cells"] == report["cells"]
    for cell in written["cells"]:
        assert set(cell["shared"]["first"]) == {"recalibrate-2", "batch", "recalibrate-1"}
        assert set(cell["shared"]["second"]) == {"batch", "recalibrate-1"}
        assert set(cell["log_prob"]) == {"first"}  # a uniform policy tells no cells apart
        assert len(cell["stand_alone"]) == 1
        assert cell["parameters"] > 0
    assert {name: run["mode"] for name, run in written["runs"].items()} == {"first": "recalibrate-2", "second": "batch"}
    assert written["figures"]["differences"][0]["against"] == "first"
    assert [entry["k"] for entry in written["figures"]["runs"]["second"]["top"]] == [1, 2]
    with (folder / "rank.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert float(rows[3]["second.batch"]) == pytest.approx(written["cells"][3]["shared"]["second"]["batch"], abs=1e-5)


def test_cells_are_distinct_and_one_is_the_policys(ranked):
    _, report = ranked
    cells = report["cells"]
    assert [cell["source"] for cell in cells].count("policy") == 1
    assert [cell["stratum"] for cell in cells if cell["source"] == "uniform"] == [
        "lower half",
        "upper half",
        "upper half",
        "best tenth",
        "best tenth",
    ]
    assert len({json.dumps(cell["genotype"]) for cell in cells}) == 6
    assert sum(cell["share"] for cell in cells) == pytest.approx(1)


def test_a_prediction_is_what_the_search_itself_gives_the_cell(runs, ranked):
    _, report = ranked
    read = read_runs(config("rank", f"runs=[{runs[0]},{runs[1]}]", *SMALL), build_runtime(config("rank")))
    for one in read:
        mode = report["runs"][one.name]["mode"]
        genotypes = [Genotype.from_dict(cell["genotype"]) for cell in report["cells"][:3]]
        own = [entry["shared_accuracy"] for entry in one.search.evaluator.score(genotypes)]
        assert own == [cell["shared"][one.name][mode] for cell in report["cells"][:3]]


def test_the_log_probability_is_the_trained_policys(runs, ranked):
    _, report = ranked
    (one,) = read_runs(config("rank", f"run={runs[0]}"), build_runtime(config("rank")))
    genotype = Genotype.from_dict(report["cells"][0]["genotype"])
    actions = torch.tensor([one.search.space.encode(genotype)])
    expected = one.search.controller.policy.log_prob(actions).item()
    assert report["cells"][0]["log_prob"]["first"] == pytest.approx(expected, rel=1e-4)
    untrained = build(one.cfg.controller, "controller", one.search.space.decisions)
    assert untrained.policy.log_prob(actions).item() != pytest.approx(expected, rel=1e-3)
    assert log_probs(one.search.controller, one.search.space, [genotype]) is None  # one cell is told from none


def test_a_search_of_version_0_1_is_read_with_its_policy(runs, tmp_path):
    """Its config has another form: all settings of the controller side by side."""
    shutil.copytree(runs[0], tmp_path / "old")
    cfg = OmegaConf.load(runs[0] / "config.yaml")
    cfg.controller = OmegaConf.load(Path(__file__).parents[1] / "data/written_by_0.1/run/config.yaml").controller
    cfg.controller.learning_rate = 0.5
    OmegaConf.save(cfg, tmp_path / "old" / "config.yaml")
    old, new = (
        read_runs(config("rank", f"run={folder}"), build_runtime(config("rank")))[0].search.controller
        for folder in (tmp_path / "old", runs[0])
    )
    assert old.optimizer.defaults == new.optimizer.defaults
    for one, other in zip(old.policy.parameters(), new.policy.parameters(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(old.elites.best(), new.elites.best())


def test_a_stand_alone_accuracy_is_what_retraining_gives_the_cell(runs, ranked, tmp_path):
    _, report = ranked
    cell = report["cells"][-1]
    (tmp_path / "cell.json").write_text(json.dumps(cell["genotype"]))
    cfg = config(
        "retrain",
        "experiment=toy",
        f"genotype={tmp_path / 'cell.json'}",
        "retrain.seeds=[0]",
        "retrain.epochs=1",
        "retrain.first_cycle=2",
        "retrain.evaluate_every=0",
        "device=cpu",
    )
    metrics = retrain.run(cfg, tmp_path / "run")
    assert metrics["found"]["test_accuracy"]["mean"] == cell["stand_alone"][0]
    assert metrics["found"]["parameters"] == cell["parameters"]
    assert load_genotype(tmp_path / "run") == Genotype.from_dict(cell["genotype"])


def test_a_ranking_that_was_stopped_trains_only_what_is_left_in_any_process(runs, ranked, tmp_path, monkeypatch):
    folder, report = ranked
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    whole = trainings(folder)
    lost = set(list(whole)[:2])
    for name in lost:
        (tmp_path / "stand_alone" / name).unlink()
    left = []
    run_pool = WorkerPool.run

    def counting(pool, some):
        left.extend(some)
        return run_pool(pool, some)

    monkeypatch.setattr(rank, "read_runs", None)  # nothing is scored again
    monkeypatch.setattr(WorkerPool, "run", counting)
    again = rank.run(config("rank", f"runs=[{runs[0]},{runs[1]}]", *SMALL, "rank.workers=2"), tmp_path)
    assert {one.file.name for one in left} == lost
    assert trainings(tmp_path) == whole
    assert again["cells"] == report["cells"]
    assert (tmp_path / "rank.csv").read_bytes() == (folder / "rank.csv").read_bytes()
    assert (tmp_path / "rank.svg").read_bytes() == (folder / "rank.svg").read_bytes()


def test_the_cells_of_an_earlier_ranking_are_taken_with_their_trainings(runs, ranked, tmp_path, capsys):
    folder, report = ranked
    shutil.copytree(runs[0], tmp_path / "copied")
    cfg = config("rank", f"run={tmp_path / 'copied'}", f"cells={folder}", *SMALL, "rank.seeds=2")
    again = rank.run(cfg, tmp_path / "rank")
    shown = capsys.readouterr()
    assert "6 of 12 trainings are done" in shown.err
    assert trainings(folder).items() < trainings(tmp_path / "rank").items()
    own = ("shared", "log_prob", "stand_alone")
    for cell, before in zip(again["cells"], report["cells"], strict=True):
        assert {key: cell[key] for key in cell if key not in own} == {
            key: before[key] for key in before if key not in own
        }
        assert cell["shared"] == {"copied": before["shared"]["first"]}
        assert cell["stand_alone"][:1] == before["stand_alone"]
        assert len(cell["stand_alone"]) == 2
    assert again["figures"]["reliability"]["seeds"] == 2
    assert "stand-alone training agrees with itself by tau" in shown.out


def test_a_policy_that_has_settled_leaves_its_places_to_uniform_draws(runs):
    (one,) = read_runs(config("rank", f"run={runs[0]}"), build_runtime(config("rank")))
    assert len(policy_cells(one.search, count=3, seed=0)) == 3
    with torch.no_grad():
        for head in one.search.controller.policy.heads.values():
            head.bias[0] = 1e4
        one.search.controller.policy.tanh_constant = None
    assert len(policy_cells(one.search, count=3, seed=0)) == 1
    assert policy_cells(one.search, count=0, seed=0) == []


def test_the_runs_own_treatment_of_batch_norm_comes_first_and_once(runs):
    (one,) = read_runs(config("rank", f"run={runs[0]}"), build_runtime(config("rank")))
    names = [mode.name for mode in scoring_modes(one.search, [1, 2, 16])]
    assert names == ["recalibrate-2", "batch", "recalibrate-1", "recalibrate-16"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((), r"set either run=RUN, the run folder of a search, or \"runs=\[RUN,RUN\]\""),
        (("run=nowhere",), "no run at nowhere; `nas search` makes such folders"),
        (("run={first}", "runs=[{second}]"), "set either run=RUN"),
        (("runs=[{first},{first}]",), "runs names a folder twice"),
        (("run={bare}",), "no shared weights at .*checkpoint.pt; `nas search` writes them"),
        (("run={retrained}",), "is not the run folder of `nas search` or `nas pipeline`"),
        (("runs=[{first},{merging}]",), "merging searches another space than first"),
        (("runs=[{first},{reseeded}]",), "reseeded has other images, or another split, than first"),
        (("run={first}", "cells=nowhere"), "no ranked cells at nowhere/predictions.json"),
        (("run={first}", "retrain.warm_start=x"), "retrain.warm_start must be null"),
        (("run={first}", "rank.architectures=3"), r"rank\.architectures .* got 3"),
        (("run={first}", "rank.architectures=40", "rank.pool=50"), "raise rank.pool, or lower rank.architectures"),
    ],
)
def test_a_mistake_names_the_key_or_the_folder(runs, tmp_path, overrides, message):
    folders = {"first": runs[0], "second": runs[1]}
    for name in ("bare", "retrained", "merging", "reseeded"):
        folders[name] = tmp_path / name
    if any("{" in one for one in overrides):
        cfg = OmegaConf.load(runs[0] / "config.yaml")
        changes = {"merging": {"search_space": {"output": "all"}}, "reseeded": {"data": {"split_seed": 5}}, "bare": {}}
        for name, changed in changes.items():
            folders[name].mkdir()
            OmegaConf.save(OmegaConf.merge(cfg, changed), folders[name] / "config.yaml")
        for name in ("merging", "reseeded"):
            shutil.copy(runs[0] / "checkpoint.pt", folders[name])
        folders["retrained"].mkdir()
        OmegaConf.save(config("retrain", "name=retrained"), folders["retrained"] / "config.yaml", resolve=True)
    given = [one.format(**folders) for one in overrides]
    keys = {one.split("=")[0] for one in given}
    cfg = config("rank", *(one for one in SMALL if one.split("=")[0] not in keys), *given)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        rank.run(cfg, tmp_path / "rank")


def test_other_images_than_at_the_start_are_refused(runs, ranked, tmp_path):
    folder, _ = ranked
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    cfg = config("rank", f"run={runs[0]}", *SMALL, "+data.split_seed=1")
    with pytest.raises(ValueError, match="the images of synthetic have changed since"):
        rank.run(cfg, tmp_path)


def test_a_training_that_diverges_counts_as_accuracy_zero_and_the_others_go_on(runs, tmp_path, monkeypatch):
    train, calls = stand_alone.train_member, []

    def diverges_once(*given, **named):
        calls.append(given)
        if len(calls) == 1:
            raise DivergedError("epoch 0: not finite")
        return train(*given, **named)

    monkeypatch.setattr(stand_alone, "train_member", diverges_once)
    rank.run(config("rank", f"run={runs[0]}", *SMALL), tmp_path)
    results = [json.loads(file.read_text()) for file in (tmp_path / "stand_alone").iterdir()]
    assert len(calls) == len(results) == 6
    assert [(one["accuracy"], one["diverged"]) for one in results if "diverged" in one] == [
        (0.0, "epoch 0: not finite")
    ]


def test_a_damaged_result_is_named(runs, ranked, tmp_path):
    folder, _ = ranked
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    damaged = next((tmp_path / "stand_alone").iterdir())
    damaged.write_text("{}")
    with pytest.raises(ValueError, match=f"{damaged.name} is damaged, remove it to train the cell anew"):
        rank.run(config("rank", f"runs=[{runs[0]},{runs[1]}]", *SMALL), tmp_path)


def test_portions_come_to_the_same_as_the_whole(runs, ranked, tmp_path, monkeypatch):
    _, report = ranked
    chosen = (f"runs=[{runs[0]},{runs[1]}]", *SMALL)
    for portion in (0, 1):
        below = tmp_path / f"portion-{portion}"
        done = rank.run(config("rank", *chosen, "rank.portions=2", f"rank.portion={portion}"), below)
        assert done["trainings"] == len(trainings(below)) == 3
        assert state_of(below) == "finished"
        assert not (below / "rank.json").exists()
    monkeypatch.setattr(WorkerPool, "run", lambda pool, left: [1 / 0 for _ in left])  # none is left
    joined = rank.run(config("rank", *chosen), tmp_path)
    assert joined["cells"] == report["cells"]
    assert joined["figures"] == report["figures"]

"""Learned permutations from the search to a derived model with exact ones, at toy size."""

import csv
import json
from pathlib import Path

import pytest
import torch

from nas.jobs import latency, permutations, pipeline, retrain
from nas.jobs.building.config import build
from nas.runs.checkpoints import load_weights
from nas.training.member import MemberTraining
from search_spaces.genotype import Genotype
from tests.conftest import make_cell
from tests.integration.test_jobs import TINY, config

RETRAIN = tuple(override for override in TINY if not override.startswith(("search", "latency.", "retrain.epochs")))
LEARNED = ("auto_shuffle", "dynamic_shuffle", "static_dynamic_shuffle", "kaleidoscope")


def cell_file(folder: Path, mixer: str) -> Path:
    cell = make_cell((0, "conv_1x1"), (0, "auto_shuffle"), mixer=mixer)
    folder.mkdir(exist_ok=True)
    (folder / "cell.json").write_text(Genotype(space="shufflenas", normal=cell, reduction=cell).to_json())
    return folder / "cell.json"


def retrained(folder: Path, name: str, *overrides: str, mixer: str = "auto_shuffle") -> Path:
    out = folder / name
    cfg = config("retrain", f"genotype={cell_file(folder, mixer)}", *RETRAIN, *overrides)
    retrain.run(cfg, out)
    return out


def metrics_of(run: Path) -> dict:
    return json.loads((run / "metrics.json").read_text())


def rows_without_times(run: Path) -> list[dict[str, str]]:
    with (run / "retrain.csv").open() as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def test_a_search_over_learned_mixers_says_how_often_each_was_chosen(tmp_path):
    pipeline.run(config("pipeline", "search_space=shufflenas_learned", *TINY), tmp_path)
    with (tmp_path / "search.csv").open() as file:
        row = next(csv.DictReader(file))
    shares = {key: float(value) for key, value in row.items() if key.startswith("mixer.")}
    assert set(shares) == {"mixer.channel_shuffle", *(f"mixer.{name}" for name in LEARNED)}
    assert sum(shares.values()) == pytest.approx(1, abs=1e-4)
    assert sum(float(value) for key, value in row.items() if key.startswith("op.")) == pytest.approx(1, abs=1e-4)
    assert (tmp_path / "choices.svg").read_text().startswith(("<?xml", "<svg"))


@pytest.mark.parametrize("mixer", LEARNED)
def test_the_derived_model_ends_with_exact_permutations_and_the_gap_is_logged(mixer, tmp_path):
    run = retrained(tmp_path, "run", "retrain.epochs=3", mixer=mixer)
    rows = rows_without_times(run)
    assert [row["mixer_distance"] != "" for row in rows] == [True, True, False]
    hardening = json.loads((run / "metrics.json").read_text())["members"][0]["hardening"]
    assert hardening["epoch"] == 2
    assert set(hardening) == {"epoch", "distance", "soft_test_accuracy", "hard_test_accuracy"}
    weights = load_weights(run / "weights.safetensors")
    assert not any(key.endswith((".matrix", ".logits")) for key in weights)
    for key, value in weights.items():
        if key.endswith(".index"):
            assert sorted(value.tolist()) == list(range(len(value)))


def test_the_counts_are_those_of_the_hardened_model(tmp_path):
    sizes = {
        mixer: json.loads(
            (retrained(tmp_path / mixer, "run", "retrain.epochs=1", mixer=mixer) / "metrics.json").read_text()
        )
        for mixer in ("channel_shuffle", "auto_shuffle", "kaleidoscope")
    }
    assert len({metrics["found"]["parameters"] for metrics in sizes.values()}) == 1


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_retraining_resumed_around_the_hardening_ends_the_same(stop, tmp_path, monkeypatch):
    settings = ("retrain.epochs=4", "retrain.harden_epoch=2", "retrain.checkpoint_seconds=0")
    whole = retrained(tmp_path, "whole", *settings)

    class StoppedError(Exception):
        pass

    def stopping(training, epoch):
        if epoch == stop:
            raise StoppedError
        return train_epoch(training, epoch)

    train_epoch = MemberTraining._train_epoch
    monkeypatch.setattr(MemberTraining, "_train_epoch", stopping)
    with pytest.raises(StoppedError):
        retrained(tmp_path, "stopped", *settings)
    monkeypatch.setattr(MemberTraining, "_train_epoch", train_epoch)
    again = retrained(tmp_path, "stopped", *settings)
    assert rows_without_times(again) == rows_without_times(whole)
    theirs = load_weights(again / "weights.safetensors")
    assert all(torch.equal(value, theirs[key]) for key, value in load_weights(whole / "weights.safetensors").items())


def test_a_hardening_after_the_end_is_refused(tmp_path):
    with pytest.raises(ValueError, match="harden_epoch must lie in"):
        retrained(tmp_path, "run", "retrain.epochs=2", "retrain.harden_epoch=2")


def test_latency_times_the_hardened_and_folded_network_after_checking_it(tmp_path, monkeypatch):
    overrides = ("network.filters=4", "data=synthetic", "data.image_size=8", "latency.batch_sizes=[2]")
    overrides += ("latency.repeats=2", "latency.warmup=0")
    cfg = config("latency", f"genotype={cell_file(tmp_path, 'kaleidoscope')}", *overrides)
    assert latency.run(cfg, tmp_path / "run")["latency"][0]["median_ms"] > 0

    def wrong(network, genotype):
        folded = for_inference(network, genotype)
        folded.classifier.weight.data *= 2
        return folded

    for_inference = latency.for_inference
    monkeypatch.setattr(latency, "for_inference", wrong)
    with pytest.raises(RuntimeError, match="differs by"):
        latency.run(cfg, tmp_path / "wrong")


def test_a_demonstration_that_is_done_is_not_done_again(tmp_path, capsys):
    overrides = ("structured.learned_sizes=[4]", "structured.switch_sizes=[4]", "structured.constructed_sizes=[4]")
    overrides += ("structured.steps=5", "structured.switch_steps=5", "structured.restarts=2")
    cfg = config("permutations", "tasks=[structured,permuted_images]", "permuted_images.root=nowhere", *overrides)
    permutations.run(cfg, tmp_path)
    assert "left out permuted_images" in capsys.readouterr().err
    names = {path.name for path in tmp_path.iterdir()}
    assert names >= {"structured.json", "structured.csv", "structured-learned.svg", "structured-matrices.svg"}
    permutations.run(cfg, tmp_path)
    assert "structured is done" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match="cifar10"):
        permutations.run(config("permutations", "tasks=permuted_images", "permuted_images.root=nowhere"), tmp_path)
    with pytest.raises(ValueError, match=r"tasks must be one of .* got 'matching'"):
        permutations.run(config("permutations", "tasks=[matching]"), tmp_path)


def test_bodies_compares_mixers_on_the_data_set(tmp_path):
    overrides = ("tasks=bodies", "data=synthetic", "data.num_images=60", "data.image_size=8", "bodies.epochs=2")
    overrides += (
        "bodies.bodies=[shufflenet_v2]",
        "bodies.mixers=[channel_shuffle,auto_shuffle]",
        "bodies.batch_size=16",
    )
    rows = permutations.run(config("permutations", *overrides), tmp_path)["bodies"]["rows"]
    assert [row["mixer"] for row in rows] == ["channel_shuffle", "auto_shuffle"]
    assert rows[0]["parameters"] == rows[1]["parameters"]
    assert rows[0]["hard"] is None
    assert 0 <= rows[1]["hard"] <= 1


def test_a_body_of_cells_is_compared_with_its_fixed_shuffle_trial_by_trial(tmp_path):
    overrides = ("experiment=cifar10_mixers", "data=synthetic", "data.num_images=60", "data.image_size=16")
    overrides += (
        "data.max_train=null",
        "data.held_out=0.1",
        "bodies.epochs=1",
        "bodies.mixers=[identity,auto_shuffle,channel_shuffle]",
        "bodies.filters=4",
        "bodies.batch_size=16",
        "bodies.trials=2",
    )
    figures = permutations.run(config("permutations", *overrides), tmp_path)["bodies"]
    fixed, identity, learned = figures["rows"]
    assert [row["mixer"] for row in (fixed, identity, learned)] == ["channel_shuffle", "identity", "auto_shuffle"]
    assert fixed["difference"] is fixed["low"] is None
    assert fixed["parameters"] == learned["parameters"]
    for row in (identity, learned):
        assert row["difference"] == pytest.approx(row["test_accuracy"] - fixed["test_accuracy"])
        trials = figures["accuracies"]["shufflenasnet"]
        first, second = (
            one - other for one, other in zip(trials[row["mixer"]], trials["channel_shuffle"], strict=True)
        )
        if first == pytest.approx(second):
            assert row["low"] is row["high"] is None  # without spread there is no interval
        else:
            assert row["low"] <= row["difference"] <= row["high"]


def test_every_task_of_the_demonstrations_composes():
    cfg = config("permutations")
    for task in permutations.DEMONSTRATIONS:
        build(cfg[task], task)


def test_latency_takes_the_weights_a_run_has_trained(tmp_path):
    run = retrained(tmp_path, "run", "retrain.epochs=2")
    overrides = ("network.filters=4", "network.stages=2", "data=synthetic", "data.image_size=8", "data.num_images=120")
    overrides += ("latency.batch_sizes=[2]", "latency.repeats=2", "latency.warmup=0")
    figures = latency.run(config("latency", f"genotype={run}", *overrides), tmp_path / "same")
    assert figures["weights"].startswith("trained")
    other = latency.run(config("latency", f"genotype={run}", *overrides, "network.filters=8"), tmp_path / "other")
    assert other["weights"] == "random"
    fewer = latency.run(config("latency", f"genotype={run}", *overrides, "data.num_classes=4"), tmp_path / "fewer")
    assert fewer["weights"] == "random"


def test_linear_maps_count_their_matrix(tmp_path):
    sizes = {
        mixer: metrics_of(retrained(tmp_path / mixer, "run", "retrain.epochs=1", mixer=mixer))
        for mixer in ("kaleidoscope_bb", "kaleidoscope_odo", "conv1x1", "channel_shuffle")
    }
    counts = {mixer: metrics["found"]["parameters"] for mixer, metrics in sizes.items()}
    assert counts["kaleidoscope_bb"] == counts["kaleidoscope_odo"] == counts["conv1x1"] > counts["channel_shuffle"]


def test_candidates_with_learned_mixers_are_also_scored_hardened(tmp_path):
    pipeline.run(config("pipeline", "search_space=shufflenas_learned", *TINY), tmp_path / "learned")
    entries = json.loads((tmp_path / "learned" / "candidates.json").read_text())
    assert all(0 <= entry["hardened_accuracy"] <= 1 for entry in entries)
    pipeline.run(config("pipeline", *TINY), tmp_path / "fixed")
    assert "hardened_accuracy" not in json.loads((tmp_path / "fixed" / "candidates.json").read_text())[0]

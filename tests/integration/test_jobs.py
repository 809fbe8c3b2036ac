"""The jobs in this process, at toy size: every config composes, every experiment runs."""

import itertools
import json
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from controllers.uniform import Uniform
from nas.jobs import latency, pipeline, retrain, search
from nas.jobs.building.parts import build_runtime
from nas.jobs.building.search_parts import build_search
from nas.models.genotype_files import load_genotype, load_genotypes
from nas.models.shufflenasnet import ShuffleNASNet
from nas.runs.checkpoints import load_checkpoint, load_weights
from nas.runs.seeds import derive_seed
from nas.searching.random_cells import distinct
from search_spaces.cells import genotype_candidates
from search_spaces.genotype import Genotype
from search_spaces.shufflenas import ShuffleNASSpace

CONF = Path(__file__).parents[2] / "conf"
COMMANDS = ("search", "retrain", "latency", "pipeline", "show")
OTHERS = (
    "latency_published",
    "nasbench201",
    "tune_lstm",
    "cifar10_mixers",
)  # experiments of other jobs than the pipeline
OTHERS += ("imagenet_search", "imagenet_retrain")  # of larger images, see test_imagenet.py
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml") if path.stem not in OTHERS)
TINY = (
    "data=synthetic",
    "data.num_images=120",
    "data.image_size=8",
    "data.held_out=0.1",
    "data.max_train=null",
    "network.filters=4",
    "network.cells_per_stage=1",
    "network.stages=2",
    "search_space.blocks=2",
    "search.epochs=1",
    "search.batch_size=16",
    "search.controller_samples=2",
    "search.samples_per_update=2",
    "search.final_samples=2",
    "search.random_cells=1",
    "search.finalists=0",
    "retrain.epochs=1",
    "retrain.batch_size=16",
    "retrain.seeds=[0]",
    "latency.batch_sizes=[2]",
    "latency.repeats=2",
)


def config(command: str, *overrides: str) -> DictConfig:
    with initialize_config_module("conf", version_base="1.3"):
        return compose(command, overrides=list(overrides))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes(command):
    assert config(command) is not None


@pytest.mark.parametrize(
    "override",
    [
        f"{path.parent.name}={path.stem}"
        for path in sorted(CONF.glob("*/*.yaml"))
        if path.parent.name not in ("hydra", "table", "truth")
    ],
)
def test_every_option_of_every_group_composes(override):
    assert config("pipeline", override) is not None


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_runs_at_toy_size(experiment, tmp_path):
    lacking = ("network.stages", "search_space.blocks") if experiment.startswith("nasbench201") else ()
    tiny = [one for one in TINY if one.partition("=")[0] not in lacking]
    results = pipeline.run(config("pipeline", f"experiment={experiment}", *tiny), tmp_path)
    assert 0 <= results["retrain"]["found"]["test_accuracy"]["mean"] <= 1


@pytest.mark.parametrize(
    "overrides",
    [
        ("controller=uniform",),
        ("controller=evolution",),
        ("controller=reinforce",),
        ("controller=ppo",),
        ("search.resample=batch", "search.bn=batch", "search.anneal_controller=true"),
        ("search_space.mixers=[channel_shuffle,identity]", "search_space.output=all"),
        ("network.merge=concat_conv1x1", "network.shortcut=reduction_cell", "network.stem=plain"),
        ("search.drop_path=0.5", "search.cutout=2", "search.max_grad_norm=null", "search.random_cells=0"),
        ("runtime.channels_last=false", "runtime.autocast=bf16"),
    ],
)
def test_searches_with_every_kind_of_setting(overrides, tmp_path):
    tiny = [override for override in TINY if not override.startswith(("retrain", "latency"))]
    tiny = [override for override in tiny if override.split("=")[0] not in {o.split("=")[0] for o in overrides}]
    best = search.run(config("search", *tiny, *overrides), tmp_path)
    assert Genotype.from_dict(best["genotype"]) == load_genotype(tmp_path)
    assert best["parameters"] > 0


def test_the_controller_learns_nothing_while_the_weights_of_uniform_cells_warm_up():
    tiny = [override for override in TINY if not override.startswith(("retrain", "latency", "search.epochs"))]
    cfg = config("search", *tiny, "search.epochs=4", "search.warmup=0.5", "search.resample=epoch")
    searching = build_search(cfg, build_runtime(cfg))[0]
    before = {name: value.clone() for name, value in searching.controller.policy.state_dict().items()}

    def trained_cells() -> int:
        epoch = len(searching.rows)
        paths = searching.evaluator._paths(epoch, 8, lambda count: searching._propose(epoch, count))
        return len(set(itertools.islice(paths, 8)))

    assert trained_cells() > 1
    rows = [searching.epoch() for _ in range(2)]
    assert all(torch.equal(value, before[name]) for name, value in searching.controller.policy.state_dict().items())
    assert all("baseline" not in row and row["reward"] >= 0 for row in rows)
    assert trained_cells() == 1
    assert "baseline" in searching.epoch()
    assert any(not torch.equal(value, before[name]) for name, value in searching.controller.policy.state_dict().items())


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_warmup_that_leaves_no_epoch_to_learn_in_is_refused(share, tmp_path):
    with pytest.raises(ValueError, match=r"^search\.warmup "):
        search.run(config("search", f"search.warmup={share}"), tmp_path)


def test_candidates_are_distinct_sorted_and_scored_on_all_reward_images(tmp_path):
    tiny = [override for override in TINY if not override.startswith(("retrain", "latency", "search.final"))]
    cfg = config("search", *tiny, "search.final_samples=30", "search_space.blocks=1", "search.top_k=50")
    search.run(cfg, tmp_path)
    entries = json.loads((tmp_path / "candidates.json").read_text())
    accuracies = [entry["shared_accuracy"] for entry in entries]
    assert accuracies == sorted(accuracies, reverse=True)
    space = ShuffleNASSpace(blocks=1)
    keys = {space.canonical(genotype) for genotype in load_genotypes(tmp_path / "candidates.json")}
    assert 1 < len(keys) == len(entries)
    reward_images = json.loads((tmp_path / "data.json").read_text())["num_reward"]
    assert all(abs(a * reward_images - round(a * reward_images)) < 1e-4 for a in accuracies)


@pytest.mark.parametrize("parameters", [700, 1000])
def test_random_cells_of_a_given_size_have_it(parameters):
    tiny = [override for override in TINY if not override.startswith(("retrain", "latency", "search.random"))]
    cfg = config("search", *tiny, "search.random_cells=4", "search.random_parameters=0.05")
    entries = build_search(cfg, build_runtime(cfg))[0].random_cells(parameters=parameters)
    assert len(entries) == 4
    assert all(abs(entry["parameters"] - parameters) <= 0.05 * parameters for entry in entries)


def test_random_cells_of_a_size_that_does_not_exist_are_said_to_be_missing(capsys):
    tiny = [override for override in TINY if not override.startswith(("retrain", "latency", "search.random"))]
    cfg = config("search", *tiny, "search.random_cells=2", "search.random_parameters=0", "search_space.blocks=1")
    assert build_search(cfg, build_runtime(cfg))[0].random_cells(parameters=1) == []
    assert "0 random cells instead of 2: of 1 parameters within 0 %" in capsys.readouterr().err


def test_random_cells_of_any_size_stay_as_they_were_drawn():
    tiny = [override for override in TINY if not override.startswith(("retrain", "latency", "search.random"))]
    cfg = config("search", *tiny, "search.random_cells=3")
    searching = build_search(cfg, build_runtime(cfg))[0]
    torch.manual_seed(derive_seed(0, "random cells"))
    drawn = [searching.space.decode(row) for row in Uniform(searching.space.decisions).sample(30).actions.tolist()]
    entries = searching.random_cells(parameters=1)
    assert [Genotype.from_dict(entry["genotype"]) for entry in entries] == distinct(searching.space, drawn)[:3]


def test_warm_start_takes_the_shared_weights(tmp_path):
    pipeline_cfg = config("pipeline", *TINY, "retrain.warm_start=search", "retrain.lr_max=1e-9", "retrain.lr_min=0")
    pipeline.run(pipeline_cfg, tmp_path)
    shared = load_checkpoint(tmp_path / "checkpoint.pt")["network"]
    trained = load_weights(tmp_path / "weights.safetensors")
    for name, value in trained.items():
        if name.endswith("weight"):
            assert torch.allclose(value, shared[name], atol=1e-5), name


def test_saved_weights_fit_the_derived_model(tmp_path):
    pipeline.run(config("pipeline", *TINY), tmp_path)
    genotype = load_genotype(tmp_path)
    settings = {"in_channels": 3, "num_classes": 10, "filters": 4, "cells_per_stage": 1, "stages": 2}
    network = ShuffleNASNet(genotype_candidates(genotype), **settings, merge_batch_norm=True)
    network.load_state_dict(load_weights(tmp_path / "weights.safetensors"))


def test_latency_needs_no_data_when_told_the_shape(tmp_path, genotype):
    (tmp_path / "genotype.json").write_text(genotype.to_json())
    cfg = config(
        "latency",
        f"genotype={tmp_path}",
        "data=cifar10",
        "data.root=nowhere",
        "latency.image_shape=[3,16,16]",
        "latency.num_classes=7",
        "latency.batch_sizes=[1]",
        "latency.repeats=2",
    )
    figures = latency.run(cfg, tmp_path)
    assert figures["latency"][0]["median_ms"] > 0
    assert figures["parameters"] > 0


def test_the_published_comparison_runs_at_toy_size(tmp_path):
    cfg = config("latency", "experiment=latency_published")
    assert len(cfg.models) == 7
    small = [f"{name.partition('@')[0]}@{4 + 2 * i}@cells_per_stage:1" for i, name in enumerate(cfg.models)]
    overrides = (f"models=[{','.join(small)}]", "latency.batch_sizes=[1,2]", "latency.repeats=3")
    references = f"latency.reference=[{small[5]},{small[6]}]"
    cfg = config("latency", "experiment=latency_published", *overrides, references, "latency.image_shape=[3,8,8]")
    figures = latency.run(cfg, tmp_path)
    assert [row["model"] for row in figures["latency"]] == [name for name in small for _ in range(2)]
    assert figures == json.loads((tmp_path / "latency.json").read_text())
    for row in figures["latency"]:
        assert row["repeats"] == 3
        assert row["largest_difference"] < 1e-3
        assert row["peak_memory_mib"] > 0
        assert set(row["speedup"]) == {small[5], small[6]}
        own = row["speedup"].get(row["model"])
        assert own is None or own == {"ratio": 1.0, "low": 1.0, "high": 1.0, "rounds": 3}
    assert all(model["batch_norms_folded"] > 0 for model in figures["models"])
    assert len((tmp_path / "latency.csv").read_text().splitlines()) == 1 + 14
    assert (tmp_path / "latency.svg").exists()


def test_a_genotype_is_compared_with_other_models_over_threads_and_precisions(tmp_path, genotype, capsys):
    (tmp_path / "genotype.json").write_text(genotype.to_json())
    cfg = config(
        "latency",
        f"genotype={tmp_path}/genotype.json",
        "models=[{model: shufflenet_v2, name: other}]",
        "network.filters=4",
        "latency.image_shape=[3,8,8]",
        "latency.num_classes=4",
        "latency.batch_sizes=[1]",
        "latency.repeats=2",
        "latency.backends=[eager,cuda_graph]",
        "latency.precisions=[fp32,bf16]",
        "latency.threads=[1,2]",
        "device=cpu",
    )
    figures = latency.run(cfg, tmp_path / "run")
    assert figures["genotype"] == genotype.to_dict()
    assert figures["network"]["filters"] == 4
    ways = [(row["model"], row["precision"], row["threads"]) for row in figures["latency"]]
    models, precisions = (tmp_path.name, "other"), ("fp32", "bf16")
    assert ways == [(model, precision, threads) for threads in (1, 2) for precision in precisions for model in models]
    assert torch.get_num_threads() == 1
    assert figures["left_out"][0] == {"what": "cuda_graph in fp32", "reason": "needs a CUDA device, this is cpu"}
    shown = capsys.readouterr()
    assert "left out cuda_graph in fp32: needs a CUDA device" in shown.err
    assert f"times as fast as {tmp_path.name} (95 % interval):" in shown.out


def test_a_comparison_without_a_backend_that_works_is_refused(tmp_path):
    overrides = ("models=shufflenet_v2", "latency.backends=[cuda_graph]", "device=cpu", "data=synthetic")
    with pytest.raises(ValueError, match="nothing to time: cuda_graph in fp32: needs a CUDA device"):
        latency.run(config("latency", *overrides), tmp_path)


def test_a_wrong_retrain_setting_shows_before_the_search(tmp_path):
    with pytest.raises(ValueError, match=r"^retrain\.epochs .* got 0"):
        pipeline.run(config("pipeline", *TINY[:-5], "retrain.epochs=0"), tmp_path)
    assert not (tmp_path / "search.csv").exists()


def test_random_cells_are_retrained_at_the_same_budget(tmp_path, genotype):
    (tmp_path / "genotype.json").write_text(genotype.to_json())
    (tmp_path / "random.json").write_text(json.dumps([genotype.to_dict()] * 2))
    tiny = [override for override in TINY if not override.startswith(("search", "latency"))]
    cfg = config("retrain", *tiny, f"genotype={tmp_path}", f"random_cells={tmp_path / 'random.json'}")
    metrics = retrain.run(cfg, tmp_path)
    assert [member["label"] for member in metrics["members"]] == ["found", "random-0", "random-1"]
    same = {member["test_accuracy"] for member in metrics["members"]}
    assert len(same) == 1  # one cell, one seed, one budget: one result


def test_a_retrain_run_refuses_to_go_on_with_another_cell(tmp_path, genotype):
    file = tmp_path / "cell.json"
    file.write_text(genotype.to_json())
    tiny = [override for override in TINY if not override.startswith(("search", "latency"))]
    cfg = config("retrain", *tiny, f"genotype={file}")
    retrain.run(cfg, tmp_path / "run")
    metrics = (tmp_path / "run" / "metrics.json").read_bytes()
    file.write_text(Genotype(genotype.space, genotype.normal, genotype.normal).to_json())
    with pytest.raises(ValueError, match="retrains another cell"):
        retrain.run(cfg, tmp_path / "run")
    assert (tmp_path / "run" / "metrics.json").read_bytes() == metrics


def test_a_run_of_another_seed_retrains_with_other_seeds(tmp_path, genotype):
    file = tmp_path / "cell.json"
    file.write_text(genotype.to_json())
    tiny = [override for override in TINY if not override.startswith(("search", "latency"))]
    metrics = retrain.run(config("retrain", *tiny, f"genotype={file}", "seed=7"), tmp_path / "run")
    assert [member["seed"] for member in metrics["members"]] == [7]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("retrain.momentum=2", r"^retrain\.momentum .* got 2"),
        ("retrain.filters=7", "network.filters must be even"),
        ("retrain.warm_start=nowhere", "no shared weights at nowhere"),
    ],
)
def test_mistakes_about_later_jobs_show_before_the_search(override, message, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        pipeline.run(config("pipeline", *TINY, override), tmp_path)
    assert not (tmp_path / "search.csv").exists()


def test_a_pipeline_holds_its_cell_against_random_cells_of_its_size_and_of_equal_cost(tmp_path):
    more = ("search.finalists=2", "search.finalist_epochs=1", "search.finals_workers=1", "search.random_cells=2")
    tiny = [one for one in TINY if not one.startswith(("search.random_cells", "retrain.seeds"))]
    both = "baseline=[random_same_size,random_same_cost]"
    cfg = config("pipeline", *tiny, *more, "retrain.seeds=[0,1]", both, "retrain.random_turns=true")
    metrics = pipeline.run(cfg, tmp_path)["retrain"]
    sizes = [member["parameters"] for member in metrics["members"] if member["label"].startswith("random-")]
    assert sizes
    assert all(abs(size / metrics["found"]["parameters"] - 1) <= 0.05 for size in sizes)
    best = json.loads((tmp_path / "random_search.json").read_text())[0]
    trained = [member for member in metrics["members"] if member["label"] == "random_search"]
    assert [member["seed"] for member in trained] == [0, 1]
    assert metrics["random_search"]["parameters"] == trained[0]["parameters"]
    assert load_genotypes(str(tmp_path / "random_search.json"))[0] == Genotype.from_dict(best["genotype"])
    assert metrics["random_search"]["test_accuracy"]["mean"] == pytest.approx(
        sum(member["test_accuracy"] for member in trained) / 2
    )
    assert "comparison_at_equal_cost" in metrics


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("baseline=[random]",), "baseline has random_same_size and random_same_cost to choose from, got random"),
        (("evaluator=stand_alone", "baseline=[random_same_cost]"), "needs evaluator=shared_weights"),
        (("search.finalists=0", "baseline=[random_same_cost]"), "needs finals: search.finalists must be at least 2"),
    ],
)
def test_a_baseline_that_cannot_be_is_refused_before_the_search(overrides, said, tmp_path):
    tiny = [one for one in TINY if not one.startswith("search.")]
    with pytest.raises(ValueError, match=said):
        pipeline.run(config("pipeline", *tiny, *overrides), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_search_says_what_it_has_learned(tmp_path, capsys):
    tiny = [one for one in TINY if not one.startswith(("retrain", "latency", "search.epochs", "search.controller_s"))]
    search.run(config("search", *tiny, "search.epochs=3", "search.controller_samples=20"), tmp_path)
    insight = json.loads((tmp_path / "insight.json").read_text())
    assert {row["name"] for row in insight["ops"]} <= set(ShuffleNASSpace(blocks=2).ops)
    assert 0 < insight["noise"] <= 1
    said = capsys.readouterr().err
    assert all(f"insight: {sentence}" in said for sentence in insight["findings"].values())
    assert {"no_signal", "decisions", "harmful_op"} & set(insight["findings"])

"""`nas bench` at toy size, part by part."""

import json
import math
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from nas.jobs import bench
from nas.studies.benchmarks.scaling import EXTRA
from nas.studies.benchmarks.settings import PARTS
from search_spaces.ops import OPS

TOY = (
    "device=cpu",
    "data.num_images=120",
    "data.image_size=8",
    "data.num_classes=3",
    "data.held_out=20",
    "network.filters=4",
    "network.cells_per_stage=1",
    "search_space.blocks=2",
    "search.batch_size=8",
    "search.controller_samples=2",
    "search.samples_per_update=2",
    "retrain.batch_size=8",
    "bench.genotypes=1",
    "bench.rounds=1",
    "bench.steps=1",
    "bench.rewards=1",
    "bench.samples=2",
    "bench.workers=0",
    "bench.pictures=4",
    "bench.decoders=[0]",
    "bench.blocks=[1,2]",
    "bench.filters=[4,6]",
    "bench.batch_sizes=[4,8]",
    "bench.num_ops=[6,18]",
)


def config(*overrides: str) -> DictConfig:
    with initialize_config_module("conf", version_base="1.3"):
        return compose("bench", overrides=[*TOY, *overrides])


def numbers(figures: object) -> list[float]:
    """All numbers in nested figures."""
    if isinstance(figures, dict):
        return [number for value in figures.values() for number in numbers(value)]
    if isinstance(figures, list):
        return [number for value in figures for number in numbers(value)]
    return [figures] if isinstance(figures, int | float) else []


@pytest.fixture(scope="module")
def small_ceilings():
    """The large copy and matrix product of the roofline, small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nas.studies.benchmarks.roofline.COPY_BYTES", {"cpu": 2**16})
        patch.setattr("nas.studies.benchmarks.roofline.MATMUL_SIDE", {"cpu": 64})
        yield


@pytest.fixture(scope="module")
def everything(small_ceilings, tmp_path_factory) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """All parts: the figures returned, those written, and the lines of the result."""
    folder, lines = tmp_path_factory.mktemp("bench"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nas.jobs.bench.result", lines.append)
        figures = bench.run(config(f"bench.parts=[{','.join(PARTS)}]", "data.num_classes=10"), folder)
    return figures, json.loads((folder / "bench.json").read_text()), lines


def test_every_part_leaves_its_figures(everything):
    figures, written, _ = everything
    assert set(figures) == set(written) == {*PARTS, "settings", "environment"}
    for part in PARTS:
        assert numbers(figures[part]), part
        assert all(math.isfinite(value) and value >= 0 for value in numbers(figures[part])), part
    assert not set(EXTRA) & set(OPS)


def test_every_part_is_summed_up(everything):
    lines = " | ".join(everything[2])
    for words in (
        *("images/s", "as fast as the eager loop", "ms to sample an architecture", "% of an epoch of"),
        *("times the plain network's", "supernet of", "18 candidate ops instead of 6", "floor of a search step"),
        *("MB of gradients a step", "ms among 2 processes here"),
        *(
            "MB of gradients a step",
            "search step without channels_last",
            "a search of 150 epochs",
            "630 epochs of the model of 236,196",
        ),
    ):
        assert words in lines


def test_the_figures_are_of_the_settings(everything):
    figures = everything[0]
    assert figures["settings"]["search"]["batch_size"] == 8
    assert figures["settings"]["steps"] == 1
    assert figures["environment"]["device"] == "cpu"
    assert len(figures["ratio"]["cells"]) == 1
    assert figures["shares"]["measured"]["steps"] == (90 - 20) // 8
    assert figures["shares"]["extrapolated"]["steps"] == 45_000 // 8
    for epoch in figures["shares"].values():
        assert sum(epoch["share"].values()) == pytest.approx(1)
    assert [row["value"] for row in figures["scaling"]["filters"]] == [4, 6]
    assert figures["targets"]["retrain"]["parameters"] == 236_196
    assert figures["targets"]["retrain"]["epochs"] == 630
    retrain = figures["targets"]["retrain"]
    assert retrain["pieces"]["training"] == pytest.approx(630 * (50_000 // 8) * retrain["step_ms"] / 60_000)
    assert figures["targets"]["search"]["epochs"] == 150


def test_a_step_sends_the_gradients_of_its_path_alone(everything):
    volumes = everything[0]["communication"]["volumes"]
    cfg = config("data.num_classes=10")
    workbench = bench.build_bench(cfg)
    (genotype,) = workbench.cells()
    trainer = workbench.search_trainer(workbench.search.evaluator.trainer.network)
    workbench.search_steps(genotype, trainer, steps=1)()
    touched = [weight for weight in trainer.network.parameters() if weight.grad is not None]
    assert volumes["search"] == 4 * sum(weight.numel() for weight in touched) < volumes["supernet"]
    assert volumes["reference"] == 4 * 236_196


def test_what_is_modelled_is_for_every_link_and_number_of_ranks(everything):
    figures = everything[0]["communication"]
    assert figures["measured"]["backend"] == "gloo"
    assert len(figures["modelled"]) == 4 * 2 * 3
    row = next(row for row in figures["modelled"] if (row["link"], row["ranks"]) == ("ethernet_100", 2))
    assert row["ms"] == pytest.approx(row["bytes"] / 12.5e6 + 0.03)
    assert row["step_ms"] == pytest.approx(20 * row["ms"])


def test_more_candidates_weigh_more_and_a_derived_model_weighs_less(everything):
    figures = everything[0]
    fewest, most = figures["scaling"]["num_ops"]
    assert most["weight_bytes"] > 2 * fewest["weight_bytes"]
    memory = figures["memory"]
    assert memory["supernet"]["parameters"] > memory["derived"]["parameters"]
    assert memory["supernet"]["optimizer_bytes"] == memory["supernet"]["parameter_bytes"]
    assert 0 < memory["derived"]["step_bytes"] < 10_000_000


def test_loaders_read_the_same_pictures_of_the_size_of_photographs(everything):
    figures = everything[0]["loader"]
    assert 30_000 < figures["bytes"] < 200_000
    both = figures["0 workers"]
    assert both["speedup"] == pytest.approx(both["torchvision"]["ms"] / both["ours"]["ms"])
    assert both["ours"]["images_per_second"] == pytest.approx(4000 / both["ours"]["ms"])
    assert any("times as fast as torchvision's" in line for line in everything[2])


def test_a_part_alone_brings_only_what_it_needs(tmp_path):
    assert set(bench.run(config("bench.parts=[eager]"), tmp_path)) == {
        *("throughput", "eager", "settings", "environment")
    }


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("bench.parts=[speed]",), "bench.parts must list some of throughput, eager, controller"),
        (("bench.rounds=0",), r"^bench\.rounds .* got 0"),
        (("bench.links.ethernet_10=[0,1]",), r"^bench\.links\.ethernet_10 .* got 0"),
        (("bench.pictures=1",), r"^bench\.pictures .* got 1"),
        (("bench.decoders=[1,1]",), r"^bench\.decoders .* got \[1, 1\]"),
        (("bench.parts=[scaling]", "bench.num_ops=[6,19]"), "bench.num_ops must be at most 18, got 19"),
        (("bench.parts=[eager]", "data.channels=2"), r"bench.parts=\[eager\] needs images of 1 or 3 channels, got 2"),
    ],
)
def test_mistakes_end_in_one_line(overrides, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        bench.run(config(*overrides), tmp_path)

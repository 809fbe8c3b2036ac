"""Every number in the config has a range, and a value outside of it is refused with the key named."""

import math
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import device

from nas.data.named import check_batches, synthetic
from nas.jobs.building.config import build, plain
from nas.models.shufflenasnet import ShuffleNASNet
from nas.models.shufflenets import ShuffleNetV1
from nas.runs.configs import check_resumable
from nas.settings import CLASSES, config_node, settings_class
from search_spaces.cells import genotype_candidates

ANY = (-math.inf, math.inf)
AT_LEAST_0, AT_LEAST_1 = (0, math.inf), (1, math.inf)
ABOVE_0 = (math.ulp(0.0), math.inf)
BELOW_1, INSIDE = (0, math.nextafter(1, 0)), (math.ulp(0.0), math.nextafter(1, 0))
TRAINING = {
    "epochs": AT_LEAST_1,
    "batch_size": AT_LEAST_1,
    "lr_max": (0.0005, math.inf),
    "lr_min": (0, 0.05),
    "first_cycle": ABOVE_0,
    "cycle_factor": AT_LEAST_1,
    "momentum": BELOW_1,
    "weight_decay": AT_LEAST_0,
    "max_grad_norm": ABOVE_0,
    "drop_path": BELOW_1,
    "cutout": AT_LEAST_0,
    "mixer_penalty": AT_LEAST_0,
    "mixer_lr_scale": AT_LEAST_0,
    "max_bad_steps": AT_LEAST_0,
    "checkpoint_seconds": AT_LEAST_0,
}
DESCENT = {"descent.steps": AT_LEAST_1, "descent.step_size": ABOVE_0, "descent.momentum": BELOW_1} | {
    **{"descent.penalty": AT_LEAST_0, "descent.warmup": BELOW_1, "descent.normalizations": AT_LEAST_1}
}
PREDICTOR = {
    "latency.batch_size": AT_LEAST_1,
    "latency.rounds": AT_LEAST_1,
    "latency.calibration_genotypes": AT_LEAST_0,
}
GUARD = dict.fromkeys(("guard.skip_share", "guard.repeats", "guard.gain"), (math.ulp(0.0), 1)) | {
    **{"guard.entropy": (0, 1), "guard.earliest": BELOW_1, "guard.samples": AT_LEAST_1},
    **{"guard.reward_samples": (2, 125), "guard.reward_after": (100, math.inf), "guard.max_restarts": AT_LEAST_0},
}
RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "search": TRAINING
    | PREDICTOR
    | GUARD
    | dict.fromkeys(
        ("controller_samples", "samples_per_update", "final_samples", "top_k", "finalist_epochs"), AT_LEAST_1
    )
    | {"calibration_batches": AT_LEAST_1, "random_cells": AT_LEAST_0, "warmup": BELOW_1}
    | {"random_parameters": AT_LEAST_0, "finalists": AT_LEAST_0},
    "retrain": TRAINING
    | {"lr_max": (0.0001, math.inf), "lr_min": (0, 0.1), "label_smoothing": BELOW_1, "auxiliary_weight": AT_LEAST_0}
    | {"peak": INSIDE, "ema": BELOW_1, "cutmix": (0, 1), "harden_epoch": (0, 14)}
    | {"last_epochs": AT_LEAST_1, "evaluate_every": AT_LEAST_0, "seeds": ANY, "random_seeds": ANY},
    "queries": PREDICTOR
    | GUARD
    | {"queries": AT_LEAST_1, "samples_per_update": AT_LEAST_1, "top_k": AT_LEAST_1, "random_cells": AT_LEAST_0}
    | {"random_parameters": AT_LEAST_0, "checkpoint_seconds": AT_LEAST_0},
    "stand_alone": {"workers": AT_LEAST_1},
    "latency": {"batch_sizes": AT_LEAST_1, "warmup": AT_LEAST_0, "repeats": AT_LEAST_1, "seconds": ABOVE_0}
    | {"num_classes": AT_LEAST_1},
    "runtime": {"threads": AT_LEAST_1},
    "distributed": {"timeout": ABOVE_0},
    "predict": {"top": AT_LEAST_1, "batch_size": AT_LEAST_1},
    "predictor": PREDICTOR | {"genotypes": (2, math.inf), "num_classes": AT_LEAST_1},
    "export": {"opset": ANY} | dict.fromkeys(("batch_size", "test_images", "num_classes"), AT_LEAST_1),
    "front": {"seeds": AT_LEAST_0},
    "compare": dict.fromkeys(("seeds", "budget", "at", "last", "workers", "portions"), AT_LEAST_1)
    | {"first_seed": AT_LEAST_0, "portion": (0, 0)},
    "rank": dict.fromkeys(("seeds", "calibration_batches", "workers", "portions"), AT_LEAST_1)
    | {"architectures": (7, 120), "policy_architectures": (0, 23), "pool": (24, math.inf), "top": (1, 24)}
    | {"resamples": (100, math.inf), "portion": (0, 0)},
    "bench": dict.fromkeys(("genotypes", "rounds", "steps", "rewards", "samples"), AT_LEAST_1)
    | dict.fromkeys(("train_images", "reward_images", "test_images"), AT_LEAST_1)
    | {"warmup": AT_LEAST_0, "workers": AT_LEAST_0, "pictures": (2, math.inf), "decoders": AT_LEAST_0}
    | {"blocks": (1, 4), "filters": (1, 19), "batch_sizes": (1, 143), "num_ops": (1, 11), "ranks": (1, 7)},
    "graph_matching": DESCENT
    | dict.fromkeys(("instances", "large_instances", "starts", "sinkhorn_starts"), AT_LEAST_1)
    | dict.fromkeys(("sizes", "noise_size", "snapshots"), (2, math.inf))
    | {"size_noises": AT_LEAST_0, "noises": AT_LEAST_0},
    "two_layer": DESCENT
    | dict.fromkeys(("sizes", "base_size", "snapshots"), (2, math.inf))
    | {"noises": AT_LEAST_0, "base_noise": AT_LEAST_0, "samples_per_unit": ABOVE_0, "base_samples": ABOVE_0}
    | {"instances": AT_LEAST_1, "starts": AT_LEAST_1},
    "structured": dict.fromkeys(("restarts", "steps", "planted", "switch_restarts", "switch_steps"), AT_LEAST_1)
    | dict.fromkeys(("constructed_sizes", "learned_sizes", "switch_sizes"), (2, math.inf))
    | dict.fromkeys(("learning_rate", "switch_learning_rate", "success_rmse"), ABOVE_0)
    | {"start_noise": AT_LEAST_0, "penalty": AT_LEAST_0, "samples": AT_LEAST_1},
    "permuted_images": dict.fromkeys(("trials", "test_images", "epochs", "width", "restarts", "steps"), AT_LEAST_1)
    | dict.fromkeys(("chains", "stages", "stage_steps"), AT_LEAST_1)
    | {"side": (2, 32), "moment_images": (5000, math.inf), "train_images": (128, 20000), "batch_size": (2, 5000)}
    | {"learning_rate": ABOVE_0, "rounds": AT_LEAST_0},
    "mixer_costs": dict.fromkeys(("channels", "groups", "batch_sizes", "image_size", "rounds"), AT_LEAST_1)
    | {"warmup": AT_LEAST_0},
    "model_costs": dict.fromkeys(("batch_sizes", "image_size", "rounds"), AT_LEAST_1) | {"warmup": AT_LEAST_0},
    "bodies": dict.fromkeys(("epochs", "batch_size", "trials"), AT_LEAST_1)
    | {"v1_width": ANY, "v2_width": ANY, "filters": ANY, "lr_max": ABOVE_0, "weight_decay": AT_LEAST_0}
    | {"mixer_penalty": AT_LEAST_0, "harden_epoch": AT_LEAST_0},
    "controller": dict.fromkeys(("tanh_constant", "op_tanh_reduction", "temperature", "init_range"), ABOVE_0)
    | {f"policy.{name}": ABOVE_0 for name in ("tanh_constant", "op_tanh_reduction", "temperature", "init_range")}
    | {"policy.hidden_size": (1, 1e6), "optimizer.lr": ABOVE_0, "optimizer.betas": BELOW_1, "optimizer.eps": ABOVE_0}
    | {"entropy.weight": AT_LEAST_0, "entropy.updates": AT_LEAST_1, "baseline.decay": BELOW_1}
    | {"elites.size": (1, 100), "elites.weight": ABOVE_0, "elites.window": (5, math.inf)},
    "search_space": {"blocks": (1, 64)},
    "network": {"filters": (4, 1e6), "cells_per_stage": (1, 1000), "stages": (1, 8), "dropout": BELOW_1},
    "data": dict.fromkeys(("held_out", "test_fraction"), INSIDE) | {"split_seed": (0, 2**32), "crop_padding": (0, 1e6)},
}
TOO_LARGE_TO_TRY = {("network", "filters"), ("controller", "policy.hidden_size"), ("data", "crop_padding")}
WRONG = (-1, 0, math.nan, math.inf, 1_000_000_000)


@cache
def search() -> DictConfig:
    with initialize_config_module("conf", version_base="1.3"):
        return compose("search")


def config(group: str) -> DictConfig:
    """The node of a settings class or a config group, the reward of `front` given."""
    given = {"reward": None} if group == "front" else {}
    return OmegaConf.create(
        {**config_node(settings_class(group)), **given} if group in CLASSES else OmegaConf.to_container(search()[group])
    )


def numbers(node: DictConfig, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields key and value of each number and list of numbers."""
    for key, value in node.items():
        if isinstance(value, DictConfig):
            yield from numbers(value, f"{prefix}{key}.")
        elif _is_number(value) or (isinstance(value, ListConfig) and value and all(map(_is_number, value))):
            yield f"{prefix}{key}", value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


LEAVES = {
    (group, key): value
    for group, declared in RANGES.items()
    for key, value in {**dict.fromkeys(declared), **dict(numbers(config(group)))}.items()
    if not key.startswith(("training.", "samples_per_update.", "published.", "links."))  # of retrain; by free names
}


def built(group: str, key: str, value: object) -> None:
    """Builds what a group describes, with one value changed."""
    node = config(group)
    OmegaConf.update(node, key, value)
    match group:
        case "controller":
            build(node, group, build(search().search_space, "search_space").decisions)
        case "network":
            with device("meta"):
                space = build(search().search_space, "search_space")
                build(node, group, space.candidates(), in_channels=1, num_classes=2)
        case _:
            build(node, group)


@pytest.mark.parametrize(("group", "key"), LEAVES, ids=map(".".join, LEAVES))
def test_a_number_out_of_range_is_refused_by_name(group, key):
    low, high = RANGES[group][key]  # a new key needs its range here
    value = LEAVES[group, key]
    more = list(value[1:]) if isinstance(value, ListConfig) else None
    one = value if more is None else value[0]
    step = math.nextafter if isinstance(one, float) else lambda bound, to: bound + math.copysign(1, to)
    beside = [step(low, -math.inf), step(high, math.inf)]
    for wrong in (*WRONG, *beside):
        if not math.isfinite(wrong) or not low <= wrong <= high:
            if wrong > high and (group, key) in TOO_LARGE_TO_TRY:
                continue
            given = float(wrong) if isinstance(one, float) or not math.isfinite(wrong) else int(wrong)
            with pytest.raises(ValueError, match=key.rpartition(".")[2]):
                built(group, key, given if more is None else [given, *more])
    for bound in (low, high):
        if group in CLASSES and math.isfinite(bound):
            built(group, key, bound if more is None else [bound, *more])


def test_every_group_of_settings_has_its_ranges():
    assert len(LEAVES) > 230
    assert CLASSES.keys() - RANGES.keys() == {"report", "rank_table"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("search.bn", "none"),
        ("search.resample", "step"),
        ("search.cost", "weight"),
        ("search.drop_path_schedule", "cubic"),
        ("search.guard.action", "panic"),
        ("search.guard", None),
        ("search.latency", "fast"),
        ("search.mixer_penalty_schedule", "cubic"),
        ("retrain.schedule", "step"),
        ("retrain.seeds", []),
        ("retrain.seeds", [1, 1]),
        ("retrain.random_seeds", [0, 0]),
        ("latency.batch_sizes", [2, 2]),
        ("latency.backends", ["tensorrt"]),
        ("latency.precisions", []),
        ("latency.threads", [0]),
        ("latency.image_shape", [3, 8]),
        ("export.image_shape", [3, 8, 0]),
        ("predict.image_shape", [3, 8, 8, 8]),
        ("predict.resize", "squeeze"),
        ("runtime.autocast", "fp17"),
        ("runtime.graphs", "yes"),
        ("distributed.sampling", "both"),
        ("distributed.average", "all"),
        ("distributed.batch_norm", "global"),
        ("compare.controllers", []),
        ("compare.controllers", ["lstm", "lstm"]),
        ("front.controllers", ["lstm", "lstm"]),
        ("compare.samples_per_update", {"lstm": 2.5}),
        ("compare.samples_per_update", {"lstm": 0}),
        ("compare.published", {"lstm": [93.0]}),
        ("compare.published", {"lstm": [93.0, math.nan]}),
        ("rank.top", []),
        ("bench.blocks", [3, 2]),
        ("bench.ranks", [2, 2]),
        ("bench.num_ops", []),
        ("bench.decoders", [1, 1]),
        ("bench.links", {"wire": [1.0]}),
        ("bench.links", {"wire": [0.0, 1.0]}),
        ("structured.constructed_sizes", [6]),
        ("permuted_images.data", "mnist"),
        ("permuted_images.methods", ["none", "magic"]),
        ("permuted_images.methods", ["none", "none"]),
        ("permuted_images.side", 5),
        ("mixer_costs.channels", []),
        ("mixer_costs.memory_formats", ["rows"]),
        ("model_costs.models", ["resnet"]),
        ("model_costs.memory_formats", ["flat"]),
        ("bodies.bodies", ["resnet"]),
        ("bodies.nasnet_macro", "mnist"),
    ],
)
def test_a_choice_list_or_group_that_does_not_fit_is_refused_by_name(key, value):
    group, _, within = key.partition(".")
    with pytest.raises(ValueError, match=rf"^{re.escape(key)} "):
        built(group, within, value)


@pytest.fixture(scope="module")
def images():
    return synthetic(num_images=90, image_size=8, channels=1, num_classes=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 62}, r"search\.batch_size 62 is more than the 61 train images"),
        ({"batch_size": 8, "cutout": 9}, r"search\.cutout 9 is more than the 8 pixels"),
    ],
)
def test_settings_that_do_not_fit_the_data_are_refused_by_key(images, settings, message):
    with pytest.raises(ValueError, match=message):
        check_batches(images, split="train", where="search", **{"cutout": 0, **settings})
    check_batches(images, split="train", where="search", batch_size=61, cutout=8)
    check_batches(images, split="full", where="retrain", batch_size=62, cutout=8)


def test_impossible_networks_are_refused_by_name(genotype):
    candidates = genotype_candidates(genotype)
    for settings, message in (
        ({"filters": 7}, "filters must be even"),
        ({"filters": 8, "stages": 9}, "stages must lie in"),
        ({"filters": 8, "cells_per_stage": [1, 2]}, "cells_per_stage must be one number or 3"),
    ):
        with pytest.raises(ValueError, match=message):
            ShuffleNASNet(candidates, in_channels=1, num_classes=2, **settings)
    with pytest.raises(ValueError, match=r"width must be 1\.0 or 2\.0 with 4 groups"):
        ShuffleNetV1(in_channels=1, num_classes=2, groups=4, width=0.5)


def test_a_run_that_goes_on_names_every_key_that_differs(tmp_path):
    cfg = search()
    OmegaConf.save(cfg, tmp_path / "config.yaml", resolve=True)
    check_resumable(tmp_path / "config.yaml", plain(cfg, "the config"))
    other = cfg.copy()
    other.seed, other.search.lr_max, other.network.filters = 1, 0.06, 24
    with pytest.raises(ValueError, match="was started with another config") as refused:
        check_resumable(tmp_path / "config.yaml", plain(other, "the config"))
    for line in ("seed (was 0, is 1)", "search.lr_max (was 0.05, is 0.06)", "network.filters (was 20, is 24)"):
        assert line in str(refused.value)

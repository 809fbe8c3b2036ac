"""Every number in the config has a range, and a value outside of it is refused with the key named."""

import math
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
from nas.searching.supernet_scorer import SupernetScorer
from search_spaces.cells import genotype_candidates

ANY = (-math.inf, math.inf)
AT_LEAST_0, AT_LEAST_1 = (0, math.inf), (1, math.inf)
ABOVE_0 = (math.ulp(0.0), math.inf)
BELOW_1, INSIDE = (0, math.nextafter(1, 0)), (math.ulp(0.0), math.nextafter(1, 0))
TRAINING = {
    "epochs": AT_LEAST_1,
    "batch_size": AT_LEAST_1,
    "lr_max": (0.001, math.inf),
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
RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "search": TRAINING
    | dict.fromkeys(
        ("controller_samples", "samples_per_update", "final_samples", "top_k", "finalist_epochs"), AT_LEAST_1
    )
    | {"calibration_batches": AT_LEAST_1, "random_cells": AT_LEAST_0, "warmup": BELOW_1}
    | {"random_parameters": AT_LEAST_0, "finalists": AT_LEAST_0}
    | {"latency.batch_size": AT_LEAST_1, "latency.rounds": AT_LEAST_1, "latency.calibration_genotypes": AT_LEAST_0}
    | dict.fromkeys(("guard.skip_share", "guard.repeats", "guard.gain"), (math.ulp(0.0), 1))
    | {"guard.entropy": (0, 1), "guard.earliest": BELOW_1, "guard.samples": AT_LEAST_1}
    | {"guard.reward_samples": (2, 125), "guard.reward_after": (100, math.inf)}
    | {"guard.max_restarts": AT_LEAST_0},
    "retrain": TRAINING
    | {"lr_min": (0, 0.1), "label_smoothing": BELOW_1, "auxiliary_weight": AT_LEAST_0}
    | {"peak": INSIDE, "ema": BELOW_1, "cutmix": (0, 1)}
    | {"last_epochs": AT_LEAST_1, "evaluate_every": AT_LEAST_0, "seeds": ANY, "random_seeds": ANY},
    "latency": {"batch_sizes": AT_LEAST_1, "warmup": AT_LEAST_0, "repeats": AT_LEAST_1, "seconds": ABOVE_0},
    "controller": dict.fromkeys(("tanh_constant", "op_tanh_reduction", "temperature", "init_range"), ABOVE_0)
    | {f"policy.{name}": ABOVE_0 for name in ("tanh_constant", "op_tanh_reduction", "temperature", "init_range")}
    | {"policy.hidden_size": (1, 1e6), "learning_rate": ABOVE_0, "adam_betas": BELOW_1, "adam_epsilon": AT_LEAST_0}
    | {"entropy_weight": AT_LEAST_0, "entropy_updates": AT_LEAST_1, "baseline_decay": BELOW_1}
    | {"elite_size": (0, 100), "elite_weight": ABOVE_0, "elite_window": (5, math.inf)},
    "search_space": {"blocks": (1, 64)},
    "network": {"filters": (4, 1e6), "cells_per_stage": (1, 1000), "stages": (1, 8), "dropout": BELOW_1},
    "data": dict.fromkeys(("held_out", "test_fraction"), INSIDE) | {"split_seed": (0, 2**32), "crop_padding": (0, 1e6)},
}
CALLED = {"adam_betas": "beta", "adam_epsilon": "epsilon", "held_out": "held_out", "learning_rate": "learning_rate"}
TOO_LARGE_TO_TRY = {("network", "filters"), ("controller", "policy.hidden_size"), ("data", "crop_padding")}
WRONG = (-1, 0, math.nan, math.inf, 1_000_000_000)


@cache
def config(command: str) -> DictConfig:
    with initialize_config_module("conf", version_base="1.3"):
        return compose(command)


def numeric_leaves(node: DictConfig, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, DictConfig):
            yield from numeric_leaves(value, f"{prefix}{key}.")
        elif _is_number(value) or (isinstance(value, ListConfig) and value and all(map(_is_number, value))):
            yield f"{prefix}{key}", value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def groups() -> list[tuple[str, str]]:
    """All groups that are built, each once: command and group."""
    return [(command, group) for command, names in (("search", RANGES), ("retrain", ("retrain",)),
            ("latency", ("latency",))) for group in names if group in config(command)]  # fmt: skip


LEAVES = [
    (command, group, key, value) for command, group in groups() for key, value in numeric_leaves(config(command)[group])
]


def built(command: str, group: str, key: str, value: object) -> None:
    """Builds what a group describes, with one value changed."""
    cfg = config(command).copy()
    OmegaConf.update(cfg, f"{group}.{key}", value)
    space = build(config("search").search_space, "search_space")
    match group:
        case "controller":
            build(cfg[group], group, space.decisions)
        case "network":
            with device("meta"):
                build(cfg[group], group, space.candidates(), in_channels=1, num_classes=2)
        case _:
            made = build(cfg[group], group)
            if group == "search":  # one setting is checked where it is used, which is before any work
                calibration = made.calibration_batches
                SupernetScorer(network=space, train=[0], reward=[0], batch_size=1, calibration_batches=calibration)


@pytest.mark.parametrize(("command", "group", "key", "value"), LEAVES, ids=[f"{x[1]}.{x[2]}" for x in LEAVES])
def test_a_number_out_of_range_is_refused_by_name(command, group, key, value):
    low, high = RANGES[group][key]  # a new key needs its range here
    in_list = isinstance(value, ListConfig)
    one = value[0] if in_list else value
    for wrong in WRONG:
        if not math.isfinite(wrong) or not low <= wrong <= high:
            if wrong == WRONG[-1] and (group, key) in TOO_LARGE_TO_TRY:
                continue
            given = float(wrong) if isinstance(one, float) or not math.isfinite(wrong) else wrong
            with pytest.raises(ValueError, match=CALLED.get(key, key.rpartition(".")[2])):
                built(command, group, key, [given, *value[1:]] if in_list else given)


def test_what_the_ranges_were_declared_for_is_there():
    assert len(LEAVES) > 60
    assert all(RANGES[group][key][0] <= (value[0] if isinstance(value, ListConfig) else value) <= RANGES[group][key][1]
               for _, group, key, value in LEAVES)  # fmt: skip


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused_wherever_they_stand(value):
    node = OmegaConf.create({"_target_": "nas.searching.search.SearchSettings", "epochs": 1, "lr_max": value})
    with pytest.raises(ValueError, match=r"search\.lr_max must be a finite number, got"):
        build(node, "search")


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
    cfg = config("search")
    OmegaConf.save(cfg, tmp_path / "config.yaml", resolve=True)
    check_resumable(tmp_path / "config.yaml", plain(cfg, "the config"))
    other = cfg.copy()
    other.seed, other.search.lr_max, other.network.filters = 1, 0.06, 24
    with pytest.raises(ValueError, match="was started with another config") as refused:
        check_resumable(tmp_path / "config.yaml", plain(other, "the config"))
    for line in ("seed (was 0, is 1)", "search.lr_max (was 0.05, is 0.06)", "network.filters (was 20, is 24)"):
        assert line in str(refused.value)

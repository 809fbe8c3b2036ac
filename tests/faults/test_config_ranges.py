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
from nas.settings import CLASSES, config_node, settings_class
from search_spaces.cells import genotype_candidates

TABLE = """
search,retrain     [1,inf] epochs batch_size cycle_factor  (0,inf] first_cycle max_grad_norm  [0,1) momentum drop_path
search,retrain     [0,inf] weight_decay mixer_penalty cutout mixer_lr_scale max_bad_steps
search             [0.0005,inf] lr_max  [0,0.05] lr_min  [0,1) warmup  [0,1) predicted_finalists  [0,inf] finalists
search             [0,inf] keep_every  [1,inf] scoring_images  [0,1] random_finalists
search             [1,inf] controller_samples final_samples finalist_epochs calibration_batches finals_workers
search,queries     [1,inf] samples_per_update top_k  [0,inf] checkpoint_seconds random_cells random_parameters
search,queries     (0,1] guard.skip_share guard.repeats guard.gain  [0,1] guard.entropy  [0,1) guard.earliest
search,queries     [0,inf] guard.max_restarts  [2,125] guard.reward_samples  [100,inf] guard.reward_after
search,queries     [1,inf] guard.samples latency.batch_size latency.rounds  [0,inf] latency.calibration_genotypes
queries            [1,inf] queries
queries,compare    [1,inf] warm_up.cells warm_up.among
stand_alone        [1,inf] workers
retrain            [0.0001,inf] lr_max  [0,0.1] lr_min  [0,1) label_smoothing ema  (0,1) peak  [0,1] cutmix
retrain            [0,inf] auxiliary_weight evaluate_every checkpoint_seconds  [0,14] harden_epoch  [1,inf] last_epochs
retrain            [-inf,inf] seeds random_seeds
latency            [1,inf] batch_sizes repeats num_classes  [0,inf] warmup  (0,inf] seconds
runtime            [1,inf] threads
distributed        (0,inf] timeout
predict            [1,inf] top batch_size
predictor          [2,inf] genotypes  [1,inf] num_classes latency.batch_size latency.rounds
predictor          [0,inf] latency.calibration_genotypes
export             [1,inf] batch_size test_images num_classes  [-inf,inf] opset
front              [0,inf] seeds
compare            [1,inf] seeds budget at last workers portions  [0,inf] first_seed  [0,0] portion
rank               [1,inf] seeds calibration_batches workers portions  [0,0] portion  [7,120] architectures
rank               [0,23] policy_architectures  [24,inf] pool  [1,24] top  [100,inf] resamples
rank_table         [1,inf] images classes  [100,inf] resamples
score              [2,inf] batch_size
tabulate           [8,inf] cells  [1,120] bins  (0,1) width  [1,inf] workers
bench              [1,inf] genotypes rounds steps rewards samples train_images reward_images test_images
bench              [0,inf] warmup workers decoders  [2,inf] pictures
bench              [1,4] blocks  [1,19] filters  [1,143] batch_sizes  [1,11] num_ops  [1,7] ranks
graph_matching,two_layer  [1,inf] descent.steps descent.normalizations instances starts  (0,inf] descent.step_size
graph_matching,two_layer  [0,1) descent.momentum descent.warmup  [0,inf] descent.penalty noises
graph_matching,two_layer  [2,inf] sizes snapshots
graph_matching     [1,inf] large_instances sinkhorn_starts  [2,inf] noise_size  [0,inf] size_noises
two_layer          [2,inf] base_size  [0,inf] base_noise  (0,inf] samples_per_unit base_samples
structured         [1,inf] restarts steps planted switch_restarts switch_steps samples  [0,inf] start_noise penalty
structured         [2,inf] constructed_sizes learned_sizes switch_sizes
structured         (0,inf] learning_rate switch_learning_rate success_rmse
permuted_images    [1,inf] trials test_images epochs width restarts steps chains stages stage_steps  [2,32] side
permuted_images    [5000,inf] moment_images  [128,20000] train_images  [2,5000] batch_size
permuted_images    (0,inf] learning_rate  [0,inf] rounds
mixer_costs        [1,inf] channels groups
mixer_costs,model_costs  [1,inf] batch_sizes image_size rounds  [0,inf] warmup
bodies             [1,inf] epochs batch_size trials  [0,inf] weight_decay mixer_penalty harden_epoch  (0,inf] lr_max
bodies             [-inf,inf] v1_width v2_width filters
controller         (0,inf] tanh_constant op_tanh_reduction temperature init_range
controller         (0,inf] optimizer.lr optimizer.eps elites.weight
controller         (0,inf] policy.tanh_constant policy.op_tanh_reduction policy.temperature policy.init_range
controller         [1,1e6] policy.hidden_size  [0,1) optimizer.betas baseline.decay  [0,inf] entropy.weight
controller         [1,inf] entropy.updates  [1,100] elites.size  [5,inf] elites.window
search_space       [1,64] blocks
network            [4,1e6] filters  [1,1000] cells_per_stage  [1,8] stages  [0,1) dropout
data               (0,1) held_out test_fraction  [0,4294967296] split_seed  [0,1e6] crop_padding
"""
"""By config group, the interval of each number: that of its annotation, or what the other settings leave of it."""
RANGES: dict[str, dict[str, tuple[float, float]]] = {}
for names, *words in map(str.split, TABLE.strip().splitlines()):
    for word in words:
        if word[0] in "[(":
            low, high = map(float, word[1:-1].split(","))
            low = math.nextafter(low, 1) if word[0] == "(" else low
            high = math.nextafter(high, 0) if word[-1] == ")" else high
        else:
            for name in names.split(","):
                RANGES.setdefault(name, {})[word] = low, high
CALLED = {"adam_betas": "beta", "adam_epsilon": "epsilon"}
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
    for number in (*WRONG, low, high, step(low, -math.inf), step(high, math.inf)):
        given = number if isinstance(one, float) or number % 1 or not math.isfinite(number) else int(number)
        fits = math.isfinite(number) and low <= number <= high
        if not fits and not (number > high and (group, key) in TOO_LARGE_TO_TRY):
            with pytest.raises(ValueError, match=CALLED.get(key, key.rpartition(".")[2])):
                built(group, key, given if more is None else [given, *more])
        if fits and number in (low, high) and group in CLASSES:
            built(group, key, given if more is None else [given, *more])


def test_every_group_of_settings_has_its_ranges():
    assert len(LEAVES) > 230
    assert CLASSES.keys() - RANGES.keys() == {"report"}


WRONG_CHOICES: dict[str, dict[str, list[Any]]] = {
    "search": {"bn": ["none"], "resample": ["step"], "cost": ["weight"], "guard.action": ["panic"], "guard": [None]}
    | {"drop_path_schedule": ["cubic"], "mixer_penalty_schedule": ["cubic"], "latency": [None, "fast"]},
    "retrain": {"schedule": ["step"], "seeds": [[], [1, 1]], "random_seeds": [[0, 0]]},
    "latency": {"batch_sizes": [[2, 2]], "backends": [["tensorrt"]], "precisions": [[], ["fp8"]], "threads": [[], [0]]}
    | {"image_shape": [[3, 8]]},
    "export": {"image_shape": [[3, 8, 0]]},
    "predict": {"image_shape": [[3, 8, 8, 8]], "resize": ["squeeze"]},
    "runtime": {"autocast": ["fp17"], "graphs": ["yes"], "compile": ["yes"]},
    "distributed": {"sampling": ["both"], "average": ["all"], "batch_norm": ["global"]},
    "compare": {"controllers": [[], ["lstm", "lstm"]], "samples_per_update": [{"lstm": 2.5}, {"lstm": 0}]}
    | {"published": [{"lstm": [93.0]}, {"lstm": [93.0, math.nan]}]},
    "front": {"controllers": [["lstm", "lstm"]]},
    "rank": {"top": [[]]},
    "rank_table": {"part": ["dev"], "twins": ["none"]},
    "bench": {"blocks": [[3, 2]], "ranks": [[2, 2]], "num_ops": [[]], "decoders": [[1, 1]]}
    | {"links": [{"wire": [1.0]}, {"wire": [0.0, 1.0]}]},
    "structured": {"constructed_sizes": [[6]], "learned_sizes": [[12]]},
    "permuted_images": {"data": ["mnist"], "methods": [[], ["none", "magic"], ["none", "none"]], "side": [5]},
    "mixer_costs": {"channels": [[]], "batch_sizes": [[]], "memory_formats": [["rows"]]},
    "model_costs": {"models": [["resnet"]], "memory_formats": [["flat"]]},
    "bodies": {"bodies": [["resnet"]], "nasnet_macro": ["mnist"]},
}


@pytest.mark.parametrize("group", WRONG_CHOICES)
def test_a_choice_list_or_group_that_does_not_fit_is_refused_by_name(group):
    for key, values in WRONG_CHOICES[group].items():
        for value in values:
            with pytest.raises(ValueError, match=rf"^{group}\.{key}"):
                built(group, key, value)


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

"""The experiments on ImageNet, with a handful of pictures in its folders."""

import copy
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from nas.command_line.mistakes import explain
from nas.command_line.words import Words
from nas.data.image_data import ImageKind
from nas.data.splits import StreamingSplit
from nas.jobs import predict, retrain, search
from nas.jobs.building.parts import build_data, build_runtime
from nas.jobs.building.search_parts import build_search
from nas.models.loading import load_model

WORKERS = min(2, len(os.sched_getaffinity(0)))
TOY = ("device=cpu", "data.image_size=64", "data.resize=72", "data.workers=0", "network.filters=4")
TOY += ("network.cells_per_stage=1", "network.sharing=op")
SEARCH = ("search.epochs=2", "search.batch_size=4", "search.controller_samples=2", "search.samples_per_update=2")
SEARCH += ("search.final_samples=2", "search.random_cells=0", "search_space.blocks=2", "search.warmup=0")
RETRAIN = ("retrain.epochs=2", "retrain.batch_size=4", "retrain.last_epochs=1")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Two classes in train and val, JPEGs of a size of their own."""
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.RandomState(0)
    for split, count in (("train", 10), ("val", 2)):
        for name in ("bird", "fish"):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                coarse = Image.fromarray(rng.randint(0, 256, (6, 8, 3), dtype=np.uint8))
                coarse.resize((90 + i, 80 - i)).save(root / split / name / f"{i}.JPEG", quality=90)
    return root


def config(command: str, *overrides: str) -> DictConfig:
    with initialize_config_module("conf", version_base="1.3"):
        return compose(command, overrides=[f"experiment=imagenet_{command}", *TOY, *overrides])


def test_a_cell_is_found_and_retrained_and_both_go_on_where_they_stood(pictures, tmp_path):
    cfg = config("search", *SEARCH, f"data.root={pictures}")
    search.run(cfg, tmp_path / "search")
    record = json.loads((tmp_path / "search" / "data.json").read_text())
    assert record["image_shape"] == [3, 64, 64]
    assert [record[f"num_{part}"] for part in ("train", "reward", "test")] == [16, 4, 4]
    settings = (*RETRAIN, f"genotype={tmp_path / 'search'}", f"data.root={pictures}")
    whole = retrain.run(config("retrain", *settings), tmp_path / "whole")
    again = retrain.run(config("retrain", *settings), tmp_path / "whole")
    assert whole["found"] == again["found"]
    assert whole["found"]["multiply_adds"] > 0


def test_test_pictures_are_classified_as_they_were_tested(pictures, tmp_path, genotype):
    (tmp_path / "cell.json").write_text(genotype.to_json())
    cfg = config("retrain", *RETRAIN, f"genotype={tmp_path / 'cell.json'}", f"data.root={pictures}")
    retrain.run(cfg, tmp_path / "run")
    settings = OmegaConf.to_container(cfg.data, resolve=True)
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump({"data": settings}))
    ((images, _),) = build_data(cfg, build_runtime(cfg)).test.batches(4)
    expected = load_model(tmp_path / "run", normalize=False)(images).softmax(dim=1)
    overrides = [f"run={tmp_path / 'run'}", f"images={pictures / 'val'}", "device=cpu", "predict.top=2"]
    with initialize_config_module("conf", version_base="1.3"):
        figures = predict.run(compose("predict", overrides=overrides), tmp_path)
    assert figures["margin"] == 64 / 72
    for row, one in zip(expected, figures["predictions"], strict=True):
        found = {chosen["label"]: chosen["probability"] for chosen in one["classes"]}
        assert [found[label] for label in (0, 1)] == pytest.approx(row.tolist(), abs=1e-6)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_resumed_search_sees_the_crops_of_one_that_was_not_stopped(pictures):
    runtime = build_runtime(config("search", f"data.root={pictures}"))
    alone, resumed = (
        build_search(config("search", *SEARCH, f"data.root={pictures}", f"data.workers={workers}"), runtime)[0]
        for workers in (0, WORKERS)
    )
    assert isinstance(alone.evaluator.data.train, StreamingSplit)
    alone.epoch()
    resumed.load_state_dict(copy.deepcopy(alone.state_dict()))
    expected, found = alone.epoch(), resumed.epoch()
    assert {k: v for k, v in expected.items() if k != "seconds"} == {k: v for k, v in found.items() if k != "seconds"}


@pytest.mark.parametrize("autocast", ["bf16", "fp16"])
def test_half_precision_trains_on_streamed_pictures(pictures, autocast):
    cfg = config("search", *SEARCH, f"data.root={pictures}", f"runtime.autocast={autocast}")
    searching = build_search(cfg, build_runtime(cfg))[0]
    row = searching.epoch()
    assert 0 < row["loss"] < 20
    assert all(torch.isfinite(weight).all() for weight in searching.evaluator.trainer.network.parameters())


def test_images_too_small_for_the_stem_are_refused_with_what_fits(pictures, tmp_path):
    cfg = config("search", *SEARCH, f"data.root={pictures}", "data.image_size=24", "data.resize=32")
    with pytest.raises(
        ValueError, match=r"halves the image 5 times; .* at least 32 pixels a side, .* 24x24; set data.image_size"
    ):
        search.run(cfg, tmp_path)


def test_a_folder_that_is_not_named_is_asked_for(tmp_path):
    with pytest.raises(ValueError, match=r"data.root is not set; add data.root=VALUE"):
        search.run(config("search", *SEARCH), tmp_path)


def test_a_misspelt_key_is_looked_for_among_those_of_the_experiment():
    words = Words((), ("experiment=imagenet_search", "data.root=none", "data.crop_scal=1"))
    assert explain(ValueError(), "search", words).startswith(
        "no setting 'data.crop_scal'; did you mean data.crop_scale"
    )


def test_the_published_size_is_that_of_the_mobile_setting():
    from nas.jobs.building.parts import measure_size
    from search_spaces.published import PUBLISHED

    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose("retrain", overrides=["experiment=imagenet_retrain", "data.root=none"])
    genotype = PUBLISHED["shufflenasnet_a"].genotype
    size = measure_size(cfg, genotype, ImageKind((3, 224, 224), 1000))
    assert 500e6 < size["multiply_adds"] < 600e6
    assert cfg.retrain.first_cycle == cfg.retrain.epochs == 250

"""Built-in data sets: divided without overlap, described by their record, normalised by their train images."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

import nas.data.named
from nas.data.named import digits, synthetic
from nas.jobs.building.config import arguments

CONFIGS = sorted((Path(__file__).parents[2] / "conf" / "data").glob("*.yaml"))


def collected(batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


def test_splits_share_one_storage():
    data = digits()
    splits = (data.train, data.reward, data.test, data.full)
    assert len({split.images.data_ptr() for split in splits}) == 1


def members(data) -> dict[str, set[int]]:
    return {name: set(getattr(data, name).indices.tolist()) for name in ("train", "reward", "test", "full")}


@pytest.mark.parametrize("held_out", [0.1, 0.5, 100])
def test_train_reward_and_test_are_disjoint_and_full_joins_the_first_two(held_out):
    parts = members(digits(held_out=held_out))
    assert not parts["train"] & parts["reward"]
    assert not parts["full"] & parts["test"]
    assert parts["full"] == parts["train"] | parts["reward"]
    assert len(parts["full"] | parts["test"]) == 1797


def test_limits_reduce_a_data_set_to_stratified_samples():
    data = digits(max_train=200, max_test=50)
    assert [len(data.full), len(data.reward), len(data.test), len(data.train.images)] == [200, 20, 50, 250]
    _, labels = collected(data.full.batches(200))
    assert min(Counter(labels.tolist()).values()) >= 18
    assert len(digits(max_train=10**6).full) == len(digits().full)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"held_out": 1.0}, r"held_out must be a fraction in \(0, 1\) .* got 1.0"),
        ({"held_out": 0.0}, "held_out must be .* got 0.0"),
        ({"held_out": True}, "held_out must be .* got True"),
        ({"held_out": 0}, "held_out 0 takes 0 of 1348 images"),
        ({"held_out": 5000}, "held_out 5000 takes 5000 of 1348 images, must take 1 to 1347"),
        ({"held_out": 1e-6}, "held_out 1e-06 takes 0 of 1348 images"),
        ({"held_out": 1345}, "cannot choose 1345 of 1348 images and leave 1 of each class"),
        ({"test_fraction": 1.5}, "test_fraction must be .* got 1.5"),
        ({"max_train": 0}, "max_train must be at least 1, got 0"),
        ({"max_test": -3}, "max_test must be at least 1, got -3"),
        ({"max_train": 15}, "class '.' has 1 of the 15 images that reward images are chosen from"),
        ({"split_seed": -1}, "split_seed must lie in .* got -1"),
        ({"crop_padding": -1}, "crop_padding\n.*greater than or equal to 0"),
    ],
)
def test_an_impossible_division_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        digits(**settings)


def test_the_record_names_the_reward_images_and_the_data():
    from sklearn.datasets import load_digits

    data, bunch = digits(held_out=50), load_digits()
    record = json.loads(json.dumps(data.record))
    assert [record[f"num_{part}"] for part in ("train", "reward", "test")] == [1298, 50, 449]
    assert record["split_seed"] == 0
    pixels = np.rint(bunch.images * 255 / 16).astype(np.uint8)
    digest = hashlib.sha256(pixels.tobytes() + bunch.target.astype("<i8").tobytes())
    assert record["data_sha256"] == digest.hexdigest()
    images, labels = collected(data.reward.batches(50))
    assert labels.tolist() == bunch.target[record["reward_indices"]].tolist()
    expected = (pixels[record["reward_indices"]] / 255 - data.mean[0]) / data.std[0]
    torch.testing.assert_close(images[:, 0], torch.from_numpy(expected).float())


def test_many_reward_images_are_recorded_by_digest(monkeypatch):
    monkeypatch.setattr("nas.data.image_data.MAX_LISTED_INDICES", 20)
    assert len(digits(held_out=20).record["reward_indices"]) == 20
    data = digits(held_out=50)
    assert "reward_indices" not in data.record
    digest = hashlib.sha256(data.reward.indices.numpy().tobytes())
    assert data.record["reward_indices_sha256"] == digest.hexdigest()


def test_mean_and_deviation_are_those_of_the_train_images_alone():
    data = digits()
    images, _ = collected(data.train.batches(500))
    assert abs(images.mean().item()) < 1e-5
    assert abs(images.std(correction=0).item() - 1) < 1e-5


def test_synthetic_images_can_be_told_apart_by_their_pattern():
    data = synthetic(num_images=400, image_size=8, channels=2, num_classes=5)
    assert data.image_shape == (2, 8, 8)
    images, labels = collected(data.full.batches(64))
    patterns = torch.stack([images[labels == label].mean(dim=0) for label in range(5)])
    test_images, test_labels = collected(data.test.batches(64))
    nearest = (test_images[:, None] - patterns).square().sum(dim=(2, 3, 4)).argmin(dim=1)
    assert (nearest == test_labels).float().mean() > 0.95
    assert synthetic(num_images=400, image_size=8).record == synthetic(num_images=400, image_size=8).record
    with pytest.raises(ValueError, match="num_classes at least 2, got 400, 32, 3 and 1"):
        synthetic(num_images=400, num_classes=1)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_sets_every_argument_but_the_device(path):
    with initialize_config_module("conf", version_base="1.3"):
        config = OmegaConf.to_container(compose(f"data/{path.stem}").data)
    module, name = config.pop("_target_").rsplit(".", 1)
    assert module == "nas.data.named"
    assert set(config) == set(arguments(getattr(nas.data.named, name))) - {"device"}

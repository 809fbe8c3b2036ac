"""Trained weights that come with the package, and what files of weights are in general."""

import json

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from PIL import Image

import nas
from nas.jobs import predict
from nas.models.derived import count_parameters
from nas.models.hardening import harden_mixers
from nas.models.loading import SHIPPED
from nas.models.model_card import CARD_NAME, model_input
from nas.models.shufflenasnet import ShuffleNASNet
from nas.runs.checkpoints import load_weights, save_weights
from search_spaces.cells import genotype_candidates
from search_spaces.published import PUBLISHED
from search_spaces.shufflenas import ShuffleNASSpace

NAMES = sorted(path.name for path in SHIPPED.iterdir())
MIB = 2**20


def test_there_are_trained_models():
    assert "cifar10_small_0" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_trained_model_is_the_published_cell_in_its_published_network(name):
    record = nas.load_model(name).record
    published = PUBLISHED[name]
    (model,) = published.models
    assert (record.name, record.genotype) == (name, published.genotype)
    assert {key: record.network[key] for key in model.settings} == dict(model.settings)
    network = built(name, in_channels=record.in_channels, **model.settings)
    of_cifar10 = built(name, **model.settings)
    assert count_parameters(nas.load_model(name, for_inference=False).network) == count_parameters(network)
    assert count_parameters(of_cifar10) == model.parameters
    card = json.loads((SHIPPED / name / CARD_NAME).read_text())
    assert card["input"] == model_input(record)
    assert card["input"]["range"] == [0, 1]
    assert sum(file.stat().st_size for file in (SHIPPED / name).iterdir()) < 2 * MIB


@pytest.mark.parametrize("name", NAMES)
def test_a_trained_model_is_not_the_same_for_every_image_and_folding_changes_nothing(name):
    images = torch.rand(4, *nas.load_model(name).record.image_shape)
    plain, folded = (nas.load_model(name, for_inference=ready) for ready in (False, True))
    logits = plain(images)
    assert logits.shape == (4, 10)
    assert logits.std(dim=0).min() > 0
    torch.testing.assert_close(folded(images), logits, rtol=1e-4, atol=1e-4)


def test_without_training_the_name_is_the_architecture_alone():
    torch.manual_seed(1)
    untrained = nas.load_model("cifar10_small_0", pretrained=False, num_classes=7)
    assert untrained(torch.rand(1, 3, 32, 32)).shape == (1, 7)
    assert untrained.record.test_accuracy is None


def test_a_trained_model_predicts_image_files_by_its_name(tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(256, size=(40, 48, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose("predict", ["run=cifar10_small_0", f"images={tmp_path}", "device=cpu"])
    (prediction,) = predict.run(cfg, tmp_path / "out")["predictions"]
    names = nas.load_model("cifar10_small_0").record.class_names
    assert all(entry["class"] == names[entry["label"]] for entry in prediction["classes"])
    assert 0 < sum(entry["probability"] for entry in prediction["classes"]) <= 1.0 + 1e-6


@pytest.mark.parametrize("name", ["shufflenasnet_a", "shufflenasnet_b"])
def test_weights_of_every_shufflenasnet_fit_into_16_mib(name):
    for model in PUBLISHED[name].models:
        with torch.device("meta"):
            network = built(name, **model.settings)
        assert sum(value.numel() * value.element_size() for value in network.state_dict().values()) < 15.5 * MIB


def test_checkpoints_of_the_papers_protocol_fit_into_16_mib():
    """Weights, momentum and, with `cifar10_modern`, their mean; of the search, the shared weights of all ops."""
    space = ShuffleNASSpace(blocks=5)
    with torch.device("meta"):
        largest = built("shufflenasnet_a", filters=64, cells_per_stage=5)
        shared = ShuffleNASNet(space.candidates(), in_channels=3, num_classes=10, filters=20, cells_per_stage=2)
        by_edge = ShuffleNASNet(
            space.candidates(), in_channels=3, num_classes=10, filters=20, cells_per_stage=2, sharing="edge"
        )
    assert 3 * 4 * count_parameters(largest) < 15 * MIB
    assert count_parameters(by_edge) > count_parameters(shared)
    assert 2 * 4 * count_parameters(by_edge) < 15 * MIB


def test_a_file_of_weights_knows_neither_device_nor_memory_layout(tmp_path):
    network = built("shufflenasnet_a", filters=8, cells_per_stage=1)
    files = [tmp_path / "contiguous.safetensors", tmp_path / "channels_last.safetensors"]
    save_weights(files[0], network.state_dict(), metadata={})
    save_weights(files[1], network.to(memory_format=torch.channels_last).state_dict(), metadata={})
    numbers = sum(value.numel() * value.element_size() for value in network.state_dict().values())
    assert 0 < files[0].stat().st_size - numbers < 0.5 * MIB
    assert files[0].read_bytes() == files[1].read_bytes()
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in load_weights(files[0]).items())


def built(name: str, *, in_channels: int = 3, **settings: object) -> ShuffleNASNet:
    candidates = genotype_candidates(PUBLISHED[name].genotype)
    network = ShuffleNASNet(candidates, in_channels=in_channels, num_classes=10, **settings)
    harden_mixers(network)  # as inference has them
    return network

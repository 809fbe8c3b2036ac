"""What runs on a CPU runs on a CUDA device and computes the same; skipped where there is none."""

import itertools

import pytest
import torch

from nas.models.hardening import harden_mixers
from nas.models.inference.ready import for_inference
from nas.models.shufflenasnet import ShuffleNASNet
from nas.models.stacked_cells import StackedCells
from nas.training.sgd import make_sgd
from nas.training.weight_trainer import WeightTrainer
from search_spaces.cells import genotype_candidates
from search_spaces.genotype import Genotype
from search_spaces.mixers import MIXERS
from search_spaces.published import PUBLISHED
from search_spaces.shuffles import build_mixer
from tests.conftest import make_cell

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def exact_products():
    """Without TF32, so that both devices round alike."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def network_of(genotype: Genotype) -> ShuffleNASNet:
    return ShuffleNASNet(genotype_candidates(genotype), in_channels=3, num_classes=5, filters=8, cells_per_stage=1)


def genotype_of(mixer: str) -> Genotype:
    cell = make_cell((0, "sep_conv_3x3"), (0, "conv_1x1"), mixer=mixer)
    return Genotype(space="shufflenas", normal=cell, reduction=cell)


@pytest.mark.parametrize("name", MIXERS)
def test_every_mixer_computes_the_same_on_the_device(name):
    mixer = build_mixer(name, 12).eval()
    x = torch.randn(3, 12, 5, 5)
    expected, hard = mixer(x), mixer.harden().eval()(x)
    mixer, x = mixer.cuda(), x.cuda()
    assert torch.allclose(mixer(x).cpu(), expected, atol=1e-4)
    assert torch.allclose(mixer.harden().eval()(x).cpu(), hard, atol=1e-4)
    assert mixer.distance().isfinite()


@pytest.mark.parametrize("name", MIXERS)
@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
def test_every_mixer_trains_and_hardens_on_the_device(name, autocast):
    genotype = genotype_of(name)
    network = network_of(genotype).cuda()
    trainer = WeightTrainer(
        network=network,
        optimizer=make_sgd(network, momentum=0.9, weight_decay=1e-4),
        learning_rate=lambda epoch: 0.05,
        drop_prob=lambda epoch: 0.1,
        mixer_penalty=lambda epoch: 0.01,
        autocast=autocast,
    )
    batches = [(torch.randn(8, 3, 16, 16, device="cuda"), torch.randint(5, (8,), device="cuda")) for _ in range(3)]
    score = trainer.train_epoch(batches, itertools.repeat(genotype), epoch=0, num_batches=3)
    harden_mixers(network)
    assert 0 < score.loss < 100
    assert network.eval()(batches[0][0], genotype).isfinite().all()


@pytest.mark.parametrize("name", ["channel_shuffle", "auto_shuffle", "kaleidoscope", "dynamic_shuffle"])
def test_a_folded_network_computes_the_same_on_the_device(name):
    genotype = genotype_of(name)
    network = network_of(genotype).eval()
    harden_mixers(network)
    images = torch.randn(2, 3, 16, 16)
    expected = network(images, genotype)
    assert torch.allclose(for_inference(network.cuda(), genotype)(images.cuda(), genotype).cpu(), expected, atol=1e-3)


def test_a_published_cell_computes_the_same_on_the_device():
    genotype = PUBLISHED["darts_v2"].genotype
    network = StackedCells(genotype_candidates(genotype), in_channels=3, num_classes=5, filters=4, cells_per_stage=1)
    images = torch.randn(2, 3, 32, 32)
    expected = network.eval()(images, genotype)
    assert torch.allclose(network.cuda()(images.cuda(), genotype).cpu(), expected, atol=1e-3)

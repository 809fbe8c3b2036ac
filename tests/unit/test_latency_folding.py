"""Batch norm folded into convolutions: the same logits, and which batch norms are gone."""

import copy

import pytest
import torch
from torch import nn
from torchvision import models

from nas.models.inference.batch_norm_folding import absorb, fold_batch_norm, fold_batch_norm_by_graph
from nas.models.inference.ready import for_inference
from nas.models.shufflenasnet import ShuffleNASNet
from nas.models.shufflenets import ShuffleNetV1, ShuffleNetV2
from nas.models.stacked_cells import StackedCells
from search_spaces.cells import genotype_candidates
from search_spaces.ops import FactorizedReduction, find_op
from search_spaces.published import PUBLISHED


def with_statistics(network: nn.Module) -> nn.Module:
    """The network with batch norms that do something, in evaluation mode."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return network.double().eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@torch.no_grad()
def same_after_folding(network: nn.Module, *inputs: object) -> tuple[int, int]:
    """Folds a copy, compares it, and returns how many batch norms were folded and how many remain."""
    folded = copy.deepcopy(network)
    number = fold_batch_norm(folded)
    torch.testing.assert_close(folded(*inputs), network(*inputs), rtol=1e-9, atol=1e-9)
    assert norms(folded) == norms(network) - number
    return number, norms(folded)


def images(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64)


def test_a_convolution_does_what_the_formula_of_batch_norm_says():
    conv, norm = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0.0)
    for values, number in (
        (norm.running_mean, 3.0),
        (norm.running_var, 4.0),
        (norm.weight, 5.0),
        (norm.bias, 7.0),
        (conv.weight, 2.0),
        (conv.bias, 6.0),
    ):
        values.data.fill_(number)
    absorb(conv, norm)
    assert (conv.weight.item(), conv.bias.item()) == (2.0 * 5.0 / 2.0, (6.0 - 3.0) * 5.0 / 2.0 + 7.0)


@pytest.mark.parametrize("op", ["sep_conv_3x3", "dil_conv_5x5", "conv_1x1", "conv_7x1_1x7", "identity"])
@pytest.mark.parametrize("stride", [1, 2])
def test_every_op_is_folded_whole(op, stride):
    module = with_statistics(nn.Sequential(find_op(op).build(6, stride)))
    _, left = same_after_folding(module, images(2, 6, 7, 7))
    assert left == 0


def test_a_factorized_reduction_of_odd_channels_is_folded():
    assert same_after_folding(with_statistics(FactorizedReduction(4, 5)), images(2, 4, 5, 5)) == (1, 0)


def test_batch_norm_in_training_or_without_a_convolution_stays():
    training = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))
    assert fold_batch_norm(training) == 0
    alone = with_statistics(nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU(), nn.BatchNorm2d(2)))
    assert same_after_folding(alone, images(1, 2, 3, 3)) == (0, 1)


@pytest.mark.parametrize("merge_batch_norm", [False, True])
def test_a_shufflenasnet_ready_for_inference_keeps_only_batch_norms_after_sums(genotype, merge_batch_norm):
    settings = {"in_channels": 3, "num_classes": 5, "filters": 8, "cells_per_stage": 1}
    network = ShuffleNASNet(genotype_candidates(genotype), merge_batch_norm=merge_batch_norm, **settings)
    ready = for_inference(with_statistics(network), genotype)
    _, left = same_after_folding(ready, images(2, 3, 8, 8), genotype)
    assert left == (5 if merge_batch_norm else 0)


@pytest.mark.parametrize("name", ["enas", "darts_v2", "amoebanet_a"])
def test_published_pair_block_networks_are_folded_whole(name):
    cell = PUBLISHED[name]
    settings = {"in_channels": 3, "num_classes": 5, "filters": 4, "cells_per_stage": 1, "macro": cell.models[0].network}
    network = with_statistics(StackedCells(genotype_candidates(cell.genotype), **settings))
    _, left = same_after_folding(network, images(2, 3, 8, 8), cell.genotype)
    assert left == 0


@pytest.mark.parametrize("build", [ShuffleNetV1, ShuffleNetV2])
def test_shufflenets_are_folded_whole(build):
    network = with_statistics(build(num_classes=5, width=0.5, macro="cifar"))
    _, left = same_after_folding(network, images(2, 3, 16, 16))
    assert left == 0


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet18", "shufflenet_v2_x0_5", "mobilenet_v3_small"])
def test_torchvision_models_are_folded_by_their_graph(name):
    network = with_statistics(models.get_model(name, weights=None, num_classes=5))
    x = images(2, 3, 32, 32)
    expected = network(x)
    folded, number = fold_batch_norm_by_graph(network)
    torch.testing.assert_close(folded(x), expected, rtol=1e-9, atol=1e-9)
    assert number > 0
    assert norms(folded) == 0


class Twice(nn.Module):
    """Reads a convolution's output beside its batch norm, and another convolution twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)
        self.shared, self.shared_norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.conv(x)
        first = self.shared_norm(self.shared(x))
        return self.norm(out) + out + first + self.shared(x)


@torch.no_grad()
def test_a_convolution_whose_output_is_read_elsewhere_is_left_alone():
    network, x = with_statistics(Twice()), images(1, 2, 3, 3)
    expected = network(x)
    folded, number = fold_batch_norm_by_graph(network)
    assert number == 0
    torch.testing.assert_close(folded(x), expected)


class Branching(nn.Module):
    """Cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x) if x.sum() > 0 else self.layers(-x)


@torch.no_grad()
def test_what_cannot_be_traced_is_folded_by_its_sequences():
    network, x = with_statistics(Branching()), images(1, 2, 3, 3)
    expected = network(x)
    folded, number = fold_batch_norm_by_graph(network)
    assert (number, folded is network) == (1, True)
    torch.testing.assert_close(folded(x), expected)

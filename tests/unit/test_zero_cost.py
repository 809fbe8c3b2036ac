"""Scores of untrained networks, against their definitions written out."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nas.models.nasbench201 import NASBench201Network
from nas.models.shufflenasnet import ShuffleNASNet
from nas.searching.zero_cost import jacob_cov, log_rank_sum, naswot, synflow, zero_cost_scores
from search_spaces.cells import genotype_candidates
from search_spaces.nasbench201 import parse_arch_string
from search_spaces.shufflenas import ShuffleNASSpace

IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LARGE = parse_arch_string(
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
)
SMALL = parse_arch_string("|nor_conv_1x1~0|+|none~0|none~1|+|skip_connect~0|none~1|avg_pool_3x3~2|")
DEAD = parse_arch_string("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")


class Small(nn.Module):
    """Two layers with a rectifier between them, whose scores can be written down."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(192, 5, bias=False), nn.Linear(5, 2, bias=False)

    def forward(self, images, genotype):
        return self.second(F.relu(self.first(images.flatten(1))))


def derived(genotype):
    torch.manual_seed(0)
    made = NASBench201Network(genotype_candidates(genotype), in_channels=3, num_classes=4, filters=8, cells_per_stage=1)
    return made.train()


def test_the_synaptic_flow_of_two_layers_is_twice_the_sum_of_all_paths():
    network = Small()
    paths = (network.second.weight.abs().double() @ network.first.weight.abs().double()).sum()
    assert synflow(network, None, image_shape=(3, 8, 8)) == pytest.approx(math.log(2 * paths.item()), rel=1e-6)


def test_the_kernel_counts_the_rectifiers_in_which_two_images_agree():
    network = Small()
    on = (network.first(IMAGES.flatten(1)) > 0).numpy()
    kernel = np.array([[(one == other).sum() for other in on] for one in on], dtype=float)
    expected = np.log(np.linalg.eigvalsh(kernel).clip(1e-5)).sum()
    assert naswot(network, None, IMAGES) == pytest.approx(expected, rel=1e-5, abs=1e-3)


def test_gradients_of_different_images_are_held_against_one_another():
    network = Small()
    given = IMAGES.clone().requires_grad_()
    network(given, None).sum().backward()
    values = np.linalg.eigvalsh(np.corrcoef(given.grad.flatten(1).double().numpy())).clip(0) + 1e-5
    assert jacob_cov(network, None, IMAGES) == pytest.approx(-(np.log(values) + 1 / values).sum(), rel=1e-3)


@pytest.mark.parametrize("genotype", [LARGE, SMALL, DEAD])
def test_a_network_is_scored_finitely_and_stays_as_it_was(genotype):
    network = derived(genotype)
    before = copy.deepcopy(network.state_dict())
    first, second = (zero_cost_scores(network, genotype, IMAGES) for _ in range(2))
    assert first == second
    assert all(map(math.isfinite, first))
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(value.grad is None for value in network.parameters())


def test_a_large_cell_has_higher_scores_than_a_small_one_and_that_than_a_dead_one():
    large, small, dead = (zero_cost_scores(derived(one), one, IMAGES) for one in (LARGE, SMALL, DEAD))
    assert all(one > other for one, other in zip(large, small, strict=True))
    assert small.synflow > dead.synflow


def test_other_networks_are_scored_as_well():
    space = ShuffleNASSpace(blocks=2)
    genotype = space.decode([0, 1, 0, 2, 0, 1, 1, 2])
    network = ShuffleNASNet(
        genotype_candidates(genotype), in_channels=3, num_classes=4, filters=8, cells_per_stage=1, stages=2
    )
    assert all(map(math.isfinite, zero_cost_scores(network, genotype, IMAGES)))


def test_ranks_count_from_the_worst():
    assert log_rank_sum([5.0, 7.0, 6.0], [1.0, 3.0, 2.0]).tolist() == pytest.approx(
        [0, 2 * math.log(3), 2 * math.log(2)]
    )

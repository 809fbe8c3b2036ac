import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from nas.costs.operations import record_operations
from nas.models.shufflenasnet import ShuffleNASNet
from nas.studies.benchmarks.roofline import UPDATE_PASSES, KernelCost, floor, training_costs
from search_spaces.cells import genotype_candidates
from search_spaces.genotype import Genotype
from tests.conftest import make_cell


def costs_of(network: nn.Module, *, side: int = 4, batch_size: int = 2, element_bytes: int = 4) -> list[KernelCost]:
    operations, _ = record_operations(network, image_shape=(3, side, side))
    return training_costs(operations, batch_size=batch_size, element_bytes=element_bytes)


def test_one_convolution_by_hand():
    # 3 to 8 channels, 3x3, on 4x4 pixels: 8·3·9 = 216 weights, 216·16 = 3456 multiply-adds, 48 elements in, 128 out.
    conv, update = costs_of(nn.Conv2d(3, 8, 3, padding=1, bias=False))
    assert conv.flops == 2 * (3456 + 3456) * 2  # forward and the gradient of the weights, for two images
    # Forward reads in, writes out; backward reads the gradient of out, and in again. Weights read, gradient written.
    assert conv.bytes == 4 * (2 * (48 + 128 + 128 + 48) + 216 + 216)
    assert update == KernelCost(flops=0, bytes=UPDATE_PASSES * 4 * 216)


def test_a_later_convolution_also_computes_the_gradient_of_its_input():
    network = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.ReLU(), nn.Conv2d(3, 8, 3, padding=1, bias=False))
    _, conv, update = costs_of(network)  # the element-wise relu costs nothing
    assert conv.flops == 3 * 2 * 3456 * 2
    assert conv.bytes == 4 * (2 * (48 + 128 + 128 + 48 + 48) + 3 * 216)
    assert update.bytes == UPDATE_PASSES * 4 * (9 + 216)


def test_batch_norm_and_pooling_are_traffic_alone():
    network = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.BatchNorm2d(2), nn.MaxPool2d(2))
    _, norm, pool, _ = costs_of(network)
    assert norm.flops == pool.flops == 0
    # 2 channels of 16 pixels: read and written forward; backward the gradient read, the input read, its gradient
    # written. Weight and bias of two channels are read twice, their gradients written.
    assert norm.bytes == 4 * (2 * 5 * 32 + 3 * 4)
    assert pool.bytes == 4 * 2 * (2 * 32 + 2 * 8)


def test_half_as_wide_activations_move_half_the_bytes_but_weights_stay_wide():
    whole, half = (costs_of(nn.Conv2d(3, 8, 3, padding=1, bias=False), element_bytes=size)[0] for size in (4, 2))
    assert whole.bytes - half.bytes == 2 * 2 * (48 + 128 + 128 + 48)
    assert whole.flops == half.flops


def test_operations_of_a_step_are_what_torch_counts_forward_and_backward():
    # Without depthwise convolutions: torch counts the gradient of a grouped one's weights as if it had one group.
    cell = make_cell((0, "conv_1x1"), (1, "max_pool_3x3"), (0, "identity"), (3, "conv_1x1"))
    genotype = Genotype(space="shufflenas", normal=cell, reduction=cell)
    network = ShuffleNASNet(
        genotype_candidates(genotype), in_channels=3, num_classes=5, filters=4, cells_per_stage=1, stages=2
    )
    operations, _ = record_operations(network, genotype, image_shape=(3, 8, 8))
    images, labels = torch.randn(6, 3, 8, 8), torch.randint(5, (6,))
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(network.train()(images, genotype), labels).backward()
    costs = training_costs(operations, batch_size=6, element_bytes=4)
    assert sum(cost.flops for cost in costs) == counter.get_total_flops()


def test_every_kernel_takes_the_longer_of_its_two_times():
    costs = [KernelCost(flops=4000, bytes=100), KernelCost(flops=0, bytes=300)]
    figures = floor(costs, flops_per_second=1e3, bytes_per_second=1e2, measured_ms=14e3)
    assert figures["floor_ms"] == pytest.approx(4000 + 3000)
    assert figures["compute_ms"] == pytest.approx(4000)
    assert figures["traffic_ms"] == pytest.approx(4000)
    assert figures["gap"] == pytest.approx(2)

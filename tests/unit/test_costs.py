"""Sums over parts equal what is counted on whole networks, and find every part that a path takes."""

import statistics

import pytest
import torch
from torch import nn

from nas.costs.counting import CountedCost, median_cost, random_genotypes, size_costs
from nas.costs.network_parts import NetworkParts, Part
from nas.models.derived import count_multiply_adds, count_parameters
from nas.models.hardening import harden_mixers
from nas.models.nasbench201 import NASBench201Network
from nas.models.shufflenasnet import ShuffleNASNet
from nas.models.stacked_cells import StackedCells
from search_spaces.cells import genotype_candidates
from search_spaces.genotype import Genotype
from search_spaces.nasbench201 import NASBench201Space
from search_spaces.nasnet import NASNetSpace
from search_spaces.shufflenas import ShuffleNASSpace
from tests.conftest import make_cell

SHAPE = (3, 9, 8)


def parts_of(network_class, space, **settings) -> NetworkParts:
    network = network_class(space.candidates(), in_channels=3, num_classes=7, **settings)
    first = space.decode([0] * len(space.decisions))
    return NetworkParts(network, space.candidates(), genotype=first, image_shape=SHAPE)


@pytest.mark.parametrize(
    ("network_class", "space", "settings"),
    [
        (ShuffleNASNet, ShuffleNASSpace(), {"filters": 6, "cells_per_stage": 2, "merge_batch_norm": True}),
        (
            ShuffleNASNet,
            ShuffleNASSpace(blocks=3),
            {"filters": 6, "cells_per_stage": 1, "merge": "concat_conv1x1", "shortcut": "reduction_cell"},
        ),
        (
            ShuffleNASNet,
            ShuffleNASSpace(blocks=3, mixers=["channel_shuffle", "kaleidoscope", "dynamic_shuffle", "conv1x1"]),
            {"filters": 8, "cells_per_stage": 1, "stem": "plain", "shortcut": "sep_conv"},
        ),
        (
            ShuffleNASNet,
            ShuffleNASSpace(blocks=2, output="all"),
            {"filters": 4, "cells_per_stage": 1, "sharing": "edge"},
        ),
        (StackedCells, NASNetSpace(blocks=3, output="all"), {"filters": 4, "cells_per_stage": 1, "macro": "darts"}),
        (StackedCells, NASNetSpace(blocks=3), {"filters": 4, "cells_per_stage": 1, "macro": "enas", "merge": "sum"}),
        (NASBench201Network, NASBench201Space(), {"filters": 4, "cells_per_stage": 2}),
        (NASBench201Network, NASBench201Space(), {"filters": 4, "cells_per_stage": 1, "affine": False}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_sizes_are_those_of_the_derived_model_at_inference(network_class, space, settings):
    costs = size_costs(parts_of(network_class, space, **settings))
    for genotype in [*random_genotypes(space, 5, stream="test"), space.decode([0] * len(space.decisions))]:
        derived = network_class(genotype_candidates(genotype), in_channels=3, num_classes=7, **settings)
        harden_mixers(derived, linear_maps=True)
        assert costs["parameters"](genotype) == count_parameters(derived)
        assert costs["multiply_adds"](genotype) == count_multiply_adds(derived, genotype, image_shape=SHAPE)


def test_the_parts_of_a_path_are_named_with_their_shapes(genotype):
    space = ShuffleNASSpace(blocks=4)
    parts = parts_of(ShuffleNASNet, space, filters=4, cells_per_stage=1, stages=2)
    found = {part.key: count for part, count in parts.of(genotype).items() if part.kind == "op"}
    assert found == {  # cells on 2 channels of 9x8 and 4 of 5x4; the reduction cell on 4 channels
        "op sep_conv_3x3 2x9x8 to 2 channels, stride 1": 1,
        "op max_pool_3x3 2x9x8 to 2 channels, stride 1": 1,
        "op conv_1x1 2x9x8 to 2 channels, stride 1": 1,
        "op sep_conv_3x3 4x5x4 to 4 channels, stride 1": 1,
        "op max_pool_3x3 4x5x4 to 4 channels, stride 1": 1,
        "op sep_conv_5x5 4x9x8 to 4 channels, stride 2": 1,
        "op identity 4x9x8 to 4 channels, stride 2": 1,
        "op min_pool_3x3 4x5x4 to 4 channels, stride 1": 1,
        "op conv_1x1 4x5x4 to 4 channels, stride 1": 2,  # one in the second normal cell, one in the reduction cell
    }


def test_every_path_is_made_of_prototypes_that_can_be_run():
    space = ShuffleNASSpace(blocks=2)
    parts = parts_of(ShuffleNASNet, space, filters=4, cells_per_stage=1)
    for genotype in random_genotypes(space, 30, stream="test"):
        assert set(parts.of(genotype)) <= set(parts.prototypes)
    for part, module in parts.prototypes.items():
        assert not module.training
        with torch.no_grad():
            written = module(torch.zeros(1, *part.reads))
        assert written.shape[1] == part.channels
        if written.ndim == 4:
            assert written.shape[2] == -(-part.reads[1] // part.stride)


def test_the_network_is_left_as_it_was():
    space = ShuffleNASSpace(blocks=2)
    network = ShuffleNASNet(space.candidates(), in_channels=3, num_classes=7, filters=4, cells_per_stage=1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first = space.decode([0] * len(space.decisions))
    NetworkParts(network, space.candidates(), genotype=first, image_shape=SHAPE)
    assert network.training
    assert all(not module._forward_hooks for module in network.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_genotype_of_other_ops_is_refused():
    space = ShuffleNASSpace(blocks=2, ops=["identity", "conv_1x1"])
    parts = parts_of(ShuffleNASNet, space, filters=4, cells_per_stage=1)
    other = ShuffleNASSpace(blocks=2).decode([0] * 8)  # sep_conv_3x3
    with pytest.raises(ValueError, match="does not hold"):
        parts.of(other)


def test_another_network_has_no_parts():
    with pytest.raises(ValueError, match="the parts of a Linear are not known"):
        NetworkParts(nn.Linear(2, 2), {}, genotype=None, image_shape=SHAPE)


def test_the_median_cost_does_not_depend_on_the_seed_and_leaves_it_alone():
    space = ShuffleNASSpace(blocks=2)
    cost = CountedCost("parameters", lambda genotype: {"parameters": len({b.ops for b in genotype.normal.blocks})})
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = median_cost(cost, space, num_genotypes=9)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert median_cost(cost, space, num_genotypes=9) == first
    assert first == statistics.median(cost(g) for g in random_genotypes(space, 9, stream="target"))


def test_an_identity_of_stride_one_costs_nothing():
    space = ShuffleNASSpace(blocks=1)
    parts = parts_of(ShuffleNASNet, space, filters=4, cells_per_stage=1)
    plain = Genotype("shufflenas", make_cell((0, "identity")), make_cell((0, "conv_1x1")))
    ops = [part for part in parts.of(plain) if part.kind == "op"]
    assert ops == [
        Part("op", "conv_1x1", (4, 9, 8), 4, 2),
        Part("op", "conv_1x1", (8, 5, 4), 8, 2),
    ]

"""The network of NAS-Bench-201's cells, held against the benchmark's own figures and formulas."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from controllers.uniform import Uniform
from nas.costs.guidelines import cell_shape
from nas.models.derived import copy_shared_weights, count_multiply_adds, count_parameters
from nas.models.nasbench201 import NASBench201Network
from nas.models.shufflenasnet import ShuffleNASNet
from nas.models.stacked_cells import StackedCells
from nas.training.settings import RetrainSettings
from nas.training.weight_trainer import make_optimizer
from search_spaces.cells import Cell, genotype_candidates
from search_spaces.genotype import Block, CellGenotype, Genotype
from search_spaces.nasbench201 import NASBench201Space, parse_arch_string
from search_spaces.nasnet import NASNetSpace
from search_spaces.shufflenas import ShuffleNASSpace

SPACE = NASBench201Space()
SETTINGS = {"in_channels": 3, "num_classes": 10, "filters": 4, "cells_per_stage": 1}
DEAD = parse_arch_string("|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|nor_conv_1x1~2|")
HALF_DEAD = parse_arch_string("|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|avg_pool_3x3~0|skip_connect~1|none~2|")
"""Its 1x1 convolution leads nowhere."""
CELLS = [DEAD, HALF_DEAD, *(SPACE.decode(row) for row in Uniform(SPACE.decisions).sample(12).actions.tolist())]


def derived(genotype: Genotype, **settings: object) -> NASBench201Network:
    return NASBench201Network(genotype_candidates(genotype), **{**SETTINGS, **settings})


def of_edge(network: nn.Module, edge: str) -> list[nn.Module]:
    """The ops of an edge, `block_slot`, in all cells."""
    return [op for name, op in network.named_modules() if name.rpartition(".")[2].startswith(f"{edge}_keeping")]


@pytest.mark.parametrize(
    ("cell", "parameters", "multiply_adds"),
    [  # parameters of the benchmark's table, convolutions of dead edges among them; 0: counted from its live edges
        ("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", 73_306, 7_783_040),
        ("|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|", 129_306, 0),
        ("|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|", 802_426, 0),
        ("|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|nor_conv_1x1~2|", 344_346, 7_783_040),
    ],
)
def test_the_papers_size_has_as_many_parameters_as_the_table_says(cell, parameters, multiply_adds):
    genotype = parse_arch_string(cell)
    network = derived(genotype, filters=16, cells_per_stage=5)
    assert count_parameters(network) == parameters
    convolutions = sum(9 * ("3x3" in op) + ("1x1" in op) for *_, op in genotype.normal.live_edges if "conv" in op)
    expected = multiply_adds or 7_783_040 + convolutions * 5 * 3 * 16**2 * 32**2  # the stages cost the same
    assert count_multiply_adds(network, genotype, image_shape=(3, 32, 32)) == expected


def test_parameters_grow_by_the_convolutions_of_a_cell_alone():
    for genotype in CELLS:
        ops = [op for *_, op in genotype.normal.edges]
        expected = 73_306 + 28_000 * ops.count("nor_conv_1x1") + 243_040 * ops.count("nor_conv_3x3")
        assert count_parameters(derived(genotype, filters=16, cells_per_stage=5)) == expected


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_a_path_of_the_supernet_is_bitwise_the_derived_model(affine, training):
    supernet = NASBench201Network(SPACE.candidates(), affine=affine, **SETTINGS).train(training)
    images = torch.randn(3, 3, 9, 7)
    for genotype in CELLS:
        network = derived(genotype, affine=affine).train(training)
        copy_shared_weights(network, supernet.state_dict())
        outputs = []
        for model in (supernet, network):
            torch.manual_seed(1)
            outputs.append(model(images, genotype, drop_prob=0.3 if training else 0.0))
        assert torch.equal(*outputs)


def test_the_formulas_are_those_of_the_paper():
    """Node by node and layer by layer, for a cell whose edges have all five ops."""
    genotype = parse_arch_string(
        "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|avg_pool_3x3~1|skip_connect~2|"
    )
    network = derived(genotype)
    images = torch.randn(5, 3, 8, 8)

    def norm(x: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(x, None, None, training=True)

    x = norm(F.conv2d(images, network.stem[0].weight, padding=1))
    for layer in network.layers:
        if hasattr(layer, "cell"):
            ops = layer.cell.ops
            first = norm(F.conv2d(x.relu(), ops["0_0_keeping_nor_conv_3x3"][1].weight, padding=1))
            pointwise = norm(F.conv2d(x.relu(), ops["2_0_keeping_nor_conv_1x1"][1].weight))
            pooled = F.avg_pool2d(first, 3, 1, padding=1, count_include_pad=False)
            x = pointwise + pooled + first  # the second node is the first
        else:
            once, twice = (part for part in layer.main.modules() if isinstance(part, nn.Conv2d))
            main = norm(F.conv2d(x.relu(), once.weight, stride=2, padding=1))
            main = norm(F.conv2d(main.relu(), twice.weight, padding=1))
            x = main + F.conv2d(F.avg_pool2d(x, 2), layer.shortcut[1].weight)
    expected = F.linear(norm(x).relu().mean(dim=(2, 3)), network.classifier.weight, network.classifier.bias)
    torch.testing.assert_close(network(images, genotype), expected)


def test_a_dead_cell_gives_zeros_so_that_logits_are_the_same_for_all_images():
    network = derived(DEAD, filters=8).eval()
    logits = network(torch.randn(4, 3, 8, 8), DEAD)
    assert torch.equal(logits, logits[:1].expand(4, -1))
    cell = Cell(2, genotype_candidates(DEAD)["normal"], strided=True)
    assert torch.equal(cell([torch.randn(1, 2, 5, 4)], DEAD.normal), torch.zeros(1, 2, 3, 2))


def test_what_leads_nowhere_is_neither_computed_nor_trained():
    network = derived(HALF_DEAD)
    (dead, *_), (live, *_) = of_edge(network, "1_0"), of_edge(network, "0_0")
    calls = []
    for op in (dead, live):
        op.register_forward_hook(lambda module, *_: calls.append(module))
    network(torch.randn(4, 3, 8, 8), HALF_DEAD).sum().backward()
    assert calls == [live]
    assert all(weight.grad is None for weight in dead.parameters())
    assert all(weight.grad is not None for weight in live.parameters())
    assert len(network.layers[0].path_modules(HALF_DEAD)) == 4  # three ops and the mixer


@pytest.mark.parametrize("genotype", [DEAD, HALF_DEAD])
def test_training_leaves_the_weights_alone_that_a_cell_does_not_use(genotype):
    network = derived(genotype)
    optimizer = make_optimizer(network, RetrainSettings(epochs=1))
    optimizer.param_groups[0]["lr"] = 0.1
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    F.cross_entropy(network(torch.randn(4, 3, 8, 8), genotype), torch.arange(4)).backward()
    touched = [weight for weight in network.parameters() if weight.grad is not None]
    optimizer.param_groups[0]["params"] = touched
    optimizer.step()
    moved = {name for name, weight in network.named_parameters() if not torch.equal(weight, before[name])}
    assert "classifier.weight" in moved
    assert ("stem.0.weight" in moved) is (genotype is not DEAD)
    assert not any("1_0_keeping" in name or "2_2_keeping" in name for name in moved)
    assert all(weight.isfinite().all() for weight in network.parameters())


@pytest.mark.parametrize("side", [4, 5, 7, 30])
def test_sides_of_any_length_pass(side):
    assert derived(HALF_DEAD).eval()(torch.randn(1, 3, side, side), HALF_DEAD).shape == (1, 10)


@pytest.mark.parametrize(
    ("network", "space", "settings"),
    [
        (NASBench201Network, SPACE, {}),
        (ShuffleNASNet, ShuffleNASSpace(blocks=2), {"merge_batch_norm": True}),
        (StackedCells, NASNetSpace(blocks=2), {"merge": "sum"}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_without_affine_only_the_ops_lose_their_scales_and_the_other_weights_start_alike(network, space, settings):
    states = []
    for affine in (True, False):
        torch.manual_seed(3)
        states.append(network(space.candidates(), affine=affine, **SETTINGS, **settings).state_dict())
    whole, bare = states
    taken = whole.keys() - bare.keys()
    assert taken == {
        name
        for name in whole
        if ".ops." in name and f"{name.rpartition('.')[0]}.running_mean" in whole and name.endswith(("weight", "bias"))
    }
    assert taken
    assert all(torch.equal(value, whole[name]) for name, value in bare.items())


@pytest.mark.parametrize(
    ("network", "space", "message"),
    [
        (NASBench201Network, ShuffleNASSpace(), "such cells need network=shufflenasnet, .*search_space=nasbench201"),
        (NASBench201Network, NASNetSpace(), "such cells need network=enas or network=darts"),
        (ShuffleNASNet, SPACE, "such cells need network=nasbench201"),
        (StackedCells, SPACE, "such cells need network=nasbench201"),
    ],
)
def test_cells_of_another_form_are_refused_with_the_network_they_need(network, space, message):
    with pytest.raises(ValueError, match=message):
        network(space.candidates(), **SETTINGS)


@pytest.mark.parametrize("wrong", [{"filters": 0}, {"cells_per_stage": 0}, {"cells_per_stage": [1, 2]}])
def test_sizes_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        derived(DEAD, **wrong)


def test_edges_are_live_that_lie_on_a_path_from_an_input_to_an_output():
    assert [edge[:3] for edge in HALF_DEAD.normal.live_edges] == [(0, 0, 0), (2, 0, 0), (2, 1, 1)]
    assert DEAD.normal.live_edges == []
    for genotype in CELLS:
        passable = {(source, number + 1) for number, _, source, op in genotype.normal.edges if op != "none"}
        routes = [
            route
            for length in (1, 2, 3)
            for route in itertools.combinations(range(1, 4), length)
            if route[-1] == 3 and all(step in passable for step in itertools.pairwise((0, *route)))
        ]
        steps = {step for route in routes for step in itertools.pairwise((0, *route))}
        assert {(source, number + 1) for number, _, source, _ in genotype.normal.live_edges} == steps
    blocks = (Block((0,), ("conv_1x1",)), Block((1,), ("identity",)), Block((0,), ("max_pool_3x3",)))
    assert len(CellGenotype(blocks).live_edges) == 3
    assert [edge[0] for edge in CellGenotype(blocks, outputs=(2,)).live_edges] == [0, 1]


def test_the_graph_of_a_cell_leaves_out_what_leads_nowhere():
    shape = cell_shape(HALF_DEAD.normal)
    assert (shape["num_ops"], shape["branches"], shape["longest_path_ops"], shape["additions"]) == (2, 2, 1, 1)
    shape = cell_shape(DEAD.normal)
    assert (shape["num_ops"], shape["branches"], shape["longest_path_ops"], shape["additions"]) == (0, 0, 0, 0)

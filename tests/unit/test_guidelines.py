import itertools
import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from nas.costs.guidelines import cell_shape, examine
from nas.costs.guidelines_text import guidelines_text
from nas.costs.operation_costs import Convolution
from nas.costs.operations import record_operations
from nas.models.derived import count_multiply_adds, count_parameters
from nas.models.shufflenasnet import ShuffleNASNet
from nas.models.shufflenets import ShuffleNetV1, ShuffleNetV2
from nas.models.stacked_cells import StackedCells
from search_spaces.cells import genotype_candidates
from search_spaces.genotype import Block, CellGenotype, Genotype
from search_spaces.shufflenas import ShuffleNASSpace
from tests.conftest import make_cell

SPACE = ShuffleNASSpace(blocks=3)
SUMS = (
    "parameters",
    "multiply_adds",
    "memory_access_elements",
    "kernels",
    "elementwise_kernels",
    "elementwise_output_elements",
    "elementwise_memory_access_elements",
)
GENOTYPES = st.tuples(*(st.integers(0, len(decision.choices) - 1) for decision in SPACE.decisions)).map(SPACE.decode)


def conv(*args, **kwargs) -> nn.Conv2d:
    return nn.Conv2d(*args, bias=False, **kwargs)


def build(genotype: Genotype, *, device: str = "meta", **kwargs) -> ShuffleNASNet:
    kwargs = {"in_channels": 3, "num_classes": 10, "filters": 8, "cells_per_stage": 1, **kwargs}
    with torch.device(device):
        return ShuffleNASNet(genotype_candidates(genotype), **kwargs)


class Computed(nn.Module):
    """A network of one function, with weights to read."""

    def __init__(self, function, **weights: Tensor) -> None:
        super().__init__()
        self.function = function
        self.weights = nn.ParameterDict(weights)

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images, **self.weights)


def test_a_pointwise_convolution_of_equal_widths_has_exactly_the_least_memory_access():
    found = examine(nn.Sequential(conv(8, 8, 1)), None, image_shape=(8, 5, 5))
    assert (found["total"]["multiply_adds"], found["total"]["parameters"], found["total"]["kernels"]) == (
        25 * 64,
        64,
        1,
    )
    assert found["total"]["memory_access_elements"] == 25 * (8 + 8) + 64
    assert found["equal_widths"]["memory_access_ratio"] == 1.0
    assert found["equal_widths"]["equal_width_share"] == 1.0


def test_unequal_widths_cost_more_than_the_bound_and_the_worst_is_named():
    network = nn.Sequential(conv(4, 16, 1), conv(16, 16, 1))
    found = examine(network, None, image_shape=(4, 6, 6))["equal_widths"]
    first, least = 36 * (4 + 16) + 64, 2 * 36 * 8 + 64  # √(4·16) = 8
    second = 36 * 32 + 256
    assert found["memory_access_ratio"] == pytest.approx((first + second) / (least + second))
    assert (found["num_convolutions"], found["equal_width_share"]) == (2, 0.5)
    worst = {"layer": "0", "in_channels": 4, "out_channels": 16, "memory_access_ratio": pytest.approx(784 / 640)}
    assert found["worst"] == worst


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 60))
def test_the_bound_is_equation_2_of_the_paper(c1, c2, side):
    sizes = Convolution(
        in_channels=c1, out_channels=c2, groups=1, kernel_elements=1, in_pixels=side**2, out_pixels=side**2
    )
    multiply_adds = side**2 * c1 * c2
    assert sizes.least_memory_access_elements == pytest.approx(
        2 * math.sqrt(side**2 * multiply_adds) + multiply_adds / side**2
    )
    ratio = sizes.memory_access_elements / sizes.least_memory_access_elements
    assert ratio == 1.0 if c1 == c2 else ratio > 1.0


def test_a_strided_dense_convolution_reads_the_large_input_and_writes_the_small_output():
    (operation,), _ = record_operations(nn.Sequential(conv(3, 6, 3, stride=2, padding=1)), image_shape=(3, 8, 8))
    assert operation.kind == "dense conv"
    assert operation.multiply_adds == 16 * 9 * 3 * 6
    assert operation.memory_access_elements == 64 * 3 + 16 * 6 + 9 * 18
    assert operation.output_shape == (6, 4, 4)


def test_a_depthwise_convolution_is_neither_dense_nor_grouped():
    found = examine(nn.Sequential(conv(6, 6, 3, padding=1, groups=6)), None, image_shape=(6, 4, 4))
    assert found["total"]["multiply_adds"] == 16 * 9 * 6
    assert found["total"]["memory_access_elements"] == 16 * 12 + 54
    assert found["equal_widths"]["num_convolutions"] == found["groups"]["num_convolutions"] == 0
    assert found["groups"]["memory_access_ratio"] == found["equal_widths"]["memory_access_ratio"] == 1.0
    assert found["element_wise"]["memory_access_share"] == 0.0
    assert found["element_wise"]["memory_access_share_with_depthwise"] == 1.0


def test_groups_are_compared_with_as_many_multiply_adds_without():
    grouped = examine(nn.Sequential(conv(8, 8, 1, groups=2)), None, image_shape=(8, 4, 4))
    alone = examine(nn.Sequential(conv(8, 4, 1)), None, image_shape=(8, 4, 4))
    assert grouped["total"]["multiply_adds"] == alone["total"]["multiply_adds"] == 16 * 32
    assert grouped["total"]["memory_access_elements"] == 288
    assert alone["total"]["memory_access_elements"] == 224
    assert grouped["groups"]["memory_access_ratio"] == pytest.approx(288 / 224)


def test_the_share_of_grouped_convolutions_is_that_of_their_multiply_adds():
    network = nn.Sequential(conv(8, 8, 1, groups=4), conv(8, 8, 1, groups=2), conv(8, 8, 1))
    groups = examine(network, None, image_shape=(8, 4, 4))["groups"]
    assert groups["multiply_adds_share"] == pytest.approx((16 + 32) / (16 + 32 + 64))
    assert (groups["num_convolutions"], groups["largest_groups"]) == (2, 4)


def test_a_linear_layer_with_bias():
    found = examine(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), None, image_shape=(3, 2, 2))
    assert found["total"]["multiply_adds"] == 60
    assert found["total"]["parameters"] == 65
    assert found["total"]["memory_access_elements"] == 12 + 65 + 5
    assert [layer["name"] for layer in found["layers"]] == ["1"]  # flattening is a view


def test_a_residual_addition_and_a_relu_are_element_wise():
    found = examine(Computed(lambda x: x + F.relu(x)), None, image_shape=(2, 3, 3))
    assert found["element_wise"]["kernels_by_name"] == {"add": 1, "relu": 1}
    assert found["total"]["elementwise_kernels"] == found["total"]["kernels"] == 2
    assert found["total"]["elementwise_output_elements"] == 2 * 18
    assert (
        found["total"]["memory_access_elements"]
        == found["total"]["elementwise_memory_access_elements"]
        == 3 * 18 + 2 * 18
    )
    assert found["element_wise"]["memory_access_share"] == found["element_wise"]["kernels_share"] == 1.0


def test_relu_in_place_counts_like_any_other_and_is_waited_for():
    def function(x: Tensor) -> Tensor:
        half = (x * 2).chunk(2, dim=1)[0]
        return F.relu_(half) + 1

    operations, _ = record_operations(Computed(function), image_shape=(2, 3, 3))
    assert [(operation.name, operation.memory_access_elements, operation.depth) for operation in operations] == [
        ("mul", 36, 1),
        ("relu", 18, 2),
        ("add", 18, 3),
    ]


def test_batch_norm_is_element_wise_and_reads_its_four_vectors():
    found = examine(nn.Sequential(nn.BatchNorm2d(4)), None, image_shape=(4, 3, 3))
    assert found["element_wise"]["kernels_by_name"] == {"batch_norm": 1}
    assert found["total"]["memory_access_elements"] == 2 * 36 + 4 * 4
    assert found["total"]["parameters"] == 8


def test_views_cost_nothing_and_copies_are_movements():
    def function(x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=1)
        joined = torch.cat([second, first], dim=1).transpose(1, 2).contiguous()
        return joined.index_select(1, torch.zeros(1, dtype=torch.long))[:, :, :1]

    operations, _ = record_operations(Computed(function), image_shape=(2, 3, 3))
    kinds = {operation.name: operation.kind for operation in operations if operation.name != "zeros"}
    assert kinds == {"cat": "movement", "clone": "movement", "index_select": "movement"}


@pytest.mark.parametrize(
    "layer", [nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1), nn.AdaptiveAvgPool2d(3), nn.AdaptiveAvgPool2d(1)]
)
def test_pools_write_their_output_alone(layer):
    (operation,), _ = record_operations(nn.Sequential(layer), image_shape=(2, 3, 3))
    assert operation.kind == "pool"
    assert operation.memory_access_elements == 18 + math.prod(operation.output_shape)


def test_the_longest_chain_follows_the_tensors():
    def function(x: Tensor) -> Tensor:
        long = F.relu(F.relu(F.relu(x)))
        return long + F.relu(x) + x.neg()

    found = examine(Computed(function), None, image_shape=(1, 2, 2))["fragmentation"]
    assert (found["kernels"], found["sequential_kernels"]) == (7, 5)


def test_weights_count_once_and_only_where_they_are_read():
    def function(x: Tensor, *, used: Tensor, unused: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(x, used), torch.cat([used.view(1, 2, 2, 1, 1)[0], used], dim=0))

    network = Computed(function, used=torch.ones(2, 2, 1, 1), unused=torch.ones(7))
    operations, _ = record_operations(network, image_shape=(2, 3, 3))
    assert [operation.parameters for operation in operations] == [4, 4, 0]
    assert [operation.new_parameters for operation in operations] == [4, 0, 0]


def test_weights_that_share_memory_are_told_apart():
    flat = torch.ones(6)
    network = Computed(lambda x, *, used, unused: x * used, used=nn.Parameter(flat[:2]), unused=nn.Parameter(flat[2:]))
    assert examine(network, None, image_shape=(1, 2, 2))["total"]["parameters"] == 2


def test_only_memory_that_is_touched_counts():
    def function(x: Tensor) -> Tensor:
        wide = F.relu(x.expand(1, 8, 3, 3))  # one channel, read again and again
        return torch.empty_like(wide).copy_(wide)  # what was there is not read

    operations, _ = record_operations(Computed(function), image_shape=(1, 3, 3))
    assert [operation.memory_access_elements for operation in operations] == [9 + 72, 72 + 72]


def test_the_least_memory_access_of_a_strided_convolution_is_that_of_its_two_resolutions():
    found = examine(nn.Sequential(conv(2, 8, 1, stride=2)), None, image_shape=(2, 4, 4))
    assert found["equal_widths"]["memory_access_ratio"] == 1.0  # reads 2 · 16 and writes 8 · 4: no other split is less
    assert found["equal_widths"]["equal_width_share"] == 0.0


@settings(max_examples=8)
@given(GENOTYPES, st.sampled_from(["sum", "concat_conv1x1"]), st.booleans())
def test_totals_are_sums_of_layers_and_agree_with_the_other_counts(genotype, merge, merge_batch_norm):
    network = build(genotype, merge=merge, merge_batch_norm=merge_batch_norm, stages=2)
    found = examine(network, genotype, image_shape=(3, 8, 8))
    for figure in SUMS:
        assert found["total"][figure] == sum(layer[figure] for layer in found["layers"])
    assert found["total"]["multiply_adds"] == count_multiply_adds(network, genotype, image_shape=(3, 8, 8))
    assert found["total"]["parameters"] == count_parameters(network)
    assert found["equal_widths"]["memory_access_ratio"] >= 1.0
    assert (
        found["fragmentation"]["sequential_kernels"] <= found["fragmentation"]["kernels"] == found["total"]["kernels"]
    )


def test_a_path_of_the_supernet_is_checked_like_its_derived_model(genotype):
    with torch.device("meta"):
        supernet = ShuffleNASNet(
            ShuffleNASSpace(blocks=4).candidates(), in_channels=3, num_classes=10, filters=8, cells_per_stage=1
        )
    assert examine(supernet, genotype, image_shape=(3, 8, 8)) == examine(
        build(genotype), genotype, image_shape=(3, 8, 8)
    )


def test_the_device_does_not_matter_and_meta_allocates_nothing(genotype):
    small = (3, 8, 8)
    assert examine(build(genotype), genotype, image_shape=small) == examine(
        build(genotype, device="cpu"), genotype, image_shape=small
    )
    found = examine(build(genotype), genotype, image_shape=(3, 1_000_000, 1_000_000))  # 12 TB an image
    assert found["layers"][1]["output_shape"] == (8, 1_000_000, 1_000_000)


def test_layers_are_named_in_the_order_in_which_they_run(genotype):
    found = examine(build(genotype, stages=2), genotype, image_shape=(3, 8, 8))
    assert [(layer["name"], layer["output_shape"]) for layer in found["layers"]] == [
        ("stem", (8, 8, 8)),
        ("layers.0", (8, 8, 8)),
        ("layers.1", (16, 4, 4)),
        ("layers.2", (16, 4, 4)),
        ("rest", (16,)),
        ("classifier", (10,)),
    ]
    assert found["total"]["output_shape"] == (10,)


@pytest.mark.parametrize(("version", "million"), [(ShuffleNetV1, 137), (ShuffleNetV2, 146)])
def test_networks_without_genotype_have_the_published_multiply_adds(version, million):
    with torch.device("meta"):
        network = version(num_classes=1000)
    found = examine(network, None, image_shape=(3, 224, 224))
    assert round(found["total"]["multiply_adds"] / 1e6) == pytest.approx(million, abs=2)
    assert found["total"]["parameters"] == count_parameters(network)
    assert "stages.1.7" in {layer["name"] for layer in found["layers"]}
    assert found["fragmentation"]["cells"] == {}


@pytest.mark.parametrize("macro", ["darts", "enas"])
def test_stacked_cells_of_two_inputs_without_their_auxiliary_head(macro):
    normal = CellGenotype(
        (Block((1, 0), ("sep_conv_3x3", "identity")), Block((0, 2), ("max_pool_3x3",) * 2)), num_inputs=2
    )
    genotype = Genotype(space="nasnet", normal=normal, reduction=normal)
    with torch.device("meta"):
        network = StackedCells(
            genotype_candidates(genotype),
            in_channels=3,
            num_classes=10,
            filters=4,
            cells_per_stage=1,
            auxiliary=True,
            macro=macro,
        )
    found = examine(network, genotype, image_shape=(3, 32, 32))
    assert found["total"]["multiply_adds"] == count_multiply_adds(network, genotype, image_shape=(3, 32, 32))
    assert found["total"]["parameters"] == count_parameters(network) < sum(map(torch.numel, network.parameters()))
    assert {"layers.0", "layers.4", "classifier"} < {layer["name"] for layer in found["layers"]}
    assert found["fragmentation"]["cells"]["normal"]["num_ops"] == 3
    assert found["fragmentation"]["cells"]["reduction"]["num_ops"] == 4  # the strided identity computes


def test_the_caller_may_be_in_inference_mode(genotype):
    network = build(genotype)
    expected = examine(network, genotype, image_shape=(3, 8, 8))
    with torch.inference_mode():
        assert examine(network, genotype, image_shape=(3, 8, 8)) == expected


def test_modes_statistics_and_hooks_are_left_as_they_were(genotype):
    network = build(genotype, device="cpu", dropout=0.5)
    network.stem[1].eval()
    modes = [module.training for module in network.modules()]
    state = {name: value.clone() for name, value in network.state_dict().items()}
    examine(network, genotype, image_shape=(3, 8, 8))
    with pytest.raises(RuntimeError):
        examine(network, genotype, image_shape=(4, 8, 8))
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize("shape", [(3, 8), (3, 0, 8)])
def test_bad_image_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="image_shape must be three numbers of at least 1"):
        examine(nn.Sequential(conv(3, 3, 1)), None, image_shape=shape)


@pytest.mark.parametrize(
    ("cell", "num_ops", "branches", "longest", "loose_ends", "additions"),
    [
        (make_cell((0, "conv_1x1"), (1, "conv_1x1"), (2, "conv_1x1")), 3, 1, 3, 1, 0),
        (make_cell((0, "conv_1x1"), (0, "conv_1x1"), (0, "max_pool_3x3")), 3, 3, 1, 3, 2),
        (make_cell((0, "conv_1x1"), (1, "conv_1x1"), (1, "conv_1x1")), 3, 2, 2, 2, 1),
        (make_cell((0, "identity"), (1, "conv_1x1"), (2, "identity")), 1, 1, 1, 1, 0),
        (make_cell((0, "identity")), 0, 0, 0, 1, 0),
    ],
    ids=["chain", "star", "fork", "identities around an op", "identity"],
)
def test_shapes_of_small_cells(cell, num_ops, branches, longest, loose_ends, additions):
    assert cell_shape(cell) == {
        "num_ops": num_ops,
        "branches": branches,
        "longest_path_ops": longest,
        "loose_ends": loose_ends,
        "outputs": loose_ends,
        "additions": additions,
    }


def test_a_diamond_of_two_op_blocks_waits_for_both_summands():
    diamond = CellGenotype(
        blocks=(
            Block((0,), ("conv_1x1",)),
            Block((2, 2), ("conv_1x1", "max_pool_3x3")),
            Block((3, 1), ("conv_1x1", "identity")),
        ),
        num_inputs=2,
    )
    counts = {"num_ops": 4, "branches": 2, "longest_path_ops": 3}
    assert cell_shape(diamond) == {**counts, "loose_ends": 1, "outputs": 1, "additions": 2}


def test_outputs_of_their_own_are_added_though_they_are_no_loose_ends():
    cell = CellGenotype(make_cell((0, "conv_1x1"), (1, "conv_1x1")).blocks, outputs=(1, 2))
    shape = cell_shape(cell)
    assert (shape["loose_ends"], shape["outputs"], shape["additions"]) == (1, 2, 1)


def test_an_identity_of_a_reduction_cell_computes_if_it_reads_the_cells_input():
    cell = make_cell((0, "identity"), (1, "identity"))
    assert cell_shape(cell, strided=True)["num_ops"] == 1
    assert cell_shape(cell)["num_ops"] == 0


def test_the_largest_cell_is_measured_quickly():
    wide = CellGenotype(tuple(Block((max(0, i - 8),) * 4, ("conv_1x1",) * 4) for i in range(64)))
    assert cell_shape(wide)["branches"] == 8 * 4 + 4  # block i waits for block i − 9


@st.composite
def cells(draw: st.DrawFn) -> CellGenotype:
    inputs = draw(st.integers(1, 2))
    blocks = []
    for node in range(inputs, inputs + draw(st.integers(1, 5))):
        num_ops = draw(st.integers(1, 2))
        sources = draw(st.tuples(*[st.integers(0, node - 1)] * num_ops))
        blocks.append(Block(sources, draw(st.tuples(*[st.sampled_from(["conv_1x1", "identity"])] * num_ops))))
    return CellGenotype(tuple(blocks), num_inputs=inputs)


@given(cells(), st.booleans())
def test_branches_and_longest_path_agree_with_enumeration(cell, strided):
    ops = [
        (node, source, name)
        for node, block in enumerate(cell.blocks, start=cell.num_inputs)
        for source, name in zip(block.inputs, block.ops, strict=True)
    ]

    def paths(node: int) -> set[tuple[int, ...]]:
        """Every way from an input to a node, as the ops on it that compute."""
        if node < cell.num_inputs:
            return {()}
        found = set()
        for number, (target, source, name) in enumerate(ops):
            if target == node:
                free = name == "identity" and not (strided and source < cell.num_inputs)
                found |= {path if free else (*path, number) for path in paths(source)}
        return found

    chains = set().union(*(paths(node) for node in range(cell.num_inputs + len(cell.blocks))))
    ordered = {pair for chain in chains for pair in itertools.combinations(chain, 2)}
    real = sorted({op for chain in chains for op in chain})
    width = max(
        len(some)
        for size in range(len(real) + 1)
        for some in itertools.combinations(real, size)
        if not ordered & set(itertools.combinations(some, 2))
    )
    shape = cell_shape(cell, strided=strided)
    assert (shape["num_ops"], shape["branches"]) == (len(real), width)
    assert shape["longest_path_ops"] == max(map(len, chains))


def test_the_dict_survives_json(genotype):
    data = json.loads(json.dumps(examine(build(genotype), genotype, image_shape=(3, 8, 8))))
    assert data["fragmentation"]["cells"]["normal"]["num_ops"] == 3
    assert data["layers"][0]["output_shape"] == [8, 8, 8]


def test_text_keeps_within_its_width_and_merges_equal_layers(genotype):
    network = build(genotype, filters=128, cells_per_stage=3)
    text = guidelines_text(examine(network, genotype, image_shape=(3, 224, 224)))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert all(line == line.rstrip() for line in lines)
    assert [line.split("  ")[0] for line in lines if line.startswith("G")] == ["G1", "G2", "G3", "G4"]
    rows = [line.split("  ")[0] for line in lines[lines.index("") + 3 :]]
    assert rows == [
        *("stem", "layers.0-2 x3", "layers.3", "layers.4-6 x3", "layers.7", "layers.8-10 x3"),
        *("rest", "classifier", "total"),
    ]


def test_text_says_the_figures():
    network = nn.Sequential(conv(4, 16, 1), conv(16, 16, 1, groups=4), nn.ReLU())
    text = guidelines_text(examine(network, None, image_shape=(4, 6, 6)))
    words, table = text.split("\n\n")
    assert " ".join(words.split()) == (
        "G1 equal widths: 1 convolution without groups, 0% with equal channels in and out, 1.23x the least memory "
        "access; worst 1.23x, 4 to 16 channels in 0 "
        "G2 few groups: 1 convolution with groups, depthwise ones apart, at most 4 groups, 50% of the multiply-adds, "
        "1.55x the memory access of as many multiply-adds without groups "
        "G3 little fragmentation: 3 kernels, 3 of them in the longest chain "
        "G4 few element-wise operations: 37% of the memory access (37% with depthwise convolutions), "
        "33% of the kernels: relu 1"
    )
    assert table.splitlines()[2].split() == ["0", "16x6x6", "64", "2.30k", "784", "0%", "1"]

"""Every option of the macro-architectures with every kind of genotype: it runs, learns and counts right."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.models.derived import copy_shared_weights, count_parameters
from nas.models.shufflenasnet import MACROS, SHORTCUTS, STEMS, ShuffleNASNet
from nas.models.stacked_cells import StackedCells
from search_spaces.cells import CellCandidates, genotype_candidates
from search_spaces.genotype import CellGenotype, Genotype
from search_spaces.nasnet import NASNetSpace
from search_spaces.shufflenas import ShuffleNASSpace

OPS = {
    "sep_conv_3x3": (2, 9),
    "sep_conv_5x5": (2, 25),
    "conv_1x1": (1, 0),
    "max_pool_3x3": (0, 0),
    "min_pool_3x3": (0, 0),
    "avg_pool_3x3": (0, 0),
    "identity": (0, 0),
}  # pointwise convolutions, and weights of a depthwise kernel
SPACE = ShuffleNASSpace(blocks=4, ops=tuple(OPS), mixers=("channel_shuffle", "identity"))
PAIRS = NASNetSpace(blocks=2, ops=("sep_conv_3x3", "dil_conv_3x3", "conv_7x1_1x7", "avg_pool_3x3", "identity"))


def genotypes(space: ShuffleNASSpace | NASNetSpace) -> st.SearchStrategy[Genotype]:
    return st.tuples(*(st.integers(0, len(d.choices) - 1) for d in space.decisions)).map(space.decode)


def conv_bn(inputs: int, outputs: int) -> int:
    return inputs * outputs + 2 * outputs


def cell_parameters(cell: CellGenotype, channels: int, *, strided: bool, merge: str, batch_norm: bool) -> int:
    """Counted from the paper's text, independently of the code."""
    total = 0
    for block in cell.blocks:
        pointwise, kernel = OPS[block.ops[0]]
        if strided and block.ops[0] == "identity" and block.inputs[0] == 0:
            pointwise = 1
        total += pointwise * (conv_bn(channels, channels) + channels * kernel)
    if merge == "concat_conv1x1":
        return total + len(cell.output_nodes) * channels**2 + 2 * channels
    return total + (2 * channels if batch_norm else 0)


def network_parameters(genotype: Genotype, *, filters: int, cells: list[int], stem: str, shortcut: str, **merge) -> int:
    width = {"enas": 3 * filters, "plain": filters, "imagenet": filters // 2}[stem]
    total = 27 * width + 2 * width + (conv_bn(width, filters) if stem == "enas" else 0)
    if stem == "imagenet":
        total += conv_bn(9 * width, filters) + conv_bn(9 * filters, filters)
    for stage, number in enumerate(cells):
        channels = filters * 2**stage
        total += number * cell_parameters(genotype.normal, channels // 2, strided=False, **merge)
        if stage > 0:
            half = channels // 2
            reduction = cell_parameters(genotype.reduction, half, strided=True, **merge)
            total += (
                reduction
                + {
                    "factorized_reduction": conv_bn(half, half),
                    "sep_conv": 2 * (conv_bn(half, half) + 9 * half),
                    "reduction_cell": reduction,
                }[shortcut]
            )
    return total + filters * 2 ** (len(cells) - 1) * 10


@settings(max_examples=40)
@given(
    genotypes(SPACE),
    st.sampled_from([4, 6, 10, 36]),
    st.lists(st.integers(1, 3), min_size=1, max_size=4),
    st.sampled_from(STEMS),
    st.sampled_from(SHORTCUTS),
    st.sampled_from(["sum", "concat_conv1x1"]),
    st.booleans(),
    st.sampled_from(MACROS),
)
def test_any_network_counts_as_on_paper(genotype, filters, cells, stem, shortcut, merge, batch_norm, macro):
    with torch.device("meta"):
        network = ShuffleNASNet(
            genotype_candidates(genotype),
            in_channels=3,
            num_classes=10,
            filters=filters,
            cells_per_stage=cells,
            stages=len(cells),
            stem=stem,
            shortcut=shortcut,
            merge=merge,
            merge_batch_norm=batch_norm,
            macro="cifar" if stem == "imagenet" else macro,
        )
    assert count_parameters(network) == network_parameters(
        genotype, filters=filters, cells=cells, stem=stem, shortcut=shortcut, merge=merge, batch_norm=batch_norm
    )


@settings(max_examples=25)
@given(
    genotypes(SPACE),
    st.sampled_from(STEMS),
    st.sampled_from(SHORTCUTS),
    st.sampled_from(["sum", "concat_conv1x1"]),
    st.booleans(),
    st.sampled_from(MACROS),
    st.sampled_from([0.0, 0.4]),
    st.integers(9, 17),
)
def test_any_shufflenasnet_runs_forward_and_backward(
    genotype, stem, shortcut, merge, batch_norm, macro, drop_prob, pixels
):
    torch.manual_seed(0)
    network = ShuffleNASNet(
        genotype_candidates(genotype),
        in_channels=3,
        num_classes=5,
        filters=4,
        cells_per_stage=1,
        stem=stem,
        shortcut=shortcut,
        merge=merge,
        merge_batch_norm=batch_norm,
        macro="cifar" if stem == "imagenet" else macro,
    )
    logits = network(torch.randn(3, 3, pixels, pixels), genotype, drop_prob=drop_prob)
    logits.square().sum().backward()
    assert logits.shape == (3, 5)
    assert torch.isfinite(logits).all()
    # Every block leads to a loose end, so that every weight is on a path.
    assert all(weight.grad is not None for weight in network.parameters())


@settings(max_examples=25)
@given(
    genotypes(PAIRS),
    st.sampled_from(["enas", "darts"]),
    st.sampled_from(["sum", "concat_conv1x1"]),
    st.sampled_from(["op", "edge"]),
    st.booleans(),
)
def test_a_path_of_a_stacked_supernet_is_bitwise_the_derived_model(genotype, macro, merge, sharing, training):
    torch.manual_seed(1)
    options = {"in_channels": 1, "num_classes": 3, "filters": 4, "cells_per_stage": 1}
    options |= {"macro": macro, "merge": merge, "sharing": sharing}
    supernet = StackedCells(PAIRS.candidates(), **options).train(training)
    derived = StackedCells(genotype_candidates(genotype), **options).train(training)
    copy_shared_weights(derived, supernet.state_dict())
    images = torch.randn(3, 1, 8, 8)
    outputs = []
    for network in (supernet, derived):
        torch.manual_seed(2)
        outputs.append(network(images, genotype, drop_prob=0.3 if training else 0.0))
    assert torch.equal(*outputs)


@given(genotypes(PAIRS))
def test_pair_block_answers_and_genotypes_are_one_to_one(genotype):
    assert PAIRS.decode(PAIRS.encode(genotype)) == genotype
    assert Genotype.from_json(genotype.to_json()) == genotype


@pytest.mark.parametrize("shortcut", SHORTCUTS)
@pytest.mark.parametrize(
    ("settings", "seen"),
    [
        ({"macro": "imagenet", "stages": 4, "cells_per_stage": [1, 2, 1, 1]}, 56),
        ({"stem": "imagenet", "cells_per_stage": 1}, 28),
    ],
    ids=["macro", "stem"],
)
def test_224_pixels_pass_five_resolutions_and_reach_the_cells_at_a_quarter_or_an_eighth(
    genotype, shortcut, settings, seen
):
    network = ShuffleNASNet(
        genotype_candidates(genotype), in_channels=3, num_classes=1000, filters=8, shortcut=shortcut, **settings
    )
    sizes: list[int] = []
    for module in [*network.stem, *network.layers]:
        module.register_forward_hook(lambda _, __, out: sizes.append(out.shape[-1]))
    logits = network(torch.randn(2, 3, 224, 224), genotype)
    logits.sum().backward()
    assert list(dict.fromkeys(sizes)) == [112, 56, 28, 14, 7]
    assert sizes[-len(network.layers)] == seen
    assert network.smallest_image == 32
    assert logits.shape == (2, 1000)
    assert all(weight.grad is not None for weight in network.parameters())


def test_the_imagenet_stem_is_no_part_of_the_imagenet_macro(genotype):
    with pytest.raises(ValueError, match="stem=imagenet has stride 8 by itself and needs macro=cifar"):
        ShuffleNASNet(
            genotype_candidates(genotype), in_channels=3, num_classes=10, stem="imagenet", macro="imagenet", stages=4
        )


def test_the_candidates_of_a_space_are_the_same_for_both_cells():
    candidates: dict[str, CellCandidates] = PAIRS.candidates()
    assert candidates["normal"] == candidates["reduction"]
    assert not candidates["normal"].fixed_outputs

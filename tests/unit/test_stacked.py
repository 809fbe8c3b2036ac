import pytest
import torch

from nas.models.derived import copy_shared_weights, count_multiply_adds, count_parameters
from nas.models.stacked_cells import MACROS, STEMS, AuxiliaryHead, StackedCells
from search_spaces.cells import MERGES, genotype_candidates
from search_spaces.genotype import Block, CellGenotype, Genotype
from search_spaces.nasnet import NASNetSpace
from search_spaces.published import PUBLISHED

MODELS = [
    (name, model) for name, cell in PUBLISHED.items() for model in cell.models if model.network != "shufflenasnet"
]


def pair_cell(*blocks: tuple[int, str, int, str], outputs: tuple[int, ...]) -> CellGenotype:
    return CellGenotype(
        blocks=tuple(Block((a, b), (op_a, op_b)) for a, op_a, b, op_b in blocks),
        mixer="identity",
        num_inputs=2,
        outputs=outputs,
    )


POOLS = pair_cell((0, "max_pool_3x3", 1, "max_pool_3x3"), outputs=(2,))


def genotype_of(cell: CellGenotype, reduction: CellGenotype | None = None) -> Genotype:
    return Genotype(space="nasnet", normal=cell, reduction=reduction or cell)


def build(genotype: Genotype, **settings) -> StackedCells:
    settings = {"in_channels": 3, "num_classes": 10, "filters": 4, "cells_per_stage": 1, **settings}
    return StackedCells(genotype_candidates(genotype), **settings)


@pytest.mark.parametrize(("name", "model"), MODELS, ids=[name for name, _ in MODELS])
def test_published_cells_count_to_the_digit_in_their_macros(name, model):
    with torch.device("meta"):
        network = build(PUBLISHED[name].genotype, macro=model.network, **model.settings)
    assert count_parameters(network) == model.parameters


def test_the_counts_are_those_of_the_literature():
    counted = {name: model.parameters for name, model in MODELS}
    assert counted == {
        "enas": 3_894_372,
        "nasnet_a": 3_245_989,
        "amoebanet_a": 3_145_078,
        "pnas_5": 3_176_602,
        "darts_v1": 3_169_414,
        "darts_v2": 3_349_342,
    }


@pytest.mark.parametrize("filters", [4, 10])
@pytest.mark.parametrize("cells", [1, 2])
def test_parameters_by_hand_of_a_network_of_pools(filters, cells):
    f = filters
    stem = 27 * 3 * f + 2 * 3 * f

    def conv(inputs, outputs):
        return inputs * outputs + 2 * outputs

    first = conv(3 * f, f) * 2 if cells == 1 else conv(3 * f, f) * 2 + conv(3 * f, f) + conv(f, f)
    widths = [3 * f, 3 * f] + [f] * cells
    reduction_1 = conv(widths[-2], 2 * f) + conv(f, 2 * f)
    second = conv(f, 2 * f) + conv(2 * f, 2 * f) + (2 * conv(2 * f, 2 * f) if cells == 2 else 0)
    before = f if cells == 0 else 2 * f
    reduction_2 = conv(2 * f, 4 * f) + conv(before, 4 * f)
    third = conv(2 * f, 4 * f) + conv(4 * f, 4 * f) + (2 * conv(4 * f, 4 * f) if cells == 2 else 0)
    head = 4 * f * 5 + 5
    network = build(genotype_of(POOLS), filters=f, cells_per_stage=cells, num_classes=5)
    assert count_parameters(network) == stem + first + reduction_1 + second + reduction_2 + third + head


def test_enas_adds_a_base_convolution_and_spares_calibrations_of_equal_width():
    darts, enas = build(genotype_of(POOLS), num_classes=5), build(genotype_of(POOLS), macro="enas", num_classes=5)
    f = 4
    bases = sum(c * c + 2 * c for c in (f, 2 * f, 2 * f, 4 * f, 4 * f))
    # Of equal width are only the newer layer of the second and the third stage's normal cell.
    spared = sum(c * c + 2 * c for c in (2 * f, 4 * f))
    assert count_parameters(enas) - count_parameters(darts) == bases - spared - 5


@pytest.mark.parametrize("macro", MACROS)
@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("auxiliary", [False, True])
def test_forward_and_backward_at_every_option(macro, stem, merge, auxiliary):
    genotype = PUBLISHED["darts_v2"].genotype
    network = build(
        genotype, macro=macro, stem=stem, merge=merge, merge_batch_norm=True, auxiliary=auxiliary, dropout=0.1
    )
    images = torch.randn(2, 3, 32, 32)
    if auxiliary:
        logits, second = network(images, genotype, drop_prob=0.2, auxiliary=True)
        assert second.shape == (2, 10)
        (logits.sum() + second.sum()).backward()
    else:
        logits = network(images, genotype, drop_prob=0.2)
        logits.sum().backward()
    assert logits.shape == (2, 10)
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_reductions_stand_after_a_third_and_two_thirds_of_the_cells():
    for cells, total, positions in ((6, 20, [6, 13]), (5, 17, [5, 11]), ([3, 2, 2], 9, [3, 6])):
        with torch.device("meta"):
            layers = build(genotype_of(POOLS), cells_per_stage=cells).layers
        assert [i for i, layer in enumerate(layers) if layer.reducing] == positions == [total // 3, 2 * total // 3]


def test_the_imagenet_stem_ends_at_28_pixels_of_224():
    network = build(genotype_of(POOLS), stem="imagenet")
    first = network.stem(torch.zeros(1, 3, 224, 224))
    assert first.shape[2:] == (56, 56)
    assert network.second_stem(first).shape[2:] == (28, 28)


def test_an_unread_input_of_a_reduction_cell_is_reduced_before_it_is_merged():
    cell = pair_cell((0, "max_pool_3x3", 0, "identity"), outputs=(1, 2))
    network = build(genotype_of(cell), merge="concat")
    assert set(network.layers[1].cell.passed_inputs) == {"1"}
    assert network(torch.randn(2, 3, 16, 16), genotype_of(cell)).shape == (2, 10)


def test_drop_path_grows_with_depth_in_enas_and_not_in_darts():
    genotype = genotype_of(POOLS)
    seen: dict[str, list[float]] = {}
    for macro in MACROS:
        network = build(genotype, macro=macro)
        probabilities = seen.setdefault(macro, [])
        for layer in network.layers:
            layer.register_forward_pre_hook(
                lambda _, __, kwargs, kept=probabilities: kept.append(kwargs["drop_prob"]), with_kwargs=True
            )
        network(torch.randn(2, 3, 8, 8), genotype, drop_prob=0.7)
    assert seen["darts"] == [0.7] * 5
    assert seen["enas"] == pytest.approx([0.7 * i / 7 for i in range(1, 6)])


def test_the_auxiliary_head_is_darts_own_at_8_pixels_and_does_not_count():
    head = AuxiliaryHead(16, 10)
    assert sum(weight.numel() for weight in head.parameters()) == 16 * 128 + 256 + 4 * 128 * 768 + 1536 + 7690
    assert head(torch.randn(2, 16, 8, 8)).shape == (2, 10)
    with_head, without = build(genotype_of(POOLS), auxiliary=True), build(genotype_of(POOLS))
    assert count_parameters(with_head) == count_parameters(without)
    shape = {"image_shape": (3, 32, 32)}
    assert count_multiply_adds(with_head, genotype_of(POOLS), **shape) == count_multiply_adds(
        without, genotype_of(POOLS), **shape
    )
    assert build(genotype_of(POOLS), auxiliary=True, cells_per_stage=6).auxiliary_layer == 13
    assert build(genotype_of(POOLS), auxiliary=True, cells_per_stage=5, macro="enas").auxiliary_layer == 12


def test_the_auxiliary_head_trains_the_layers_before_it_and_only_those():
    genotype = genotype_of(POOLS)
    network = build(genotype, auxiliary=True)
    network(torch.randn(2, 3, 32, 32), genotype, auxiliary=True)[1].sum().backward()
    assert network.layers[3].calibrate_newer[1].weight.grad is not None
    assert network.layers[4].calibrate_newer[1].weight.grad is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"filters": 1}, "filters must be at least 2"),
        ({"macro": "nas"}, "macro must be one of enas, darts"),
        ({"stem": "none"}, "stem must be one of cifar, imagenet"),
        ({"merge": "max"}, "merge must be one of sum, concat"),
        ({"cells_per_stage": [1, 2]}, "one number or 3"),
        ({"cells_per_stage": 0}, "must lie in 1 … 100"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\)"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        build(genotype_of(POOLS), **settings)


def test_cells_of_one_input_are_refused(genotype):
    with pytest.raises(ValueError, match="network=shufflenasnet"):
        build(genotype)


def test_a_supernet_of_loose_ends_cannot_concatenate():
    candidates = NASNetSpace(blocks=2).candidates()
    settings = {"in_channels": 3, "num_classes": 2, "filters": 4, "cells_per_stage": 1}
    with pytest.raises(ValueError, match="output=all"):
        StackedCells(candidates, merge="concat", **settings)
    StackedCells(NASNetSpace(blocks=2, output="all").candidates(), merge="concat", **settings)


def test_a_network_without_auxiliary_head_says_so():
    with pytest.raises(ValueError, match=r"network\.auxiliary=true"):
        build(genotype_of(POOLS))(torch.randn(1, 3, 8, 8), genotype_of(POOLS), auxiliary=True)


def test_a_supernet_of_all_blocks_gives_its_weights_to_a_concatenating_model():
    space = NASNetSpace(blocks=2, output="all")
    genotype = space.decode([0] * len(space.decisions))
    settings = {"in_channels": 3, "num_classes": 2, "filters": 4, "cells_per_stage": 1}
    supernet = StackedCells(space.candidates(), **settings).eval()
    derived = StackedCells(genotype_candidates(genotype), **settings).eval()
    copy_shared_weights(derived, supernet.state_dict())
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(supernet(images, genotype), derived(images, genotype))

import dataclasses

import pytest
import torch

from nas.models.derived import DerivedModel, copy_shared_weights, count_multiply_adds, count_parameters
from nas.models.shufflenasnet import SHORTCUTS, STEMS, ShuffleNASNet
from search_spaces.cells import genotype_candidates
from search_spaces.genotype import Genotype
from search_spaces.shufflenas import ShuffleNASSpace
from tests.conftest import make_cell

NORMAL = make_cell((0, "sep_conv_3x3"), (0, "sep_conv_5x5"), (0, "conv_1x1"), (0, "identity"), (0, "max_pool_3x3"))
REDUCTION_A = make_cell((0, "sep_conv_5x5"), (0, "conv_1x1"), (0, "conv_1x1"), (0, "identity"), (0, "identity"))
REDUCTION_B = make_cell((0, "sep_conv_5x5"), (0, "sep_conv_5x5"), (0, "conv_1x1"), (0, "identity"), (0, "identity"))


def build(genotype: Genotype, **settings) -> ShuffleNASNet:
    settings = {"in_channels": 3, "num_classes": 10, "filters": 8, "cells_per_stage": 1, **settings}
    return ShuffleNASNet(genotype_candidates(genotype), **settings)


@pytest.mark.parametrize(
    ("reduction", "filters", "cells_per_stage", "merge_batch_norm", "published"),
    [
        (REDUCTION_A, 36, 4, False, 236_196),
        (REDUCTION_A, 48, 5, False, 470_880),
        (REDUCTION_A, 64, 5, False, 801_152),
        (REDUCTION_B, 96, 5, True, 1_786_656),
        (REDUCTION_B, 128, 5, True, 3_095_936),
    ],
)
def test_parameter_counts_of_the_paper(reduction, filters, cells_per_stage, merge_batch_norm, published):
    genotype = Genotype(space="shufflenas", normal=NORMAL, reduction=reduction)
    with torch.device("meta"):
        network = build(genotype, filters=filters, cells_per_stage=cells_per_stage, merge_batch_norm=merge_batch_norm)
    assert count_parameters(network) == published


@pytest.mark.parametrize(("shortcut", "percent"), [("reduction_cell", 17.3), ("sep_conv", 2.9)])
def test_other_shortcuts_cost_what_the_paper_says(shortcut, percent):
    genotype = Genotype(space="shufflenas", normal=NORMAL, reduction=REDUCTION_B)
    settings = {"filters": 96, "cells_per_stage": 5, "merge_batch_norm": True}
    with torch.device("meta"):
        ratio = count_parameters(build(genotype, shortcut=shortcut, **settings)) / 1_786_656
    assert 100 * (ratio - 1) == pytest.approx(percent, abs=0.05)


def test_multiply_adds_by_hand():
    genotype = Genotype(space="shufflenas", normal=make_cell((0, "conv_1x1")), reduction=make_cell((0, "conv_1x1")))
    network = build(genotype, filters=4, stages=2, stem="plain", num_classes=5)
    stem = 64 * 9 * 3 * 4
    normal_1, normal_2 = 64 * 2 * 2, 16 * 4 * 4
    reduction = 16 * 4 * 4 + 16 * 4 * 2 * 2  # the cell's convolution and the shortcut's two halves
    head = 8 * 5
    expected = stem + normal_1 + reduction + normal_2 + head
    assert count_multiply_adds(network, genotype, image_shape=(3, 8, 8)) == expected
    assert network.training


@pytest.mark.parametrize("shortcut", SHORTCUTS)
@pytest.mark.parametrize("merge", ["sum", "concat_conv1x1"])
@pytest.mark.parametrize("stem", STEMS)
def test_forward_and_backward_at_every_option(genotype, shortcut, merge, stem):
    network = build(genotype, shortcut=shortcut, merge=merge, stem=stem, merge_batch_norm=True, dropout=0.1)
    logits = network(torch.randn(2, 3, 9, 9), genotype, drop_prob=0.2)
    logits.sum().backward()
    assert logits.shape == (2, 10)
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_the_untouched_half_of_a_normal_layer_passes_and_is_interleaved():
    genotype = Genotype(space="shufflenas", normal=make_cell((0, "max_pool_3x3")), reduction=make_cell((0, "identity")))
    layer = build(genotype).layers[0]
    x = torch.randn(2, 8, 6, 6)
    out = layer(x, genotype)
    assert torch.equal(out[:, 1::2], x[:, 4:])
    assert torch.equal(out[:, 0::2], torch.nn.functional.max_pool2d(x[:, :4], 3, 1, 1))


def test_gradients_reach_only_the_sampled_path(genotype):
    space = ShuffleNASSpace(blocks=4)
    supernet = ShuffleNASNet(space.candidates(), in_channels=3, num_classes=10, filters=8, cells_per_stage=1)
    supernet(torch.randn(2, 3, 8, 8), genotype).sum().backward()
    touched = {name for name, parameter in supernet.named_parameters() if parameter.grad is not None}
    assert touched == {name for name, _ in build(genotype).named_parameters()}


def test_weights_of_another_size_are_not_copied(genotype):
    supernet = ShuffleNASNet(ShuffleNASSpace(blocks=4).candidates(), in_channels=3, num_classes=10, filters=8)
    with pytest.raises(ValueError, match="both need the same network settings"):
        copy_shared_weights(build(genotype, filters=12), supernet.state_dict())
    with pytest.raises(ValueError, match=r"lack stem\.1"):
        copy_shared_weights(build(genotype), {"stem.0.weight": build(genotype).stem[0].weight})


def test_a_derived_model_is_an_ordinary_module(genotype):
    network = build(genotype).eval()
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(DerivedModel(network, genotype)(images), network(images, genotype))


def test_a_genotype_without_reduction_cell_is_refused(genotype):
    with pytest.raises(ValueError, match="reduction cell"):
        build(dataclasses.replace(genotype, reduction=None))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"filters": 7}, "filters must be even"),
        ({"filters": 2}, "filters must be even and at least 4"),
        ({"cells_per_stage": 0}, "cells_per_stage must lie in 1 … 100, got 0"),
        ({"stages": 0}, "stages must lie in 1 … 8, got 0"),
        ({"stem": "big"}, "stem must be one of enas, plain"),
        ({"shortcut": "none"}, "shortcut must be one of factorized_reduction"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\)"),
    ],
)
def test_bad_settings_are_refused(genotype, settings, message):
    with pytest.raises(ValueError, match=message):
        build(genotype, **settings)

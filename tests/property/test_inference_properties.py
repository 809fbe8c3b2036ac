"""Networks made ready for inference compute the same, whatever the genotype, the options and the permutations."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nas.models.inference.channel_orders import freedom, reorder
from nas.models.inference.channel_placement import Layer, place
from nas.models.inference.ready import for_inference
from nas.models.shufflenasnet import MACROS, SHORTCUTS, STEMS, ShuffleNASNet
from nas.models.shufflenets import ShuffleNetV2
from search_spaces.cells import genotype_candidates
from search_spaces.mixers import Permutation
from search_spaces.ops import OPS
from search_spaces.shufflenas import PAPER_OPS, ShuffleNASSpace
from tests.property.test_options import genotypes
from tests.unit.test_inference import difference, randomised

SPACE = ShuffleNASSpace(
    blocks=4,
    ops=(*PAPER_OPS, "avg_pool_3x3", "conv_7x1_1x7", "auto_shuffle"),
    mixers=("channel_shuffle", "identity", "auto_shuffle", "conv1x1"),
)
EVERY_BLOCK = ShuffleNASSpace(blocks=3, mixers=("channel_shuffle",), output="all")


@settings(max_examples=25)
@given(
    st.one_of(genotypes(SPACE), genotypes(EVERY_BLOCK)),
    st.sampled_from([(torch.float64, 1e-12), (torch.float32, 1e-5)]),
    st.booleans(),
    st.booleans(),
    st.fixed_dictionaries(
        {
            "filters": st.sampled_from([6, 8, 10]),
            "cells_per_stage": st.sampled_from([[1, 1, 1], [3, 2, 1], [2, 4, 2]]),
            "macro": st.sampled_from(MACROS),
            "stem": st.sampled_from(STEMS),
            "shortcut": st.sampled_from(SHORTCUTS),
            "merge": st.sampled_from(["sum", "concat_conv1x1"]),
            "merge_batch_norm": st.booleans(),
            "sharing": st.sampled_from(["op", "edge"]),
        }
    ).filter(lambda options: (options["macro"], options["stem"]) != ("imagenet", "imagenet")),
    st.integers(0, 2**31),
)
def test_a_shufflenasnet_stays_the_same_function(genotype, precision, channels_last, shared, options, seed):
    torch.manual_seed(seed)
    dtype, tolerance = precision
    space = SPACE if len(genotype.normal.blocks) == SPACE.blocks else EVERY_BLOCK
    candidates = space.candidates() if shared else genotype_candidates(genotype)
    network = randomised(ShuffleNASNet(candidates, in_channels=2, num_classes=3, **options)).to(dtype)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    images = torch.randn(2, 2, 17, 16, dtype=dtype).to(memory_format=layout)
    ready = for_inference(network.to(memory_format=layout), genotype)
    assert difference(ready(images, genotype), network(images, genotype)) < tolerance


@settings(max_examples=6)
@given(st.sampled_from([0.5, 1.0]), st.sampled_from(["cifar", "imagenet"]), st.booleans(), st.integers(0, 2**31))
def test_a_shufflenet_v2_stays_the_same_function(width, macro, channels_last, seed):
    torch.manual_seed(seed)
    network = randomised(ShuffleNetV2(num_classes=3, width=width, macro=macro)).double()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    images = torch.randn(2, 3, 64, 33, dtype=torch.float64).to(memory_format=layout)
    ready = for_inference(network.to(memory_format=layout), None)
    assert difference(ready(images), network(images)) < 1e-12


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("op", [op for op in sorted(OPS) if op not in ("dynamic_shuffle", "static_dynamic_shuffle")])
def test_an_op_of_reordered_weights_reads_and_writes_reordered_channels(op, stride):
    module = randomised(nn.Sequential(OPS[op].build(7, stride))).double()
    free = freedom(module)
    assert free.entering == 0
    x = torch.randn(2, 7, 9, 9, dtype=torch.float64)
    expected = module(x)
    leaving = torch.cat([torch.randperm(4), 4 + torch.randperm(3)]) if free.leaving else torch.randperm(7)
    entering = leaving if free.tied else torch.randperm(7)
    changed = copy.deepcopy(module)
    reorder(changed, entering, leaving)
    assert difference(changed(x[:, entering]), expected[:, leaving]) < 1e-13


@given(st.data())
def test_every_layer_reads_the_channels_it_was_trained_for(data):
    """Carries names in place of channels through layers that are all tied, all free, or of fixed orders."""
    half = data.draw(st.integers(1, 9))
    kinds = {"tied": nn.ReLU, "free": lambda: nn.Conv2d(half, half, 1), "fixed": nn.Softmax}
    channels, layers = list(range(2 * half)), [Layer([nn.Conv2d(1, 2 * half, 1)], [], [list(range(2 * half))])]
    for number in range(1, data.draw(st.integers(1, 6)) + 1):
        written = list(range((number + 1) * half, (number + 2) * half))
        kind = data.draw(st.sampled_from(sorted(kinds)))
        layers.append(Layer([kinds[kind]()], channels[:half], [written]))
        channels = data.draw(st.permutations(written + channels[half:]))
    layers.append(Layer([nn.Conv2d(2 * half, 1, 1)], channels, [[]]))
    tensors = []
    for layer, (pieces, reads, writes) in zip(layers, place(layers), strict=True):
        joined = [name for tensor, start, length in pieces for name in tensors[tensor][start : start + length]]
        assert joined == reads
        assert sorted(reads) == sorted(layer.reads)
        assert sorted(writes[0]) == sorted(layer.writes[0])
        if isinstance(layer.modules[0], nn.ReLU):
            assert [layer.reads.index(name) for name in reads] == [layer.writes[0].index(name) for name in writes[0]]
        if isinstance(layer.modules[0], nn.Softmax):
            assert (reads, writes[0]) == (layer.reads, layer.writes[0])
        tensors += writes


@given(st.integers(2, 12), st.integers(0, 2**31))
def test_a_permutation_between_other_orders_is_that_permutation(channels, seed):
    torch.manual_seed(seed)
    index, entering, leaving = (torch.randperm(channels) for _ in range(3))
    mixer, x = Permutation(index.clone()), torch.randn(1, channels, 2, 2)
    reorder(mixer, entering, leaving)
    assert torch.equal(mixer(x[:, entering]), x[:, index][:, leaving])

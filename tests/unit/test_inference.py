import copy
import dataclasses

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from nas.models.hardening import harden_mixers
from nas.models.inference.channel_orders import Freedom, Level, freedom
from nas.models.inference.channel_placement import Layer, Piece, place
from nas.models.inference.ready import FoldedLayers, for_inference
from nas.models.shufflenasnet import ShuffleNASNet
from nas.models.shufflenets import ShuffleNetV1, ShuffleNetV2
from nas.models.stacked_cells import StackedCells
from search_spaces.cells import genotype_candidates
from search_spaces.genotype import Block, CellGenotype, Genotype
from search_spaces.mixers import Mixer, Permutation
from search_spaces.ops import FactorizedReduction, SeparableConv
from search_spaces.shufflenas import ShuffleNASSpace
from search_spaces.shuffles import ChannelShuffle
from tests.conftest import make_cell


def randomised(network: nn.Module) -> nn.Module:
    """The network ready to be tested: random statistics and weights of batch norm, random permutations."""
    for module in list(network.modules()):
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
        for name, child in list(module.named_children()):
            if isinstance(child, Mixer) and (child.rounds or isinstance(child, ChannelShuffle)):
                setattr(module, name, Permutation(torch.randperm(child.channels)))
    return network.eval()


def difference(actual: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest number."""
    return ((actual - expected).abs().max() / expected.abs().max()).item()


def build(genotype: Genotype, **settings) -> ShuffleNASNet:
    settings = {"in_channels": 3, "num_classes": 5, "filters": 8, "cells_per_stage": 3, **settings}
    return randomised(ShuffleNASNet(genotype_candidates(genotype), **settings)).double()


IMAGES = torch.randn(2, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


class Ops(TorchDispatchMode):
    """Notes the names of all that torch computes."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names = [*getattr(self, "names", []), func.overloadpacket.__name__]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("network", ["shufflenasnet", "shufflenet_v2"])
def test_no_channel_is_gathered_shuffled_or_written_twice(genotype, network, layout):
    if network == "shufflenet_v2":
        genotype, trained = None, randomised(ShuffleNetV2(num_classes=5, width=0.5, macro="cifar")).double()
    else:
        trained = build(genotype)
    ready = for_inference(trained, genotype).to(memory_format=layout)
    with torch.no_grad(), Ops() as ops:
        logits = ready(IMAGES.to(memory_format=layout), genotype)
    assert difference(logits, trained(IMAGES, genotype)) < 1e-12
    assert not {"index_select", "index", "gather", "index_copy_", "copy_"} & set(ops.names)


def test_the_network_and_the_images_stay_as_they_are(genotype):
    network, images = build(genotype), IMAGES.clone()
    before = copy.deepcopy(network.state_dict())
    network.train()
    ready = for_inference(network, genotype)
    with torch.no_grad():
        ready(images, genotype)
        for weight in ready.state_dict().values():
            weight.zero_()
    assert network.training
    assert torch.equal(images, IMAGES)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("ops", [("identity",), ("identity", "max_pool_3x3"), ("min_pool_3x3",)])
def test_a_cell_that_hands_its_input_on_does_not_change_it(ops):
    cell = make_cell(*((0, op) for op in ops))
    genotype = Genotype("shufflenas", normal=cell, reduction=make_cell((0, "max_pool_3x3")))
    network = build(genotype)
    ready = for_inference(network, genotype)
    with torch.inference_mode():
        assert torch.equal(ready(IMAGES, genotype), ready(IMAGES, genotype))
        assert difference(ready(IMAGES, genotype), network(IMAGES, genotype)) < 1e-12


def test_gradients_pass_through(genotype):
    images = IMAGES.clone().requires_grad_()
    network = build(genotype)
    gradients = [
        torch.autograd.grad(module(images, genotype).sum(), images)[0]
        for module in (network, for_inference(network, genotype))
    ]
    assert difference(*gradients) < 1e-12


def test_a_supernet_becomes_the_derived_model(genotype):
    supernet = ShuffleNASNet(ShuffleNASSpace(blocks=4).candidates(), in_channels=3, num_classes=5, filters=8)
    supernet = randomised(supernet).double()
    ready = for_inference(supernet, genotype)
    assert difference(ready(IMAGES, genotype), supernet(IMAGES, genotype)) < 1e-12
    derived = ShuffleNASNet(genotype_candidates(genotype), in_channels=3, num_classes=5, filters=8)
    assert sum(p.numel() for p in ready.parameters()) == sum(p.numel() for p in derived.parameters())


def test_what_the_network_does_not_hold_is_refused(genotype):
    network = build(genotype)
    other = dataclasses.replace(genotype, normal=make_cell((0, "sep_conv_5x5")))
    with pytest.raises(ValueError, match="does not hold 0_0_keeping_sep_conv_5x5"):
        for_inference(network, other)
    other = dataclasses.replace(genotype, normal=dataclasses.replace(genotype.normal, mixer="identity"))
    with pytest.raises(ValueError, match="does not hold the genotype's mixer identity, but channel_shuffle"):
        for_inference(network, other)
    with pytest.raises(ValueError, match="made ready for another genotype"):
        for_inference(network, genotype)(IMAGES, other)


@pytest.mark.parametrize(
    "mixer",
    ["auto_shuffle", "kaleidoscope", "kaleidoscope_bb", "kaleidoscope_odo", "conv1x1", "static_dynamic_shuffle"],
)
def test_every_mixer_is_hardened_and_kept(genotype, mixer):
    mixed = Genotype(
        "shufflenas", *(dataclasses.replace(cell, mixer=mixer) for cell in (genotype.normal, genotype.reduction))
    )
    network = build(mixed)
    for module in network.modules():
        if isinstance(module, Mixer):
            for weight in module.parameters():
                nn.init.normal_(weight, std=0.3)
    ready = for_inference(network, mixed)
    hardened = copy.deepcopy(network)
    harden_mixers(hardened, linear_maps=True)
    torch.manual_seed(1)
    expected = hardened(IMAGES, mixed)
    torch.manual_seed(1)
    assert difference(ready(IMAGES, mixed), expected) < 1e-12


class Ramp(nn.Module):
    """An op that treats every channel in another way and is not known to the folding."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.arange(1, x.shape[1] + 1, dtype=x.dtype)[:, None, None]


@pytest.mark.parametrize("end", ["sep_conv_3x3", "max_pool_3x3", "identity"])
@pytest.mark.parametrize("merge", ["sum", "concat_conv1x1"])
def test_unknown_ops_read_and_write_in_their_own_order(end, merge):
    cell = make_cell((0, "sep_conv_3x3"), (1, "conv_1x1"), (2, end), (0, "max_pool_3x3"))
    genotype = Genotype("shufflenas", normal=cell, reduction=cell)
    network = build(genotype, merge=merge)
    for layer in (network.layers[1], network.layers[3]):
        assert "1_0_keeping_conv_1x1" in layer.cell.ops
        layer.cell.ops["1_0_keeping_conv_1x1"] = Ramp()
    ready = for_inference(network, genotype)
    assert difference(ready(IMAGES, genotype), network(IMAGES, genotype)) < 1e-12


@pytest.mark.parametrize("merge", ["sum", "concat_conv1x1"])
@pytest.mark.parametrize("outputs", [(0, 2), (0,), (1, 2), None])
def test_blocks_of_two_ops_and_merged_inputs(merge, outputs):
    blocks = (Block((0, 0), ("identity", "sep_conv_3x3")), Block((0, 1), ("avg_pool_3x3", "conv_7x1_1x7")))
    cell = CellGenotype(blocks=blocks, outputs=outputs)
    genotype = Genotype("shufflenas", normal=cell, reduction=cell)
    network = build(genotype, merge=merge, filters=10, shortcut="reduction_cell")
    ready = for_inference(network, genotype)
    assert difference(ready(IMAGES, genotype), network(IMAGES, genotype)) < 1e-12


def test_other_networks_are_hardened_and_nothing_else(genotype):
    v1 = ShuffleNetV1(num_classes=5, macro="cifar", width=0.25, mixer="auto_shuffle").eval()
    ready = for_inference(v1, None)
    assert any(isinstance(module, Permutation) for module in ready.modules())
    assert not any(isinstance(module, FoldedLayers) for module in ready.modules())
    assert any(module.rounds for module in v1.modules() if isinstance(module, Mixer))
    assert ready(IMAGES.float()).shape == (2, 5)
    cell = CellGenotype(blocks=(Block((0, 1), ("identity", "sep_conv_3x3")),), num_inputs=2)
    stacked_genotype = Genotype("nasnet", normal=cell, reduction=cell)
    stacked = StackedCells(genotype_candidates(stacked_genotype), in_channels=3, num_classes=5, filters=4).eval()
    images = IMAGES.float()
    ready = for_inference(stacked, stacked_genotype)
    assert torch.equal(ready(images, stacked_genotype), stacked(images, stacked_genotype))


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (SeparableConv(6, stride=2, kernel_size=3), Freedom(Level.ANY, Level.ANY, tied=False)),
        (nn.MaxPool2d(3), Freedom(Level.ANY, Level.ANY, tied=True)),
        (nn.Conv2d(6, 6, 3, groups=6), Freedom(Level.ANY, Level.ANY, tied=True)),
        (nn.Conv2d(6, 6, 3, groups=2), Freedom(Level.FIXED, Level.FIXED, tied=False)),
        (nn.Conv2d(6, 12, 3, groups=6), Freedom(Level.FIXED, Level.FIXED, tied=False)),
        (FactorizedReduction(6, 6), Freedom(Level.ANY, Level.HALVES, tied=False)),
        (nn.Sequential(FactorizedReduction(6, 6), nn.MaxPool2d(3)), Freedom(Level.ANY, Level.HALVES, tied=False)),
        (nn.Sequential(nn.ReLU(), nn.Softmax(dim=1)), Freedom(Level.FIXED, Level.FIXED, tied=False)),
        (nn.Sequential(nn.Conv2d(6, 6, 1), nn.Softmax(dim=1)), Freedom(Level.ANY, Level.FIXED, tied=False)),
        (nn.Sequential(nn.Softmax(dim=1), nn.Conv2d(6, 6, 1)), Freedom(Level.FIXED, Level.ANY, tied=False)),
        (type("Odd", (nn.ReLU,), {})(), Freedom(Level.FIXED, Level.FIXED, tied=False)),
    ],
)
def test_which_orders_a_module_allows(module, expected):
    assert freedom(module) == expected


def test_labels_keep_halves_and_places():
    assert Level.ANY.labels(5) == [0] * 5
    assert Level.HALVES.labels(5) == [0, 0, 0, 1, 1]
    assert Level.FIXED.labels(3) == [0, 1, 2]


def chain_of(kind: type[nn.Module], schedules: list[str]) -> list[Layer]:
    """Layers that read the channels with a 1 in their schedule, and write what takes the same place."""
    names, channels, layers = len(schedules), list(range(len(schedules))), []
    layers.append(Layer([nn.Conv2d(1, names, 1)], [], [list(channels)]))
    for step in range(len(schedules[0])):
        entering = [i for i, schedule in enumerate(schedules) if schedule[step] == "1"]
        written = list(range(names, names + len(entering)))
        module = kind() if kind is nn.ReLU else kind(len(entering), len(entering), 1)
        layers.append(Layer([module], [channels[i] for i in entering], [written]))
        names += len(entering)
        for i, name in zip(entering, written, strict=True):
            channels[i] = name
    return [*layers, Layer([nn.Conv2d(len(channels), 1, 1)], channels, [[]])]


@pytest.mark.parametrize(("kind", "expected"), [(nn.ReLU, [0, 1, 2, 3, 5]), (nn.Conv2d, [0, 1, 2, 3, 4])])
def test_layers_read_few_pieces(kind, expected):
    """Every schedule of three layers twice, out of order.

    Free layers read at most one piece of every earlier one. If orders tie, the second layer writes 010 011 111 110, of
    which the two ends are read last.
    """
    schedules = ["110", "000", "101", "011", "010", "111", "001", "100"] * 2
    assert [len(placement.pieces) for placement in place(chain_of(kind, schedules))] == expected


def test_a_tensor_is_sorted_by_its_readers():
    placements = place(chain_of(nn.Conv2d, ["01", "10", "01", "10"]))
    assert placements[0].writes == [[1, 3, 2, 0]]  # every other group is reversed
    assert [placement.pieces for placement in placements] == [
        [],
        [Piece(0, 0, 2)],
        [Piece(0, 2, 2)],
        [Piece(1, 0, 2), Piece(2, 0, 2)],
    ]

"""Making a trained network ready for inference: exact permutations, and no channel moved for their sake.

A permutation of the channels need not be carried out: it is enough to know where every channel lies. In a chain of
normal layers (ShuffleNASNet, ShuffleNet v2) half of the channels enter a cell, the others wait for a later one. So the
outputs of cells are kept as they are, and what the next cell reads is joined out of slices of them: half of the
channels are copied a layer, where concatenating and mixing copies all of them twice. Since weights can be reordered
(`nas.models.inference.channel_orders`), every
output is written in the order in which it will be read, so that the slices are few. All
permutations, fixed or learned, cost about the same.
"""

import copy
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from nas.models.hardening import harden_mixers
from nas.models.inference.channel_orders import BoundCell, reorder
from nas.models.inference.channel_placement import Layer, Piece, place
from nas.models.macro import reduction_cell
from nas.models.shufflenasnet import NormalLayer, ReductionLayer, ShuffleNASNet
from nas.models.shufflenets import V2_STEM_CHANNELS, ShuffleNetV2, ShuffleUnitV2
from search_spaces.cells import Cell
from search_spaces.genotype import Genotype
from search_spaces.mixers import Mixer, Permutation, shuffle_index
from search_spaces.shuffles import ChannelShuffle, IdentityMixer


def for_inference(network: nn.Module, genotype: Genotype | None) -> nn.Module:
    """Returns a copy of a network for inference with one genotype: mixers hardened, permutations folded away.

    The copy takes the same arguments and returns the same logits up to rounding, without drop-path. A ShuffleNASNet
    loses what is not on the genotype's path, so that a supernet becomes the derived model.

    Raises:
        ValueError: If the network does not hold the genotype's ops. The copy of a ShuffleNASNet raises it if called
            with another genotype.
    """
    ready = copy.deepcopy(network).eval()
    harden_mixers(ready, linear_maps=True)
    if isinstance(ready, ShuffleNASNet) and genotype is not None:
        ready.layers = nn.ModuleList([_fold_shufflenasnet(ready, genotype)])
    elif isinstance(ready, ShuffleNetV2):
        ready.stages = nn.Sequential(_fold_shufflenet_v2(ready))
    return ready


def permutation_of(mixer: nn.Module) -> Tensor | None:
    """Returns the permutation (C,) of a mixer, on the CPU; None if it is none, or one that depends on the input."""
    if isinstance(mixer, Permutation):
        return mixer.index.cpu()
    if isinstance(mixer, ChannelShuffle):
        return shuffle_index(mixer.channels, mixer.groups)
    return torch.arange(mixer.channels) if isinstance(mixer, IdentityMixer) else None


class FoldedLayers(nn.Module):
    """A chain of layers, each reading slices of what earlier ones wrote.

    Args:
        layers: Each the modules that read the same tensor and write one each.
        pieces: What each layer reads, tensor 0 being the chain's input, and after them what the chain returns.
        genotype: That of the layers, if any.
    """

    def __init__(
        self, layers: Iterable[Sequence[nn.Module]], pieces: list[list[Piece]], genotype: Genotype | None
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.ModuleList(modules) for modules in layers)
        self.pieces = pieces
        self.genotype = genotype
        last = {piece.tensor: number for number, read in enumerate(pieces) for piece in read}
        self.done = [[tensor for tensor, reader in last.items() if reader == number] for number in range(len(pieces))]

    def forward(self, x: Tensor, genotype: Genotype | None = None, **_: Any) -> Tensor:
        """Maps (N, C, H, W) to (N, C', H', W').

        Raises:
            ValueError: If called with another genotype.
        """
        if genotype is not None and genotype != self.genotype:
            raise ValueError("the network was made ready for another genotype: call for_inference with this one")
        tensors: list[Tensor | None] = [x]
        for number, layer in enumerate(self.layers):
            entering = self._read(tensors, number)
            assert isinstance(layer, nn.ModuleList)
            tensors += [module(entering) for module in layer]
        return self._read(tensors, len(self.layers))

    def _read(self, tensors: list[Tensor | None], number: int) -> Tensor:
        """Joins what a layer reads, and lets go of the tensors that none will read again."""
        slices = []
        for tensor, start, length in self.pieces[number]:
            source = tensors[tensor]
            assert source is not None
            slices.append(source if length == source.shape[1] else source.narrow(1, start, length))
        for tensor in self.done[number]:
            tensors[tensor] = None
        return slices[0] if len(slices) == 1 else torch.cat(slices, dim=1)


class _Chain:
    """Walks through a network in order and notes its layers and which channels they read.

    Args:
        stem: Writes the first channels.
        channels: How many.
    """

    def __init__(self, stem: nn.Module, channels: int) -> None:
        self.names = count()
        self.layers: list[Layer] = []
        self.channels: list[int] = []
        self.add([stem], [], [channels])

    def add(self, modules: Sequence[nn.Module], reads: list[int], widths: Sequence[int], *, front: bool = True) -> None:
        """Adds modules, of `widths` channels each, which go to the front or the back of the channels not read."""
        writes = [[next(self.names) for _ in range(width)] for width in widths]
        self.layers.append(Layer(modules, reads, writes))
        written, read = [name for names in writes for name in names], set(reads)
        rest = [name for name in self.channels if name not in read]
        self.channels = written + rest if front else rest + written

    def mix(self, mixer: nn.Module) -> None:
        """Permutes the channels, or adds a mixer that is no permutation."""
        index = permutation_of(mixer)
        if index is None:
            self.add([mixer], self.channels, [len(self.channels)])
        else:
            self.channels = [self.channels[i] for i in index.tolist()]

    def fold(self, head: nn.Module, genotype: Genotype | None) -> FoldedLayers:
        """Reorders all weights, also those of the head, which reads the channels at the end."""
        layers = [*self.layers, Layer([head], self.channels, [[]])]
        placements = place(layers)
        for layer, (_, reads, writes) in zip(layers, placements, strict=True):
            for module, trained, chosen in zip(layer.modules, layer.writes, writes, strict=True):
                reorder(module, _order(layer.reads, reads), _order(trained, chosen))
        pieces = [placement.pieces for placement in placements[1:]]
        return FoldedLayers([layer.modules for layer in self.layers[1:]], pieces, genotype)


def _order(trained: list[int], chosen: list[int]) -> Tensor | None:
    """Returns the order (C,) in which names lie, given that for which the weights were trained; None without names."""
    number = {name: i for i, name in enumerate(trained)}
    return torch.tensor([number[name] for name in chosen]) if chosen else None


def _held(mixers: nn.ModuleDict, name: str) -> nn.Module:
    if name not in mixers:
        raise ValueError(f"the network does not hold the genotype's mixer {name}, but {', '.join(mixers)}")
    return mixers[name]


def _fold_shufflenasnet(network: ShuffleNASNet, genotype: Genotype) -> FoldedLayers:
    chain = _Chain(network.stem, network.filters)
    for layer in network.layers:
        channels = len(chain.channels)
        if isinstance(layer, NormalLayer):
            cell = genotype.normal
            chain.add([BoundCell(layer.cell, cell)], chain.channels[: channels // 2], [channels // 2])
        else:
            assert isinstance(layer, ReductionLayer)
            cell = reduction_cell(genotype)
            shortcut = BoundCell(layer.shortcut, cell) if isinstance(layer.shortcut, Cell) else layer.shortcut
            chain.add([BoundCell(layer.cell, cell), shortcut], chain.channels, [channels, channels])
        chain.mix(_held(layer.mixers, cell.mixer))
    return chain.fold(network.classifier, genotype)


def _fold_shufflenet_v2(network: ShuffleNetV2) -> FoldedLayers:
    chain = _Chain(network.stem, V2_STEM_CHANNELS)
    for unit in (unit for stage in network.stages.children() for unit in stage.children()):
        assert isinstance(unit, ShuffleUnitV2)
        assert isinstance(unit.mixer, Mixer)
        half = unit.mixer.channels // 2
        if unit.strided:
            chain.add([unit.shortcut, unit.branch], chain.channels, [half, half])
        else:
            chain.add([unit.branch], chain.channels[half:], [half], front=False)
        chain.mix(unit.mixer)
    return chain.fold(network.final, None)

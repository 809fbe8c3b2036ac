"""Making a trained network ready for inference: exact permutations, and as few of them moved as possible.

A permutation of the channels need not be carried out: it is enough to know where every channel lies. In a chain of
normal layers (ShuffleNASNet, ShuffleNet v2) the half that enters the next cell is gathered from where it lies, the
cell's output is put in its place, and the other half is not touched. So every permutation, fixed or learned, costs the
same, and less than concatenating and shuffling. At a reduction the channels are gathered once, and the classifier's
columns are permuted instead of the channels.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from nas.hardening import harden_mixers
from nas.macro import reduction_cell
from nas.networks import NormalLayer, ReductionLayer, ShuffleNASNet
from nas.shufflenets import V2_STEM_CHANNELS, ShuffleNetV2, ShuffleUnitV2
from search_spaces.genotype import Genotype
from search_spaces.mixers import Mixer, Permutation, shuffle_index
from search_spaces.shuffles import ChannelShuffle, IdentityMixer


def for_inference(network: nn.Module, genotype: Genotype | None) -> nn.Module:
    """Returns a copy of a network for inference with one genotype: mixers hardened, permutations folded away.

    The copy takes the same arguments and returns the same logits up to rounding.
    """
    ready = copy.deepcopy(network).eval()
    harden_mixers(ready, linear_maps=True)
    if isinstance(ready, ShuffleNASNet) and genotype is not None:
        _fold_shufflenasnet(ready, genotype)
    elif isinstance(ready, ShuffleNetV2):
        _fold_shufflenet_v2(ready)
    return ready


class FoldedLayer(nn.Module):
    """A layer that changes half of the channels, on channels in any order: its output takes the place of its input.

    Args:
        change: Maps the half that enters, (N, C / 2, H, W), and the other arguments of `forward`, to the same shape.
        places: (C / 2,), where the channels that enter lie.
    """

    places: Tensor

    def __init__(self, change: nn.Module, places: Tensor) -> None:
        super().__init__()
        self.change = change
        self.register_buffer("places", places)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Maps (N, C, H, W) to the same shape; without gradients it changes `x` in place."""
        out = self.change(gathered(x, self.places), *args, **kwargs).to(x.dtype)
        return x.index_copy(1, self.places, out) if torch.is_grad_enabled() else _put(x, self.places, out)


class Gathered(nn.Module):
    """A module whose input is brought into order first.

    Args:
        module: Reads channels in order.
        places: (C,), where each of them lies.
    """

    places: Tensor

    def __init__(self, module: nn.Module, places: Tensor) -> None:
        super().__init__()
        self.module = module
        self.register_buffer("places", places)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Maps (N, C, H, W) to what the module returns."""
        out: Tensor = self.module(gathered(x, self.places), *args, **kwargs)
        return out


def gathered(x: Tensor, places: Tensor) -> Tensor:
    """Returns channels `places` of `x` (N, C, H, W), in its memory format."""
    if x.is_contiguous(memory_format=torch.channels_last):
        return x.permute(0, 2, 3, 1).index_select(3, places).permute(0, 3, 1, 2)
    return x.index_select(1, places)


def permutation_of(mixer: nn.Module) -> Tensor | None:
    """Returns the permutation (C,) of a mixer, on the CPU; None if it is none, or one that depends on the input."""
    if isinstance(mixer, Permutation):
        return mixer.index.cpu()
    if isinstance(mixer, ChannelShuffle):
        return shuffle_index(mixer.channels, mixer.groups)
    return torch.arange(mixer.channels) if isinstance(mixer, IdentityMixer) else None


def _put(x: Tensor, places: Tensor, values: Tensor) -> Tensor:
    """Writes channels `places` of `x`, in place."""
    x.permute(0, 2, 3, 1).index_copy_(3, places, values.permute(0, 2, 3, 1))
    return x


class _Folding:
    """Walks through layers in order and remembers where every channel lies.

    Args:
        channels: C of the first layer's input.
        device: Of the network.
    """

    def __init__(self, channels: int, device: torch.device) -> None:
        self.device = device
        self.places = torch.arange(channels)

    def half(self, layer: nn.Module, change: nn.Module, *, first: bool, index: Tensor | None) -> nn.Module:
        """Folds a layer that changes its first or second half and mixes by `index`; returns what takes its place."""
        if index is None:
            return self.in_order(layer, channels=len(self.places))
        middle = len(self.places) // 2
        entering = self.places[:middle] if first else self.places[middle:]
        self.places = self.places[index]
        return FoldedLayer(change, entering.to(self.device))

    def whole(self, layer: nn.Module, *, channels: int, index: Tensor | None) -> nn.Module:
        """Folds a layer that reads all channels, whose output of `channels` is yet to be mixed by `index`."""
        folded = self.in_order(layer, channels=channels)
        if index is not None:
            self.places = index
        return folded

    def in_order(self, module: nn.Module, *, channels: int) -> nn.Module:
        """Has a module read the channels in order; its own output, of `channels`, is in order."""
        places, self.places = self.places, torch.arange(channels)
        return module if torch.equal(places, torch.arange(len(places))) else Gathered(module, places.to(self.device))

    def columns(self, weight: Tensor) -> None:
        """Permutes the input channels, dimension 1, of the weights that read the last output."""
        with torch.no_grad():
            weight[:, self.places.to(self.device)] = weight.clone()
        self.places = torch.arange(len(self.places))


class _NormalChange(nn.Module):
    """The part of a normal layer that changes its half of the channels."""

    def __init__(self, layer: NormalLayer) -> None:
        super().__init__()
        self.cell = layer.cell

    def forward(self, half: Tensor, genotype: Genotype, *, drop_prob: float | Tensor = 0.0) -> Tensor:
        out: Tensor = self.cell([half], genotype.normal, drop_prob=drop_prob)
        return out


def _fold_shufflenasnet(network: ShuffleNASNet, genotype: Genotype) -> None:
    folding = _Folding(network.filters, network.classifier.weight.device)
    for i, layer in enumerate(network.layers):
        if isinstance(layer, NormalLayer):
            index = permutation_of(layer.mixers[genotype.normal.mixer])
            network.layers[i] = folding.half(layer, _NormalChange(layer), first=True, index=index)
        else:
            assert isinstance(layer, ReductionLayer)
            name, channels = reduction_cell(genotype).mixer, 2 * len(folding.places)
            index = permutation_of(layer.mixers[name])
            if index is not None:
                layer.mixers[name] = IdentityMixer(channels)
            network.layers[i] = folding.whole(layer, channels=channels, index=index)
    folding.columns(network.classifier.weight)


def _fold_shufflenet_v2(network: ShuffleNetV2) -> None:
    final = network.final[0]
    assert isinstance(final, nn.Conv2d)
    folding = _Folding(V2_STEM_CHANNELS, final.weight.device)
    for stage in network.stages:
        assert isinstance(stage, nn.Sequential)
        for i, unit in enumerate(stage):
            assert isinstance(unit, ShuffleUnitV2)
            assert isinstance(unit.mixer, Mixer)
            channels, index = unit.mixer.channels, permutation_of(unit.mixer)
            if not unit.strided:
                stage[i] = folding.half(unit, unit.branch, first=False, index=index)
                continue
            if index is not None:
                unit.mixer = IdentityMixer(channels)
            stage[i] = folding.whole(unit, channels=channels, index=index)
    folding.columns(final.weight)

"""Learned mixers on the way from soft to exact: which are in use, their penalty, permutations in their place."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from search_spaces.genotype import Genotype
from search_spaces.mixers import Mixer


def outermost_mixers(module: nn.Module) -> Iterator[Mixer]:
    """Yields the mixers within a module, but not those that are parts of another mixer."""
    if isinstance(module, Mixer):
        yield module
        return
    for child in module.children():
        yield from outermost_mixers(child)


def soft_mixers(network: nn.Module, genotype: Genotype | None = None) -> list[Mixer]:
    """Returns the mixers, as layers or as ops, that are still to become exact permutations, each once.

    Args:
        network: Supernet, derived model or network without choices.
        genotype: Only those on its path; None takes all.
    """
    modules: list[nn.Module] = [network]
    layers = getattr(network, "layers", None)
    if genotype is not None and layers is not None:
        modules = [module for layer in layers for module in layer.path_modules(genotype)]
    mixers = [mixer for module in modules for mixer in outermost_mixers(module) if mixer.rounds]
    return list(dict.fromkeys(mixers))


def penalty(mixers: list[Mixer], *, weight: float | Tensor, step: float | Tensor) -> Tensor:
    """Returns the weighted sum of the mixers' penalties, shape (), with gradients.

    Args:
        mixers: At least one.
        weight: λ. A mixer gets less where λ times its step would be larger than it stands.
        step: How far a steady gradient of 1 moves a weight whose learning rate is not scaled: lr / (1 − momentum).
            A number like λ, or both tensors of shape () that are read on their device.
    """
    terms = []
    for mixer in mixers:
        if isinstance(weight, Tensor) and isinstance(step, Tensor):
            terms.append(torch.minimum(weight, mixer.largest_step / (step * mixer.lr_scale)) * mixer.regularization())
        else:
            most = mixer.largest_step / (step * mixer.lr_scale) if step > 0 else math.inf
            terms.append(min(weight, most) * mixer.regularization())
    return torch.stack(terms).sum()


def largest_distance(mixers: list[Mixer]) -> float:
    """Returns how far the mixers' matrices are at most from the exact permutations; 0 without mixers."""
    return max((mixer.distance().item() for mixer in mixers), default=0.0)


def harden_mixers(module: nn.Module, *, linear_maps: bool = False) -> None:
    """Replaces the mixers within a module by hardened ones, in place.

    Args:
        module: Not itself a mixer.
        linear_maps: Whether learned linear maps, which are not rounded, are written out as well, no longer to be
            trained.
    """
    for name, child in module.named_children():
        if not isinstance(child, Mixer):
            harden_mixers(child, linear_maps=linear_maps)
        elif child.rounds or linear_maps:
            setattr(module, name, child.harden().train(child.training))

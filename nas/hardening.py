"""Learned mixers on the way from soft to exact: finding them, their penalty, and putting permutations in their place."""

from collections.abc import Iterator

from torch import nn

from search_spaces.mixers import Mixer


def outermost_mixers(module: nn.Module) -> Iterator[Mixer]:
    """Yields the mixers within a module, but not those that are parts of another mixer."""
    if isinstance(module, Mixer):
        yield module
        return
    for child in module.children():
        yield from outermost_mixers(child)


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
            hardened = child.harden().train(child.training)
            setattr(module, name, hardened)

"""The mixers: modules that mix the channels after a layer, by name.

Every mixer maps (N, C, H, W) to the same shape. A new one is one function under `@register_mixer`.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

MIXERS: dict[str, Callable[[int], nn.Module]] = {}


def register_mixer(name: str) -> Callable[[Callable[[int], nn.Module]], Callable[[int], nn.Module]]:
    """Enters the decorated builder `(channels) -> nn.Module` into the mixer table under `name`.

    Raises:
        ValueError: If the name is taken.
    """

    def enter(build: Callable[[int], nn.Module]) -> Callable[[int], nn.Module]:
        if name in MIXERS:
            raise ValueError(f"the mixer {name!r} is registered twice")
        MIXERS[name] = build
        return build

    return enter


def build_mixer(name: str, channels: int) -> nn.Module:
    """Makes the mixer of that name for C = `channels`.

    Raises:
        ValueError: If there is no such mixer; the message lists the known ones.
    """
    if name not in MIXERS:
        raise ValueError(f"unknown mixer {name!r}; known: {', '.join(sorted(MIXERS))}")
    return MIXERS[name](channels)


class ChannelShuffle(nn.Module):
    """The channel shuffle of ShuffleNet (arXiv:1707.01083, §3.1): (g, C/g) transposed to (C/g, g).

    Args:
        channels: C.
        groups: g, a divisor of C.

    Raises:
        ValueError: If g does not divide C.
    """

    def __init__(self, channels: int, *, groups: int = 2) -> None:
        super().__init__()
        if groups < 1 or channels % groups:
            raise ValueError(f"channel shuffle needs groups that divide {channels} channels, got {groups}")
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape and memory format, channels permuted."""
        n, c, h, w = x.shape
        if x.is_contiguous(memory_format=torch.channels_last):
            last = x.permute(0, 2, 3, 1).reshape(n, h, w, self.groups, c // self.groups)
            return last.transpose(3, 4).reshape(n, h, w, c).permute(0, 3, 1, 2)
        return x.reshape(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)


@register_mixer("channel_shuffle")
def _channel_shuffle(channels: int) -> nn.Module:
    return ChannelShuffle(channels)


@register_mixer("identity")
def _identity(channels: int) -> nn.Module:  # noqa: ARG001
    return nn.Identity()

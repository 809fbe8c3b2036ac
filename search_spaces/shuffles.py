"""The mixers that come with the project, and how to make one by name."""

import torch
from torch import Tensor, nn

from search_spaces.mixers import MIXERS, Mixer, register_mixer


def check_mixer(name: str) -> None:
    """Raises ValueError if there is no mixer of that name; the message lists the known ones."""
    if name not in MIXERS:
        raise ValueError(f"unknown mixer {name!r}; known: {', '.join(sorted(MIXERS))}")


def build_mixer(name: str, channels: int, groups: int = 2) -> nn.Module:
    """Makes the mixer of that name.

    Args:
        name: In the mixer table.
        channels: C.
        groups: Of the channel shuffle whose place it takes; learned mixers start near that shuffle.

    Raises:
        ValueError: If there is no such mixer, or it cannot have so many channels or groups.
    """
    check_mixer(name)
    return MIXERS[name](channels, groups)


class ChannelShuffle(Mixer):
    """The channel shuffle of ShuffleNet (arXiv:1707.01083, §3.1): (g, C/g) transposed to (C/g, g).

    Args:
        channels: C.
        groups: g, a divisor of C.

    Raises:
        ValueError: If g does not divide C.
    """

    def __init__(self, channels: int, *, groups: int = 2) -> None:
        super().__init__(channels)
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


class IdentityMixer(Mixer):
    """Leaves the channels where they are."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns `x`."""
        return x


@register_mixer("channel_shuffle")
def _channel_shuffle(channels: int, groups: int) -> nn.Module:
    return ChannelShuffle(channels, groups=groups)


@register_mixer("identity")
def _identity(channels: int, groups: int) -> nn.Module:  # noqa: ARG001
    return IdentityMixer(channels)

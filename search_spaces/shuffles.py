"""The mixers that come with the project, and how to make one by name."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.auto_shuffle import AutoShuffle
from search_spaces.dynamic_shuffle import DynamicShuffle, StaticDynamicShuffle
from search_spaces.kaleidoscope import Kaleidoscope, OrthogonalKaleidoscope, SwitchShuffle
from search_spaces.mixers import MIXERS, Mixer, MixerBuilder, shuffle_index
from search_spaces.permutations import permutation_matrix


def check_mixer(name: str) -> None:
    """Raises ValueError if there is no mixer of that name; the message lists the known ones."""
    if name not in MIXERS:
        raise ValueError(f"unknown mixer {name!r}; known: {', '.join(sorted(MIXERS))}")


def build_mixer(name: str, channels: int, groups: int = 2) -> nn.Module:
    """Makes the mixer of that name.

    Args:
        name: In the mixer table.
        channels: C.
        groups: The groups of the channel shuffle whose place it takes; learned mixers start near that shuffle.

    Raises:
        ValueError: If there is no such mixer, or it cannot have so many channels or groups.
    """
    check_mixer(name)
    device = torch.get_default_device()
    with torch.device("cpu"):  # where starts are computed; the "meta" device could not
        mixer = MIXERS[name](channels, groups)
    return mixer.to(device)


class ChannelShuffle(Mixer):
    """The channel shuffle of ShuffleNet (arXiv:1707.01083, §3.1): (g, C/g) transposed to (C/g, g)."""

    def __init__(self, channels: int, *, groups: int = 2) -> None:
        super().__init__(channels)
        shuffle_index(channels, groups)  # only to check them
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape and memory format, channels permuted."""
        if x.is_contiguous(memory_format=torch.channels_last):
            last = torch.unflatten(x.permute(0, 2, 3, 1), 3, (self.groups, -1))
            return last.transpose(3, 4).flatten(3).permute(0, 3, 1, 2)
        return torch.unflatten(x, 1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)


class IdentityMixer(Mixer):
    """Leaves the channels where they are."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns `x`."""
        return x


class DenseMixer(Mixer):
    """A 1x1 convolution, the dense reference: every linear map of the channels, C² weights.

    Unlike other learned mixers it is an ordinary layer: it is not rounded, and weight decay is meant for it.
    """

    decays: bool = True

    def __init__(self, channels: int, *, groups: int = 2) -> None:
        super().__init__(channels)
        start = permutation_matrix(shuffle_index(channels, groups))
        self.weight = nn.Parameter(start[:, :, None, None])  # (C, C, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape and memory format, channels mixed."""
        return F.conv2d(x, self.weight)


def _in_groups(mixer: Callable[..., Mixer]) -> MixerBuilder:
    return lambda channels, groups: mixer(channels, groups=groups)


MIXERS.update(
    {
        "channel_shuffle": _in_groups(ChannelShuffle),
        "identity": lambda channels, groups: IdentityMixer(channels),  # noqa: ARG005
        "auto_shuffle": _in_groups(AutoShuffle),
        "dynamic_shuffle": _in_groups(DynamicShuffle),
        "static_dynamic_shuffle": _in_groups(StaticDynamicShuffle),
        "kaleidoscope": _in_groups(SwitchShuffle),
        "kaleidoscope_bb": _in_groups(Kaleidoscope),
        "kaleidoscope_odo": _in_groups(OrthogonalKaleidoscope),
        "conv1x1": _in_groups(DenseMixer),
    }
)

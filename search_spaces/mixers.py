"""Mixers: the interface of modules that mix the channels after a layer, and the table of mixers by name.

A mixer maps (N, C, H, W) to the same shape. Fixed ones do nothing else. A learned one is soft while it trains: its
penalty drives it to a permutation, `project` keeps it feasible after every step of the optimizer, and `harden` turns
it into what inference needs, for a permutation one index vector.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

MixerBuilder = Callable[[int, int], nn.Module]
"""Makes a mixer from C and the number of groups of the channel shuffle whose place it takes."""

MIXERS: dict[str, MixerBuilder] = {}
"""The mixers by name; `search_spaces.shuffles` enters those that come with the project."""


class Mixer(nn.Module):
    """The interface of mixers of C channels; the defaults are those of a mixer without weights.

    Most take the `groups` of the channel shuffle at which they start, or which they are: a divisor of C, else they
    raise ValueError.

    Attributes:
        rounds: Whether it is soft while it trains, so that `harden` rounds it to an exact permutation; such a mixer has
            a penalty, and a learning rate of its own.
        decays: Whether weight decay is meant for its weights.
        lr_scale: Its learning rate, in learning rates of the other weights.
        largest_step: How large the weight of the penalty times the step along its gradient may be.
    """

    rounds: bool = False
    decays: bool = False
    lr_scale: float = 1.0
    largest_step: float = math.inf

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels < 1:
            raise ValueError(f"a mixer needs at least 1 channel, got {channels}")
        self.channels = channels

    def regularization(self) -> Tensor:
        """Returns the penalty, shape (), ≥ 0, and 0 where the mixer is a permutation; with gradients, in float32."""
        return torch.zeros(())

    @torch.no_grad()
    def project(self) -> None:
        """Brings the weights back to the feasible set; to be called after every step of the optimizer."""

    def harden(self) -> nn.Module:
        """Returns the mixer for inference; for a learned permutation, one with the nearest exact permutation."""
        return self

    def distance(self) -> Tensor:
        """Returns the largest difference of a matrix entry to those of the hardened mixer, shape (), ≥ 0."""
        return torch.zeros(())


class Permutation(Mixer):
    """A fixed permutation of the channels: output channel i is input channel `index[i]`.

    Args:
        index: (C,), each of 0 … C − 1 once.

    Raises:
        ValueError: If `index` is not a permutation.
    """

    index: Tensor

    def __init__(self, index: Tensor) -> None:
        super().__init__(len(index))
        if not torch.equal(index.sort().values.cpu(), torch.arange(len(index))):
            raise ValueError(f"expected a permutation of 0 … {len(index) - 1}, got {index.tolist()}")
        self.register_buffer("index", index.long())

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape and memory format, channels permuted."""
        if x.is_contiguous(memory_format=torch.channels_last):
            return x.permute(0, 2, 3, 1).index_select(3, self.index).permute(0, 3, 1, 2)
        return x.index_select(1, self.index)


def shuffle_index(channels: int, groups: int) -> Tensor:
    """Returns the permutation (C,) of ShuffleNet's channel shuffle: output i is input `index[i]`.

    Raises:
        ValueError: If `groups` does not divide `channels`.
    """
    if groups < 1 or channels % groups:
        raise ValueError(f"channel shuffle needs groups that divide {channels} channels, got {groups}")
    return torch.arange(channels).view(groups, channels // groups).t().reshape(-1)

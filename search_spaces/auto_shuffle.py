"""The learned permutation of AutoShuffleNet: a doubly stochastic matrix that its penalty drives to a permutation."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.mixers import Mixer, Permutation, shuffle_index
from search_spaces.permutations import (
    distance_to_permutation,
    nearest_permutation,
    permutation_matrix,
    permutation_penalty,
    project_doubly_stochastic,
)

START_SHARE = 0.8
"""Share of the permutation in a start near one; the rest is the uniform matrix, so that every entry can still grow.

With half, ShuffleNets of ~100 channels learned less: every channel is then a blur of all.
"""
LR_SCALE = 0.1
"""The entries are about 1/C, and at the weights' own learning rate the loss drives rows onto one column."""
LARGEST_STEP = 0.3
"""Of the penalty, in entries of the uniform matrix; at 1 rows collapse onto one column, see `AutoShuffle`."""
START_NOISE = 0.5
"""Of the uniform part of a start, relative to its entries; without it a uniform start would be a saddle."""
START_ITERATIONS = 30
"""Normalisations of the start; with a share of a permutation in it each divides the error several times."""


class AutoShuffle(Mixer):
    """Mixes the channels by a learned matrix M, y = M x at every pixel (arXiv:1901.08624).

    M is kept nonnegative with rows that sum to 1 by `project`, so every output is a weighted mean of the inputs.
    Training minimises loss + λ · `regularization()`, which brings M to a permutation; `harden` rounds what is left.

    The penalty's gradient is about 2 for every small entry, and those are about 1/C. So a step η, λ times the learning
    rate (over 1 − momentum), should stay below 0.3/C; at 1/C rows collapse onto one column and stay there. By the
    penalty alone M is a permutation when the steps sum to 1 … 2 from a perturbed uniform matrix, whatever C, but to
    less than 0.5/C from near the shuffle, where it starts: so λ has to grow from 0 for the loss to have a say.

    Args:
        channels: C.
        groups: g, the groups of the channel shuffle whose place it takes; a divisor of C.

    Raises:
        ValueError: If g does not divide C.
    """

    rounds: bool = True
    lr_scale: float = LR_SCALE

    def __init__(self, channels: int, *, groups: int = 2) -> None:
        super().__init__(channels)
        self.largest_step = LARGEST_STEP / channels
        self.matrix = nn.Parameter(start_matrix(channels, groups=groups))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape and memory format, channels mixed."""
        # A convolution, not a matrix product: it reads both memory formats as they are, and under autocast it rounds
        # M to half precision but adds up in float32.
        return F.conv2d(x, self.matrix[:, :, None, None])  # weight (C, C, 1, 1)

    def regularization(self) -> Tensor:
        """Returns the penalty P(M), shape (), in float32, with gradients."""
        return permutation_penalty(self.matrix)

    @torch.no_grad()
    def project(self) -> None:
        """Clamps M at 0 and normalises columns, then rows, in place; to be called after every step of the optimizer."""
        self.matrix.copy_(project_doubly_stochastic(self.matrix))

    def harden(self) -> Permutation:
        """Returns the nearest permutation as a mixer, on the same device."""
        return Permutation(nearest_permutation(self.matrix))

    def distance(self) -> Tensor:
        """Returns the largest difference of an entry of M to that of the nearest permutation, shape (), ≥ 0."""
        return distance_to_permutation(self.matrix)


@torch.no_grad()
def start_matrix(channels: int, *, groups: int | None, noise: float = START_NOISE) -> Tensor:
    """Returns a doubly stochastic matrix (C, C) to start from.

    Args:
        channels: C.
        groups: The groups of the channel shuffle that it is mostly, the rest being uniform; None leans to no
            permutation.
        noise: In [0, 1]: the uniform part's entries are drawn between (1 − noise) / C and (1 + noise) / C.

    Raises:
        ValueError: If g does not divide C.
    """
    start = (1 + noise * (2 * torch.rand(channels, channels) - 1)) / channels
    if groups is not None:
        start = START_SHARE * permutation_matrix(shuffle_index(channels, groups)) + (1 - START_SHARE) * start
    return project_doubly_stochastic(start, iterations=START_ITERATIONS)

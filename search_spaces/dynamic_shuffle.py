"""Shuffles that depend on the image: Dynamic Shuffle and Static-Dynamic Shuffle (Gong et al. 2023, arXiv:2310.02776).

A small network looks at the whole feature map and writes, for every sample and every group of channels, two small
permutation matrices, whose Kronecker product permutes the group. The paper's layers are known to this project only in
outline; sizes, start and rounding are our reading and said where they come up.
"""

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.mixers import Mixer
from search_spaces.permutations import (
    gather_channels,
    greedy_indices,
    kronecker_shuffle,
    mix_groups,
    nearly_square_factors,
    orthogonality_penalty,
    permutation_matrix,
    straight_through,
    without_autocast,
)

START_DIAGONAL = 0.9
"""Diagonal of the small matrices at the start: the identity clearly dominates, and the softmax is not yet saturated."""
START_STD = 0.01
"""Of the generator's last weights: small next to the biases that set the diagonal; no gradient would pass 0."""
MIN_HIDDEN = 4
"""Hidden units at least; with one or two a dead ReLU would cut the generator off from its input."""


class DynamicShuffle(Mixer):
    """Permutes the channels of every sample by a permutation generated from it (arXiv:2310.02776).

    The channels are split in g groups of C/g = a · b. The generator gives each group two row-stochastic matrices,
    A (a, a) and B (b, b); the group's channels, written as a matrix X (a, b), become A X Bᵀ, which is the Kronecker
    product A ⊗ B applied without forming it. ShuffleNet's channel shuffle across the groups follows (with one group
    there is none), and with A = B = I, near which training starts, nothing else happens.

    a · b is the most nearly square factorisation of C/g, a ≤ b: (a + b) multiplications a channel and pixel. If C/g is
    prime then a = 1, A = 1, and B is as large as the group. The paper binarises by row-argmax; here greedy assignment
    does it, because the rows' largest entries need not be a permutation.

    Args:
        channels: C.
        groups: g, a divisor of C, with at least 2 channels a group.
        reduction: r ≥ 1; the generator has C/r hidden units, and no fewer than `MIN_HIDDEN`.
        binary: The forward pass uses exact permutations, and the backward pass takes the gradients by these for the
            gradients by A and B (straight-through). If False it uses A and B, and `harden` changes the function until
            the penalty is 0.

    Raises:
        ValueError: If g does not divide C, or a group has a single channel.
    """

    rounds: bool = True

    def __init__(self, channels: int, *, groups: int = 2, reduction: int = 16, binary: bool = True) -> None:
        super().__init__(channels)
        if groups < 1 or channels % groups:
            raise ValueError(f"dynamic shuffle needs groups that divide {channels} channels, got {groups}")
        if channels == groups:
            raise ValueError(f"dynamic shuffle needs at least 2 channels a group, got {channels} in {groups} groups")
        self.binary = binary
        hidden = max(MIN_HIDDEN, channels // reduction)
        self.generator = MatrixGenerator(
            channels, groups=groups, sizes=nearly_square_factors(channels // groups), hidden=hidden
        )
        self._last: tuple[Tensor, ...] = ()  # A and B of the last forward pass
        self._last_in_training: tuple[Tensor, ...] = ()  # the same with their graph, until `project`

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape, dtype and memory format, the channels of every sample permuted.

        With `binary` the values are exactly those of the hardened mixer, except that on devices where torch may
        multiply in TF32 they are rounded to it while gradients are recorded.
        """
        matrices = self.generator(x)
        self._last = tuple(matrix.detach() for matrix in matrices)
        if self.training:
            self._last_in_training = matrices
        if not self.binary:
            return mix_groups(x, *matrices)
        if not torch.is_grad_enabled():
            return gather_channels(x, kronecker_shuffle(*map(greedy_indices, matrices)))
        return mix_groups(x, *map(straight_through, matrices))

    def regularization(self) -> Tensor:
        """Returns ‖AAᵀ − I‖² + ‖BBᵀ − I‖², summed over groups, averaged over samples: shape (), in float32.

        Of the last forward pass in training mode, with its gradients; 0 before any, and after `project`, which lets go
        of that pass. A and B are nonnegative with rows that sum to 1, so it is 0 at permutations and nowhere else.
        """
        penalty = torch.zeros((), device=self.generator.expand.weight.device)
        for matrix in self._last_in_training:
            penalty = penalty + orthogonality_penalty(matrix).sum(dim=1).mean()
        return penalty.float()

    @torch.no_grad()
    def project(self) -> None:
        """Forgets the last forward pass in training mode, whose graph would live on; the weights are unconstrained."""
        self._last_in_training = ()

    def harden(self) -> "HardDynamicShuffle":
        """Returns a copy for inference that permutes exactly; it keeps the generator, as the shuffle is dynamic."""
        return HardDynamicShuffle(copy.deepcopy(self.generator))

    @torch.no_grad()
    def distance(self) -> Tensor:
        """Returns the largest difference of an entry of A or B to the exact permutations, shape (), ≥ 0.

        Over the samples of the last forward pass in either mode; 0 before any.
        """
        largest = torch.zeros((), device=self.generator.expand.weight.device)
        for matrix in self._last:
            difference = (matrix - permutation_matrix(greedy_indices(matrix))).abs().amax()
            largest = torch.maximum(largest, difference.float())
        return largest

    def __getstate__(self) -> dict[str, object]:
        # Copies start without a forward pass: tensors with a graph cannot be copied or pickled.
        return {**self.__dict__, "_last": (), "_last_in_training": ()}


class HardDynamicShuffle(Mixer):
    """A dynamic shuffle for inference: per sample one exact permutation, as one gather without matrix products.

    The permutation depends on the input, so the generator stays and runs in every forward pass. Its gradients stop at
    the assignment; those by the input are of the permutation alone.
    """

    def __init__(self, generator: "MatrixGenerator") -> None:
        super().__init__(generator.channels)
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape, dtype and memory format, the channels of every sample permuted."""
        with torch.no_grad():
            index = kronecker_shuffle(*map(greedy_indices, self.generator(x)))  # (N, C)
        return gather_channels(x, index)


class StaticDynamicShuffle(Mixer):
    """A dynamic shuffle plus a learned static matrix, a light replacement of a 1x1 convolution (arXiv:2310.02776).

    y = (P(x) + W) x. W has the structure of P: in every group a Kronecker product A ⊗ B, its entries free, then the
    shuffle across the groups. A starts as the identity and B as 0, so y starts as the dynamic shuffle, exactly; with
    both 0 no gradient would ever reach either. Penalty and distance are those of the dynamic part, the only one that is
    to be a permutation.

    With 2 groups and reduction 16 the weights are 20–30 % of the convolution's C² where C is a power of 2 from 64 to
    1024, almost all of them the generator's. Where C/g has a large prime factor B is large, and nothing is saved: 57 %
    at C = 232 (4 · 29 a group), 119 % at 116 (2 · 29), 307 % at 58 (1 · 29).

    Arguments, and the errors they can raise, are those of `DynamicShuffle`.
    """

    rounds: bool = True

    def __init__(self, channels: int, *, groups: int = 2, reduction: int = 16, binary: bool = True) -> None:
        super().__init__(channels)
        self.dynamic: Mixer = DynamicShuffle(channels, groups=groups, reduction=reduction, binary=binary)
        a, b = nearly_square_factors(channels // groups)
        self.static_a = nn.Parameter(torch.eye(a).repeat(groups, 1, 1))  # (g, a, a)
        self.static_b = nn.Parameter(torch.zeros(groups, b, b))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape, dtype and memory format."""
        out: Tensor = self.dynamic(x)
        return out + mix_groups(x, self.static_a, self.static_b)

    def regularization(self) -> Tensor:
        """Returns the penalty of the dynamic part, shape (), in float32."""
        return self.dynamic.regularization()

    @torch.no_grad()
    def project(self) -> None:
        """Lets go of the last forward pass in training mode."""
        self.dynamic.project()

    def harden(self) -> "StaticDynamicShuffle":
        """Returns the mixer with a dynamic part that permutes exactly, by one gather; it shares the static weights."""
        # The static weights themselves, so that an optimizer still knows them.
        kept: dict[int, object] = {id(weight): weight for weight in (self.static_a, self.static_b)}
        hard = copy.deepcopy(self, kept)
        hard.dynamic = hard.dynamic.harden()  # type: ignore[assignment]
        hard.rounds = False
        return hard

    def distance(self) -> Tensor:
        """Returns the distance of the dynamic part, shape (), ≥ 0."""
        return self.dynamic.distance()


class MatrixGenerator(nn.Module):
    """Writes the small matrices of every sample: pooling–linear–relu–linear–softmax over rows.

    Linear layers and softmax compute in float32 at least, also under autocast. The biases start such that, apart from
    the input's influence, the matrices are `START_DIAGONAL` on the diagonal. Matrices of size 1 are the constant 1.

    Args:
        channels: C.
        groups: g.
        sizes: a and b, with C = g · a · b.
        hidden: Units between the linear layers.
    """

    def __init__(self, channels: int, *, groups: int, sizes: tuple[int, int], hidden: int) -> None:
        super().__init__()
        self.channels = channels
        self.groups = groups
        self.sizes = sizes
        biases = [_start_logits(size).repeat(groups, 1, 1).flatten() for size in sizes]
        self.num_logits = [len(bias) for bias in biases]
        self.reduce = nn.Linear(channels, hidden)
        self.expand = nn.Linear(hidden, sum(self.num_logits))
        nn.init.normal_(self.expand.weight, std=START_STD)
        with torch.no_grad():
            self.expand.bias.copy_(torch.cat(biases))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Maps (N, C, H, W) to A (N, g, a, a) and B (N, g, b, b), rows summing to 1, in float32 at least."""
        dtype = torch.promote_types(self.expand.weight.dtype, torch.float32)
        with without_autocast(x):
            pooled = x.mean(dim=(2, 3), dtype=dtype)  # (N, C)
            hidden = F.relu(F.linear(pooled, self.reduce.weight.to(dtype), self.reduce.bias.to(dtype)))
            logits = F.linear(hidden, self.expand.weight.to(dtype), self.expand.bias.to(dtype))
            parts = zip(torch.split(logits, self.num_logits, dim=1), self.sizes, strict=True)
            return tuple(
                part.view(-1, self.groups, size, size).softmax(dim=-1)
                if size > 1
                else logits.new_ones(len(logits), self.groups, 1, 1)
                for part, size in parts
            )


def _start_logits(size: int) -> Tensor:
    """Returns logits (n, n) whose row softmax has `START_DIAGONAL` on the diagonal; none, (0, 0), for n = 1."""
    if size == 1:
        return torch.zeros(0, 0)
    return math.log(START_DIAGONAL / (1 - START_DIAGONAL) * (size - 1)) * torch.eye(size)

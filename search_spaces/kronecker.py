"""Permutations in the form of a Kronecker product, one a sample and group: applied to channels, rounded, penalised.

Pure functions, the arithmetic of the dynamic shuffle (Gong et al. 2023, arXiv:2310.02776). A group of a · b channels,
written as a matrix X (a, b), becomes A X Bᵀ: that is A ⊗ B applied to it without forming the product.
"""

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from search_spaces.permutations import greedy_permutation, permutation_matrix


def nearly_square_factors(number: int) -> tuple[int, int]:
    """Returns a ≤ b with a · b = `number` and b − a as small as possible; a = 1 for primes."""
    a = next(a for a in range(math.isqrt(number), 0, -1) if number % a == 0)
    return a, number // a


def orthogonality_penalty(matrix: Tensor) -> Tensor:
    """Returns ‖MMᵀ − I‖²_F, shape (...,), of matrices (..., n, n): 0 exactly where the rows are orthonormal."""
    with without_autocast(matrix):
        excess = matrix @ matrix.mT - torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
        return excess.square().sum(dim=(-2, -1))


def greedy_indices(matrix: Tensor) -> Tensor:
    """Rounds matrices (N, g, n, n) to permutations (N, g, n) by greedy assignment."""
    return greedy_permutation(matrix.detach().flatten(0, 1)).view(matrix.shape[:3])


def straight_through(matrix: Tensor) -> Tensor:
    """Returns exact permutation matrices (N, g, n, n) whose gradients pass to `matrix` unchanged."""
    hard = permutation_matrix(greedy_indices(matrix)).to(matrix.dtype)
    return hard + (matrix - matrix.detach())  # the bracket is exactly 0


def mix_groups(x: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Multiplies every group of channels by the Kronecker product left ⊗ right, then shuffles across the groups.

    Args:
        x: (N, C, H, W).
        left: (N, g, a, a), or (g, a, a) for all samples.
        right: (N, g, b, b), or (g, b, b) for all samples.

    Returns:
        (N, C, H, W) in the dtype and memory format of `x`.
    """
    n, c, h, w = x.shape
    (g, a), b = left.shape[-3:-1], right.shape[-1]
    m = "ng" if left.ndim == 4 else "g"
    with without_autocast(x):
        left, right = left.to(x.dtype), right.to(x.dtype)
        # The last product writes the groups behind the positions in the group: that is the shuffle across the groups.
        if x.is_contiguous(memory_format=torch.channels_last):
            last = x.permute(0, 2, 3, 1).reshape(n, h * w, g, a, b)
            last = torch.einsum(f"{m}ij,nsgjl->nsgil", left, last)
            return torch.einsum(f"{m}kl,nsgil->nsikg", right, last).reshape(n, h, w, c).permute(0, 3, 1, 2)
        first = torch.einsum(f"{m}ij,ngjls->ngils", left, x.reshape(n, g, a, b, h * w))
        return torch.einsum(f"{m}kl,ngils->nikgs", right, first).reshape(n, c, h, w)


def kronecker_shuffle(left: Tensor, right: Tensor) -> Tensor:
    """Returns the permutation (N, C) of `mix_groups` for permutations left (N, g, a) and right (N, g, b)."""
    (g, a), b = left.shape[1:], right.shape[2]
    within = left[..., :, None] * b + right[..., None, :]  # (N, g, a, b)
    source = within.flatten(2) + a * b * torch.arange(g, device=left.device)[:, None]  # (N, g, a · b)
    return source.transpose(1, 2).flatten(1)


def gather_channels(x: Tensor, index: Tensor) -> Tensor:
    """Returns (N, C, H, W) in the memory format of `x`, where channel i of sample n is channel `index[n, i]` of `x`."""
    if x.is_contiguous(memory_format=torch.channels_last):
        return x.permute(0, 2, 3, 1).take_along_dim(index[:, None, None, :], dim=3).permute(0, 3, 1, 2)
    # Channels of all samples as rows: whole rows are copied, where a gather would look up the index of every pixel.
    n, c, h, w = x.shape
    rows = index + c * torch.arange(n, device=x.device)[:, None]  # (N, C)
    return x.reshape(n * c, h * w).index_select(0, rows.flatten()).view(n, c, h, w)


def without_autocast(x: Tensor) -> AbstractContextManager[None]:
    """Returns the context in which ops on the device of `x` compute in the dtypes they are given."""
    device = x.device.type
    # The meta device, on which networks are measured, has no autocast to turn off.
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()

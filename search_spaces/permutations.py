"""Permutations as matrices, index vectors and Kronecker products: penalties, projection, rounding and application.

Pure functions. A permutation is an index (n,), output i being input `index[i]`, or the matrix with M[i, index[i]] = 1,
so that M x and `x[index]` agree. Everything is computed in float32 at least, whatever the dtype of the matrix: sums of
hundreds of entries near 1/n are beyond half precision.

Kronecker products are the arithmetic of the dynamic shuffle (Gong et al. 2023, arXiv:2310.02776), one a sample and
group: a group of a · b channels, written as a matrix X (a, b), becomes A X Bᵀ, that is A ⊗ B applied to it without
forming the product.
"""

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def permutation_penalty(matrix: Tensor) -> Tensor:
    """Returns by how much rows and columns are spread out: P(M) of AutoShuffleNet (arXiv:1901.08624).

    P(M) = Σᵢ (‖Mᵢ,:‖₁ − ‖Mᵢ,:‖₂) + Σⱼ (‖M:,ⱼ‖₁ − ‖M:,ⱼ‖₂). Among doubly stochastic matrices it is 0 at permutations and
    nowhere else, and largest, 2(n − √n), where all entries are 1/n. That point has a zero gradient along the set by
    symmetry, so a descent must not start there.

    Returns:
        (...,), ≥ 0 up to rounding. The gradient is of order 1 for every entry above 0, and 0 in a row or column of
        zeros and at entries of 0.

    Raises:
        ValueError: If `matrix` is not square.
    """
    values = _square(matrix)
    spread = values.new_zeros(values.shape[:-2])
    for dim in (-1, -2):
        # The gradient of a vector norm at 0 is 0 in torch, where that of a square root of squares would be nan.
        norms = [torch.linalg.vector_norm(values, ord=order, dim=dim) for order in (1, 2)]  # (..., n) each
        spread = spread + (norms[0] - norms[1]).sum(dim=-1)
    return spread


def project_doubly_stochastic(matrix: Tensor, *, iterations: int = 1) -> Tensor:
    """Brings a matrix to the nonnegative ones whose rows, and nearly whose columns, sum to 1.

    Clamps at 0, then normalises the columns and after them the rows, `iterations` times. Once after every step of the
    optimizer is what AutoShuffleNet's public code does; many are the algorithm of Sinkhorn and Knopp. A column or row
    without an entry above 0 becomes uniform, 1/n everywhere, as nothing favours one of its entries.

    Args:
        matrix: (..., n, n).
        iterations: At least 1.

    Returns:
        (..., n, n), rows summing to 1. Gradients pass through the clamp and the normalisations, and not into the
        uniform columns and rows.

    Raises:
        ValueError: If `matrix` is not square.
    """
    values = _square(matrix).clamp(min=0)
    for _ in range(iterations):
        values = _normalize(_normalize(values, dim=-2), dim=-1)
    return values


def _normalize(values: Tensor, *, dim: int) -> Tensor:
    """Divides nonnegative values by their sum along `dim`; where that is 0 they become uniform, and nan stays nan."""
    total = values.sum(dim=dim, keepdim=True)
    uniform = torch.full_like(values, 1 / values.shape[dim])
    # Division by 1 there: a division by 0 would send nan backwards, though its result is not selected.
    return torch.where(total == 0, uniform, values / torch.where(total == 0, 1.0, total))


@torch.no_grad()
def nearest_permutation(matrix: Tensor) -> Tensor:
    """Returns the permutation (n,) with the largest Σᵢ M[i, index[i]], nearest to M (n, n) in the Frobenius norm.

    The largest entry of every row need not be a permutation, hence the linear assignment, on the CPU in O(n³).

    Raises:
        ValueError: If `matrix` is not (n, n) or not finite.
    """
    from scipy.optimize import linear_sum_assignment

    if matrix.ndim != 2:
        raise ValueError(f"expected a matrix (n, n), got the shape {tuple(matrix.shape)}")
    values = _square(matrix).double().cpu()
    if not values.isfinite().all():
        raise ValueError("the matrix to round to a permutation has entries that are not finite")
    _, columns = linear_sum_assignment(values.numpy(), maximize=True)
    return torch.as_tensor(columns, dtype=torch.long, device=matrix.device)


@torch.no_grad()
def greedy_permutation(matrices: Tensor) -> Tensor:
    """Rounds a batch to permutations (N, n): takes the largest entry, strikes out its row and column, and so on.

    For permutations that depend on the input, rounded in every forward pass: n rounds of O(n²), all on the device and
    without waiting for it. The sum of entries is at least half the largest one if they are nonnegative.

    Args:
        matrices: (N, n, n). Entries of −∞ and nan count as the smallest. Of equal entries the first in row-major order
            is taken.

    Raises:
        ValueError: If `matrices` is not (N, n, n).
    """
    if matrices.ndim != 3:
        raise ValueError(f"expected matrices (N, n, n), got the shape {tuple(matrices.shape)}")
    values = _square(matrices)
    # A copy, in which −∞ too becomes the smallest number: above the −∞ that strikes out.
    values = values.nan_to_num(nan=torch.finfo(values.dtype).min)
    batch, n, _ = values.shape
    indices = torch.zeros((batch, n), dtype=torch.long, device=values.device)
    for _ in range(n):
        largest = values.flatten(1).argmax(dim=1).view(batch, 1)  # the first of equals, as torch promises
        row, column = largest // n, largest % n
        indices.scatter_(1, row, column)
        values.scatter_(1, row.view(batch, 1, 1).expand(batch, 1, n), -torch.inf)
        values.scatter_(2, column.view(batch, 1, 1).expand(batch, n, 1), -torch.inf)
    return indices


@torch.no_grad()
def distance_to_permutation(matrix: Tensor) -> Tensor:
    """Returns the largest |M − P| of an entry of M (n, n), P the nearest permutation's matrix; 0 just at permutations.

    Raises:
        ValueError: If `matrix` is not (n, n) or not finite.
    """
    return (_square(matrix) - permutation_matrix(nearest_permutation(matrix))).abs().amax()


def permutation_matrix(index: Tensor) -> Tensor:
    """Returns the float32 matrices (..., n, n) with 1 at [i, index[i]] and 0 elsewhere, of permutations (..., n)."""
    # Unlike `one_hot`, this does not read the index back on any device.
    zeros = index.new_zeros((*index.shape, index.shape[-1]), dtype=torch.float32)
    return zeros.scatter(-1, index[..., None], 1.0)


def inverse_permutation(index: Tensor) -> Tensor:
    """Returns the permutations (..., n) that undo `index` (..., n): `inverse[index[i]] = i`."""
    return index.argsort(dim=-1)


def _square(matrix: Tensor) -> Tensor:
    """Returns the matrix in float32, or float64 if it is that; raises ValueError unless it is (..., n, n)."""
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2] or matrix.shape[-1] < 1:
        raise ValueError(f"expected square matrices (..., n, n), got the shape {tuple(matrix.shape)}")
    return matrix.to(torch.promote_types(matrix.dtype, torch.float32))


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

"""Permutations as matrices and as index vectors: the penalty, the projection and the rounding of learned shuffles.

Pure functions. A permutation is an index (n,), output i being input `index[i]`, or the matrix with M[i, index[i]] = 1,
so that M x and `x[index]` agree. Everything is computed in float32 at least, whatever the dtype of the matrix: sums of
hundreds of entries near 1/n are beyond half precision.
"""

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
        ValueError: If `matrix` is not square or `iterations` is below 1.
    """
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
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

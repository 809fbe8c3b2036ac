"""The total variation of images whose pixels are permuted: what a permutation learned without labels minimises.

Squared total variation needs only the n x n second moments S of the pixels: for the grid's Laplacian L it is
tr(L M S Mᵀ), for soft matrices M and permutations alike. Every blur of a soft M lowers it, so what descends is
−tr(K M S Mᵀ) with K = c I − L/‖L‖: the same up to constants on permutations, since there tr(M S Mᵀ) = tr(S). It does
not change under the 8 symmetries of the square.
"""

import torch
from torch import Tensor

from nas.studies.demonstrations.relaxation import penalty_gradient


def permute_pixels(images: Tensor, index: Tensor) -> Tensor:
    """Returns images (N, C, H, W) whose pixel i, counted by rows, is pixel `index[i]`, in every channel."""
    gathered: Tensor = images.flatten(2).index_select(2, index)
    return gathered.view(images.shape)


def grid_laplacian(side: int) -> Tensor:
    """Returns L (n, n) of the grid of n = side² pixels: xᵀ L x sums the squared differences of neighbours."""
    path = torch.zeros(side, side)
    path.diagonal(1).fill_(1)
    path += path.T.clone()
    adjacency = torch.kron(path, torch.eye(side)) + torch.kron(torch.eye(side), path)
    return torch.diag(adjacency.sum(1)) - adjacency


def second_moments(images: Tensor) -> Tensor:
    """Returns the pixels' second moments (n, n), means over images and channels of (N, C, H, W).

    Every channel of an image is taken less its own mean, which total variation does not see.
    """
    values = images.flatten(2).flatten(0, 1)  # (N C, n)
    values = values - values.mean(1, keepdim=True)
    moments: Tensor = values.T @ values
    return moments / len(values)


def total_variation(matrix: Tensor, moments: Tensor, laplacian: Tensor) -> Tensor:
    """Returns the mean sum of squared differences of neighbours in M x: tr(L M S Mᵀ), shape (...,).

    Args:
        matrix: M, (..., n, n), rows summing to 1.
        moments: S, (n, n) or (..., n, n).
        laplacian: L likewise; with −K in its place this is the objective that is learned.
    """
    value: Tensor = ((laplacian @ matrix) * (matrix @ moments)).sum((-2, -1))
    return value


def neighbours_restored(source: Tensor, laplacian: Tensor) -> float:
    """Returns the share of neighbouring positions that show neighbouring pixels, the same for all 8 symmetries.

    Args:
        source: (n,), the true pixel that each position shows.
        laplacian: (n, n) of the grid.
    """
    adjacent = laplacian < 0
    return float((adjacent & adjacent[source][:, source]).sum() / adjacent.sum())


def smoothness_kernel(laplacian: Tensor, *, shift: float, reach: float = 0.0) -> Tensor:
    """Returns K (n, n), of which −tr(K M S Mᵀ) is minimised.

    Args:
        laplacian: L, (n, n).
        shift: At `reach` 0, K = shift · I − L/‖L‖. With shift 1 the objective is concave and every permutation a
            minimum; below it soft matrices are drawn to smoothness first.
        reach: Share in [0, 1] of a kernel in which pixels across the whole image count: (L + 0.3 I)⁻¹ without its
            constant, of norm 1, less 0.3 I.
    """
    values, vectors = torch.linalg.eigh(laplacian)
    near = shift - values / values[-1]
    wide = 1 / (values + 0.3)
    wide[0] = 0
    kernel: Tensor = (vectors * ((1 - reach) * near + reach * (wide / wide.max() - 0.3))) @ vectors.T
    return kernel


def objective_slope(matrices: Tensor, moments: Tensor, kernel: Tensor, *, weight: float) -> Tensor:
    """Returns the gradient (..., n, n) of −tr(K M S Mᵀ) + weight · P(M), for M > 0; half the time of autograd.

    P is AutoShuffleNet's penalty, `search_spaces.permutations.permutation_penalty`.
    """
    slope: Tensor = weight * penalty_gradient(matrices) - 2 * kernel @ (matrices @ moments)
    return slope

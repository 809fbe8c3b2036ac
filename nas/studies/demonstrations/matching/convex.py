"""The convex relaxation of graph matching, solved to the last digit.

That a relaxation is no permutation means little if its solver has merely not arrived. So this one exploits that the
objective is diagonal in the eigenvectors of the two graphs, and its result comes with a bound on what is missing.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from search_spaces.permutations import project_doubly_stochastic

CHECK_EVERY = 20
OVER_RELAXATION = 1.6


def relaxed_matching(
    a: Tensor, b: Tensor, *, tolerance: float = 1e-9, max_steps: int = 3000, rho: float = 1.0
) -> Tensor:
    """Minimises ‖A M − M B‖² / n over doubly stochastic M, by the alternating direction method of multipliers.

    One half step minimises the objective, plus the distance ρ/2 ‖M − V‖², under the row and column sums; in the
    eigenbases of A and B that is a division by 2 (aᵢ − bⱼ)² / n + ρ and a system of 2n equations for the multipliers of
    the sums, inverted once. The other half step clamps at 0.

    Args:
        a: (K, n, n), symmetric, float64.
        b: (K, n, n), likewise.
        tolerance: The largest change and the largest difference of the half steps, in any entry, at the end.
        max_steps: At which it stops in any case.
        rho: ρ, for matrices with entries of order 1.

    Returns:
        (K, n, n), doubly stochastic up to rounding.
    """
    minimize = _sum_constrained_minimizer(a, b, rho=rho)
    feasible = torch.full_like(a, 1 / a.shape[-1])
    dual = torch.zeros_like(a)
    for step in range(1, max_steps + 1):
        smooth = minimize(feasible - dual)
        mixed = OVER_RELAXATION * smooth + (1 - OVER_RELAXATION) * feasible
        clamped = (mixed + dual).clamp(min=0)
        dual = dual + mixed - clamped
        change, feasible = clamped - feasible, clamped
        if step % CHECK_EVERY == 0 and max(change.abs().amax(), (smooth - feasible).abs().amax()) < tolerance:
            break
    return project_doubly_stochastic(feasible, iterations=20)


def _sum_constrained_minimizer(a: Tensor, b: Tensor, *, rho: float) -> Callable[[Tensor], Tensor]:
    """Returns V ↦ argmin ‖A M − M B‖²/n + ρ/2 ‖M − V‖² over M with rows and columns that sum to 1."""
    n = a.shape[-1]
    (values_a, basis_a), (values_b, basis_b) = torch.linalg.eigh(a), torch.linalg.eigh(b)
    scale = 1 / (2 * (values_a[:, :, None] - values_b[:, None, :]).square() / n + rho)  # (K, n, n)
    # The ones vector in the two bases: M 1 = 1 reads X v = u there, and Mᵀ 1 = 1 reads Xᵀ u = v.
    u, v = basis_a.sum(dim=1), basis_b.sum(dim=1)  # (K, n)
    cross = u[:, :, None] * scale * v[:, None, :]
    rows = torch.diag_embed((scale * v[:, None, :].square()).sum(dim=2))
    columns = torch.diag_embed((scale * u[:, :, None].square()).sum(dim=1))
    system = torch.cat([torch.cat([rows, cross], dim=2), torch.cat([cross.mT, columns], dim=2)], dim=1)
    # Of rank 2n − 1: both kinds of sums add up to the same total. The pseudoinverse picks one of the multipliers.
    inverse = torch.linalg.pinv(system, rtol=1e-12, hermitian=True)  # (K, 2n, 2n)

    def minimize(target: Tensor) -> Tensor:
        x = scale * rho * (basis_a.mT @ target @ basis_b)
        missing = torch.cat([u - (x @ v[:, :, None])[..., 0], v - (x.mT @ u[:, :, None])[..., 0]], dim=1)
        multipliers = (inverse @ missing[:, :, None])[..., 0]
        row, column = multipliers.split(n, dim=1)
        x = x + scale * (row[:, :, None] * v[:, None, :] + u[:, :, None] * column[:, None, :])
        solution: Tensor = basis_a @ x @ basis_b.mT
        return solution

    return minimize

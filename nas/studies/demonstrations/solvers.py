"""Other ways to match graphs: the convex relaxation to the last digit, annealed Sinkhorn matrices, and SciPy's FAQ."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from nas.studies.demonstrations.relaxation import adam
from search_spaces.permutations import project_doubly_stochastic

RHO, OVER_RELAXATION = 1.0, 1.6
MAX_STEPS, CHECK_EVERY, TOLERANCE = 3000, 20, 1e-9
"""The relaxation is solved when no entry changes, or differs between the half steps, by more than the tolerance."""
SINKHORN_ITERATIONS = 10
FIRST_TEMPERATURE, LAST_TEMPERATURE = 1.0, 0.05
SINKHORN_LEARNING_RATE = 0.1


def relaxed_matching(a: Tensor, b: Tensor) -> Tensor:
    """Minimises ‖A M − M B‖² / n over doubly stochastic M, by the alternating direction method of multipliers.

    That a relaxation is no permutation means little if its solver has merely not arrived. So this one exploits that the
    objective is diagonal in the eigenvectors of the two graphs. One half step minimises the objective, plus the
    distance ρ/2 ‖M − V‖², under the row and column sums; in the eigenbases of A and B that is a division by
    2 (aᵢ − bⱼ)² / n + ρ and a system of 2n equations for the multipliers of the sums, inverted once. The other half
    step clamps at 0.

    Args:
        a: (K, n, n), symmetric, float64, with entries of order 1.
        b: (K, n, n), of the same kind.

    Returns:
        (K, n, n), doubly stochastic up to rounding.
    """
    minimize = _sum_constrained_minimizer(a, b)
    feasible = torch.full_like(a, 1 / a.shape[-1])
    dual = torch.zeros_like(a)
    for step in range(1, MAX_STEPS + 1):
        smooth = minimize(feasible - dual)
        mixed = OVER_RELAXATION * smooth + (1 - OVER_RELAXATION) * feasible
        clamped = (mixed + dual).clamp(min=0)
        dual = dual + mixed - clamped
        change, feasible = clamped - feasible, clamped
        if step % CHECK_EVERY == 0 and max(change.abs().amax(), (smooth - feasible).abs().amax()) < TOLERANCE:
            break
    return project_doubly_stochastic(feasible, iterations=20)


def _sum_constrained_minimizer(a: Tensor, b: Tensor) -> Callable[[Tensor], Tensor]:
    """Returns V ↦ argmin ‖A M − M B‖²/n + ρ/2 ‖M − V‖² over M with rows and columns that sum to 1."""
    n = a.shape[-1]
    (values_a, basis_a), (values_b, basis_b) = torch.linalg.eigh(a), torch.linalg.eigh(b)
    scale = 1 / (2 * (values_a[:, :, None] - values_b[:, None, :]).square() / n + RHO)  # (K, n, n)
    # The ones vector in the two bases: M 1 = 1 reads X v = u there, and Mᵀ 1 = 1 reads Xᵀ u = v.
    u, v = basis_a.sum(dim=1), basis_b.sum(dim=1)  # (K, n)
    cross = u[:, :, None] * scale * v[:, None, :]
    rows = torch.diag_embed((scale * v[:, None, :].square()).sum(dim=2))
    columns = torch.diag_embed((scale * u[:, :, None].square()).sum(dim=1))
    system = torch.cat([torch.cat([rows, cross], dim=2), torch.cat([cross.mT, columns], dim=2)], dim=1)
    # Of rank 2n − 1: both kinds of sums add up to the same total. The pseudoinverse picks one of the multipliers.
    inverse = torch.linalg.pinv(system, rtol=1e-12, hermitian=True)  # (K, 2n, 2n)

    def minimize(target: Tensor) -> Tensor:
        x = scale * RHO * (basis_a.mT @ target @ basis_b)
        missing = torch.cat([u - (x @ v[:, :, None])[..., 0], v - (x.mT @ u[:, :, None])[..., 0]], dim=1)
        row, column = (inverse @ missing[:, :, None])[..., 0].split(n, dim=1)  # the multipliers
        x = x + scale * (row[:, :, None] * v[:, None, :] + u[:, :, None] * column[:, None, :])
        solution: Tensor = basis_a @ x @ basis_b.mT
        return solution

    return minimize


def sinkhorn_matching(gradient: Callable[[Tensor], Tensor], start: Tensor, *, steps: int) -> Tensor:
    """Descends M = Sinkhorn(X / τ) by Adam on X, τ falling geometrically from 1 to 0.05.

    Gumbel–Sinkhorn networks (Mena et al., arXiv:1802.08665) without the Gumbel noise.

    Args:
        gradient: Returns the gradient of the objective with respect to M.
        start: X, (K, n, n).
        steps: Steps of Adam.

    Returns:
        M before rounding, (K, n, n).
    """

    def losses(logits: Tensor, step: int) -> Tensor:
        matrix = _sinkhorn(logits, progress=step / steps)
        return matrix * gradient(matrix.detach())  # has the gradient of the objective

    return _sinkhorn(adam(start, losses, steps=steps, learning_rate=SINKHORN_LEARNING_RATE), progress=1.0)


def _sinkhorn(logits: Tensor, *, progress: float) -> Tensor:
    values: Tensor = logits / (FIRST_TEMPERATURE * (LAST_TEMPERATURE / FIRST_TEMPERATURE) ** progress)
    for _ in range(SINKHORN_ITERATIONS):
        for dim in (-2, -1):
            values = values - values.logsumexp(dim=dim, keepdim=True)
    return values.exp()


def faq_matching(a: Tensor, b: Tensor, *, starts: int, seed: int) -> Tensor:
    """Minimises ‖A P − P B‖², a constant less 2 tr(Aᵀ P B Pᵀ), by `faq`; (K, n, n) twice to permutations (K, n).

    The first start is the uniform matrix, which is scipy's default, the others are random.
    """
    begin = ["barycenter", *["randomized"] * (starts - 1)]
    rng = np.random.default_rng(seed)
    return torch.stack([faq(one, other, starts=begin, rng=rng, maximize=True) for one, other in zip(a, b, strict=True)])


def faq(a: Tensor, b: Tensor, *, starts: Iterable[str], rng: np.random.Generator, maximize: bool = False) -> Tensor:
    """Returns the permutation P, (n,), with the least or largest tr(Aᵀ P B Pᵀ) that scipy's FAQ finds from any start.

    Args:
        a: (n, n).
        b: (n, n).
        starts: The option `P0` of `scipy.optimize.quadratic_assignment`, one a run.
        rng: Source of random starts.
        maximize: Whether the largest value is the best.
    """
    from scipy.optimize import quadratic_assignment

    matrices, options = (a.double().numpy(), b.double().numpy()), {"maximize": maximize, "rng": rng}
    runs = [quadratic_assignment(*matrices, method="faq", options={**options, "P0": start}) for start in starts]
    best = (max if maximize else min)(runs, key=lambda run: float(run.fun))
    return torch.as_tensor(best.col_ind).long()

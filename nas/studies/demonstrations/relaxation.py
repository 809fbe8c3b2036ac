"""Minimising over doubly stochastic matrices, many problems at once, with or without AutoShuffleNet's penalty.

A batch (K, n, n) holds K problems or starts that know nothing of each other. A deviation from AutoShuffleNet
(arXiv:1901.08624), which takes additive steps, clamps at 0 and normalises once: here the step is multiplicative,
M ∘ exp(−η G) with momentum, and then normalised. It stands still only at stationary points of the objective on the
doubly stochastic set, which is not so of the other; and to say what a relaxation converged to takes that.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nas.studies.demonstrations.settings import Descent
from search_spaces.permutations import nearest_permutation, permutation_matrix, project_doubly_stochastic

Gradient = Callable[[Tensor], Tensor]
"""Maps matrices (K, n, n) to the gradients of their objectives, (K, n, n)."""

NEAR = 0.01
"""A matrix within this of a permutation in every entry counts as one, before any rounding."""
SMALLEST = 1e-12
"""Entries stay above this, so that each can grow again."""
LARGEST_EXPONENT = 10.0
FINAL_NORMALIZATIONS = 50
START_NORMALIZATIONS = 30


def penalty_gradient(matrix: Tensor) -> Tensor:
    """Returns the gradient of P(M) where no entry is below 0: 2 − Mᵢⱼ/‖Mᵢ,:‖₂ − Mᵢⱼ/‖M:,ⱼ‖₂, (K, n, n).

    Args:
        matrix: (K, n, n), without a row or column of zeros.
    """
    rows: Tensor = torch.linalg.vector_norm(matrix, dim=-1, keepdim=True)
    columns: Tensor = torch.linalg.vector_norm(matrix, dim=-2, keepdim=True)
    return 2 - matrix / rows - matrix / columns


def descend(
    start: Tensor, gradient: Gradient, descent: Descent, *, on_step: Callable[[int, Tensor], None] | None = None
) -> Tensor:
    """Minimises objective + λ P(M) from doubly stochastic starts, λ growing from 0.

    Args:
        start: (K, n, n), entries above 0.
        gradient: Of the objective alone.
        descent: Steps, λ and the like.
        on_step: Called with the number of steps taken, from 0 to all of them, and the matrices.

    Returns:
        (K, n, n), doubly stochastic up to rounding.
    """
    matrix, velocity = start, torch.zeros_like(start)
    # The factors of columns and rows stay from step to step. Where the descent stands still so do they, and the sums
    # are right; begun anew each time, a few normalisations would leave the same error after every step.
    columns, rows = torch.ones_like(start[:, :1, :]), torch.ones_like(start[:, :, :1])
    for step in range(descent.steps):
        if on_step is not None:
            on_step(step, matrix)
        slope = gradient(matrix)
        if weight := descent.penalty_at(step):
            slope = slope + weight * penalty_gradient(matrix)
        velocity = descent.momentum * velocity + slope
        exponent = (-descent.step_size * velocity).clamp(-LARGEST_EXPONENT, LARGEST_EXPONENT)
        grown = (matrix * exponent.exp()).clamp(min=SMALLEST)
        for _ in range(descent.normalizations):
            columns = 1 / (grown * rows).sum(dim=-2, keepdim=True)
            rows = 1 / (grown * columns).sum(dim=-1, keepdim=True)
        matrix = (grown * columns * rows).clamp(min=SMALLEST)
    matrix = nearby_doubly_stochastic(matrix)
    if on_step is not None:
        on_step(descent.steps, matrix)
    return matrix


def nearby_doubly_stochastic(matrix: Tensor) -> Tensor:
    """Returns a matrix nearby whose rows and columns sum to 1 up to rounding.

    Normalises, shrinks the rows and columns that sum to more than 1, and adds what is missing as a matrix of rank 1
    (Altschuler et al., arXiv:1705.09634, algorithm 2); after the normalisation that moves the entries by at most twice
    what the sums were off, all in all. Normalising alone can take forever where entries are tiny.

    Args:
        matrix: (K, n, n), entries above 0.
    """
    values = project_doubly_stochastic(matrix, iterations=FINAL_NORMALIZATIONS)
    for dim in (-1, -2):
        values = values / values.sum(dim=dim, keepdim=True).clamp(min=1)
    missing_rows, missing_columns = ((1 - values.sum(dim=dim)).clamp(min=0) for dim in (-1, -2))  # (K, n) each
    total = missing_rows.sum(dim=-1).clamp(min=torch.finfo(values.dtype).tiny)
    return values + missing_rows[:, :, None] * missing_columns[:, None, :] / total[:, None, None]


def random_starts(center: Tensor, *, starts: int, generator: torch.Generator) -> Tensor:
    """Returns doubly stochastic starts for each problem: near the centre first, then ever farther from it.

    Args:
        center: (K, n, n), doubly stochastic.
        starts: S, at least 1. The first is 0.9 of the centre and 0.1 uniform, without chance; of the others a share
            from 0.3 to 1 is random.
        generator: Of the random matrices.

    Returns:
        (K · S, n, n), those of a problem next to each other.
    """
    problems, n, _ = center.shape
    logits = torch.randn((problems, starts, n, n), generator=generator, dtype=center.dtype)
    other = project_doubly_stochastic(logits.exp(), iterations=START_NORMALIZATIONS)
    other[:, 0] = 1 / n
    share = torch.cat([torch.tensor([0.1]), torch.linspace(0.3, 1.0, starts)[1:]]).to(center).view(-1, 1, 1)
    return ((1 - share) * center[:, None] + share * other).flatten(0, 1)


def round_all(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Rounds each of (K, n, n) by linear assignment.

    Returns:
        The permutations, (K, n), and the largest difference of an entry to theirs, (K,).
    """
    indices = torch.stack([nearest_permutation(matrix) for matrix in matrices])
    return indices, (matrices - permutation_matrix(indices)).abs().amax(dim=(-1, -2))


def linear_gap(matrices: Tensor, gradients: Tensor) -> Tensor:
    """Returns how much the linearised objective could still fall, maxₛ ⟨G, M − S⟩ over doubly stochastic S, (K,).

    Frank and Wolfe's gap: for a convex objective a bound on how far its value is above the minimum.
    """
    best = permutation_matrix(round_all(-gradients)[0])
    return (gradients * (matrices - best)).sum(dim=(-1, -2))


def best_of_starts(values: Tensor, *, starts: int) -> Tensor:
    """Returns for each problem the row, in a batch of K · S, of its start with the least of `values`, (K,)."""
    by_problem = values.view(-1, starts)
    return by_problem.argmin(dim=1) + starts * torch.arange(len(by_problem))


def film(
    descent: Descent,
    follow: Callable[[Descent, Callable[[int, Tensor], None]], object],
    *,
    order: Tensor,
    pictures: int,
) -> dict[str, Any]:
    """Records the first M of a batch over time, without and with the penalty.

    Args:
        descent: The penalised one; the relaxation is the same with λ = 0.
        follow: Runs a descent and calls back after every step.
        order: Of the rows in the pictures, (n,).
        pictures: At least 2, the start and the end among them.

    Returns:
        `steps`, and under `relaxation` and `penalty` a matrix, rows first, for each of them.
    """
    steps = [round(number * descent.steps / (pictures - 1)) for number in range(pictures)]
    figures: dict[str, Any] = {"steps": steps}
    for name, plan in {"relaxation": replace(descent, penalty=0.0), "penalty": descent}.items():
        seen: dict[int, Any] = {}

        def keep(step: int, matrices: Tensor, seen: dict[int, Any] = seen) -> None:
            if step in steps:
                seen[step] = matrices[0][order].tolist()

        follow(plan, keep)
        figures[name] = [seen[step] for step in steps]
    return figures

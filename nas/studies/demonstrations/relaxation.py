"""Minimising over doubly stochastic matrices, many problems at once, with or without AutoShuffleNet's penalty.

A batch (K, n, n) holds K problems or starts that know nothing of each other. A deviation from AutoShuffleNet
(arXiv:1901.08624), which takes additive steps, clamps at 0 and normalises once: here the step is multiplicative,
M ∘ exp(−η G) with momentum, and then normalised. It stands still only at stationary points of the objective on the
doubly stochastic set, which is not so of the other; and to say what a relaxation converged to takes that.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from nas.runs.intervals import wilson_interval
from nas.studies.demonstrations.settings import Descent
from search_spaces.permutations import nearest_permutation, permutation_matrix, project_doubly_stochastic

OnStep = Callable[[int, Tensor], None]
"""Called with the number of steps taken, from 0 to all of them, and the matrices of all starts."""

NEAR = 0.01
"""A matrix within this of a permutation in every entry counts as one, before any rounding."""
SMALLEST = 1e-12
"""Entries stay above this, so that each can grow again."""
LARGEST_EXPONENT = 10.0
FINAL_NORMALIZATIONS = 50
START_NORMALIZATIONS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Instances(ABC):
    """K problems, each with its solution, `planted`: the indices of the permutations P*, (K, n)."""

    planted: Tensor

    @abstractmethod
    def objective(self, matrix: Tensor) -> Tensor:
        """Returns the objective of one M for each instance, (K, n, n) to (K,)."""

    @abstractmethod
    def gradient(self, matrix: Tensor) -> Tensor:
        """Returns the gradient of what is descended, (K, n, n); it is of order n, as the penalty is."""

    def repeated(self, times: int) -> Self:
        """Returns each instance `times` times in a row, in float32: what the descents need."""
        values = {field.name: getattr(self, field.name).repeat_interleave(times, dim=0) for field in fields(self)}
        return replace(self, **{name: one.float() if one.is_floating_point() else one for name, one in values.items()})


def penalty_gradient(matrix: Tensor) -> Tensor:
    """Returns the gradient of P(M), 2 − Mᵢⱼ/‖Mᵢ,:‖₂ − Mᵢⱼ/‖M:,ⱼ‖₂, of M ≥ 0, (K, n, n), no row or column all zeros."""
    rows, columns = (torch.linalg.vector_norm(matrix, dim=dim, keepdim=True) for dim in (-1, -2))
    gradient: Tensor = 2 - matrix / rows - matrix / columns
    return gradient


def descend(
    start: Tensor, gradient: Callable[[Tensor], Tensor], descent: Descent, *, on_step: OnStep = lambda *_: None
) -> Tensor:
    """Minimises objective + λ P(M) from doubly stochastic starts, λ growing from 0.

    Args:
        start: (K, n, n), entries above 0.
        gradient: Returns the gradient of the objective alone, of the shape of its argument (K, n, n).
        descent: Steps, λ and the like.
        on_step: Called before every step and at the end.

    Returns:
        (K, n, n), doubly stochastic up to rounding.
    """
    matrix, velocity = start, torch.zeros_like(start)
    # The factors of columns and rows stay from step to step. Where the descent stands still so do they, and the sums
    # are right; started afresh each time, a few normalisations would leave the same error after every step.
    columns, rows = torch.ones_like(start[:, :1, :]), torch.ones_like(start[:, :, :1])
    for step in range(descent.steps):
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
    on_step(descent.steps, matrix)
    return matrix


def nearby_doubly_stochastic(matrix: Tensor) -> Tensor:
    """Returns matrices near to (K, n, n), entries above 0, whose rows and columns sum to 1 up to rounding.

    Normalises, shrinks the rows and columns that sum to more than 1, and adds what is missing as a matrix of rank 1
    (Altschuler et al., arXiv:1705.09634, algorithm 2); after the normalisation that moves the entries by at most twice
    what the sums were off, all in all. Normalising alone can take forever where entries are tiny.
    """
    values = project_doubly_stochastic(matrix, iterations=FINAL_NORMALIZATIONS)
    for dim in (-1, -2):
        values = values / values.sum(dim=dim, keepdim=True).clamp(min=1)
    missing_rows, missing_columns = ((1 - values.sum(dim=dim)).clamp(min=0) for dim in (-1, -2))  # (K, n) each
    total = missing_rows.sum(dim=-1).clamp(min=torch.finfo(values.dtype).tiny)
    return values + missing_rows[:, :, None] * missing_columns[:, None, :] / total[:, None, None]


def random_starts(center: Tensor, *, starts: int, generator: torch.Generator) -> Tensor:
    """Returns doubly stochastic starts for each problem: near the centre (K, n, n) first, then ever farther from it.

    The first is 0.9 of the centre and 0.1 uniform, without chance; of the others a share from 0.3 to 1 is random.

    Returns:
        (K · S, n, n), the S ≥ 1 starts of a problem next to each other.
    """
    problems, n, _ = center.shape
    logits = torch.randn((problems, starts, n, n), generator=generator, dtype=center.dtype)
    other = project_doubly_stochastic(logits.exp(), iterations=START_NORMALIZATIONS)
    other[:, 0] = 1 / n
    share = torch.cat([torch.tensor([0.1]), torch.linspace(0.3, 1.0, starts)[1:]]).to(center).view(-1, 1, 1)
    return ((1 - share) * center[:, None] + share * other).flatten(0, 1)


def chance_starts(instances: Instances, *, starts: int, seed: int) -> Tensor:
    """Returns `random_starts` around the uniform matrix, less each problem's first, which would be the same for all."""
    problems, n = instances.planted.shape
    generator = torch.Generator().manual_seed(seed)
    begin = random_starts(torch.full((problems, n, n), 1 / n), starts=starts + 1, generator=generator)
    return begin.view(problems, starts + 1, n, n)[:, 1:].flatten(0, 1)


def descend_best(instances: Instances, begin: Tensor, descent: Descent) -> tuple[Tensor, Tensor]:
    """Descends from every start (K · S, n, n) and returns `best_of_starts`."""
    repeated = instances.repeated(len(begin) // len(instances.planted))
    return best_of_starts(instances, descend(begin, repeated.gradient, descent))


def best_of_starts(instances: Instances, matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Returns for each instance the start, of (K · S, n, n), whose permutation has the least objective.

    Returns:
        M before rounding, (K, n, n), and its permutations, (K, n).
    """
    starts = len(matrices) // len(instances.planted)
    indices, _ = round_all(matrices)
    values = instances.repeated(starts).objective(permutation_matrix(indices)).view(-1, starts)
    best = values.argmin(dim=1) + starts * torch.arange(len(values))
    return matrices[best], indices[best]


def round_all(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the permutations (K, n) nearest to (K, n, n), and the largest difference of an entry to theirs, (K,)."""
    indices = torch.stack([nearest_permutation(matrix) for matrix in matrices])
    return indices, (matrices - permutation_matrix(indices)).abs().amax(dim=(-1, -2))


def linear_gap(matrices: Tensor, gradients: Tensor) -> Tensor:
    """Returns how much the linearised objective could still fall, maxₛ ⟨G, M − S⟩ over doubly stochastic S, (K,).

    Frank and Wolfe's gap: for a convex objective a bound on how far its value is above the minimum.
    """
    best = permutation_matrix(round_all(-gradients)[0])
    return (gradients * (matrices - best)).sum(dim=(-1, -2))


def success_rate(name: str, successes: Tensor, *, ends: tuple[str, str] = ("low", "high")) -> dict[str, float]:
    """Returns the share of successes, bool (K,), and the `ends` of Wilson's 95 % interval, by name."""
    rate = float(successes.double().mean())
    return {name: rate, **dict(zip(ends, wilson_interval(rate, len(successes)), strict=True))}


def snapshots(instances: Instances, descent: Descent, *, seed: int, pictures: int) -> dict[str, Any]:
    """Records M of the first instance over time, its rows in the order that makes P* the identity.

    Both descents have the same random start and take the same steps; only λ differs.

    Returns:
        As many `steps` as `pictures`, at least 2, the start and the end among them; and a matrix for each, rows first,
        under `relaxation` (λ = 0) and `penalty`.
    """
    steps = [round(number * descent.steps / (pictures - 1)) for number in range(pictures)]
    begin, order = chance_starts(instances, starts=1, seed=seed), instances.planted[0].argsort()
    figures: dict[str, Any] = {"steps": steps}
    for name, plan in {"relaxation": replace(descent, penalty=0.0), "penalty": descent}.items():
        seen: dict[int, Tensor] = {}
        descend(begin, instances.repeated(1).gradient, plan, on_step=seen.__setitem__)
        figures[name] = [seen[step][0][order].tolist() for step in steps]
    return figures


def adam(
    start: Tensor, losses: Callable[[Tensor, int], Tensor], *, steps: int, learning_rate: float, cosine: bool = False
) -> Tensor:
    """Minimises the sum of `losses`, a function of the values and the step number, by Adam; returns the values.

    The learning rate is constant, or falls to 0 along a cosine.
    """
    values = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([values], lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps) if cosine else None
    for step in range(steps):
        optimizer.zero_grad()
        losses(values, step).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if schedule is not None:
            schedule.step()
    return values.detach()

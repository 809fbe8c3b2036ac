"""Graph matching, AutoShuffleNet's first demonstration of its penalty (Lyu et al., arXiv:1901.08624).

Two weighted graphs, the second the first with its vertices permuted, and noise. Over permutations the objective
f(M) = ‖A M − M B‖² / n is hard; over doubly stochastic matrices it is convex, but with noise its minimum is no
permutation. The penalty P(M), added with a growing weight, brings that minimum to one.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from torch import Tensor

from nas.demonstrations.convex_matching import relaxed_matching
from nas.demonstrations.matching_baselines import faq_matching, sinkhorn_matching
from nas.demonstrations.relaxation import (
    NEAR,
    Descent,
    best_of_starts,
    descend,
    linear_gap,
    random_starts,
    round_all,
    wilson_interval,
)
from nas.runtime import derive_seed
from search_spaces.permutations import permutation_matrix

LARGE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphMatchingSettings:
    """What is matched, and how.

    Attributes:
        sizes: Vertices of the graphs, each with every one of `size_noises`.
        size_noises: Standard deviations of the noise on B; the weights' own is 1.
        noises: Noises at `noise_size` vertices.
        noise_size: Vertices.
        instances: Of each size and noise.
        large_instances: The same from 32 vertices on.
        starts: Of the penalised descent and of FAQ, beside one start each.
        sinkhorn_starts: Of the Sinkhorn descent, the same number of steps each.
        descent: The penalised one. 300 steps of it and of Sinkhorn are 300 gradients of f; FAQ stops by itself, after
            at most 30 gradients and 30 linear assignments.
        snapshots: Of M over time, for the pictures.
    """

    sizes: tuple[int, ...] = (4, 8, 16, 32)
    size_noises: tuple[float, ...] = (0.0, 0.5)
    noises: tuple[float, ...] = (0.0, 0.1, 0.2, 0.5, 1.0)
    noise_size: int = 8
    instances: int = 100
    large_instances: int = 20
    starts: int = 16
    sinkhorn_starts: int = 1
    descent: Descent = field(default_factory=Descent)
    snapshots: int = 6

    def __post_init__(self) -> None:
        for name in ("instances", "large_instances", "starts", "sinkhorn_starts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if min((*self.sizes, self.noise_size)) < 2:
            raise ValueError(f"graphs need at least 2 vertices, got {self.sizes} and noise_size {self.noise_size}")
        if min((*self.noises, *self.size_noises), default=0.0) < 0:
            raise ValueError(f"noises must be at least 0, got {self.noises} and {self.size_noises}")
        if self.snapshots < 2:
            raise ValueError(f"snapshots must be at least 2, got {self.snapshots}")

    @property
    def conditions(self) -> list[tuple[int, float]]:
        """Every (size, noise) once, in order."""
        crossed = {(n, float(noise)) for n in self.sizes for noise in self.size_noises}
        return sorted(crossed | {(self.noise_size, float(noise)) for noise in self.noises})


@dataclass(frozen=True, slots=True)
class Matchings:
    """Instances of graph matching.

    Attributes:
        a: (K, n, n), float64, symmetric, the entries on and above the diagonal independent and standard normal.
        b: (K, n, n), P*ᵀ A P* plus noise of the same kind.
        planted: The index of P*, (K, n).
    """

    a: Tensor
    b: Tensor
    planted: Tensor

    def objective(self, matrix: Tensor) -> Tensor:
        """Returns f of one M for each instance, (K, n, n) to (K,)."""
        return (self.a @ matrix - matrix @ self.b).square().sum(dim=(-1, -2)) / matrix.shape[-1]

    def gradient(self, matrix: Tensor) -> Tensor:
        """Returns the gradient of f, 2 (A R − R B) / n with R = A M − M B, (K, n, n)."""
        residual = self.a @ matrix - matrix @ self.b
        return 2 * (self.a @ residual - residual @ self.b) / matrix.shape[-1]

    def repeated(self, times: int) -> "Matchings":
        """Returns each instance `times` times in a row, in float32: what the descents need."""
        a, b = (values.float().repeat_interleave(times, dim=0) for values in (self.a, self.b))
        return Matchings(a, b, self.planted.repeat_interleave(times, dim=0))


def draw_matchings(instances: int, n: int, *, noise: float, seed: int) -> Matchings:
    """Draws instances with independent graphs, permutations and noise."""
    generator = torch.Generator().manual_seed(seed)

    def symmetric() -> Tensor:
        upper = torch.randn((instances, n, n), generator=generator, dtype=torch.float64).triu()
        return upper + upper.triu(1).mT

    a = symmetric()
    planted = torch.stack([torch.randperm(n, generator=generator) for _ in range(instances)])
    matrix = permutation_matrix(planted).double()
    return Matchings(a, matrix.mT @ a @ matrix + noise * symmetric(), planted)


def penalized_matching(
    matchings: Matchings,
    relaxed: Tensor,
    descent: Descent,
    *,
    starts: int,
    seed: int,
    on_step: Callable[[int, Tensor], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Descends f + λ P(M) from the relaxation's solution and from around it; the start with the least f counts.

    Args:
        matchings: K instances.
        relaxed: The solutions of the convex relaxation, (K, n, n).
        descent: Steps and λ.
        starts: For each instance.
        seed: Of the starts but the first.
        on_step: Called with the number of steps taken and all matrices, (K · starts, n, n).

    Returns:
        M before rounding, (K, n, n), and its permutations, (K, n).
    """
    generator = torch.Generator().manual_seed(seed)
    repeated = matchings.repeated(starts)
    begin = random_starts(relaxed.float(), starts=starts, generator=generator)
    matrices = descend(begin, repeated.gradient, descent, on_step=on_step)
    return _best(repeated, matrices, starts=starts)


def _best(repeated: Matchings, matrices: Tensor, *, starts: int) -> tuple[Tensor, Tensor]:
    indices, _ = round_all(matrices)
    best = best_of_starts(repeated.objective(permutation_matrix(indices)), starts=starts)
    return matrices[best], indices[best]


def run(settings: GraphMatchingSettings, *, seed: int, on_row: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Matches graphs of every size and noise by every method.

    Rows hold `n`, `noise`, `method` (relaxation, penalty, sinkhorn, faq), `starts`, `instances`; `recovery`, the share
    of planted permutations found, with its 95 % interval `low` and `high`; `at_most_planted`, the share whose f is at
    most the planted permutation's; `permutation_share`, of M within 0.01 of a permutation before rounding, and
    `median_distance` (both null for FAQ, which rounds itself); `objective`, the mean of f after rounding;
    `seconds_per_instance`, the only figure that differs between runs; and for the relaxation `gap`, the largest
    distance of its f from the minimum there can be.

    Returns:
        `rows`, and `snapshots`: M of one instance of 8 vertices over time, without and with the penalty.
    """
    rows: list[dict[str, Any]] = []
    for n, noise in settings.conditions:
        for row in _condition_rows(
            settings, n=n, noise=noise, seed=derive_seed(seed, "graph matching", n, repr(noise))
        ):
            rows.append(row)
            on_row(row)
    return {"rows": rows, "snapshots": snapshots(settings, seed=derive_seed(seed, "graph matching, pictures"))}


def _condition_rows(settings: GraphMatchingSettings, *, n: int, noise: float, seed: int) -> list[dict[str, Any]]:
    instances = settings.large_instances if n >= LARGE else settings.instances
    matchings = draw_matchings(instances, n, noise=noise, seed=seed)
    begun = time.perf_counter()
    relaxed = relaxed_matching(matchings.a, matchings.b)
    relaxed_seconds = time.perf_counter() - begun
    gap = float(linear_gap(relaxed, matchings.gradient(relaxed)).max())

    def row(method: str, starts: int, solve: Callable[[], tuple[Tensor | None, Tensor]]) -> dict[str, Any]:
        begun = time.perf_counter()
        matrix, indices = solve()
        # The penalised descent begins at the relaxation's solution, so that counts as its time too.
        seconds = time.perf_counter() - begun + (relaxed_seconds if method in ("relaxation", "penalty") else 0.0)
        scored = _score(matchings, matrix, indices)
        setting = {"n": n, "noise": noise, "method": method, "starts": starts, "instances": instances}
        return {**setting, **scored, "gap": None, "seconds_per_instance": seconds / instances}

    def sinkhorn() -> tuple[Tensor, Tensor]:
        starts, generator = settings.sinkhorn_starts, torch.Generator().manual_seed(seed)
        repeated = matchings.repeated(starts)
        gradient, steps = repeated.gradient, settings.descent.steps
        matrices, _ = sinkhorn_matching(instances * starts, n, gradient, steps=steps, generator=generator)
        return _best(repeated, matrices, starts=starts)

    rows = [row("relaxation", 1, lambda: (relaxed, round_all(relaxed)[0])) | {"gap": gap}]
    counts = sorted({1, settings.starts})
    for starts in counts:
        solve = lambda starts=starts: penalized_matching(  # noqa: E731
            matchings, relaxed, settings.descent, starts=starts, seed=seed
        )
        rows.append(row("penalty", starts, solve))
    rows.append(row("sinkhorn", settings.sinkhorn_starts, sinkhorn))
    for starts in counts:
        rows.append(
            row(
                "faq",
                starts,
                lambda starts=starts: (None, faq_matching(matchings.a, matchings.b, starts=starts, seed=seed)),
            )
        )
    return rows


def _score(matchings: Matchings, matrix: Tensor | None, indices: Tensor) -> dict[str, Any]:
    recovered = (indices == matchings.planted).all(dim=1)
    values = matchings.objective(permutation_matrix(indices).double())
    planted = matchings.objective(permutation_matrix(matchings.planted).double())
    distances = None if matrix is None else round_all(matrix)[1]
    low, high = wilson_interval(int(recovered.sum()), len(recovered))
    return {
        "recovery": float(recovered.double().mean()),
        "low": low,
        "high": high,
        "at_most_planted": float((values <= planted + 1e-9).double().mean()),
        "permutation_share": None if distances is None else float((distances <= NEAR).double().mean()),
        "median_distance": None if distances is None else median(distances.tolist()),
        "objective": float(values.mean()),
    }


def snapshots(settings: GraphMatchingSettings, *, seed: int, n: int = 8, noise: float = 0.2) -> dict[str, Any]:
    """Returns M of one instance over time, its rows in the order that makes P* the identity.

    Both descents begin at the uniform matrix, a little perturbed, and take the same steps; only λ differs.

    Returns:
        `n`, `noise`, `steps`, and under `relaxation` and `penalty` a list of matrices, rows first.
    """
    matchings = draw_matchings(1, n, noise=noise, seed=seed).repeated(1)
    descent = settings.descent
    wanted = [round(number * descent.steps / (settings.snapshots - 1)) for number in range(settings.snapshots)]
    generator = torch.Generator().manual_seed(seed)
    begin = random_starts(torch.full((1, n, n), 1 / n), starts=2, generator=generator)[1:]
    figures: dict[str, Any] = {"n": n, "noise": noise, "steps": wanted}
    order = matchings.planted[0].argsort()
    for name, penalty in {"relaxation": 0.0, "penalty": descent.penalty}.items():
        plan = Descent(steps=descent.steps, step_size=descent.step_size, momentum=descent.momentum, penalty=penalty)
        kept: list[Any] = []

        def keep(step: int, matrix: Tensor, kept: list[Any] = kept) -> None:
            if step in wanted:
                kept.append(matrix[0][order].tolist())

        descend(begin, matchings.gradient, plan, on_step=keep)
        figures[name] = kept
    return figures

"""Graph matching, AutoShuffleNet's first demonstration of its penalty (Lyu et al., arXiv:1901.08624).

Two weighted graphs, the second the first with its vertices permuted, and noise. Over permutations the objective
f(M) = ‖A M − M B‖² / n is hard; over doubly stochastic matrices it is convex, but with noise its minimum is no
permutation. The penalty P(M), added with a growing weight, brings that minimum to one.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from nas.runs.seeds import derive_seed
from nas.studies.demonstrations.matching.solvers import faq_matching, relaxed_matching, sinkhorn_matching
from nas.studies.demonstrations.relaxation import (
    NEAR,
    Instances,
    best_of_starts,
    descend_best,
    linear_gap,
    random_starts,
    round_all,
    snapshots,
    success_rate,
)
from nas.studies.demonstrations.rows import Row, Rows, demonstration
from nas.studies.demonstrations.settings import Descent, GraphMatchingSettings
from search_spaces.permutations import permutation_matrix

LARGE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Matchings(Instances):
    """Instances of graph matching.

    Attributes:
        a: (K, n, n), float64, symmetric, the entries on and above the diagonal independent and standard normal.
        b: (K, n, n), P*ᵀ A P* plus noise of the same kind.
    """

    a: Tensor
    b: Tensor

    def objective(self, matrix: Tensor) -> Tensor:
        """Returns f of one M for each instance, (K, n, n) to (K,)."""
        return (self.a @ matrix - matrix @ self.b).square().sum(dim=(-1, -2)) / matrix.shape[-1]

    def gradient(self, matrix: Tensor) -> Tensor:
        """Returns the gradient of f, 2 (A R − R B) / n with R = A M − M B, (K, n, n)."""
        residual = self.a @ matrix - matrix @ self.b
        return 2 * (self.a @ residual - residual @ self.b) / matrix.shape[-1]


def draw_matchings(instances: int, n: int, *, noise: float, seed: int) -> Matchings:
    """Draws instances with independent graphs, permutations and noise."""
    generator = torch.Generator().manual_seed(seed)

    def symmetric() -> Tensor:
        upper = torch.randn((instances, n, n), generator=generator, dtype=torch.float64).triu()
        return upper + upper.triu(1).mT

    a = symmetric()
    planted = torch.stack([torch.randperm(n, generator=generator) for _ in range(instances)])
    matrix = permutation_matrix(planted).double()
    return Matchings(a=a, b=matrix.mT @ a @ matrix + noise * symmetric(), planted=planted)


def penalized_matching(
    matchings: Matchings, relaxed: Tensor, descent: Descent, *, starts: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Descends f + λ P(M) from the solutions of the relaxation, (K, n, n), and from around them.

    Returns:
        M of the start with the least f, before rounding, (K, n, n), and its permutations, (K, n).
    """
    begin = random_starts(relaxed.float(), starts=starts, generator=torch.Generator().manual_seed(seed))
    return descend_best(matchings, begin, descent)


@demonstration()
def run(settings: GraphMatchingSettings, *, seed: int) -> Rows:
    """Graph matching, AutoShuffleNet's first demonstration of its penalty (Lyu et al., arXiv:1901.08624).

    Rows hold `n`, `noise`, `method` (relaxation, penalty, sinkhorn, faq), `starts`, `instances`; `recovery`, the share
    of planted permutations found, with its 95 % interval `low` and `high`; `at_most_planted`, the share whose f is at
    most the planted permutation's; `permutation_share`, of M within 0.01 of a permutation before rounding, and
    `median_distance` (both null for FAQ, which rounds itself); `objective`, the mean of f after rounding;
    `seconds_per_instance`, the only figure that differs between runs; and for the relaxation `gap`, the largest
    distance of its f from the minimum there can be.

    Returns:
        `snapshots`: M of one instance of 8 vertices over time, without and with the penalty.
    """
    for n, noise in settings.conditions:
        yield from _rows(settings, n=n, noise=noise, seed=derive_seed(seed, "graph matching", n, repr(noise)))
    stream = derive_seed(seed, "graph matching, pictures")
    shown = draw_matchings(1, 8, noise=0.2, seed=stream)
    film = snapshots(shown, settings.descent, seed=stream, pictures=settings.snapshots)
    return {"snapshots": {"n": 8, "noise": 0.2, **film}}


def _rows(settings: GraphMatchingSettings, *, n: int, noise: float, seed: int) -> Iterator[Row]:
    instances = settings.large_instances if n >= LARGE else settings.instances
    matchings = draw_matchings(instances, n, noise=noise, seed=seed)
    begun = time.perf_counter()
    relaxed = relaxed_matching(matchings.a, matchings.b)
    relaxed_seconds = time.perf_counter() - begun

    def sinkhorn(starts: int) -> tuple[Tensor, Tensor]:
        start = 0.1 * torch.randn((instances * starts, n, n), generator=torch.Generator().manual_seed(seed))
        gradient = matchings.repeated(starts).gradient
        return best_of_starts(matchings, sinkhorn_matching(gradient, start, steps=settings.descent.steps))

    solvers: dict[str, Callable[[int], tuple[Tensor | None, Tensor]]] = {
        "relaxation": lambda _: (relaxed, round_all(relaxed)[0]),
        "penalty": lambda starts: penalized_matching(matchings, relaxed, settings.descent, starts=starts, seed=seed),
        "sinkhorn": sinkhorn,
        "faq": lambda starts: (None, faq_matching(matchings.a, matchings.b, starts=starts, seed=seed)),
    }
    counts = {"relaxation": {1}, "sinkhorn": {settings.sinkhorn_starts}}
    for method, solve in solvers.items():
        for starts in sorted(counts.get(method, {1, settings.starts})):
            begun = time.perf_counter()
            matrix, indices = solve(starts)
            # The penalised descent begins at the relaxation's solution, so that counts as its time too.
            seconds = time.perf_counter() - begun + (relaxed_seconds if method in ("relaxation", "penalty") else 0.0)
            is_relaxation = method == "relaxation"
            yield {
                **{"n": n, "noise": noise, "method": method, "starts": starts, "instances": instances},
                **_score(matchings, matrix, indices),
                "gap": float(linear_gap(relaxed, matchings.gradient(relaxed)).max()) if is_relaxation else None,
                "seconds_per_instance": seconds / instances,
            }


def _score(matchings: Matchings, matrix: Tensor | None, indices: Tensor) -> Row:
    found, planted = (matchings.objective(permutation_matrix(index).double()) for index in (indices, matchings.planted))
    distances = None if matrix is None else round_all(matrix)[1]
    return {
        **success_rate("recovery", (indices == matchings.planted).all(dim=1)),
        "at_most_planted": float((found <= planted + 1e-9).double().mean()),
        "permutation_share": None if distances is None else float((distances <= NEAR).double().mean()),
        "median_distance": None if distances is None else median(distances.tolist()),
        "objective": float(found.mean()),
    }

"""AutoShuffleNet's two demonstrations of its penalty (Lyu et al., arXiv:1901.08624): planted permutations, found again.

Graph matching: two weighted graphs, the second the first with its vertices permuted, and noise. Over permutations the
objective f(M) = ‖A M − M B‖² / n is hard; over doubly stochastic matrices it is convex, but with noise its minimum is
no permutation. The penalty P(M), added with a growing weight, brings that minimum to one.

Two layers: the teacher is y = W₂ relu(P* W₁ x) plus noise, its weights known; the student y = W₂ relu(M W₁ x) has to
find P* from examples. A deviation from the paper, which minimises the expected loss in closed form: here it is the mean
squared error of a finite sample. It is not convex in M, so relaxation and penalty both get several starts.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import sqrt
from statistics import median

import torch
from torch import Tensor

from nas.runs.seeds import derive_seed
from nas.studies.demonstrations.relaxation import (
    NEAR,
    Instances,
    best_of_starts,
    chance_starts,
    descend_best,
    linear_gap,
    random_starts,
    round_all,
    snapshots,
    success_rate,
)
from nas.studies.demonstrations.rows import Row, Rows, demonstration
from nas.studies.demonstrations.settings import Descent, GraphMatchingSettings, TwoLayerSettings
from nas.studies.demonstrations.solvers import faq_matching, relaxed_matching, sinkhorn_matching
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Teachers(Instances):
    """Instances of the network of two layers.

    Attributes:
        hidden: W₁ x of every example, (K, N, n), with entries of order 1.
        weights: W₂, (K, n, n).
        outputs: Outputs of the teacher with noise, (K, N, n).
    """

    hidden: Tensor
    weights: Tensor
    outputs: Tensor

    def residual(self, matrix: Tensor) -> Tensor:
        """Returns the student's outputs less the teacher's, (K, N, n), M being (K, n, n)."""
        return (self.hidden @ matrix.mT).relu() @ self.weights.mT - self.outputs

    def objective(self, matrix: Tensor) -> Tensor:
        """Returns the mean squared error, (K,)."""
        return self.residual(matrix).square().mean(dim=(-1, -2))

    def gradient(self, matrix: Tensor) -> Tensor:
        """Returns the gradient of n times the error, (K, n, n); n makes it comparable to the penalty, of order n."""
        active = self.hidden @ matrix.mT > 0  # (K, N, n)
        upstream = (self.residual(matrix) @ self.weights) * active
        return 2 / self.outputs.shape[1] * upstream.mT @ self.hidden


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


def draw_teachers(instances: int, n: int, *, samples: int, noise: float, seed: int) -> Teachers:
    """Draws instances: Gaussian inputs, Gaussian weights at the scale that keeps the variance, a permutation, noise."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn((instances, n, n), generator=generator) / sqrt(n)
    weights = torch.randn((instances, n, n), generator=generator) * sqrt(2 / n)
    planted = torch.stack([torch.randperm(n, generator=generator) for _ in range(instances)])
    hidden = torch.randn((instances, samples, n), generator=generator) @ first.mT
    outputs = (hidden @ permutation_matrix(planted).mT).relu() @ weights.mT
    outputs = outputs + noise * torch.randn(outputs.shape, generator=generator)
    return Teachers(planted=planted, hidden=hidden, weights=weights, outputs=outputs)


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
def graph_matching(settings: GraphMatchingSettings, *, seed: int) -> Rows:
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
        yield from _match(settings, n=n, noise=noise, seed=derive_seed(seed, "graph matching", n, repr(noise)))
    stream = derive_seed(seed, "graph matching, pictures")
    shown = draw_matchings(1, 8, noise=0.2, seed=stream)
    film = snapshots(shown, settings.descent, seed=stream, pictures=settings.snapshots)
    return {"snapshots": {"n": 8, "noise": 0.2, **film}}


def _match(settings: GraphMatchingSettings, *, n: int, noise: float, seed: int) -> Iterator[Row]:
    instances = settings.large_instances if n >= LARGE else settings.instances
    matchings = draw_matchings(instances, n, noise=noise, seed=seed)
    begun = time.perf_counter()
    relaxed = relaxed_matching(matchings.a, matchings.b)
    spent = {"relaxation": time.perf_counter() - begun}
    spent["penalty"] = spent["relaxation"]  # the penalised descent begins at the relaxation's solution

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
    planted = matchings.objective(permutation_matrix(matchings.planted).double())
    for method, solve in solvers.items():
        for starts in sorted(counts.get(method, {1, settings.starts})):
            begun = time.perf_counter()
            matrix, indices = solve(starts)
            seconds = time.perf_counter() - begun + spent.get(method, 0.0)
            found = matchings.objective(permutation_matrix(indices).double())
            gap = linear_gap(relaxed, matchings.gradient(relaxed)).max().item() if method == "relaxation" else None
            yield {
                **{"n": n, "noise": noise, "method": method, "starts": starts, "instances": instances},
                **success_rate("recovery", (indices == matchings.planted).all(dim=1)),
                "at_most_planted": float((found <= planted + 1e-9).double().mean()),
                **_nearness(matrix),
                "objective": float(found.mean()),
                "gap": gap,
                "seconds_per_instance": seconds / instances,
            }


@demonstration()
def two_layer(settings: TwoLayerSettings, *, seed: int) -> Rows:
    """The permutation inside a network of two layers, AutoShuffleNet's second demonstration (arXiv:1901.08624).

    The start whose rounded M has the least loss counts, whatever the method. Rows hold `n`, `noise`,
    `samples_per_unit`, `method` (relaxation, penalty), `starts`, `instances`; `success`, the share with M within 0.01
    of the planted permutation before any rounding, with its 95 % interval `low` and `high`; `permutation_share`, of M
    within 0.01 of any permutation, and `median_distance` to the nearest permutation; `recovery`, the share of planted
    permutations after rounding, with `recovery_low` and `recovery_high`; the mean `loss` of M, `rounded_loss` and
    `planted_loss`; `median_gap`, how far the linearised n · loss could still fall (for the relaxation); and
    `seconds_per_instance`, the only figure that differs between runs.

    Returns:
        `snapshots`: M of one instance of 8 units over time, without and with the penalty.
    """
    for n, noise, samples_per_unit in settings.conditions:
        stream = derive_seed(seed, "two layers", n, repr(noise), repr(samples_per_unit))
        samples = max(1, round(samples_per_unit * n))
        teachers = draw_teachers(settings.instances, n, samples=samples, noise=noise, seed=stream)
        for method, penalty in {"relaxation": 0.0, "penalty": settings.descent.penalty}.items():
            for starts in sorted({1, settings.starts}):
                begun = time.perf_counter()
                begin = chance_starts(teachers, starts=starts, seed=stream)
                matrix, indices = descend_best(teachers, begin, replace(settings.descent, penalty=penalty))
                seconds = time.perf_counter() - begun
                recovered = (indices == teachers.planted).all(dim=1)
                gaps = linear_gap(matrix, teachers.gradient(matrix)).tolist() if method == "relaxation" else None
                rounded, planted = (permutation_matrix(one) for one in (indices, teachers.planted))
                matrices = {"loss": matrix, "rounded_loss": rounded, "planted_loss": planted}
                yield {
                    **{"n": n, "noise": noise, "samples_per_unit": samples_per_unit},
                    **{"method": method, "starts": starts, "instances": settings.instances},
                    **success_rate("success", recovered & (round_all(matrix)[1] <= NEAR)),
                    **_nearness(matrix),
                    **success_rate("recovery", recovered, ends=("recovery_low", "recovery_high")),
                    **{name: float(teachers.objective(one).mean()) for name, one in matrices.items()},
                    "median_gap": None if gaps is None else median(gaps),
                    "seconds_per_instance": seconds / settings.instances,
                }
    stream = derive_seed(seed, "two layers, pictures")
    shown = draw_teachers(1, 8, samples=round(settings.base_samples * 8), noise=0.3, seed=stream)
    film = snapshots(shown, settings.descent, seed=stream, pictures=settings.snapshots)
    return {"snapshots": {"n": 8, "noise": 0.3, **film}}


def _nearness(matrix: Tensor | None) -> Row:
    """Returns how near matrices (K, n, n) are to permutations; nothing is known of none."""
    if matrix is None:
        return {"permutation_share": None, "median_distance": None}
    distances = round_all(matrix)[1]
    share = float((distances <= NEAR).double().mean())
    return {"permutation_share": share, "median_distance": median(distances.tolist())}

"""Graph matching, AutoShuffleNet's first demonstration of its penalty (Lyu et al., arXiv:1901.08624).

Two weighted graphs, the second the first with its vertices permuted, and noise. Over permutations the objective
f(M) = ‖A M − M B‖² / n is hard; over doubly stochastic matrices it is convex, but with noise its minimum is no
permutation. The penalty P(M), added with a growing weight, brings that minimum to one.
"""

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from nas.runs.intervals import wilson_interval
from nas.runs.seeds import derive_seed
from nas.studies.demonstrations.matching.baselines import faq_matching, sinkhorn_matching
from nas.studies.demonstrations.matching.convex import relaxed_matching
from nas.studies.demonstrations.matching.problems import Matchings, draw_matchings
from nas.studies.demonstrations.relaxation import (
    NEAR,
    best_of_starts,
    descend,
    film,
    linear_gap,
    random_starts,
    round_all,
)
from nas.studies.demonstrations.settings import Descent, GraphMatchingSettings
from search_spaces.permutations import permutation_matrix

LARGE = 32


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

    def faq(starts: int) -> tuple[None, Tensor]:
        return None, faq_matching(matchings.a, matchings.b, starts=starts, seed=seed)

    rows = [row("relaxation", 1, lambda: (relaxed, round_all(relaxed)[0])) | {"gap": gap}]
    counts = sorted({1, settings.starts})
    for starts in counts:
        solve = partial(penalized_matching, matchings, relaxed, settings.descent, starts=starts, seed=seed)
        rows.append(row("penalty", starts, solve))
    rows.append(row("sinkhorn", settings.sinkhorn_starts, sinkhorn))
    for starts in counts:
        rows.append(row("faq", starts, partial(faq, starts)))
    return rows


def _score(matchings: Matchings, matrix: Tensor | None, indices: Tensor) -> dict[str, Any]:
    recovered = (indices == matchings.planted).all(dim=1)
    values = matchings.objective(permutation_matrix(indices).double())
    planted = matchings.objective(permutation_matrix(matchings.planted).double())
    distances = None if matrix is None else round_all(matrix)[1]
    recovery = float(recovered.double().mean())
    low, high = wilson_interval(recovery, len(recovered))
    return {
        "recovery": recovery,
        "low": low,
        "high": high,
        "at_most_planted": float((values <= planted + 1e-9).double().mean()),
        "permutation_share": None if distances is None else float((distances <= NEAR).double().mean()),
        "median_distance": None if distances is None else median(distances.tolist()),
        "objective": float(values.mean()),
    }


def snapshots(settings: GraphMatchingSettings, *, seed: int, n: int = 8, noise: float = 0.2) -> dict[str, Any]:
    """Returns M of one instance over time, its rows in the order that makes P* the identity.

    Both descents have the same random start and take the same steps; only λ differs.

    Returns:
        `n`, `noise`, `steps`, and under `relaxation` and `penalty` a list of matrices, rows first.
    """
    matchings = draw_matchings(1, n, noise=noise, seed=seed).repeated(1)
    generator = torch.Generator().manual_seed(seed)
    begin = random_starts(torch.full((1, n, n), 1 / n), starts=2, generator=generator)[1:]
    return {"n": n, "noise": noise} | film(
        settings.descent,
        lambda descent, on_step: descend(begin, matchings.gradient, descent, on_step=on_step),
        order=matchings.planted[0].argsort(),
        pictures=settings.snapshots,
    )

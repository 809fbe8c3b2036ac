"""The permutation inside a network of two layers, AutoShuffleNet's second demonstration (arXiv:1901.08624).

The teacher is y = W₂ relu(P* W₁ x) plus noise, its weights known; the student y = W₂ relu(M W₁ x) has to find P* from
examples. A deviation from the paper, which minimises the expected loss in closed form: here it is the mean squared
error of a finite sample. It is not convex in M, so relaxation and penalty both get several starts.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import sqrt
from statistics import median
from typing import Any

import torch
from torch import Tensor

from nas.runs.intervals import wilson_interval
from nas.runs.seeds import derive_seed
from nas.studies.demonstrations.relaxation import (
    NEAR,
    best_of_starts,
    descend,
    film,
    linear_gap,
    random_starts,
    round_all,
)
from nas.studies.demonstrations.settings import Descent, TwoLayerSettings
from search_spaces.permutations import permutation_matrix


@dataclass(frozen=True, slots=True)
class Teachers:
    """Instances of the task.

    Attributes:
        hidden: W₁ x of every example, (K, N, n), with entries of order 1.
        weights: W₂, (K, n, n).
        outputs: Of the teacher with noise, (K, N, n).
        planted: The index of P*, (K, n).
    """

    hidden: Tensor
    weights: Tensor
    outputs: Tensor
    planted: Tensor

    def residual(self, matrix: Tensor) -> Tensor:
        """Returns the student's outputs less the teacher's, (K, N, n), M being (K, n, n)."""
        return (self.hidden @ matrix.mT).relu() @ self.weights.mT - self.outputs

    def loss(self, matrix: Tensor) -> Tensor:
        """Returns the mean squared error, (K,)."""
        return self.residual(matrix).square().mean(dim=(-1, -2))

    def gradient(self, matrix: Tensor) -> Tensor:
        """Returns the gradient of n times the loss, (K, n, n); n makes it comparable to the penalty, of order n."""
        samples = self.outputs.shape[1]
        active = self.hidden @ matrix.mT > 0  # (K, N, n)
        upstream = (self.residual(matrix) @ self.weights) * active
        return 2 / samples * upstream.mT @ self.hidden

    def repeated(self, times: int) -> "Teachers":
        """Returns each instance `times` times in a row."""
        values = (self.hidden, self.weights, self.outputs, self.planted)
        return Teachers(*(value.repeat_interleave(times, dim=0) for value in values))


def draw_teachers(instances: int, n: int, *, samples: int, noise: float, seed: int) -> Teachers:
    """Draws instances: Gaussian inputs, Gaussian weights at the scale that keeps the variance, a permutation, noise."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn((instances, n, n), generator=generator) / sqrt(n)
    second = torch.randn((instances, n, n), generator=generator) * sqrt(2 / n)
    planted = torch.stack([torch.randperm(n, generator=generator) for _ in range(instances)])
    hidden = torch.randn((instances, samples, n), generator=generator) @ first.mT
    outputs = (hidden @ permutation_matrix(planted).mT).relu() @ second.mT
    return Teachers(hidden, second, outputs + noise * torch.randn(outputs.shape, generator=generator), planted)


def run(settings: TwoLayerSettings, *, seed: int, on_row: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Recovers permutations at every size, noise and number of examples, with and without the penalty.

    Rows hold `n`, `noise`, `samples_per_unit`, `method` (relaxation, penalty), `starts`, `instances`; `success`, the
    share with M within 0.01 of the planted permutation before any rounding, with its 95 % interval `low` and `high`;
    `permutation_share`, of M within 0.01 of any permutation; `recovery`, the share of planted permutations after
    rounding, with `recovery_low` and `recovery_high`; `median_distance` to the nearest permutation; the mean `loss` of
    M, `rounded_loss` and `planted_loss`; `median_gap`, how far the linearised n · loss could still fall (for the
    relaxation); and `seconds_per_instance`, the only figure that differs between runs.

    Returns:
        `rows`, and `snapshots`: M of one instance of 8 units over time, without and with the penalty.
    """
    rows: list[dict[str, Any]] = []
    for n, noise, samples in settings.conditions:
        condition_seed = derive_seed(seed, "two layers", n, repr(noise), repr(samples))
        for row in _condition_rows(settings, n=n, noise=noise, samples_per_unit=samples, seed=condition_seed):
            rows.append(row)
            on_row(row)
    return {"rows": rows, "snapshots": snapshots(settings, seed=derive_seed(seed, "two layers, pictures"))}


def _condition_rows(
    settings: TwoLayerSettings, *, n: int, noise: float, samples_per_unit: float, seed: int
) -> list[dict[str, Any]]:
    samples = max(1, round(samples_per_unit * n))
    teachers = draw_teachers(settings.instances, n, samples=samples, noise=noise, seed=seed)
    rows = []
    for method, descent in _descents(settings.descent).items():
        for starts in sorted({1, settings.starts}):
            begun = time.perf_counter()
            matrix = recover(teachers, descent, starts=starts, seed=seed)
            seconds = (time.perf_counter() - begun) / settings.instances
            row = {"n": n, "noise": noise, "samples_per_unit": samples_per_unit, "method": method, "starts": starts}
            row |= {"instances": settings.instances, **_score(teachers, matrix), "seconds_per_instance": seconds}
            rows.append(row if method == "relaxation" else row | {"median_gap": None})
    return rows


def _descents(penalized: Descent) -> dict[str, Descent]:
    return {"relaxation": replace(penalized, penalty=0.0), "penalty": penalized}


def recover(
    teachers: Teachers,
    descent: Descent,
    *,
    starts: int,
    seed: int,
    on_step: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Descends from random doubly stochastic matrices; returns the best start's M before rounding, (K, n, n).

    Args:
        teachers: K instances.
        descent: Steps and λ.
        starts: For each instance; the one whose rounded M has the least loss counts, whatever the method.
        seed: Of the starts.
        on_step: Called with the number of steps taken and all matrices, (K · starts, n, n).
    """
    instances, n = teachers.planted.shape
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.full((instances, n, n), 1 / n)
    # Without the first of each problem's starts, which has no chance in it and would be the same for all.
    begin = random_starts(uniform, starts=starts + 1, generator=generator).view(instances, starts + 1, n, n)[:, 1:]
    repeated = teachers.repeated(starts)
    matrices = descend(begin.flatten(0, 1), repeated.gradient, descent, on_step=on_step)
    losses = repeated.loss(permutation_matrix(round_all(matrices)[0]))
    return matrices[best_of_starts(losses, starts=starts)]


def _score(teachers: Teachers, matrix: Tensor) -> dict[str, Any]:
    indices, distances = round_all(matrix)
    recovered, near = (indices == teachers.planted).all(dim=1), distances <= NEAR
    success, recovery = (float(shares.double().mean()) for shares in (recovered & near, recovered))
    low, high = wilson_interval(success, len(recovered))
    recovery_low, recovery_high = wilson_interval(recovery, len(recovered))
    return {
        "success": success,
        "low": low,
        "high": high,
        "permutation_share": float(near.double().mean()),
        "recovery": recovery,
        "recovery_low": recovery_low,
        "recovery_high": recovery_high,
        "median_distance": median(distances.tolist()),
        "loss": float(teachers.loss(matrix).mean()),
        "rounded_loss": float(teachers.loss(permutation_matrix(indices)).mean()),
        "planted_loss": float(teachers.loss(permutation_matrix(teachers.planted)).mean()),
        "median_gap": median(linear_gap(matrix, teachers.gradient(matrix)).tolist()),
    }


def snapshots(settings: TwoLayerSettings, *, seed: int, n: int = 8, noise: float = 0.3) -> dict[str, Any]:
    """Returns M of one instance over time, its rows in the order that makes P* the identity.

    Both descents have the same start, instance and steps; only λ differs.

    Returns:
        `n`, `noise`, `steps`, and under `relaxation` and `penalty` a list of matrices, rows first.
    """
    teachers = draw_teachers(1, n, samples=round(settings.base_samples * n), noise=noise, seed=seed)
    return {"n": n, "noise": noise} | film(
        settings.descent,
        lambda descent, on_step: recover(teachers, descent, starts=1, seed=seed, on_step=on_step),
        order=teachers.planted[0].argsort(),
        pictures=settings.snapshots,
    )

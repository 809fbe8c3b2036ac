"""The permutation inside a network of two layers, AutoShuffleNet's second demonstration (arXiv:1901.08624).

The teacher is y = W₂ relu(P* W₁ x) plus noise, its weights known; the student y = W₂ relu(M W₁ x) has to find P* from
examples. A deviation from the paper, which minimises the expected loss in closed form: here it is the mean squared
error of a finite sample. It is not convex in M, so relaxation and penalty both get several starts.
"""

import time
from dataclasses import dataclass, replace
from math import sqrt
from statistics import median

import torch
from torch import Tensor

from nas.runs.seeds import derive_seed
from nas.studies.demonstrations.relaxation import (
    NEAR,
    Instances,
    chance_starts,
    descend_best,
    linear_gap,
    round_all,
    snapshots,
    success_rate,
)
from nas.studies.demonstrations.rows import Row, Rows, demonstration
from nas.studies.demonstrations.settings import TwoLayerSettings
from search_spaces.permutations import permutation_matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class Teachers(Instances):
    """Instances of the task.

    Attributes:
        hidden: W₁ x of every example, (K, N, n), with entries of order 1.
        weights: W₂, (K, n, n).
        outputs: Of the teacher with noise, (K, N, n).
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


@demonstration()
def run(settings: TwoLayerSettings, *, seed: int) -> Rows:
    """The permutation inside a network of two layers, AutoShuffleNet's second demonstration (arXiv:1901.08624).

    The start whose rounded M has the least loss counts, whatever the method. Rows hold `n`, `noise`,
    `samples_per_unit`, `method` (relaxation, penalty), `starts`, `instances`; `success`, the share with M within 0.01
    of the planted permutation before any rounding, with its 95 % interval `low` and `high`; `permutation_share`, of M
    within 0.01 of any permutation; `recovery`, the share of planted permutations after rounding, with `recovery_low`
    and `recovery_high`; `median_distance` to the nearest permutation; the mean `loss` of M, `rounded_loss` and
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
                seconds = (time.perf_counter() - begun) / settings.instances
                yield {
                    **{"n": n, "noise": noise, "samples_per_unit": samples_per_unit},
                    **{"method": method, "starts": starts, "instances": settings.instances},
                    **_score(teachers, matrix, indices, with_gap=method == "relaxation"),
                    "seconds_per_instance": seconds,
                }
    stream = derive_seed(seed, "two layers, pictures")
    shown = draw_teachers(1, 8, samples=round(settings.base_samples * 8), noise=0.3, seed=stream)
    film = snapshots(shown, settings.descent, seed=stream, pictures=settings.snapshots)
    return {"snapshots": {"n": 8, "noise": 0.3, **film}}


def _score(teachers: Teachers, matrix: Tensor, indices: Tensor, *, with_gap: bool) -> Row:
    distances = round_all(matrix)[1]
    recovered, near = (indices == teachers.planted).all(dim=1), distances <= NEAR
    return {
        **success_rate("success", recovered & near),
        "permutation_share": float(near.double().mean()),
        **success_rate("recovery", recovered, ends=("recovery_low", "recovery_high")),
        "median_distance": median(distances.tolist()),
        "loss": float(teachers.objective(matrix).mean()),
        "rounded_loss": float(teachers.objective(permutation_matrix(indices)).mean()),
        "planted_loss": float(teachers.objective(permutation_matrix(teachers.planted)).mean()),
        "median_gap": median(linear_gap(matrix, teachers.gradient(matrix)).tolist()) if with_gap else None,
    }

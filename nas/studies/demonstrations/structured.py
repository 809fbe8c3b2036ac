"""Kaleidoscope matrices: the transforms they write, and those that descents find (Dao et al. 2020, arXiv:2012.14966).

The paper proves that every permutation, the Hadamard and Fourier transforms and every circular convolution are
kaleidoscope matrices of few factors. Here each is written down and compared with its dense matrix. That a matrix can be
written does not say that it can be learned: so descents from random starts try to find the same transforms, and switch
networks to find planted permutations from data.
"""

import itertools
import math
import statistics
from collections.abc import Collection
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nas.runs.seeds import derive_seed
from nas.studies.demonstrations.relaxation import adam
from nas.studies.demonstrations.rows import Row, Rows, demonstration
from nas.studies.demonstrations.settings import StructuredSettings
from search_spaces.butterfly import (
    butterfly_matrix,
    convolution_kaleidoscope,
    dft_kaleidoscope,
    hadamard_kaleidoscope,
    identity_twiddle,
    kaleidoscope_matrix,
    permutation_kaleidoscope,
    random_twiddle,
)
from search_spaces.switches import SwitchTables, switch_matrix, switch_permutation, switch_tables

TRANSFORMS = ("permutation", "hadamard", "fourier", "convolution")
LEARNED = (*TRANSFORMS, "fourier, bits reversed")
"""The last is the Fourier matrix with its columns in bit-reversed order: what is left to learn, one butterfly, if the
permutation in front of it is known."""
STARTS = ("random", "near identity")
FRAMES = 6
"""Pictures of a descent, the start and the end included."""


@demonstration("constructed", "learned", "switches")
def structured(settings: StructuredSettings, *, seed: int) -> Rows:
    """What kaleidoscope matrices write, and what of it gradient descent finds (Dao et al. 2020, arXiv:2012.14966).

    Returns:
        `film`, the pictures of a descent ({} without learned sizes).
    """

    def generator(*stream: str | int) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(seed, "structured", *stream))

    shown: dict[str, Any] = {}
    for n, transform in itertools.product(settings.constructed_sizes, TRANSFORMS):
        yield {"part": "constructed", **construct(transform, n, generator=generator(transform, n))}
    for n, transform in itertools.product(settings.learned_sizes, LEARNED):
        rows, film = learn(transform, n, settings, generator=generator(transform, n))
        yield from ({"part": "learned", **row} for row in rows)
        shown = film if (transform, n) == (settings.shown_transform, max(settings.learned_sizes)) else shown
    for n in settings.switch_sizes:
        yield {"part": "switches", **find_planted(n, settings, generator=generator("switches", n))}
    return {"film": shown}


@torch.no_grad()
def construct(transform: str, n: int, *, generator: torch.Generator) -> Row:
    """Compares a kaleidoscope matrix with the dense matrix of its transform.

    The counts are of real numbers and real multiplications, for one vector and without savings: a complex entry has 2
    numbers and takes 4 multiplications, and factors that are the identity count like others.

    Returns:
        `transform`, `n`, `width` w of (BB*)ʷ, `max_error` of an entry, `parameters` and `multiply_adds`, and the same
        two of the dense matrix.
    """
    twiddle, target = expressible(transform, n, generator=generator)
    counts = {
        f"{prefix}{name}": values.numel() * (complex_cost if values.is_complex() else 1)
        for prefix, values in (("", twiddle), ("dense_", target))
        for name, complex_cost in (("parameters", 2), ("multiply_adds", 4))
    }
    error = (kaleidoscope_matrix(twiddle, n) - target).abs().max().item()
    return {"transform": transform, "n": n, "width": len(twiddle), "max_error": error, **counts}


def expressible(transform: str, n: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Returns a transform twice, in double precision: as a kaleidoscope twiddle, and dense (n, n) by definition.

    The dense matrices share no code with the products that they check. Permutations are drawn uniformly, the
    kernels of convolutions from the normal distribution.

    Args:
        transform: One of `TRANSFORMS`.
        n: A power of 2.
        generator: Source of the random numbers.
    """
    row, column = torch.arange(n)[:, None], torch.arange(n)
    if transform == "permutation":
        index = torch.randperm(n, generator=generator)
        return permutation_kaleidoscope(index), (index[:, None] == column).double()
    if transform == "hadamard":
        from scipy.linalg import hadamard

        return hadamard_kaleidoscope(n), torch.from_numpy(hadamard(n)).double()
    if transform == "fourier":
        angles = -2 * math.pi / n * (row * column % n).double()  # the remainder keeps the angles exact to rounding
        return dft_kaleidoscope(n), torch.polar(torch.ones_like(angles), angles)
    kernel = torch.randn(n, dtype=torch.float64, generator=generator)
    return convolution_kaleidoscope(kernel), kernel[(row - column) % n]


def learnable(transform: str, n: int, *, generator: torch.Generator) -> tuple[Tensor, int]:
    """Returns what a descent is to find, and the width w of (BB*)ʷ that can write it.

    Returns:
        The matrix (n, n), scaled to ‖T‖²_F = n, so that errors of different transforms compare. It is complex, and the
        descent with it, if the kaleidoscope matrix that writes it is: also the convolution's, of zero imaginary part.
    """
    if transform == LEARNED[-1]:
        # The butterfly of the Fourier product alone; the permutation is its second, rightmost pair.
        target, width = butterfly_matrix(dft_kaleidoscope(n)[0, 0]), 1
    else:
        twiddle, dense = expressible(transform, n, generator=generator)
        target, width = dense.to(twiddle.dtype), len(twiddle)
    return target * math.sqrt(n) / torch.linalg.matrix_norm(target), width


def learn(
    transform: str, n: int, settings: StructuredSettings, *, generator: torch.Generator
) -> tuple[list[Row], dict[str, Any]]:
    """Descends on ‖K − T‖²_F from all starts at once.

    Returns:
        A row for each kind of start: `transform`, `n`, `width`, `start`, `restarts`, the smallest and the median RMSE
        ‖K − T‖_F / n, and the fraction `found` below `success_rmse`. And the film of the best descent: `transform`,
        `n`, `rmse`, `steps`, real parts of the `matrices` before these steps, and that of the `target`.
    """
    target, width = learnable(transform, n, generator=generator)
    kind: Any = {"width": width, "dtype": target.dtype}
    noise = [random_twiddle(n, **kind, generator=generator) for _ in range(2 * settings.restarts)]
    near = [identity_twiddle(n, **kind) + settings.start_noise * part for part in noise[settings.restarts :]]
    watched = sorted({round((settings.steps + 1) ** (part / (FRAMES - 1))) - 1 for part in range(FRAMES)})
    rmse, pictures = descend(torch.stack(noise[: settings.restarts] + near), target, settings, watched=watched)
    rows = [
        {
            **{"transform": transform, "n": n, "width": width, "start": start, "restarts": settings.restarts},
            "best_rmse": min(values),
            "median_rmse": statistics.median(values),
            "found": sum(value < settings.success_rmse for value in values) / settings.restarts,
        }
        for start, values in zip(STARTS, rmse.view(2, -1).tolist(), strict=True)
    ]
    best = int(rmse.nan_to_num(nan=math.inf).argmin())
    matrices = {"matrices": [picture[best].tolist() for picture in pictures], "target": target.real.tolist()}
    return rows, {"transform": transform, "n": n, "rmse": rmse[best].item(), "steps": watched, **matrices}


def descend(
    starts: Tensor, target: Tensor, settings: StructuredSettings, *, watched: Collection[int] = ()
) -> tuple[Tensor, list[Tensor]]:
    """Runs Adam on ‖K − T‖²_F from each start, twiddles (R, w, 2, log₂ n, n/2, 2, 2), T being (n, n).

    Returns:
        The RMSE at the end, (R,), and the real parts (R, n, n) of the matrices before each watched step, where the
        number of steps stands for the end.
    """
    matrices_of = torch.vmap(partial(kaleidoscope_matrix, size=len(target)))
    pictures = []

    def errors(twiddles: Tensor, step: int) -> Tensor:
        matrices = matrices_of(twiddles)
        if step in watched:
            pictures.append(matrices.detach().real)
        return (matrices - target).abs().square().sum(dim=(1, 2))  # (R,)

    twiddles = adam(starts, errors, steps=settings.steps, learning_rate=settings.learning_rate, cosine=True)
    return errors(twiddles, settings.steps).sqrt() / len(target), pictures


def find_planted(n: int, settings: StructuredSettings, *, generator: torch.Generator) -> Row:
    """Plants random permutations and looks for each with a switch network, from inputs x and outputs y = x[index].

    Descends on the mean squared error plus the growing penalty, from switches near 1/2.

    Returns:
        `n`, `switches`, `planted`, `restarts`; `found`, the fraction of all descents whose hardened network is exactly
        the planted permutation, and `chance`, that of a random guess; `recovered`, the fraction of permutations that
        one of their descents found (which one the data tell: its error is 0); `median_softness`, over the descents, of
        the largest distance of a switch from 0 or 1.
    """
    index = torch.stack([torch.randperm(n, generator=generator) for _ in range(settings.planted)])  # (P, n)
    inputs = torch.randn(settings.samples, n, dtype=torch.float64, generator=generator)
    outputs = inputs[:, index].movedim(1, 0)  # (P, samples, n)
    tables = switch_tables(n)
    shape = (settings.planted, settings.switch_restarts, tables.num_switches)
    logits = 0.1 * torch.randn(shape, dtype=torch.float64, generator=generator)
    switches = descend_switches(logits, tables, inputs, outputs, settings)
    hard = torch.stack([switch_permutation(one > 0.5, n) for one in switches.flatten(0, 1)])  # (P · R, n)
    found = (hard.view(*shape[:2], n) == index[:, None]).all(dim=2)  # (P, R)
    softness = torch.minimum(switches, 1 - switches).amax(dim=2)
    return {
        **{"n": n, "switches": tables.num_switches, "planted": settings.planted, "restarts": settings.switch_restarts},
        "found": found.double().mean().item(),
        "chance": 1 / math.factorial(n),
        "recovered": found.any(dim=1).double().mean().item(),
        "median_softness": softness.median().item(),
    }


def descend_switches(
    logits: Tensor, tables: SwitchTables, inputs: Tensor, outputs: Tensor, settings: StructuredSettings
) -> Tensor:
    """Runs Adam on the error of switch networks, mean over samples and positions, plus λ Σ 4p(1 − p).

    Args:
        logits: (P, R, S), where the R descents for each of P permutations start.
        tables: The network.
        inputs: (samples, n), the same for all.
        outputs: (P, samples, n).
        settings: Steps, learning rate and penalty.

    Returns:
        p at the end, (P, R, S).
    """
    matrices_of = torch.vmap(torch.vmap(partial(switch_matrix, tables=tables)))

    def losses(logits: Tensor, step: int) -> Tensor:
        p = logits.sigmoid()
        errors = (inputs @ matrices_of(p).mT - outputs[:, None]).square().mean(dim=(2, 3))  # (P, R)
        penalties = 4 * (p * (1 - p)).sum(dim=2)
        return errors + settings.penalty * (step + 1) / settings.switch_steps * penalties

    return adam(logits, losses, steps=settings.switch_steps, learning_rate=settings.switch_learning_rate).sigmoid()

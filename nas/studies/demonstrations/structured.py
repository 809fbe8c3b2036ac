"""What kaleidoscope matrices write, and what of it gradient descent finds (Dao et al. 2020, arXiv:2012.14966).

The paper proves that every permutation, the Hadamard and Fourier transforms and every circular convolution are
kaleidoscope matrices of few factors. Here each is written down and compared with its dense matrix. That a matrix can be
written does not say that it can be learned: so descents from random starts try to find the same transforms, and switch
networks to find planted permutations from data.
"""

import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nas.runs.seeds import derive_seed
from nas.studies.demonstrations.settings import StructuredSettings
from nas.studies.demonstrations.transforms import LEARNED, TRANSFORMS, construct, learnable
from search_spaces.butterfly import identity_twiddle, kaleidoscope_matrix, random_twiddle
from search_spaces.switches import SwitchTables, switch_matrix, switch_permutation, switch_tables

OnRow = Callable[[dict[str, Any]], None]
STARTS = ("random", "near identity")
FRAMES = 6
"""Pictures of a descent, the start and the end included."""


def run(settings: StructuredSettings, *, seed: int, on_row: OnRow) -> dict[str, Any]:
    """Writes, learns, and plants.

    Args:
        settings: What is done.
        seed: Of the permutations, kernels, starts and data.
        on_row: Called with each row; its `part` is "constructed", "learned" or "switches".

    Returns:
        JSON-ready: `settings`, the rows by part, and `film`, the pictures of a descent ({} without learned sizes).
    """
    parts: dict[str, Any] = {"constructed": [], "learned": [], "switches": [], "film": {}}
    figures = {"settings": asdict(settings), **parts}

    def enter(part: str, row: dict[str, Any]) -> None:
        figures[part].append(row)
        on_row({"part": part, **row})

    for n in settings.constructed_sizes:
        for transform in TRANSFORMS:
            enter("constructed", construct(transform, n, generator=_generator(seed, transform, n)))
    for n in settings.learned_sizes:
        for transform in LEARNED:
            rows, film = learn(transform, n, settings, generator=_generator(seed, transform, n))
            for row in rows:
                enter("learned", row)
            if transform == settings.shown_transform and n == max(settings.learned_sizes):
                figures["film"] = film
    for n in settings.switch_sizes:
        enter("switches", find_planted(n, settings, generator=_generator(seed, "switches", n)))
    return figures


def learn(
    transform: str, n: int, settings: StructuredSettings, *, generator: torch.Generator
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
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
            "transform": transform,
            "n": n,
            "width": width,
            "start": start,
            "restarts": settings.restarts,
            "best_rmse": min(values),
            "median_rmse": statistics.median(values),
            "found": sum(value < settings.success_rmse for value in values) / settings.restarts,
        }
        for start, values in zip(STARTS, rmse.view(2, -1).tolist(), strict=True)
    ]
    best = int(rmse.nan_to_num(nan=math.inf).argmin())
    film = {"transform": transform, "n": n, "rmse": rmse[best].item(), "steps": watched}
    film["matrices"] = [picture[best].tolist() for picture in pictures]
    return rows, {**film, "target": target.real.tolist()}


def descend(
    starts: Tensor, target: Tensor, settings: StructuredSettings, *, watched: Iterable[int] = ()
) -> tuple[Tensor, list[Tensor]]:
    """Runs Adam on ‖K − T‖²_F from each start.

    Args:
        starts: Twiddles (R, w, 2, log₂ n, n/2, 2, 2).
        target: T, (n, n).
        settings: Of steps and learning rate.
        watched: Steps before which the matrices are kept; the number of steps stands for the end.

    Returns:
        The RMSE at the end, (R,), and the real parts (R, n, n) of the matrices at each watched step.
    """
    twiddles = starts.clone().requires_grad_()
    matrices_of = torch.vmap(partial(kaleidoscope_matrix, size=len(target)))
    optimizer = torch.optim.Adam([twiddles], lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
    kept, pictures = set(watched), []
    for step in range(settings.steps + 1):
        matrices = matrices_of(twiddles)
        errors = (matrices - target).abs().square().sum(dim=(1, 2))  # (R,)
        if step in kept:
            pictures.append(matrices.detach().real)
        if step < settings.steps:
            optimizer.zero_grad()
            errors.sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return errors.detach().sqrt() / len(target), pictures


def find_planted(n: int, settings: StructuredSettings, *, generator: torch.Generator) -> dict[str, Any]:
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
        "n": n,
        "switches": tables.num_switches,
        "planted": settings.planted,
        "restarts": settings.switch_restarts,
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
        settings: Of steps, learning rate and penalty.

    Returns:
        p at the end, (P, R, S).
    """
    logits = logits.clone().requires_grad_()
    matrices_of = torch.vmap(torch.vmap(partial(switch_matrix, tables=tables)))
    optimizer = torch.optim.Adam([logits], lr=settings.switch_learning_rate)
    for step in range(settings.switch_steps):
        p = logits.sigmoid()
        errors = (inputs @ matrices_of(p).mT - outputs[:, None]).square().mean(dim=(2, 3))  # (P, R)
        penalties = 4 * (p * (1 - p)).sum(dim=2)
        optimizer.zero_grad()
        (errors + settings.penalty * (step + 1) / settings.switch_steps * penalties).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return logits.detach().sigmoid()


def _generator(seed: int, *stream: str | int) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, "structured", *stream))

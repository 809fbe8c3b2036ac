"""Learners that find an unknown permutation of pixels by the total variation of the images alone.

AutoShuffle (arXiv:1901.08624), products of switch networks after Kaleidoscope (arXiv:2012.14966) and, as a reference,
scipy's quadratic assignment. Each is given the second moments of scrambled images, (n, n) of mean diagonal 1, neither
labels nor the true order, and is deterministic by seed.

Squared total variation needs only the n x n second moments S of the pixels: for the grid's Laplacian L it is
tr(L M S Mᵀ), for soft matrices M and permutations alike. Every blur of a soft M lowers it, so what descends is
−tr(K M S Mᵀ) with K = c I − L/‖L‖: the same up to constants on permutations, since there tr(M S Mᵀ) = tr(S). It does
not change under the 8 symmetries of the square.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nas.studies.demonstrations.relaxation import SMALLEST, penalty_gradient
from nas.studies.demonstrations.settings import PermutedImagesSettings
from nas.studies.demonstrations.solvers import faq
from search_spaces.auto_shuffle import AutoShuffle, start_matrix
from search_spaces.kaleidoscope import LOGIT_LIMIT, SwitchShuffle
from search_spaces.permutations import permutation_matrix, project_doubly_stochastic
from search_spaces.switches import SwitchTables, switch_matrix, switch_permutation

SNAPSHOTS = 6
SWITCH_START, SWITCH_NOISE, SWITCH_STEP, SWITCH_SHIFT = 3.0, 0.3, 5.0, 0.5
"""Of a switch network: logit and its spread at the start, step along the gradient in p, and shift of the kernel."""
SWITCH_REACHES = (1.0, 1.0, 1.0, 1.0, 0.6, 0.3, 0.0, 0.0)
"""Reach of the kernel, by eighths of the stages; the last is total variation itself."""


def permute_pixels(images: Tensor, index: Tensor) -> Tensor:
    """Returns images (N, C, H, W) whose pixel i, counted by rows, is pixel `index[i]`, in every channel."""
    return images.flatten(2).index_select(2, index).view(images.shape)


def grid_laplacian(side: int) -> Tensor:
    """Returns L (n, n) of the grid of n = side² pixels: xᵀ L x sums the squared differences of neighbours."""
    path, identity = torch.diag(torch.ones(side - 1), 1), torch.eye(side)
    path = path + path.T
    adjacency = torch.kron(path, identity) + torch.kron(identity, path)
    return torch.diag(adjacency.sum(1)) - adjacency


def second_moments(images: Tensor) -> Tensor:
    """Returns the pixels' second moments (n, n), means over images and channels of (N, C, H, W).

    Every channel of an image is taken less its own mean, which total variation does not see.
    """
    values = images.flatten(2).flatten(0, 1)  # (N C, n)
    values = values - values.mean(1, keepdim=True)
    return values.T @ values / len(values)


def total_variation(matrix: Tensor, moments: Tensor, laplacian: Tensor) -> Tensor:
    """Returns the mean sum of squared differences of neighbours in M x: tr(L M S Mᵀ), shape (...,).

    M is (..., n, n) with rows that sum to 1, S and L are like it or (n, n); with −K in the place of L this is the
    objective that is learned.
    """
    return ((laplacian @ matrix) * (matrix @ moments)).sum((-2, -1))


def neighbours_restored(source: Tensor, laplacian: Tensor) -> float:
    """Returns the share of neighbouring positions that show neighbouring pixels, the same for all 8 symmetries.

    `source` (n,) is the true pixel that each position shows, `laplacian` (n, n) that of the grid.
    """
    adjacent = laplacian < 0
    return float((adjacent & adjacent[source][:, source]).sum() / adjacent.sum())


def smoothness_kernel(laplacian: Tensor, *, shift: float, reach: float = 0.0) -> Tensor:
    """Returns K (n, n), of which −tr(K M S Mᵀ) is minimised.

    Args:
        laplacian: L, (n, n).
        shift: At `reach` 0, K = shift · I − L/‖L‖. With shift 1 the objective is concave and every permutation a
            minimum; below it soft matrices are drawn to smoothness first.
        reach: Share in [0, 1] of a kernel in which pixels across the whole image count: (L + 0.3 I)⁻¹ without its
            constant, of norm 1, less 0.3 I.
    """
    values, vectors = torch.linalg.eigh(laplacian)
    wide = 1 / (values + 0.3)
    wide[0] = 0
    spectrum = (1 - reach) * (shift - values / values[-1]) + reach * (wide / wide.max() - 0.3)
    kernel: Tensor = (vectors * spectrum) @ vectors.T
    return kernel


def objective_slope(matrices: Tensor, moments: Tensor, kernel: Tensor, *, weight: float) -> Tensor:
    """Returns the gradient (..., n, n) of −tr(K M S Mᵀ) + weight · P(M), for M > 0; half the time of autograd.

    P is AutoShuffleNet's penalty, `search_spaces.permutations.permutation_penalty`.
    """
    return weight * penalty_gradient(matrices) - 2 * kernel @ (matrices @ moments)


class Learned(NamedTuple):
    """A permutation (n,); of a soft layer also how far it was from it, and six matrices on the way (6, n, n)."""

    gathered: Tensor
    distance: float | None = None
    film: Tensor | None = None


def learn_auto_shuffle(moments: Tensor, *, settings: PermutedImagesSettings, seed: int) -> Learned:
    """Learns AutoShuffle's doubly stochastic M, the penalty's weight growing from below 0, where it favours spread.

    So all decisions start open and the coarsest fall first. Steps are factors, exp(−step · gradient), for which
    entries near 0 are no wall, each followed by AutoShuffle's normalisation.
    """
    n = len(moments)
    laplacian = grid_laplacian(round(n**0.5))
    kernel = smoothness_kernel(laplacian, shift=0.6)
    with seeded(seed):
        starts = [start_matrix(n, groups=None, noise=0.3) for _ in range(settings.restarts)]
        found: dict[float, Learned] = {}  # by total variation: equal ones are symmetric to one another
        weights, steps, matrices = (-0.6, 0.2), settings.steps, torch.stack(starts)
        for _ in range(1 + settings.rounds):
            matrices, films = _anneal(matrices, moments, kernel, weights=weights, steps=steps)
            for matrix, film in zip(matrices, films, strict=True):
                layer = AutoShuffle(n, groups=1)
                layer.matrix.data.copy_(matrix)
                index = layer.harden().index
                value = float(total_variation(permutation_matrix(index), moments, laplacian))
                found.setdefault(round(value, 3), Learned(index, float(layer.distance()), film))
            best = [found[value].gathered for value in sorted(found)[:4]]
            molten = [0.1 * permutation_matrix(best[i % len(best)]) for i in range(settings.restarts)]
            rest = (1 + 0.9 * (2 * torch.rand(settings.restarts, n, n) - 1)) / n
            matrices = project_doubly_stochastic(torch.stack(molten) + 0.9 * rest, iterations=10)
            weights, steps = (-0.15, 0.2), max(1, settings.steps * 2 // 5)
    return found[min(found)]


def learn_switches(moments: Tensor, *, settings: PermutedImagesSettings, seed: int) -> Learned:
    """Learns a product of switch networks, one after the other, each hardened before the next.

    Deep networks of half-open switches all have the same uniform matrix, with no gradient to break the tie. So each
    network starts near the identity, behind the product so far and on wires in random order, descends by the gradient
    in its settings p, and is kept where the hardened product has the lower objective. That is the paper's hierarchy
    (BB*)ʷ of products of w kaleidoscope matrices. The first stages smooth across the whole image.

    No penalty is added, so a descent may end with switches half open, which hardening decides; what counts is the
    hardened objective. A penalty of a weight growing to 0.3 closed them all and left rougher images.
    """
    n, chains = len(moments), settings.chains
    laplacian = grid_laplacian(round(n**0.5))
    layer = SwitchShuffle(n, groups=1, start_logit=SWITCH_START)
    film: list[Tensor] = []
    distance = torch.zeros(chains)

    def shuffled() -> Tensor:
        return torch.stack([torch.randperm(n) for _ in range(chains)])

    with seeded(seed):
        current = shuffled()
        for stage in range(settings.stages):
            if stage >= len(film) * settings.stages / (SNAPSHOTS - 1):
                film.append(current)
            reach = SWITCH_REACHES[len(SWITCH_REACHES) * stage // settings.stages]
            kernel = smoothness_kernel(laplacian, shift=SWITCH_SHIFT, reach=reach)
            wires = shuffled()  # wire k carries position wires[k]
            carried = current.gather(1, wires)
            seen, weighed = moments[carried[:, :, None], carried[:, None]], kernel[wires[:, :, None], wires[:, None]]
            logits, apart = _descend(layer, seen, weighed, steps=settings.stage_steps)
            hard = torch.stack([switch_permutation(row > 0, n) for row in logits])
            proposed = torch.empty_like(current).scatter_(1, wires, carried.gather(1, hard))
            old, new = (total_variation(permutation_matrix(index), moments, -kernel) for index in (current, proposed))
            taken = new < old
            current = torch.where(taken[:, None], proposed, current)
            distance = torch.where(taken, apart, distance)
    film += [current] * (SNAPSHOTS - len(film))
    best = total_variation(permutation_matrix(current), moments, laplacian).argmin()
    return Learned(current[best], float(distance[best]), permutation_matrix(torch.stack(film)[:, best]))


def learn_faq(moments: Tensor, *, settings: PermutedImagesSettings, seed: int) -> Learned:
    """Returns the best of `restarts` runs of scipy's fast approximate quadratic assignment on the same objective."""
    diagonal = moments.diag()
    squared = diagonal[:, None] + diagonal - 2 * moments  # mean squared differences of pixels
    neighbours = grid_laplacian(round(len(moments) ** 0.5)) < 0
    starts = ["randomized"] * settings.restarts
    return Learned(faq(neighbours, squared, starts=starts, rng=np.random.default_rng(seed)))


LEARNERS: dict[str, Callable[..., Learned]] = {
    "auto_shuffle": learn_auto_shuffle,
    "kaleidoscope": learn_switches,
    "faq": learn_faq,
}


def _anneal(
    matrices: Tensor, moments: Tensor, kernel: Tensor, *, weights: tuple[float, float], steps: int
) -> tuple[Tensor, Tensor]:
    """Descends with a weight of the penalty that grows from the first to the second; all matrices (R, n, n) at once.

    Returns:
        The matrices, and snapshots (R, 6, n, n) on the way.
    """
    film = [matrices]
    for step in range(steps):
        weight = weights[0] + (weights[1] - weights[0]) * step / steps
        slope = objective_slope(matrices, moments, kernel, weight=weight)
        slope = slope - slope.amin(-1, keepdim=True)  # a shift of a row is normalised away, an overflow is not
        matrices = project_doubly_stochastic((matrices * torch.exp(-2 * slope)).clamp(min=SMALLEST), iterations=2)
        if step + 1 >= len(film) * steps / (SNAPSHOTS - 1):
            film.append(matrices)
    film += [matrices] * (SNAPSHOTS - len(film))
    return matrices, torch.stack(film[:SNAPSHOTS], 1)


def _descend(layer: SwitchShuffle, moments: Tensor, kernels: Tensor, *, steps: int) -> tuple[Tensor, Tensor]:
    """Learns one switch network a chain; returns logits (chains, S) and how far each is from its permutation."""
    tables = SwitchTables(layer.partner, layer.switch, len(layer.logits))
    matrices_of = torch.vmap(lambda settings: switch_matrix(settings, tables))
    logits = layer.logits.detach() + SWITCH_NOISE * torch.randn(len(moments), len(layer.logits))
    for _ in range(steps):
        passes = logits.sigmoid().requires_grad_()
        objective = total_variation(matrices_of(passes), moments, -kernels)
        (slope,) = torch.autograd.grad(objective.sum(), passes)
        logits = (logits - SWITCH_STEP * slope).clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
    return logits, (matrices_of(logits.sigmoid()) - matrices_of((logits > 0).float())).abs().amax((1, 2))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds torch's CPU generator within the context and gives it back as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield

"""The cells of the random baseline: drawn uniformly, each once, perhaps only those of about the found one's size."""

import itertools
from collections.abc import Callable, Hashable, Iterator

import torch

from controllers.uniform import Uniform
from nas.runs.console import note
from nas.runs.seeds import derive_seed, seed_everything
from search_spaces.genotype import Genotype
from search_spaces.space import SearchSpace, size

ROUNDS = 300  # of drawing ten times the cells asked for, until enough of them have the size
STRATUM = 20  # cells drawn for each that is taken at a quantile of size


def random_cells(
    space: SearchSpace, count: int, *, parameters: Callable[[Genotype], float], near: float, tolerance: float | None
) -> list[Genotype]:
    """Draws cells from torch's global generator.

    Args:
        space: What is drawn from.
        count: How many, above 0.
        parameters: Counts those of a cell's network.
        near: The number of parameters sought.
        tolerance: Largest relative difference to it; None takes cells of any size.

    Returns:
        `count` cells, fewer if those of that size are too rare, which is said then.
    """
    cells: list[Genotype] = []
    for _ in range(1 if tolerance is None else ROUNDS):
        drawn = [space.decode(row) for row in Uniform(space.decisions).sample(10 * count).actions.tolist()]
        if tolerance is not None:
            drawn = [cell for cell in drawn if abs(parameters(cell) - near) <= tolerance * near]
        cells = distinct(space, [*cells, *drawn])[:count]
        if len(cells) == count:
            return cells
    if tolerance is not None:
        sought = f"{near:,.0f} parameters within {100 * tolerance:g} %"
        note(f"warning: {len(cells)} random cells instead of {count}: of {sought}, no more were drawn")
    return cells


def distinct(space: SearchSpace, genotypes: list[Genotype]) -> list[Genotype]:
    """Keeps the first of every set of genotypes that compute the same."""
    return list({space.canonical(genotype): genotype for genotype in reversed(genotypes)}.values())[::-1]


def random_stream(space: SearchSpace, *, seed: int, block: int = 64) -> Iterator[Genotype]:
    """Yields uniformly drawn cells without end, each function once; the same seed gives the same ones.

    A space that is smaller than what is asked of it ends it.
    """
    known: set[Hashable] = set()
    for number in itertools.count():
        seed_everything(derive_seed(seed, number))
        drawn = [space.decode(row) for row in Uniform(space.decisions).sample(block).actions.tolist()]
        fresh = [cell for cell in distinct(space, drawn) if space.canonical(cell) not in known]
        if not fresh and len(known) >= size(space) // 2:
            return
        known |= {space.canonical(cell) for cell in fresh}
        yield from fresh


def evenly_by_size(space: SearchSpace, count: int, *, parameters: Callable[[Genotype], float]) -> list[Genotype]:
    """Draws cells from torch's global generator that lie at evenly spaced quantiles of size; in random order."""
    drawn = random_cells(space, STRATUM * count, parameters=parameters, near=0, tolerance=None)
    by_size = sorted(drawn, key=parameters)
    chosen = [by_size[(2 * number + 1) * len(by_size) // (2 * count)] for number in range(min(count, len(by_size)))]
    return [chosen[number] for number in torch.randperm(len(chosen)).tolist()]

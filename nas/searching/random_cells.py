"""The cells of the random baseline: drawn uniformly, each once, perhaps only those of about the found one's size."""

from collections.abc import Callable

from controllers.uniform import Uniform
from nas.runs.console import note
from search_spaces.genotype import Genotype
from search_spaces.space import SearchSpace

ROUNDS = 300  # of drawing ten times the cells asked for, until enough of them have the size


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

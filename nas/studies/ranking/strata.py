"""Which cells are ranked: uniform draws, stratified by what the shared weights predict of them.

A plain uniform sample holds few good cells, and it is among these that a search must choose. So the draws are cut at
the half and at the best tenth of their predictions, and each of the three strata gives as many cells. A cell stands
for a share of the space, that of its stratum divided by the cells it gives; with the shares, quantiles of the space
can be told from a sample that is rich in good cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nas.studies.ranking.correlations import Array, ranks

STRATA = {"lower half": 0.5, "upper half": 0.4, "best tenth": 0.1}
"""Shares of the space, from the worst to the best predicted."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A cell chosen out of a pool.

    Attributes:
        index: In the pool.
        stratum: A key of `STRATA`.
        share: Of the space, for which the cell stands; those of all cells sum to 1.
    """

    index: int
    stratum: str
    share: float


def joint_prediction(predictions: Sequence[npt.ArrayLike]) -> Array:
    """Returns the mean of the ranks that several runs give the cells of a pool, so that none is favoured.

    Args:
        predictions: (n,) of each run.
    """
    mean_ranks: Array = np.mean([ranks(one) for one in predictions], axis=0)
    return mean_ranks


def draw_stratified(predictions: npt.ArrayLike, *, count: int, seed: int) -> list[Drawn]:
    """Draws cells out of a pool, as many from every stratum; what does not divide goes to the better ones.

    Args:
        predictions: (n,) of the pool. Chance orders equal ones.
        count: How many cells.
        seed: The draw is a function of it and of the predictions.

    Raises:
        ValueError: If a stratum has too few cells.
    """
    values = np.asarray(predictions, dtype=np.float64)
    generator = np.random.default_rng(seed)
    order = np.lexsort((generator.random(len(values)), values))
    check_pool(len(values), count=count)
    members = np.split(order, _ends(len(values))[:-1])
    drawn: list[Drawn] = []
    for name, indices, wanted in zip(STRATA, members, _wanted(count), strict=True):
        chosen = sorted(generator.choice(indices, size=wanted, replace=False).tolist())
        drawn += [Drawn(index, name, STRATA[name] / wanted) for index in chosen]
    total = sum(one.share for one in drawn)  # below 1 only if so few are drawn that a stratum gives none
    return [Drawn(one.index, one.stratum, one.share / total) for one in drawn]


def check_pool(num_cells: int, *, count: int) -> None:
    """Checks that a pool has as many cells in every stratum as are to be drawn from it.

    Args:
        num_cells: In the pool.
        count: To be drawn.

    Raises:
        ValueError: If a stratum has too few.
    """
    sizes = np.diff(_ends(num_cells), prepend=0).tolist()
    for name, there, wanted in zip(STRATA, sizes, _wanted(count), strict=True):
        if wanted > there:
            raise ValueError(
                f"the {name} of {num_cells} distinct uniform draws has {there} cells, {wanted} are asked for; "
                "raise rank.pool, or lower rank.architectures if the space has no more cells"
            )


def _ends(num_cells: int) -> npt.NDArray[np.int64]:
    """Returns the number of cells up to the end of each stratum."""
    ends: npt.NDArray[np.int64] = np.rint(np.cumsum(list(STRATA.values())) * num_cells).astype(np.int64)
    return ends


def _wanted(count: int) -> list[int]:
    """Returns how many cells each stratum gives."""
    return [(count + place) // len(STRATA) for place in range(len(STRATA))]


def best_threshold(values: npt.ArrayLike, shares: npt.ArrayLike, *, fraction: float) -> float:
    """Returns the lowest value of the best fraction of the space.

    Args:
        values: (n,), higher is better.
        shares: (n,), of the space for which each cell stands; 0 for cells that stand for none.
        fraction: In (0, 1].

    Returns:
        The highest value such that the cells at or above it have at least this fraction of all shares.
    """
    value, share = np.asarray(values, dtype=np.float64), np.asarray(shares, dtype=np.float64)
    falling = np.argsort(-value, kind="stable")
    covered = np.cumsum(share[falling]) / share.sum()
    return float(value[falling][np.argmax(covered >= fraction - 1e-9)])

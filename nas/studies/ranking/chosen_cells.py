"""The K cells of a ranking: some that the policies sample, the others uniform draws, stratified by their predictions.

A plain uniform sample holds few good cells, and it is among these that a search must choose. So the draws are cut at
the half and at the best tenth of what the shared weights predict of them, and each of the three strata gives as many
cells. A cell stands for a share of the space, that of its stratum divided by the cells it gives; with the shares,
quantiles of the space can be estimated from a sample that is rich in good cells.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.runs.seeds import derive_seed
from nas.searching.search import Search
from nas.searching.shared_weights import SharedWeights
from nas.studies.ranking.estimates import Array, ranks
from nas.studies.ranking.settings import RankSettings
from nas.studies.ranking.shared_scores import policy_cells
from search_spaces.genotype import Genotype

STRATA = {"lower half": 0.5, "upper half": 0.4, "best tenth": 0.1}
"""Shares of the space, from the worst to the best predicted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenCell:
    """A cell to be ranked.

    Attributes:
        genotype: The cell.
        source: `uniform` or `policy`.
        stratum: Stratum of a uniform draw, a key of `STRATA`; None for a policy's sample.
        share: Share of the space for which the cell stands; 0 for a policy's sample, which stands for none of it.
    """

    genotype: Genotype
    source: str
    stratum: str | None
    share: float

    def to_dict(self) -> dict[str, Any]:
        """Returns the cell as JSON-ready data."""
        described = {"source": self.source, "stratum": self.stratum, "share": self.share}
        return {"genotype": self.genotype.to_dict(), **described}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "ChosenCell":
        """Reads what `to_dict` returned; other keys are not read."""
        described = {key: data[key] for key in ("source", "stratum", "share")}
        return cls(genotype=Genotype.from_dict(data["genotype"]), **described)


def choose_cells(
    searches: Sequence[Search[SharedWeights]],
    pool: Sequence[Genotype],
    predictions: Sequence[Array],
    *,
    settings: RankSettings,
    seed: int,
) -> list[ChosenCell]:
    """Chooses the cells: first the policies' samples, the runs in turn, then uniform draws for all that is left.

    A policy that has settled may sample fewer different cells than it is asked for. The uniform draws are stratified
    (`draw_stratified`); with several runs the mean of their ranks decides.

    Args:
        searches: Searches of one space.
        pool: Distinct uniform draws.
        predictions: Predictions of each search, (n,) over the pool.
        settings: How many cells.
        seed: The draws derive from it.

    Raises:
        ValueError: If the pool has too few cells.
    """
    space = searches[0].space
    sampled: dict[Any, Genotype] = {}
    for place, search in enumerate(searches):
        wanted = (settings.policy_architectures + place) // len(searches)
        for genotype in policy_cells(search, count=wanted, seed=derive_seed(seed, "policy", place)):
            sampled.setdefault(space.canonical(genotype), genotype)
    left = [i for i, genotype in enumerate(pool) if space.canonical(genotype) not in sampled]
    drawn = draw_stratified(
        joint_prediction([prediction[left] for prediction in predictions]),
        count=settings.architectures - len(sampled),
        seed=derive_seed(seed, "strata"),
    )
    return [
        *(
            ChosenCell(genotype=pool[left[index]], source="uniform", stratum=stratum, share=share)
            for index, (stratum, share) in drawn.items()
        ),
        *(ChosenCell(genotype=one, source="policy", stratum=None, share=0.0) for one in sampled.values()),
    ]


def joint_prediction(predictions: Sequence[npt.ArrayLike]) -> Array:
    """Returns the mean of the ranks that several runs give the cells of a pool, (n,), so that none is favoured."""
    mean_ranks: Array = np.mean([ranks(one) for one in predictions], axis=0)
    return mean_ranks


def draw_stratified(predictions: npt.ArrayLike, *, count: int, seed: int) -> dict[int, tuple[str, float]]:
    """Draws cells out of a pool, as many from every stratum; what does not divide goes to the better ones.

    Args:
        predictions: (n,) of the pool. Chance orders equal ones.
        count: How many cells.
        seed: The draw is a function of it and of the predictions.

    Returns:
        By the cell's index in the pool its stratum, a key of `STRATA`, and the share of the space for which it stands;
        the shares sum to 1.

    Raises:
        ValueError: If a stratum has too few cells.
    """
    values = np.asarray(predictions, dtype=np.float64)
    generator = np.random.default_rng(seed)
    order = np.lexsort((generator.random(len(values)), values))
    check_pool(len(values), count=count)
    drawn: dict[int, tuple[str, float]] = {}
    for name, indices, wanted in zip(STRATA, np.split(order, _ends(len(values))[:-1]), _wanted(count), strict=True):
        chosen = sorted(generator.choice(indices, size=wanted, replace=False).tolist())
        drawn |= dict.fromkeys(chosen, (name, STRATA[name] / wanted))
    total = sum(share for _, share in drawn.values())  # below 1 only if so few are drawn that a stratum gives none
    return {index: (name, share / total) for index, (name, share) in drawn.items()}


def check_pool(num_cells: int, *, count: int) -> None:
    """Checks that a pool has as many cells in every stratum as are to be drawn from it.

    Args:
        num_cells: Cells in the pool.
        count: Cells to be drawn.

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

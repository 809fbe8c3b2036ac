"""The K cells of a ranking: some that the policies sample, the others stratified draws of the space."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.runs.seeds import derive_seed
from nas.searching.search import Search
from nas.searching.shared_weights import SharedWeights
from nas.studies.ranking.correlations import Array
from nas.studies.ranking.settings import RankSettings
from nas.studies.ranking.shared_scores import policy_cells
from nas.studies.ranking.strata import draw_stratified, joint_prediction
from search_spaces.genotype import Genotype


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenCell:
    """A cell to be ranked.

    Attributes:
        genotype: The cell.
        source: `uniform` or `policy`.
        stratum: Of a uniform draw, a key of `nas.studies.ranking.strata.STRATA`; None for a policy's sample.
        share: Of the space, for which the cell stands; 0 for a policy's sample, which stands for none of it.
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
        return cls(
            genotype=Genotype.from_dict(data["genotype"]),
            source=data["source"],
            stratum=data["stratum"],
            share=data["share"],
        )


def choose_cells(
    searches: Sequence[Search[SharedWeights]],
    pool: Sequence[Genotype],
    predictions: Sequence[Array],
    *,
    settings: RankSettings,
    seed: int,
) -> list[ChosenCell]:
    """Chooses the cells: first the policies' samples, the runs in turn, then uniform draws for all that is left.

    A policy that has settled may sample fewer different cells than it is asked for. Among the uniform draws every
    third of the cells is of the lower half of the predictions, of the upper half without the best tenth, and of the
    best tenth (`draw_stratified`); with several runs the mean of their ranks decides.

    Args:
        searches: Of one space.
        pool: Distinct uniform draws.
        predictions: Of each search, (n,) over the pool.
        settings: How many cells.
        seed: The draws derive from it.

    Raises:
        ValueError: If the pool has too few cells.
    """
    space = searches[0].space
    sampled: dict[Any, Genotype] = {}
    for place, search in enumerate(searches):
        wanted = (settings.policy_architectures + place) // len(searches)
        policy_seed = derive_seed(seed, "policy", place)
        for genotype in policy_cells(search, count=wanted, seed=policy_seed):
            sampled.setdefault(space.canonical(genotype), genotype)
    left = [i for i, genotype in enumerate(pool) if space.canonical(genotype) not in sampled]
    drawn = draw_stratified(
        joint_prediction([prediction[left] for prediction in predictions]),
        count=settings.architectures - len(sampled),
        seed=derive_seed(seed, "strata"),
    )
    uniform = [
        ChosenCell(genotype=pool[left[one.index]], source="uniform", stratum=one.stratum, share=one.share)
        for one in drawn
    ]
    policy = [ChosenCell(genotype=genotype, source="policy", stratum=None, share=0.0) for genotype in sampled.values()]
    return [*uniform, *policy]

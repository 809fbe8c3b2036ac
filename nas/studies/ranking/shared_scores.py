"""Scores of cells by a search's shared weights, with each way of treating batch norm, and by its policy."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from controllers.protocol import Controller
from controllers.uniform import Uniform
from nas.runs.console import progress
from nas.runs.seeds import seed_everything
from nas.searching.search import Search
from nas.searching.shared_weights import SharedWeights
from nas.searching.supernet_scorer import BN_MODES
from search_spaces.genotype import Genotype
from search_spaces.space import SearchSpace

HARDENED = "hardened"
"""The name of scores with learned mixers replaced by exact ones, batch norm as the run treats it."""


@dataclass(frozen=True, slots=True)
class BatchNormMode:
    """How batch norm is treated when a cell is scored.

    Attributes:
        bn: One of `nas.searching.supernet_scorer.BN_MODES`.
        calibration_batches: Batches of training images, for `recalibrate`.
    """

    bn: str
    calibration_batches: int

    @property
    def name(self) -> str:
        """Its name in files and tables."""
        return self.bn if self.bn == "batch" else f"{self.bn}-{self.calibration_batches}"


def own_mode(search: Search[SharedWeights]) -> BatchNormMode:
    """Returns the mode with which a search scores its candidates: its scores are the run's prediction."""
    return BatchNormMode(search.evaluator.scorer.bn, search.evaluator.scorer.calibration_batches)


def scoring_modes(search: Search[SharedWeights], calibration_batches: Sequence[int]) -> list[BatchNormMode]:
    """Returns the modes in which cells are scored, the run's own first, each once."""
    recalibrated, batch = BN_MODES
    modes = [own_mode(search), BatchNormMode(batch, 1)]
    modes += [BatchNormMode(recalibrated, number) for number in calibration_batches]
    return list({mode.name: mode for mode in modes}.values())


def score_cells(
    search: Search[SharedWeights], genotypes: Sequence[Genotype], modes: Sequence[BatchNormMode], *, title: str
) -> list[dict[str, float]]:
    """Scores cells on all reward images, which never trained a weight.

    Args:
        search: Whose shared weights score.
        genotypes: The cells.
        modes: Ways of treating batch norm.
        title: Title of the progress bar.

    Returns:
        For each cell its accuracy in [0, 1] by name of mode; with learned mixers and more than one mode also
        `hardened`.
    """
    evaluator = search.evaluator
    scorers = {mode.name: replace(evaluator.scorer, **asdict(mode)) for mode in modes}
    scored: list[dict[str, list[float]]] = [{} for _ in genotypes]
    with progress(title, total=len(genotypes) * max(1, len(evaluator.copies))) as bar:
        for copy in evaluator.each_copy():
            hardened = evaluator.scorer.hardened() if len(modes) > 1 else None
            every = scorers if hardened is None else {**scorers, HARDENED: hardened}
            every = {name: replace(scorer, seed=copy) for name, scorer in every.items()}
            for genotype, own in zip(genotypes, scored, strict=True):
                for name, scorer in every.items():
                    own.setdefault(name, []).append(scorer.score([genotype])[0].accuracy)
                bar.advance()
    return [{name: statistics.fmean(values) for name, values in own.items()} for own in scored]


def uniform_cells(space: SearchSpace, *, count: int, seed: int) -> list[Genotype]:
    """Draws cells uniformly, those left out that compute the same as an earlier one.

    Args:
        space: Drawn from.
        count: Draws.
        seed: The draws are a function of it and of the space.
    """
    seed_everything(seed)
    return _distinct(space, Uniform(space.decisions).sample(count).actions)


def policy_cells(search: Search[SharedWeights], *, count: int, seed: int) -> list[Genotype]:
    """Samples different cells from a run's controller, at most `count` of them; a settled policy gives fewer."""
    if count == 0:
        return []
    seed_everything(seed)
    return _distinct(search.space, search.controller.sample(20 * count).actions)[:count]


def _distinct(space: SearchSpace, actions: torch.Tensor) -> list[Genotype]:
    first: dict[Any, Genotype] = {}
    for row in actions.tolist():
        genotype = space.decode(row)
        first.setdefault(space.canonical(genotype), genotype)
    return list(first.values())


def log_probs(controller: Controller, space: SearchSpace, genotypes: Sequence[Genotype]) -> list[float] | None:
    """Returns the logarithms of the probabilities with which a controller draws cells as they are written.

    Other ways to write a cell that computes the same are not added up: there may be millions.

    Returns:
        One a cell, -inf for a cell that is never drawn; None for a controller without a distribution of its own, or
        one that does not tell cells apart.
    """
    measure = getattr(getattr(controller, "policy", controller), "log_prob", None)
    if measure is None:
        return None
    with torch.no_grad():
        values: list[float] = measure(torch.tensor([space.encode(genotype) for genotype in genotypes])).tolist()
    return values if any(not math.isclose(value, values[0]) for value in values) else None

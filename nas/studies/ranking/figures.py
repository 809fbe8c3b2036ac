"""The figures of a ranking: how each run's predictions order the cells, over all of them and among the good ones.

All cells are those of the ranking, among which good ones are more frequent than in the space
(`nas.studies.ranking.chosen_cells`). One overall correlation can look respectable while the order among good cells is
inverted, which is where a search chooses. So there are figures within the better half and the best tenth too, taken in
two ways:

- by stand-alone accuracy: the cells that are good, as it turned out, which is what the question means;
- by prediction: the cells that a search would look at.

Both are halves and tenths of the space: by prediction of its uniform draws, by stand-alone accuracy as the cells'
shares tell. To select by a noisy value weakens every correlation within the selection, so that
such a figure is to be compared with that of another run, and with 0, more than with the overall one. Where fewer than
five cells are left no figure is given: four cells have 24 orders, and a resample of them two or three distinct ones.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from nas.runs.seeds import derive_seed
from nas.studies.ranking.chosen_cells import best_threshold
from nas.studies.ranking.estimates import (
    Array,
    Statistic,
    best_of_random,
    best_of_top,
    bootstrap,
    gain_of_top,
    kendall_tau,
    spearman_rho,
)

FRACTIONS = {"better half": 0.5, "best tenth": 0.1}
FEWEST = 5
CORRELATIONS: dict[str, Statistic] = {"tau": kendall_tau, "rho": spearman_rho}

Cell = Mapping[str, Any]
"""A cell of `rank.json`: `share`, `stand_alone` by seed, `shared` by run and mode, `log_prob` by run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrapping:
    """How intervals are made.

    Attributes:
        seed: All resamples derive from it. Figures of as many cells share them, so that differences are paired.
        resamples: Number of resamples.
    """

    seed: int
    resamples: int

    def __call__(self, statistic: Statistic, *columns: Array) -> dict[str, Any]:
        """Returns what `bootstrap` does of columns (n,); undefined where there are fewer than five cells."""
        cells = len(columns[0])
        if cells < FEWEST:
            return {**dict.fromkeys(("value", "low", "high"), math.nan), "cells": cells}
        return bootstrap(statistic, *columns, seed=derive_seed(self.seed, "bootstrap"), resamples=self.resamples)

    def correlations(self, first: Array, second: Array) -> dict[str, Any]:
        """Returns `cells`, `tau` and `rho`."""
        return {"cells": len(first), **{name: self(one, first, second) for name, one in CORRELATIONS.items()}}


def stand_alone(cells: Sequence[Cell]) -> Array:
    """Returns the stand-alone accuracy of each cell, (n,), the mean over its seeds."""
    return np.array([np.mean(cell["stand_alone"]) for cell in cells])


def predictions(cells: Sequence[Cell], run: str, mode: str) -> Array:
    """Returns the shared-weight accuracy of each cell, (n,)."""
    return np.array([cell["shared"][run][mode] for cell in cells])


def ranking_figures(
    cells: Sequence[Cell], runs: Mapping[str, Mapping[str, Any]], *, top: Sequence[int], estimate: Bootstrapping
) -> dict[str, Any]:
    """Returns all figures of a ranking.

    Args:
        cells: All of them, trained.
        runs: By name, with `mode` and `thresholds` as `run_figures` takes them.
        top: Numbers of cells k; those beyond the number of cells are left out.
        estimate: Makes intervals.

    Returns:
        `runs`: by name what `run_figures` returns; `differences`: those in tau of each later run from the first, on the
        same cells and resamples; `reliability` of the stand-alone accuracies, null with one seed.
    """
    possible = [k for k in top if k <= len(cells)]
    truth = stand_alone(cells)
    (first, base), *others = [(name, predictions(cells, name, run["mode"])) for name, run in runs.items()]
    return {
        "runs": {name: run_figures(cells, name, run, top=possible, estimate=estimate) for name, run in runs.items()},
        "differences": [
            {"run": run, "against": first, "tau_difference": estimate(_tau_gain, values, base, truth)}
            for run, values in others
        ],
        "reliability": reliability(cells, estimate=estimate),
    }


def run_figures(
    cells: Sequence[Cell], run: str, described: Mapping[str, Any], *, top: Sequence[int], estimate: Bootstrapping
) -> dict[str, Any]:
    """Returns the figures of one run.

    Args:
        cells: All of them, trained.
        run: Its name.
        described: `mode`, the run's own way of treating batch norm; `thresholds`, by the keys of `FRACTIONS` the lowest
            prediction among that fraction of uniform draws.
        top: Numbers of cells k.
        estimate: Makes intervals.

    Returns:
        `mode`. `within`: `tau` and `rho` by subset of cells. `modes`: by way of treating batch norm, with
        `tau_difference` from the run's own. `top`: for each k the expected best of the top k and of k random cells, and
        the gain. `log_prob`: the policy's log-probability against `stand_alone` and `shared`, null without one.
    """
    mode = described["mode"]
    truth, own = stand_alone(cells), predictions(cells, run, mode)
    shares = [cell["share"] for cell in cells]
    subsets = {"all": np.ones(len(cells), dtype=bool)}
    for name, fraction in FRACTIONS.items():
        subsets[f"{name} by stand-alone"] = truth >= best_threshold(truth, shares, fraction=fraction)
        subsets[f"{name} by prediction"] = own >= described["thresholds"][name]
    scored = {name: predictions(cells, run, name) for name in cells[0]["shared"][run]}
    return {
        "mode": mode,
        "within": {name: estimate.correlations(own[chosen], truth[chosen]) for name, chosen in subsets.items()},
        "modes": {
            name: {
                **estimate.correlations(values, truth),
                "tau_difference": None if name == mode else estimate(_tau_gain, values, own, truth),
            }
            for name, values in scored.items()
        },
        "top": [
            {
                "k": k,
                "top": estimate(partial(best_of_top, k=k), own, truth),
                "random": estimate(partial(best_of_random, k=k), truth),
                "gain": estimate(partial(gain_of_top, k=k), own, truth),
            }
            for k in top
        ],
        "log_prob": _log_prob(cells, run, truth=truth, own=own, estimate=estimate),
    }


def _log_prob(
    cells: Sequence[Cell], run: str, *, truth: Array, own: Array, estimate: Bootstrapping
) -> dict[str, Any] | None:
    given = [cell["log_prob"].get(run) for cell in cells]
    if all(value is None for value in given):
        return None
    values = np.array([-np.inf if value is None else value for value in given])  # JSON has no infinity
    return {"stand_alone": estimate.correlations(values, truth), "shared": estimate.correlations(values, own)}


def _tau_gain(first: Array, second: Array, truth: Array) -> Array:
    """Returns how much closer to the truth, (..., n), the first predictions rank than the second, as tau-b."""
    return kendall_tau(first, truth) - kendall_tau(second, truth)


def reliability(cells: Sequence[Cell], *, estimate: Bootstrapping) -> dict[str, Any] | None:
    """Returns how well stand-alone training agrees with itself; None with one seed.

    `between_seeds` is the mean correlation of one seed's accuracies with another's: what a proxy as good, and as
    noisy, as one more training reaches. A proxy without noise could come closer, and `ceiling` is how close: the
    reliability of the mean over S seeds is r' = S r / (1 + (S − 1) r), r the correlation between seeds, and none
    correlates with it by more than √r' (Spearman 1910 and Brown 1910, British Journal of Psychology 3; exact for
    product moments, taken here for rho).
    """
    by_seed = np.array([cell["stand_alone"] for cell in cells], dtype=np.float64).T  # (S, n)
    count = len(by_seed)
    if count < 2:
        return None

    def between(correlation: Statistic, *seeds: Array) -> Array:
        pairs = [correlation(one, other) for one, other in itertools.combinations(seeds, 2)]
        return np.asarray(np.mean(pairs, axis=0), dtype=np.float64)

    def ceiling(*seeds: Array) -> Array:
        r = np.clip(between(spearman_rho, *seeds), 0.0, 1.0)
        return np.asarray(np.sqrt(count * r / (1 + (count - 1) * r)), dtype=np.float64)

    return {
        "seeds": count,
        "between_seeds": {name: estimate(partial(between, one), *by_seed) for name, one in CORRELATIONS.items()},
        "ceiling": {"rho": estimate(ceiling, *by_seed)},
    }

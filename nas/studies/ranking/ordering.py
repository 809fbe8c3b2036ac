"""Measures of how well scores order cells whose true quality is known, over all of them and where it is hardest.

The columns:

- `tau`: Kendall's tau-b over all cells; `better half`, `best tenth`: the same among the cells that are truly so good.
- `P@5 %`: the share of the true best twentieth among the twentieth scored best.
- `equal …`: the mean over pairs of cells of one group, such as of equal parameter count, of +1 for a pair in the right
  order, −1 for one in the wrong order, and 0 for a tie; what a count alone orders is left out of it.
- `regret@k`: how far the best of the k cells scored best falls short of the best cell there is.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Signs = npt.NDArray[np.float32]
Estimates = Mapping[str, Mapping[str, float]]
"""By column the `value`, the ends `low` and `high` of its interval, and the number of `cells`."""

PARTS = {"tau": 0.0, "better half": 0.5, "best tenth": 0.9}
"""By column, the quantile of the truth from which on cells count."""
TOP = 0.05
REGRETS = (1, 10, 50)
BLOCK = 1024  # cells whose pairs with all others are in memory at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """Cells of known quality.

    Attributes:
        values: (n,), higher is better.
        groups: By name, (n,) integers: cells of one number are of one group.
        classes: (n,) integers from 0: cells of one number compute the same function, and a bootstrap draws them
            together.
    """

    values: Array
    groups: Mapping[str, Integers]
    classes: Integers

    def resampled(self, generator: np.random.Generator, resamples: int) -> Signs:
        """Returns how often each cell is drawn, (1 + resamples, n); in the first row once."""
        count = int(self.classes.max()) + 1
        drawn = generator.multinomial(count, np.full(count, 1 / count), size=resamples)[:, self.classes]
        return np.concatenate([np.ones((1, len(self.classes))), drawn]).astype(np.float32)


def ordering(
    scores: npt.ArrayLike, truth: Truth, *, seed: int = 0, resamples: int = 200, confidence: float = 0.95
) -> Estimates:
    """Returns all columns with percentile intervals: a bootstrap over classes and, if there are several, over seeds.

    A cell that a resample holds twice makes no pair with itself.

    Args:
        scores: (n,) or, of several seeds, (S, n), higher is better; the figure is the mean over the seeds.
        truth: Truth of the n cells.
        seed: The intervals are a function of it.
        resamples: Number of resamples of classes and seeds together; at least 1.
        confidence: Level of the intervals, in (0, 1).

    Raises:
        ValueError: If the scores are not finite.
    """
    by_seed = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    if not np.isfinite(by_seed).all():
        raise ValueError("scores must be finite")
    generator = np.random.default_rng(seed)
    weights = truth.resampled(generator, resamples)
    seeds = generator.integers(len(by_seed), size=(resamples, len(by_seed)))
    found = [_of_one_seed(one, truth, weights) for one in by_seed]
    estimates = {}
    for column in found[0]:
        values = np.stack([one[column] for one in found])  # (S, 1 + resamples)
        resampled = np.take_along_axis(values[:, 1:], seeds.T, axis=0).mean(axis=0)
        low, high = np.quantile(resampled, [(1 - confidence) / 2, 1 - (1 - confidence) / 2]).tolist()
        estimates[column] = {"value": float(values[:, 0].mean()), "low": low, "high": high, "cells": by_seed.shape[1]}
    return estimates


def _of_one_seed(scores: Array, truth: Truth, weights: Signs) -> dict[str, Array]:
    """Returns each column for every row of weights, (R,)."""
    values = truth.values
    parts = [weights * (values >= np.quantile(values, quantile)) for quantile in PARTS.values()]
    taus = np.zeros((3, len(parts), len(weights)))  # sums over pairs: agreement, both sides untied
    equal = np.zeros((2, len(truth.groups), len(weights)))  # agreement, pairs
    for first in range(0, len(values), BLOCK):
        rows = slice(first, first + BLOCK)
        signs, true_signs = _signs(scores, rows), _signs(values, rows)
        agreement = signs * true_signs
        for place, matrix in enumerate((agreement, np.abs(signs), np.abs(true_signs))):
            taus[place] += [_pairs(part, matrix, rows) for part in parts]
        for number, group in enumerate(truth.groups.values()):
            same = (group[rows, None] == group).astype(np.float32)
            np.fill_diagonal(same[:, first:], 0)
            equal[0, number] += _pairs(weights, agreement * same, rows)
            equal[1, number] += _pairs(weights, same, rows)
    found = dict(zip(PARTS, _ratio(taus[0], np.sqrt(taus[1] * taus[2])), strict=True))
    found["P@5 %"] = np.array([_precision(scores, values, row) for row in weights])
    found |= dict(zip((f"equal {name}" for name in truth.groups), _ratio(*equal), strict=True))
    found |= {f"regret@{k}": np.array([_regret(scores, values, row, k=k) for row in weights]) for k in REGRETS}
    return found


def _signs(values: Array, rows: slice) -> Signs:
    """Returns the signs of the differences of some values from all, (b, n)."""
    return (values[rows, None] > values).astype(np.float32) - (values[rows, None] < values)


def _pairs(weights: Signs, matrix: Signs, rows: slice) -> Array:
    """Returns the sum of some rows (b, n) of a matrix over pairs, each as often as the weights (R, n) say, (R,)."""
    sums: Array = ((weights @ matrix.T) * weights[:, rows]).sum(axis=1, dtype=np.float64)
    return sums


def _ratio(numerator: Array, denominator: Array) -> Array:
    """Returns quotients, 0 where there are no pairs."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def _precision(scores: Array, truth: Array, weights: Signs) -> float:
    count = weights.astype(np.int64)
    number = max(1, round(TOP * int(count.sum())))
    edge = np.sort(np.repeat(truth, count))[-number]
    best = np.repeat(truth, count)[np.argsort(-np.repeat(scores, count), kind="stable")[:number]]
    return float((best >= edge).mean())


def _regret(scores: Array, truth: Array, weights: Signs, *, k: int) -> float:
    there = weights > 0
    best = truth[there][np.argsort(-scores[there], kind="stable")[:k]]
    return float(truth[there].max() - best.max())

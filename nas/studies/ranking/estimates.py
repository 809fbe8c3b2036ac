"""Statistics of a ranking: rank correlations, the best of k retrained cells, and bootstrap intervals over cells.

Both rank correlations are the same quotient of pairwise scores a and b, ∑ab / √(∑a² ∑b²), which Kendall calls the
general correlation coefficient (Kendall 1945, "The treatment of ties in ranking problems", Biometrika 33): with the
sign of every difference it is tau-b, with every difference of ranks it is Spearman's rho.

The best of k cells, predicted best or drawn at random, is an expectation, computed exactly: where predictions tie at
the k-th place it is chance which of the tied are retrained, and a random choice is a tie of all. With t tied cells and
d places left for them, the best drawn is among the r worst with probability C(r, d) / C(t, d), the hypergeometric
distribution.

A loop over resamples would be slow, so that all work along the last axis.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Statistic = Callable[..., Array]
"""Takes columns (..., n), one value a cell, and returns a figure for each leading index, (...)."""

PAIRS_AT_ONCE = 4_000_000  # of cells in the resamples that are held in memory together


def kendall_tau(first: npt.ArrayLike, second: npt.ArrayLike) -> Array:
    """Returns Kendall's tau-b.

    Args:
        first: (..., n), infinities allowed, NaN not.
        second: (..., n).

    Returns:
        (...), in [-1, 1]; NaN where all values of a side are equal.
    """
    return _general_correlation(_signs(first), _signs(second), axes=(-2, -1))


def spearman_rho(first: npt.ArrayLike, second: npt.ArrayLike) -> Array:
    """Returns Spearman's rho, equal values having the mean of their ranks; arguments as of `kendall_tau`."""
    middle = (np.shape(first)[-1] + 1) / 2
    return _general_correlation(ranks(first) - middle, ranks(second) - middle, axes=(-1,))


def ranks(values: npt.ArrayLike) -> Array:
    """Returns the ranks along the last axis, from 1 for the smallest; equal values have the mean of their ranks."""
    mean_ranks: Array = (np.shape(values)[-1] + 1 + _signs(values).sum(axis=-1)) / 2
    return mean_ranks


def _signs(values: npt.ArrayLike) -> Array:
    """Returns the sign of every difference, (..., n, n); not by subtracting, for the sake of infinities."""
    array = np.asarray(values, dtype=np.float64)
    left, right = array[..., :, None], array[..., None, :]
    return (left > right).astype(np.float64) - (left < right)


def _general_correlation(first: Array, second: Array, *, axes: tuple[int, ...]) -> Array:
    """Returns ∑ab / √(∑a² ∑b²) over some axes; NaN where a side is all zero."""
    product = np.sqrt((first**2).sum(axis=axes) * (second**2).sum(axis=axes))
    quotient: Array = np.full_like(product, math.nan)
    np.divide((first * second).sum(axis=axes), product, out=quotient, where=np.asarray(product > 0))
    return quotient


def best_of_top(predictions: npt.ArrayLike, values: npt.ArrayLike, *, k: int) -> Array:
    """Returns the expected best value of the k cells predicted best.

    Args:
        predictions: (..., n), higher is better.
        values: (..., n), what retraining gives.
        k: Cells retrained, in 1 … n.

    Returns:
        (...).
    """
    predicted, value = np.asarray(predictions, dtype=np.float64), np.asarray(values, dtype=np.float64)
    count = value.shape[-1]
    edge = np.sort(predicted, axis=-1)[..., count - k, None]
    above, tied = predicted > edge, predicted == edge
    surely = np.where(above, value, -np.inf).max(axis=-1, keepdims=True)
    places = k - above.sum(axis=-1, keepdims=True)  # d
    num_tied = tied.sum(axis=-1, keepdims=True)  # t
    rising = np.sort(np.where(tied, value, -np.inf), axis=-1)  # the tied come last
    place_in_tied = np.arange(1, count + 1) - (count - num_tied)  # r, below 1 for the others
    at_most = np.ones(rising.shape)  # C(r, d) / C(t, d)
    for drawn in range(k):
        left = np.where(drawn < places, num_tied - drawn, 1)
        at_most = np.where(drawn < places, at_most * np.clip(place_in_tied - drawn, 0, None) / left, at_most)
    chance = np.diff(at_most, axis=-1, prepend=0.0)
    best = np.where(chance > 0, np.maximum(rising, surely), 0.0)  # not -inf, which times 0 is NaN
    expected: Array = (chance * best).sum(axis=-1)
    return expected


def best_of_random(values: npt.ArrayLike, *, k: int) -> Array:
    """Returns the expected best of k different cells drawn at random; arguments as of `best_of_top`."""
    return best_of_top(np.zeros(np.shape(values)), values, k=k)


def gain_of_top(predictions: npt.ArrayLike, values: npt.ArrayLike, *, k: int) -> Array:
    """Returns how much better the best of the top k is than that of k random cells, below 0 if worse."""
    return best_of_top(predictions, values, k=k) - best_of_random(values, k=k)


def bootstrap(
    statistic: Statistic, *columns: npt.ArrayLike, seed: int, resamples: int = 2000, confidence: float = 0.95
) -> dict[str, Any]:
    """Returns a figure over cells with its percentile interval (Efron and Tibshirani 1993, §13.3).

    Cells are drawn with replacement, all columns of a cell together. A cell drawn twice ties with itself on both
    sides, which tau-b leaves out of its count. Resamples without a defined figure, of one cell only for instance, are
    left out. The intervals of `best_of_top` are rougher than those of a correlation: a resample never holds anything
    better than the best cell there is.

    Args:
        statistic: A function of the columns.
        columns: (n,) each, one value a cell, at least one cell.
        seed: The interval is a function of it and of the columns.
        resamples: Number of resamples.
        confidence: Level of the interval, in (0, 1).

    Returns:
        `value`, the figure; `low` and `high`, NaN where it is not defined; `cells`.
    """
    table = np.stack([np.asarray(column, dtype=np.float64) for column in columns])  # (columns, n)
    cells = table.shape[-1]
    drawn = np.random.default_rng(seed).integers(cells, size=(resamples, cells))
    at_once = max(1, PAIRS_AT_ONCE // cells**2)
    parts = [statistic(*table[:, drawn[first : first + at_once]]) for first in range(0, resamples, at_once)]
    figures = np.concatenate(parts)
    figures = figures[~np.isnan(figures)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(figures, [tail, 1 - tail]) if len(figures) else (math.nan, math.nan)
    return {"value": float(statistic(*table)), "low": float(low), "high": float(high), "cells": cells}

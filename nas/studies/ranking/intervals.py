"""How sure a figure is: percentile bootstrap over cells."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.studies.ranking.correlations import Array

Statistic = Callable[..., Array]
"""Takes columns (..., n), one value a cell, and returns a figure for each leading index, (...)."""

PAIRS_AT_ONCE = 4_000_000  # of cells in the resamples that are held in memory together


def bootstrap(
    statistic: Statistic, *columns: npt.ArrayLike, seed: int, resamples: int = 2000, confidence: float = 0.95
) -> dict[str, Any]:
    """Returns a figure over cells with its percentile interval (Efron and Tibshirani 1993, §13.3).

    Cells are drawn with replacement, all columns of a cell together. A cell drawn twice ties with itself on both
    sides, which tau-b leaves out of its count. Resamples without a defined figure, of one cell only for instance, are
    left out.

    Args:
        statistic: Of the columns.
        columns: (n,) each, one value a cell.
        seed: The interval is a function of it and of the columns.
        resamples: How many.
        confidence: Of the interval, in (0, 1).

    Returns:
        `value`, the figure; `low` and `high`, NaN where it is not defined; `cells`.

    Raises:
        ValueError: If the columns differ in length or hold nothing.
    """
    table = np.stack([np.asarray(column, dtype=np.float64) for column in columns])  # (columns, n)
    cells = table.shape[-1]
    if table.ndim != 2 or cells == 0:
        raise ValueError(f"a bootstrap needs columns (n,) of at least one cell, got {table.shape[1:]}")
    generator = np.random.default_rng(seed)
    drawn = generator.integers(cells, size=(resamples, cells))
    at_once = max(1, PAIRS_AT_ONCE // cells**2)
    figures = np.concatenate(
        [statistic(*table[:, drawn[first : first + at_once]]) for first in range(0, resamples, at_once)]
    )
    figures = figures[~np.isnan(figures)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(figures, [tail, 1 - tail]) if len(figures) else (math.nan, math.nan)
    return {"value": float(statistic(*table)), "low": float(low), "high": float(high), "cells": cells}

"""How well scores order cells whose true quality is known, over all of them and where it is hardest.

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

from nas.studies.ranking.intervals import Estimate

Array = npt.NDArray[np.float64]
Signs = npt.NDArray[np.float32]

PARTS = {"tau": 0.0, "better half": 0.5, "best tenth": 0.9}
"""By column, the quantile of the truth from which on cells count."""
TOP = 0.05
REGRETS = (1, 10, 50)


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """Cells of known quality.

    Attributes:
        values: (n,), higher is better.
        groups: By name, (n,) integers: cells of one number are of one group.
    """

    values: Array
    groups: Mapping[str, npt.NDArray[np.int64]]

    @property
    def columns(self) -> list[str]:
        """The names of all figures."""
        return [*PARTS, "P@5 %", *(f"equal {name}" for name in self.groups), *(f"regret@{k}" for k in REGRETS)]


def ordering(
    scores: npt.ArrayLike, truth: Truth, *, seed: int = 0, resamples: int = 200, confidence: float = 0.95
) -> dict[str, Estimate]:
    """Returns all columns with percentile intervals from a bootstrap over cells and, if there are several, over seeds.

    A cell that a resample holds twice makes no pair with itself.

    Args:
        scores: (n,) or, of several seeds, (S, n), higher is better; the figure is the mean over the seeds.
        truth: Of the n cells.
        seed: The intervals are a function of it.
        resamples: Of cells and seeds together; at least 1.
        confidence: Of the intervals, in (0, 1).

    Raises:
        ValueError: If the scores are not of these cells, or not finite.
    """
    by_seed = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    cells = len(truth.values)
    if by_seed.ndim != 2 or by_seed.shape[1] != cells:
        raise ValueError(f"scores must be of the {cells} cells, got shape {by_seed.shape}")
    if not np.isfinite(by_seed).all():
        raise ValueError("scores must be finite")
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(cells, np.full(cells, 1 / cells), size=resamples)
    weights = np.concatenate([np.ones((1, cells)), drawn]).astype(np.float32)  # (1 + resamples, n), first the cells
    seeds = generator.integers(len(by_seed), size=(resamples, len(by_seed)))
    found = [_of_one_seed(one, truth, weights) for one in by_seed]
    estimates = {}
    tail = (1 - confidence) / 2
    for column in truth.columns:
        values = np.stack([one[column] for one in found])  # (S, 1 + resamples)
        resampled = np.take_along_axis(values[:, 1:], seeds.T, axis=0).mean(axis=0)
        low, high = np.quantile(resampled, [tail, 1 - tail])
        estimates[column] = Estimate(value=float(values[:, 0].mean()), low=float(low), high=float(high), cells=cells)
    return estimates


def _of_one_seed(scores: Array, truth: Truth, weights: Signs) -> dict[str, Array]:
    """Returns each column for every row of weights, (R,)."""
    signs, true_signs = _signs(scores), _signs(truth.values)
    agreement = signs * true_signs
    found = {}
    for name, quantile in PARTS.items():
        chosen = truth.values >= np.quantile(truth.values, quantile)
        part = np.ix_(chosen, chosen)
        product, own = weights[:, chosen], np.abs(signs[part])
        norm = np.sqrt(_pairs(product, own) * _pairs(product, np.abs(true_signs[part])))
        found[name] = _ratio(_pairs(product, agreement[part]), norm)
    found["P@5 %"] = np.array([_precision(scores, truth.values, row) for row in weights])
    for name, group in truth.groups.items():
        same = (group[:, None] == group).astype(np.float32)
        np.fill_diagonal(same, 0)
        found[f"equal {name}"] = _ratio(_pairs(weights, agreement * same), _pairs(weights, same))
    for k in REGRETS:
        found[f"regret@{k}"] = np.array([_regret(scores, truth.values, row, k=k) for row in weights])
    return found


def _signs(values: Array) -> Signs:
    """Returns the sign of every difference, (n, n)."""
    signs: Signs = (values[:, None] > values).astype(np.float32) - (values[:, None] < values)
    return signs


def _pairs(weights: Signs, matrix: Signs) -> Array:
    """Returns the sum over pairs of cells of a symmetric matrix, each pair as often as its weights say, (R,)."""
    sums: Array = ((weights @ matrix) * weights).sum(axis=1, dtype=np.float64) / 2
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

"""What retraining k cells yields: the k predicted best, or k drawn at random, at the same cost.

Both are expectations, computed exactly: where predictions tie at the k-th place it is chance which of the tied are
retrained, and a random choice is a tie of all. With t tied cells and d places left for them, the best drawn is among
the r worst with probability C(r, d) / C(t, d), the hypergeometric distribution. Their bootstrap intervals are rougher
than those of a correlation: a resample never holds anything better than the best cell there is.
"""

import numpy as np
import numpy.typing as npt

from nas.studies.ranking.correlations import Array


def best_of_top(predictions: npt.ArrayLike, values: npt.ArrayLike, *, k: int) -> Array:
    """Returns the expected best value of the k cells predicted best.

    Args:
        predictions: (..., n), higher is better.
        values: (..., n), what retraining gives.
        k: Cells retrained, in 1 … n.

    Returns:
        (...).

    Raises:
        ValueError: If the shapes differ or k is out of range.
    """
    predicted, value = np.asarray(predictions, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if predicted.shape != value.shape:
        raise ValueError(f"predictions and values must be of one shape, got {predicted.shape} and {value.shape}")
    count = value.shape[-1]
    if not 1 <= k <= count:
        raise ValueError(f"k must lie in 1 … {count}, the number of cells, got {k}")
    edge = np.sort(predicted, axis=-1)[..., count - k, None]
    above, tied = predicted > edge, predicted == edge
    surely = np.where(above, value, -np.inf).max(axis=-1, keepdims=True)
    places = k - above.sum(axis=-1, keepdims=True)  # d
    num_tied = tied.sum(axis=-1, keepdims=True)  # t
    rising = np.sort(np.where(tied, value, -np.inf), axis=-1)  # the tied come last
    place_in_tied = np.arange(1, count + 1) - (count - num_tied)  # r, below 1 for the others
    at_most = _all_within(place_in_tied, num_tied, places, most=k)
    chance = np.diff(at_most, axis=-1, prepend=0.0)
    best = np.where(chance > 0, np.maximum(rising, surely), 0.0)  # not -inf, which times 0 is NaN
    expected: Array = (chance * best).sum(axis=-1)
    return expected


def best_of_random(values: npt.ArrayLike, *, k: int) -> Array:
    """Returns the expected best of k different cells drawn at random; arguments and errors as `best_of_top`."""
    value = np.asarray(values, dtype=np.float64)
    return best_of_top(np.zeros_like(value), value, k=k)


def gain_of_top(predictions: npt.ArrayLike, values: npt.ArrayLike, *, k: int) -> Array:
    """Returns how much better the best of the top k is than that of k random cells, below 0 if worse."""
    return best_of_top(predictions, values, k=k) - best_of_random(values, k=k)


def _all_within(rank: npt.NDArray[np.int_], total: npt.ArrayLike, draws: npt.ArrayLike, *, most: int) -> Array:
    """Returns C(rank, draws) / C(total, draws), the probability that all draws fall within the lowest `rank`."""
    chance = np.ones(np.broadcast_shapes(rank.shape, np.shape(draws)))
    for drawn in range(most):
        still = drawn < np.asarray(draws)
        left = np.where(still, np.asarray(total) - drawn, 1)
        chance = np.where(still, chance * np.clip(rank - drawn, 0, None) / left, chance)
    return chance

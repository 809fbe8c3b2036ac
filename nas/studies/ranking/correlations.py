"""Rank correlations, exact with ties, of one pair of lists or of many at once.

Both are the same quotient of pairwise scores a and b, ∑ab / √(∑a² ∑b²), which Kendall calls the general correlation
coefficient (Kendall 1945, "The treatment of ties in ranking problems", Biometrika 33): with the sign of every
difference it is tau-b, with every difference of ranks it is Spearman's rho. A loop over resamples would be slow, so
that all work along the last axis.
"""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def kendall_tau(first: npt.ArrayLike, second: npt.ArrayLike) -> Array:
    """Returns Kendall's tau-b.

    Args:
        first: (..., n), infinities allowed.
        second: (..., n).

    Returns:
        (...), in [-1, 1]; NaN where all values of a side are equal.

    Raises:
        ValueError: If the shapes differ, there are no values, or one is NaN.
    """
    a, b = _checked(first, second)
    pairs = (*a.shape[:-1], -1)
    return _general_correlation(_signs(a).reshape(pairs), _signs(b).reshape(pairs))


def spearman_rho(first: npt.ArrayLike, second: npt.ArrayLike) -> Array:
    """Returns Spearman's rho, equal values having the mean of their ranks; arguments and errors as `kendall_tau`."""
    a, b = _checked(first, second)
    middle = (a.shape[-1] + 1) / 2
    return _general_correlation(ranks(a) - middle, ranks(b) - middle)


def ranks(values: npt.ArrayLike) -> Array:
    """Returns the ranks along the last axis, from 1 for the smallest; equal values have the mean of their ranks."""
    array = np.asarray(values, dtype=np.float64)
    mean_ranks: Array = (array.shape[-1] + 1 + _signs(array).sum(axis=-1)) / 2
    return mean_ranks


def _signs(values: Array) -> Array:
    """Returns the sign of every difference, (..., n, n); not by subtracting, for the sake of infinities."""
    left, right = values[..., :, None], values[..., None, :]
    return (left > right).astype(np.float64) - (left < right)


def _general_correlation(first: Array, second: Array) -> Array:
    """Returns ∑ab / √(∑a² ∑b²) along the last axis; NaN where a side is all zero."""
    product = np.sqrt((first**2).sum(axis=-1) * (second**2).sum(axis=-1))
    known = product > 0
    correlation: Array = np.where(known, (first * second).sum(axis=-1) / np.where(known, product, 1.0), np.nan)
    return correlation


def _checked(first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[Array, Array]:
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.ndim == 0 or a.shape[-1] == 0:
        raise ValueError(f"a rank correlation needs as many values on both sides, got shapes {a.shape} and {b.shape}")
    if np.isnan(a).any() or np.isnan(b).any():
        raise ValueError("a value is NaN, which has no rank")
    return a, b

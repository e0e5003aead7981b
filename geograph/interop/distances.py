"""Distances between two sets of observations: Wasserstein on the line and on the circle, total variation."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from geograph.errors import ShapeError


def wasserstein(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " m"]) -> float:
    """Wasserstein-1 distance of two samples on the line, in their unit.

    Raises
    ------
    ShapeError
        If one of the samples is empty.

    References
    ----------
    Villani, Optimal Transport (2009), chapter 6: the area between the two cumulative distributions.
    """
    from scipy.stats import wasserstein_distance

    _not_empty(first, second)
    return float(wasserstein_distance(first, second))


def circular_wasserstein(
    first: Float[np.ndarray, " n"], second: Float[np.ndarray, " m"], *, period: float = 360.0
) -> float:
    """Wasserstein-1 distance of two samples on the circle, in their unit; at most half of the period.

    With the cumulative distributions F and G on one turn it is the integral of |F - G - c|, where c is the
    median of F - G over the turn. It does not depend on where the turn begins.

    Raises
    ------
    ShapeError
        If one of the samples is empty.

    References
    ----------
    Rabin, Delon, Gousseau, J. Math. Imaging Vis. 41, 147 (2011), Eq. (6).
    """
    _not_empty(first, second)
    points = np.concatenate([np.mod(first, period), np.mod(second, period)])
    steps = np.concatenate([np.full(len(first), 1 / len(first)), np.full(len(second), -1 / len(second))])
    rank = np.argsort(points, kind="stable")
    points, difference = points[rank], np.cumsum(steps[rank])
    lengths = np.diff(points, append=points[0] + period)
    order = np.argsort(difference, kind="stable")
    middle = np.searchsorted(np.cumsum(lengths[order]), period / 2)
    median = difference[order[min(int(middle), len(order) - 1)]]
    return float((np.abs(difference - median) * lengths).sum())


def total_variation(first: Int[np.ndarray, " n"], second: Int[np.ndarray, " m"]) -> float:
    """Total variation distance of two samples of categories, 0 (alike) to 1 (nothing in common).

    Raises
    ------
    ShapeError
        If one of the samples is empty.
    """
    _not_empty(first, second)
    _, category = np.unique(np.concatenate([first, second]), return_inverse=True)
    size = int(category.max()) + 1
    one = np.bincount(category[: len(first)], minlength=size) / len(first)
    two = np.bincount(category[len(first) :], minlength=size) / len(second)
    return float(0.5 * np.abs(one - two).sum())


def _not_empty(first: np.ndarray, second: np.ndarray) -> None:
    if not len(first) or not len(second):
        raise ShapeError(f"`first` and `second` must not be empty, got {len(first)} and {len(second)} values")

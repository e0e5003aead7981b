from __future__ import annotations

from math import factorial

import numpy as np
import pytest
from scipy.special import sph_harm_y

from geograph.sphere.legendre import wigner_columns

THETA = np.linspace(0.0, np.pi, 23)


def _wigner_sum(degree: int, m: int, n: int, angle: np.ndarray) -> np.ndarray:
    """Wigner's own sum, which is accurate at low degrees."""
    total = np.zeros_like(angle)
    for k in range(max(0, n - m), min(degree + n, degree - m) + 1):
        below = factorial(degree + n - k) * factorial(k) * factorial(m - n + k) * factorial(degree - m - k)
        powers = np.cos(angle / 2) ** (2 * degree + n - m - 2 * k) * np.sin(angle / 2) ** (m - n + 2 * k)
        total += (-1) ** (m - n + k) / below * powers
    above = factorial(degree + m) * factorial(degree - m) * factorial(degree + n) * factorial(degree - n)
    return float(above) ** 0.5 * total


def test_index_zero_gives_spherical_harmonics():
    for degree, values in wigner_columns(21, 0, THETA):
        order = np.arange(degree + 1)[:, None]
        expected = sph_harm_y(degree, order, THETA, 0.0).real
        # SciPy's own recurrence in float64 is the less accurate side.
        assert np.abs(values - expected).max() < 1e-13


@pytest.mark.parametrize("n", range(-4, 5))
def test_all_signs_of_both_indices_match_wigners_sum(n):
    for degree, values in wigner_columns(9, n, THETA):
        assert values.shape == (degree + 1, len(THETA))
        if degree < abs(n):
            assert not values.any()
            continue
        scale = np.sqrt((2 * degree + 1) / (4 * np.pi))
        expected = np.stack([scale * _wigner_sum(degree, m, n, THETA) for m in range(degree + 1)])
        assert np.abs(values - expected).max() < 1e-14 * 2**degree


def test_high_degrees_are_orthonormal_for_every_order():
    from geograph.sphere.grids import make_grid

    num, grid = 300, make_grid("gl", 300)
    area = grid.weights.numpy() * grid.nlon
    by_degree = [values.astype(np.float64) for _, values in wigner_columns(num, 0, grid.theta.numpy())]
    for m in (0, 1, 150, 299):
        rows = np.stack([by_degree[degree][m] for degree in range(m, num)])
        # Each entry is a sum of L terms, the rows have been rounded once.
        assert np.abs((rows * area) @ rows.T - np.eye(num - m)).max() < num * np.finfo(float).eps


def test_sum_over_orders_is_the_same_everywhere():
    for degree, values in wigner_columns(60, 0, THETA):
        total = (values**2).sum(0) * 2 - values[0] ** 2
        assert total.astype(float) == pytest.approx(np.full(23, (2 * degree + 1) / (4 * np.pi)), rel=1e-12)

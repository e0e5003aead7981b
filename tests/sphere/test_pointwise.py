from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y

from geograph.algebra.harmonics import real_from_dense
from geograph.errors import ConfigError, ShapeError
from geograph.sphere.grids import make_grid
from geograph.sphere.pointwise import real_harmonics
from geograph.sphere.sht import synthesis

EPS = np.finfo(np.float64).eps


def _directions(num: int, seed: int = 0) -> np.ndarray:
    points = np.random.default_rng(seed).standard_normal((num, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def test_values_are_those_of_scipy_in_the_real_basis():
    bandlimit, u = 21, _directions(40)
    theta, phi = np.arccos(u[:, 2]), np.arctan2(u[:, 1], u[:, 0])
    values = real_harmonics(u, bandlimit)
    for degree in range(bandlimit):
        for order in range(degree + 1):
            y = sph_harm_y(degree, order, theta, phi)
            factor = 1.0 if order == 0 else np.sqrt(2.0) * (-1.0) ** order
            centre = degree * degree + degree
            np.testing.assert_allclose(values[:, centre + order], factor * y.real, atol=1e-13)
            if order:
                np.testing.assert_allclose(values[:, centre - order], factor * y.imag, atol=1e-13)


def test_degree_one_is_y_z_x():
    u = _directions(7)
    np.testing.assert_allclose(
        real_harmonics(u, 2)[:, 1:], np.sqrt(3 / (4 * np.pi)) * u[:, [1, 2, 0]], atol=4 * EPS
    )


@pytest.mark.parametrize("bandlimit", [8, 64, 512])
def test_addition_theorem_also_at_the_poles(bandlimit: int):
    near_pole = np.array([[1e-9, 0, 1.0], [0, 1e-4, -np.sqrt(1 - 1e-8)]])
    u = np.concatenate([_directions(6), [[0, 0, 1], [0, 0, -1], [1, 0, 0]], near_pole])
    values = real_harmonics(u, bandlimit)
    degree = np.arange(bandlimit)
    sums = np.add.reduceat(values**2, degree**2, axis=1)
    # The recursion in l gains a few roundings at each step.
    np.testing.assert_allclose(sums / (2 * degree + 1) * 4 * np.pi, 1.0, atol=40 * bandlimit * EPS)


def test_sums_are_what_the_transform_gives():
    bandlimit = 16
    grid = make_grid("gl", bandlimit)
    harmonic = torch.randn(2, bandlimit**2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = real_harmonics(grid.directions().numpy().reshape(-1, 3), bandlimit)
    expected = synthesis(harmonic, grid).reshape(2, -1).numpy()
    np.testing.assert_allclose(harmonic.numpy() @ values.T, expected, atol=1e-12)
    # Negative control: the axes in another order are other functions.
    wrong = real_harmonics(grid.directions().numpy().reshape(-1, 3)[:, [1, 2, 0]], bandlimit)
    assert np.abs(harmonic.numpy() @ wrong.T - expected).max() > 0.1


def test_one_complex_harmonic():
    dense = torch.zeros(9, dtype=torch.complex128)
    dense[4 + 2 + 1], dense[4 + 2 - 1] = 1j, 1j  # a real field: a_{2,-1} = -conj(a_{2,1})
    u = _directions(5)
    theta, phi = np.arccos(u[:, 2]), np.arctan2(u[:, 1], u[:, 0])
    expected = 2 * (1j * sph_harm_y(2, 1, theta, phi)).real
    np.testing.assert_allclose(real_harmonics(u, 3) @ real_from_dense(dense).numpy(), expected, atol=1e-14)


def test_errors():
    with pytest.raises(ShapeError, match=r"`directions` must have shape \(n, 3\), got \(3,\)"):
        real_harmonics.__wrapped__(np.ones(3), 4)
    with pytest.raises(ConfigError, match="`bandlimit` must be between 1 and 512, got 0"):
        real_harmonics(_directions(2), 0)
    with pytest.raises(ConfigError, match="`bandlimit` must be between 1 and 512, got 513"):
        real_harmonics(_directions(2), 513)


def test_memory_is_estimated_before_it_is_taken(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "geograph.sphere.pointwise.check_memory", lambda what, size, *rest: asked.append(size)
    )
    for num, bandlimit in [(20000, 4), (1000, 64)]:
        u = _directions(num)
        tracemalloc.start()
        real_harmonics(u, bandlimit)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert 0.8 * asked[-1] < peak <= 1.02 * asked[-1]
    monkeypatch.undo()
    monkeypatch.setattr("geograph.sphere.operators.available_bytes", lambda device: 1 << 30)
    with pytest.raises(
        ConfigError,
        match=r"harmonics of band-limit 512 at 1000 directions needs about 2 GiB .* fewer directions",
    ):
        real_harmonics(_directions(1000), 512)

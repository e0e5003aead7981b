"""Closed forms of the functions around atoms, against quadrature, SciPy and rotations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import eval_legendre

from geograph.algebra.wigner import random_rotation, rotate
from geograph.errors import DataError
from geograph.featurize.sphere_atoms import (
    bump_coefficients,
    legendre_q,
    pair_harmonic,
    potential_harmonic,
    sampled_potential,
)
from geograph.sphere.grids import make_grid
from geograph.sphere.pointwise import real_harmonics
from geograph.sphere.sht import analysis

EPS = np.finfo(np.float64).eps


def _molecule(num: int = 9, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Atoms on a lattice with a little noise: no distance is below 0.9."""
    rng = np.random.default_rng(seed)
    lattice = np.stack(np.meshgrid(*[np.arange(3.0)] * 3), axis=-1).reshape(-1, 3) * 1.3
    chosen = lattice[rng.permutation(27)[:num]]
    return rng.choice([1, 6, 7, 8, 16], num), chosen + rng.uniform(-0.1, 0.1, (num, 3))


def _relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def _by_transform(z, pos, bandlimit: int, oversampled: int, **options) -> np.ndarray:
    grid = make_grid("gl", oversampled)
    values = sampled_potential(z, pos, grid.directions().numpy(), **options)
    return analysis(torch.from_numpy(values), grid, bandlimit).numpy()


@pytest.mark.parametrize("power", [1, 2])
def test_transform_of_samples_tends_to_the_closed_form(power: int):
    z, pos = _molecule()
    options = {"radii_angstrom": (0.45,), "powers": (power,)}
    exact = potential_harmonic(z, pos, bandlimit=8, **options)
    assert exact.shape == (9, 5, 64)
    errors = [_relative(_by_transform(z, pos, 8, size, **options), exact) for size in (8, 16, 24, 64)]
    # Aliasing of degree L' falls like (r / d)^(2 L' - 8), here by at least a half for each degree.
    assert errors[0] > 1e-7
    assert errors[1] < 1e-3 * errors[0]
    assert errors[2] < 1e-3 * errors[1] or errors[2] < 1e-13
    assert errors[3] < 100 * EPS * 8


@pytest.mark.parametrize("power", [1, 2])
def test_atoms_inside_the_sphere(power: int):
    z, pos = np.array([6, 8, 1]), np.array([[0.0, 0, 0], [0.9, 0, 0], [0, 0, 2.4]])
    options = {"radii_angstrom": (1.5,), "powers": (power,)}
    exact = potential_harmonic(z, pos, bandlimit=6, **options)
    assert _relative(_by_transform(z, pos, 6, 100, **options), exact) < 1e-13


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("bandlimit", [10, 32])
def test_coefficients_turn_with_the_molecule(power: int, bandlimit: int):
    z, pos = _molecule(seed=1)
    rotation = random_rotation(torch.Generator().manual_seed(1), 1)[0]
    options = {"bandlimit": bandlimit, "radii_angstrom": (0.3, 0.45), "powers": (power,)}
    here = potential_harmonic(z, pos, **options)
    there = potential_harmonic(z, pos @ rotation.numpy().T + [3.0, -1.0, 2.0], **options)
    assert _relative(there, rotate(torch.from_numpy(here), rotation).numpy()) < 1e-12
    # Negative control: the inverse rotation is not the rotation.
    assert _relative(there, rotate(torch.from_numpy(here), rotation.T).numpy()) > 1e-2


def test_pairs_turn_with_the_molecule_and_obey_the_theorem_of_funk_and_hecke():
    z, pos = _molecule(5, seed=2)
    rotation = random_rotation(torch.Generator().manual_seed(2), 1)[0]
    options = {"bandlimit": 24, "cut_degrees": 60.0, "unit_angstrom": 0.9}
    here = pair_harmonic(z, pos, **options)
    there = pair_harmonic(z, pos @ rotation.numpy().T, **options)
    assert here.shape == (5, 10, 576)
    assert _relative(there, rotate(torch.from_numpy(here), rotation).numpy()) < 1e-12
    # Values of the series against the sum over neighbours; the bump has no degree beyond 48 to speak of.
    u = np.array([[0.6, 0.0, 0.8], [0.0, -1.0, 0.0], [0.48, 0.64, -0.6]])
    offset = pos[None] - pos[:, None] + np.eye(5)[..., None]
    distance = np.linalg.norm(offset, axis=-1)
    spread = -((np.cos(np.pi / 3) - 1) ** 2) / np.log(0.05)
    bump = np.exp(-((np.einsum("ijk,pk->ijp", offset / distance[..., None], u) - 1) ** 2) / spread)
    charge = np.where(np.eye(5) > 0, 0.0, z[:, None] * z[None]) / 16**2
    onehot = (z == np.array([1, 6, 7, 8, 16])[:, None]).astype(float)
    expected = np.concatenate(
        [
            np.einsum("cj,ij,ijp->icp", onehot, charge * (0.9 / distance) ** power, bump)
            for power in (2.0, 6.0)
        ],
        axis=1,
    )
    series = pair_harmonic(z, pos, **(options | {"bandlimit": 48})) @ real_harmonics(u, 48).T
    np.testing.assert_allclose(series, expected, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("x", [0.05, 0.5, 0.9, 0.989])
def test_legendre_functions_of_the_second_kind(x: float):
    found = legendre_q(np.array([x, 0.3]), 12)[0]
    w = (x + 1 / x) / 2
    for degree in (0, 1, 2, 5, 11):
        # Neumann: Q_l(w) = 1/2 int P_l(t) / (w - t) dt; near w = 1 the pole is taken out by hand.
        smooth, _ = quad(
            lambda t, d=degree: (eval_legendre(d, t) - eval_legendre(d, 1.0)) / (w - t),
            -1,
            1,
            epsabs=1e-13,
            limit=400,
        )
        expected = 0.5 * smooth + 0.5 * np.log((w + 1) / (w - 1))
        assert found[degree] == pytest.approx(expected, rel=1e-9, abs=2e-13)
    assert legendre_q(np.array([x]), 1)[0, 0] == pytest.approx(2 * np.arctanh(x), rel=4 * EPS)
    assert legendre_q(np.zeros(0), 3).shape == (0, 3)


@pytest.mark.parametrize("cut", [10.0, 45.0, 120.0])
def test_bump(cut: float):
    spread = -((np.cos(np.radians(cut)) - 1.0) ** 2) / np.log(0.05)
    assert np.exp(-((np.cos(np.radians(cut)) - 1.0) ** 2) / spread) == pytest.approx(0.05)
    found = bump_coefficients(20, cut)
    for degree in (0, 1, 7, 19):
        expected, _ = quad(
            lambda t, d=degree: np.exp(-((t - 1) ** 2) / spread) * eval_legendre(d, t),
            -1,
            1,
            points=[0.98],
            limit=200,
        )
        assert found[degree] == pytest.approx(2 * np.pi * expected, abs=1e-12)


def test_only_the_centre_is_left_out():
    """The released mask leaves out the nearest atom of each pixel, which here is the neighbour for some."""
    z, pos = np.array([6, 8]), np.array([[0.0, 0, 0], [0.7, 0, 0]])
    towards = np.array([[1.0, 0, 0]])
    values = sampled_potential(z, pos, towards, radii_angstrom=(0.5,), elements=(6, 8))
    np.testing.assert_allclose(values[0, :, 0], [0.0, 48 / 0.2], rtol=1e-14)
    np.testing.assert_allclose(values[1, :, 0], [48 / 1.2, 0.0], rtol=1e-14)


def test_channels_run_over_radii_then_powers_then_elements():
    z, pos = _molecule(6)
    joint = potential_harmonic(
        z, pos, bandlimit=5, radii_angstrom=(0.2, 0.4), powers=(1, 2), elements=range(1, 17)
    )
    apart = [
        potential_harmonic(
            z, pos, bandlimit=5, radii_angstrom=(radius,), powers=(power,), elements=range(1, 17)
        )
        for radius in (0.2, 0.4)
        for power in (1, 2)
    ]
    np.testing.assert_allclose(joint, np.concatenate(apart, axis=1), rtol=1e-13, atol=1e-13)
    values = sampled_potential(
        z, pos, np.eye(3), radii_angstrom=(0.2, 0.4), powers=(1, 2), elements=range(1, 17)
    )
    series = potential_harmonic(
        z, pos, bandlimit=60, radii_angstrom=(0.2, 0.4), powers=(1, 2), elements=range(1, 17)
    )
    np.testing.assert_allclose(series @ real_harmonics(np.eye(3), 60).T, values, rtol=1e-10, atol=1e-10)


def test_the_constant_part_is_the_potential_at_the_centre():
    """A harmonic function has at the centre of a sphere its mean over it."""
    z, pos = np.array([6, 1, 1]), np.array([[0.0, 0, 0], [1.1, 0, 0], [0, 1.3, 0]])
    harmonic = potential_harmonic(z, pos, bandlimit=3, radii_angstrom=(0.4,), elements=(1, 6))
    mean = harmonic[0, 0, 0] / np.sqrt(4 * np.pi)
    assert mean == pytest.approx(6 / 1.1 + 6 / 1.3, rel=1e-14)


def test_blocks_of_atoms_do_not_matter(monkeypatch):
    import geograph.featurize.sphere_atoms as module

    z, pos = _molecule(8)
    whole = potential_harmonic(z, pos, bandlimit=6, radii_angstrom=(0.4,))
    grid = make_grid("gl", 6).directions().numpy()
    values = sampled_potential(z, pos, grid, radii_angstrom=(0.4,))
    monkeypatch.setattr(module, "_BLOCK", 1000)
    # A product with other shapes sums in another order.
    np.testing.assert_allclose(
        potential_harmonic(z, pos, bandlimit=6, radii_angstrom=(0.4,)), whole, rtol=1e-12, atol=1e-12
    )
    np.testing.assert_allclose(sampled_potential(z, pos, grid, radii_angstrom=(0.4,)), values, rtol=1e-13)


def test_errors():
    z, pos = np.array([6, 9]), np.array([[0.0, 0, 0], [0.5, 0, 0]])
    with pytest.raises(DataError, match="atom 1 has atomic number 9, which is not among the elements"):
        potential_harmonic(z, pos, bandlimit=3, radii_angstrom=(0.2,))
    with pytest.raises(DataError, match="atoms 0 and 1 coincide"):
        pair_harmonic(np.array([6, 6]), np.zeros((2, 3)), bandlimit=3)
    carbon = np.array([6, 6])
    with pytest.raises(
        DataError, match="atom 1 lies 0.5 angstrom from atom 0, on its sphere of radius 0.498"
    ):
        potential_harmonic(carbon, pos, bandlimit=3, radii_angstrom=(0.498,), powers=(2,))
    with pytest.raises(DataError, match="the squared potential is singular"):
        sampled_potential(carbon, pos, np.eye(3), radii_angstrom=(0.5,), powers=(1, 2))
    assert np.isfinite(potential_harmonic(carbon, pos, bandlimit=3, radii_angstrom=(0.5,))).all()

"""Functions of any spin: their law under rotations, and the way between parts, coefficients and values."""

from __future__ import annotations

import math

import pytest
import torch
from strategies import harmonic_coefficients
from torch import Tensor

from geograph.algebra.harmonics import dense_from_real, real_from_dense
from geograph.algebra.wigner import complex_wigner, euler_angles, random_rotation, rotate
from geograph.errors import ConfigError, ShapeError
from geograph.layers.spin_parts import (
    check_parts,
    check_spins,
    complex_from_parts,
    parts_from_complex,
    spin_coefficients,
    spin_samples,
)
from geograph.sphere.grids import make_grid
from geograph.sphere.sht import analysis

_EPS = torch.finfo(torch.float64).eps
LIMIT = 8


def spin_functions(spheres: int, spins: tuple[int, ...], channels: int) -> Tensor:
    """Random functions; degrees below |s| vanish."""
    generator = torch.Generator().manual_seed(0)
    flat = harmonic_coefficients(spheres, len(spins) * 2 * channels, LIMIT, generator, torch.float64)
    parts = flat.reshape(spheres, len(spins), 2, channels, LIMIT**2).clone()
    for index, spin in enumerate(spins):
        parts[:, index, ..., : spin * spin] = 0.0
    return parts


def rotations(num: int) -> Tensor:
    return random_rotation(torch.Generator().manual_seed(5), num)


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def test_every_spin_rotates_by_the_same_matrices() -> None:
    """Real matrices on the two parts are D^l on the complex coefficients."""
    parts, turned = spin_functions(2, (0, 1), 1), rotations(2)
    angles = euler_angles(turned)
    dense = dense_from_real(parts)
    dense = dense[:, :, 0] + 1j * dense[:, :, 1]
    moved = dense_from_real(rotate(parts, turned))
    moved = moved[:, :, 0] + 1j * moved[:, :, 1]
    for degree in range(LIMIT):
        part = slice(degree * degree, (degree + 1) ** 2)
        wigner = complex_wigner(degree, *angles)
        wanted = torch.einsum("bmn,bscn->bscm", wigner, dense[..., part])
        assert torch.allclose(moved[..., part], wanted, rtol=0, atol=100 * _EPS * LIMIT)


@pytest.mark.parametrize("spin", [0, 1, 2])
def test_samples_and_coefficients_are_inverse(spin: int) -> None:
    parts, grid = spin_functions(2, (spin,), 3)[:, 0], make_grid("gl", LIMIT)
    back = spin_coefficients(spin_samples(parts, spin, grid), spin, grid, LIMIT)
    assert relative(back, parts) <= 100 * _EPS * LIMIT


@pytest.mark.parametrize("spin", [1, 2])
def test_rotation_turns_the_phase_of_the_values_only(spin: int) -> None:
    """conj(x) y of two functions of one spin is a scalar, whose analysis is exact on a grid of 2 L.

    Negative control: x alone is no scalar.
    """
    grid = make_grid("gl", 2 * LIMIT)
    turned = rotations(2)

    def scalar(parts: Tensor, *, is_product: bool) -> Tensor:
        values = spin_samples(parts, spin, grid)
        product = values[:, 0].conj() * values[:, 1] if is_product else values[:, 0]
        return analysis(torch.stack([product.real, product.imag], dim=1), grid, 2 * LIMIT)

    parts = spin_functions(2, (spin,), 2)[:, 0]
    for is_product in (True, False):
        found = scalar(rotate(parts, turned), is_product=is_product)
        error = relative(found, rotate(scalar(parts, is_product=is_product), turned))
        assert error <= 200 * _EPS * LIMIT if is_product else error > 0.1


def test_gradient_field_of_a_scalar() -> None:
    """The spin-1 function with coefficients sqrt(l (l + 1)) f_lm has the modulus of the gradient of f.

    f = cos(theta): |grad f| = sin(theta).
    """
    grid = make_grid("gl", LIMIT)
    parts = torch.zeros(1, 2, 1, LIMIT**2, dtype=torch.float64)
    parts[0, 0, 0, 2] = math.sqrt(4 * math.pi / 3) * math.sqrt(2)
    modulus = spin_samples(parts, 1, grid).abs()[0, 0]
    assert torch.allclose(modulus, grid.theta.sin()[:, None].expand_as(modulus), rtol=0, atol=1e-13)


def test_parts_of_a_complex_field() -> None:
    """Any complex coefficients split into those of two real fields, and multiplication by i turns them."""
    generator = torch.Generator().manual_seed(0)
    dense = torch.randn(LIMIT**2, dtype=torch.complex128, generator=generator)
    real, imaginary = real_from_dense(dense), real_from_dense(-1j * dense)
    assert torch.allclose(dense_from_real(real) + 1j * dense_from_real(imaginary), dense, rtol=0, atol=1e-14)
    assert torch.allclose(real_from_dense(1j * dense), -imaginary, rtol=0, atol=1e-14)
    parts = parts_from_complex(dense[None, None])
    assert torch.allclose(parts[0, :, 0], torch.stack([real, imaginary]), rtol=0, atol=1e-14)
    assert torch.allclose(complex_from_parts(parts)[0, 0], dense, rtol=0, atol=1e-14)


def test_arguments_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"`spins` must start with 0 .*, got \[1, 2\]"):
        check_spins([1, 2], 8)
    with pytest.raises(ConfigError, match=r"`spins` must start with 0 and differ .*, got \[0, 1, 1\]"):
        check_spins([0, 1, 1], 8)
    with pytest.raises(ConfigError, match=r"`spins` must be smaller than the band-limit 2, got \[0, 2\]"):
        check_spins([0, 2], 2)
    with pytest.raises(ShapeError, match="`parts` must have 2 spins and band-limit 4, got 2 and 8"):
        check_parts(spin_functions(1, (0, 1), 1), (0, 1), 4)

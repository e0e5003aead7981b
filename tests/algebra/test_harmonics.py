"""The conventions of spherical harmonics against SciPy and against each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y

from geograph.algebra.harmonics import (
    bandlimit_of,
    degrees,
    dense_from_real,
    num_harmonics,
    num_packed,
    orders,
    packed_degrees,
    packed_from_real,
    packed_orders,
    power_spectrum,
    real_from_dense,
    real_from_packed,
    truncate,
)
from geograph.errors import ShapeError

_EPS = torch.finfo(torch.float64).eps


def coefficients(bandlimit: int, *batch: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(bandlimit)
    return torch.randn(*batch, bandlimit**2, generator=generator, dtype=torch.float64)


def test_order_of_coefficients() -> None:
    assert degrees(3).tolist() == [0, 1, 1, 1, 2, 2, 2, 2, 2]
    assert orders(3).tolist() == [0, -1, 0, 1, -2, -1, 0, 1, 2]
    assert packed_degrees(3).tolist() == [0, 1, 2, 1, 2, 2]
    assert packed_orders(3).tolist() == [0, 0, 0, 1, 1, 2]
    assert (num_harmonics(3), num_packed(3), bandlimit_of(9)) == (9, 6, 3)


def test_first_degree_is_y_z_x() -> None:
    """S_1 at a direction is sqrt(3 / 4 pi) (y, z, x)."""
    theta, phi = 0.7, 1.9
    direction = [math.sin(theta) * math.cos(phi), math.sin(theta) * math.sin(phi), math.cos(theta)]
    y, z, x = direction[1], direction[2], direction[0]
    found = [value_at(unit(4, index), theta, phi) for index in (1, 2, 3)]
    np.testing.assert_allclose(found, math.sqrt(3 / (4 * math.pi)) * np.array([y, z, x]), atol=10 * _EPS)


def unit(count: int, index: int) -> torch.Tensor:
    return torch.eye(count, dtype=torch.float64)[index]


def value_at(harmonic: torch.Tensor, theta: float, phi: float) -> float:
    """Sum of a_lm Y_lm with SciPy's harmonics, which have the Condon-Shortley phase."""
    bandlimit = bandlimit_of(len(harmonic))
    dense = dense_from_real(harmonic).numpy()
    every = sph_harm_y(degrees(bandlimit).numpy(), orders(bandlimit).numpy(), theta, phi)
    total = complex((dense * every).sum())
    assert abs(total.imag) < 1e-13
    return total.real


@pytest.mark.parametrize("order", [-3, -2, -1, 0, 1, 2, 3])
def test_real_harmonics_are_as_the_module_says(order: int) -> None:
    degree, theta, phi = 3, 1.1, 0.4
    complex_one = sph_harm_y(degree, abs(order), theta, phi)
    sign = math.sqrt(2) * (-1) ** order
    wanted = {0: complex_one.real}.get(order, sign * (complex_one.real if order > 0 else complex_one.imag))
    found = value_at(unit(16, degree * degree + degree + order), theta, phi)
    assert abs(found - wanted) < 20 * _EPS


@pytest.mark.parametrize("bandlimit", [1, 2, 7])
def test_conversions_are_inverse_and_keep_lengths(bandlimit: int) -> None:
    harmonic = coefficients(bandlimit, 2, 3)
    packed, dense = packed_from_real(harmonic), dense_from_real(harmonic)
    torch.testing.assert_close(real_from_packed(packed, bandlimit), harmonic, rtol=0, atol=8 * _EPS)
    torch.testing.assert_close(real_from_dense(dense), harmonic, rtol=0, atol=8 * _EPS)
    length = harmonic.square().sum(-1)
    torch.testing.assert_close(dense.abs().square().sum(-1), length)
    weight = torch.where(packed_orders(bandlimit) == 0, 1.0, 2.0).double()
    torch.testing.assert_close((weight * packed.abs().square()).sum(-1), length)


def test_dense_coefficients_of_a_real_field_are_conjugate() -> None:
    dense = dense_from_real(coefficients(4))
    for degree in range(4):
        for order in range(degree + 1):
            plus, minus = dense[degree**2 + degree + order], dense[degree**2 + degree - order]
            torch.testing.assert_close(minus, (-1) ** order * plus.conj())


def test_part_that_is_not_real_is_dropped() -> None:
    """A real field times i has no real part."""
    dense = dense_from_real(coefficients(5))
    assert real_from_dense(1j * dense).abs().max() < 8 * _EPS


def test_power_spectrum_is_the_mean_square_of_each_degree() -> None:
    harmonic = coefficients(4)
    wanted = [harmonic[low**2 : (low + 1) ** 2].square().mean() for low in range(4)]
    torch.testing.assert_close(power_spectrum(harmonic), torch.stack(wanted))


def test_truncation_and_filling() -> None:
    harmonic = coefficients(4, 2)
    torch.testing.assert_close(truncate(harmonic, 2), harmonic[:, :4])
    longer = truncate(harmonic, 6)
    torch.testing.assert_close(longer[:, :16], harmonic)
    assert longer.shape == (2, 36)
    assert not longer[:, 16:].any()


def test_conversions_have_derivatives() -> None:
    harmonic = coefficients(3).requires_grad_()
    assert torch.autograd.gradcheck(lambda h: torch.view_as_real(packed_from_real(h)), harmonic)
    assert torch.autograd.gradcheck(lambda h: real_from_dense(dense_from_real(h)), harmonic)


def test_refusals() -> None:
    with pytest.raises(ShapeError, match=r"must end in an axis of L\^2 coefficients, got 10"):
        bandlimit_of(10)
    with pytest.raises(ShapeError, match="must hold 6 coefficients for band-limit 3, got 5"):
        real_from_packed(torch.zeros(5, dtype=torch.complex128), 3)

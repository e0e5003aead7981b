"""Spin-weighted layers: exact linear parts, and what a finer grid buys."""

from __future__ import annotations

import pytest
import torch
from strategies import harmonic_coefficients
from torch import Tensor, nn

from geograph.algebra.harmonics import dense_from_real
from geograph.algebra.wigner import random_rotation, rotate
from geograph.errors import ConfigError, ShapeError
from geograph.layers.spin_weighted import MagnitudeActivation, PhaseCollapse, SpinConvolution
from geograph.layers.zonal import ZonalConvolution

_EPS = torch.finfo(torch.float64).eps
LIMIT = 8


def spin_functions(spheres: int, spins: tuple[int, ...], channels: int, seed: int = 0) -> Tensor:
    """Random functions; degrees below |s| vanish."""
    generator = torch.Generator().manual_seed(seed)
    flat = harmonic_coefficients(spheres, len(spins) * 2 * channels, LIMIT, generator, torch.float64)
    parts = flat.reshape(spheres, len(spins), 2, channels, LIMIT**2).clone()
    for index, spin in enumerate(spins):
        parts[:, index, ..., : spin * spin] = 0.0
    return parts


def rotations(num: int) -> Tensor:
    return random_rotation(torch.Generator().manual_seed(5), num)


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).detach().norm() / wanted.detach().norm())


def equivariance(layer: nn.Module, parts: Tensor) -> float:
    turned = rotations(len(parts))
    return relative(layer(rotate(parts, turned)), rotate(layer(parts), turned))


def test_convolution_commutes_with_rotations() -> None:
    torch.manual_seed(0)
    layer = SpinConvolution(3, 4, 6, (0, 1, 2), (0, 1), 4).double()
    assert equivariance(layer, spin_functions(3, (0, 1, 2), 3)) <= 100 * _EPS * LIMIT


def test_convolution_is_the_complex_matrix_product() -> None:
    """Written with complex numbers, degree by degree, and without anchors between."""
    torch.manual_seed(0)
    layer = SpinConvolution(3, 4, LIMIT, (0, 1), (0, 2), LIMIT).double()
    parts = spin_functions(2, (0, 1), 3)
    dense = dense_from_real(parts)[:, :, 0] + 1j * dense_from_real(parts)[:, :, 1]
    kernel = torch.complex(layer.anchors[0], layer.anchors[1]).detach()
    found = dense_from_real(layer(parts).detach())
    found = found[:, :, 0] + 1j * found[:, :, 1]
    for degree in range(LIMIT):
        part = slice(degree * degree, (degree + 1) ** 2)
        wanted = torch.einsum("bscm,odsc->bodm", dense[..., part], kernel[degree])
        if degree < 2:
            wanted[:, 1] = 0
        assert torch.allclose(found[..., part], wanted, rtol=0, atol=1e-13)


def test_outputs_have_no_degrees_below_their_spin() -> None:
    torch.manual_seed(0)
    out = SpinConvolution(2, 3, LIMIT, (0,), (0, 1, 2)).double()(spin_functions(2, (0,), 2))
    assert bool((out[:, 1, ..., :1] == 0).all())
    assert bool((out[:, 2, ..., :4] == 0).all())
    assert bool((out[:, 2, ..., 4] != 0).any())


def test_real_input_and_real_filter_are_a_zonal_convolution() -> None:
    """Spin 0 with real parameters, up to the factor of the definition."""
    torch.manual_seed(0)
    zonal = ZonalConvolution(2, 3, LIMIT, LIMIT).double()
    layer = SpinConvolution(2, 3, LIMIT, None, (0,), LIMIT).double()
    with torch.no_grad():
        layer.anchors[1] = 0.0
        layer.anchors[0, :, 0, :, 0] = zonal.interpolation.diagonal()[:, None, None] * zonal.anchors
    f = spin_functions(2, (0,), 2)[:, 0, 0]
    out = layer(f)[:, 0]
    assert torch.allclose(out[:, 0], zonal(f), rtol=0, atol=1e-12)
    assert bool((out[:, 1] == 0).all())


def test_collapse_by_hand() -> None:
    """(A x_0 + B concat |x_s|) / 2 for a constant function of spin 0, where no grid matters."""
    torch.manual_seed(0)
    layer = PhaseCollapse(2, LIMIT, (0, 1)).double()
    parts = torch.zeros(1, 2, 2, 2, LIMIT**2, dtype=torch.float64)
    value = torch.tensor([1.0 - 2.0j, 0.5j], dtype=torch.complex128)
    parts[0, 0, 0, :, 0], parts[0, 0, 1, :, 0] = value.real, value.imag
    linear, collapse = torch.complex(*layer.linear), torch.complex(*layer.collapse)
    wanted = 0.5 * (linear @ value + collapse[:, 0] @ value.abs().to(value.dtype))
    out = layer(parts)
    assert torch.allclose(torch.complex(out[0, 0, 0, :, 0], out[0, 0, 1, :, 0]), wanted, rtol=1e-12, atol=0)
    assert float(out[..., 1:].detach().abs().max()) <= 1e-13


def test_collapse_passes_the_other_spins() -> None:
    parts = spin_functions(2, (0, 1), 3)
    layer = PhaseCollapse(3, LIMIT).double()
    assert torch.equal(layer(parts)[:, 1], parts[:, 1])
    last = PhaseCollapse(3, LIMIT, is_spin_dropped=True).double()
    last.load_state_dict(layer.state_dict())
    assert torch.equal(last(parts), layer(parts)[:, :1])


@pytest.mark.parametrize("kind", ["collapse", "magnitude"])
def test_error_of_the_modulus_falls_with_oversampling(kind: str) -> None:
    errors = []
    for oversampling in (1.0, 2.0, 4.0):
        torch.manual_seed(0)
        make = PhaseCollapse if kind == "collapse" else MagnitudeActivation
        layer = make(3, LIMIT, (0, 1), oversampling=oversampling).double()
        errors.append(equivariance(layer, spin_functions(3, (0, 1), 3)))
    assert errors[0] > 1.5 * errors[1] > 2.25 * errors[2]
    assert errors[0] < 0.2


def test_squared_modulus_is_exact_from_three_halves_on() -> None:
    torch.manual_seed(0)
    parts = spin_functions(3, (0, 1, 2), 3)
    layer = PhaseCollapse(3, LIMIT, (0, 1, 2), oversampling=1.5, is_squared=True).double()
    assert equivariance(layer, parts) <= 200 * _EPS * LIMIT
    coarse = PhaseCollapse(3, LIMIT, (0, 1, 2), is_squared=True).double()
    assert equivariance(coarse, parts) > 1e-3


def test_magnitude_keeps_what_lies_above_its_threshold() -> None:
    parts = spin_functions(2, (0, 1), 3)
    layer = MagnitudeActivation(3, LIMIT).double()
    with torch.no_grad():
        layer.bias.zero_()
    assert relative(layer(parts), parts) <= 100 * _EPS * LIMIT
    with torch.no_grad():
        layer.bias.fill_(-100.0)
    assert float(layer(parts).detach().abs().max()) == 0


@pytest.mark.parametrize("make", [PhaseCollapse, MagnitudeActivation])
def test_gradients(make: type[nn.Module]) -> None:
    torch.manual_seed(0)
    layer = make(1, 3, (0, 1)).double()
    parts = spin_functions(1, (0, 1), 1)[..., :9].clone().requires_grad_()
    assert torch.autograd.gradcheck(layer, parts)


@pytest.mark.parametrize("make", [PhaseCollapse, MagnitudeActivation])
def test_vanishing_functions_have_finite_gradients(make: type[nn.Module]) -> None:
    parts = torch.zeros(1, 2, 2, 2, LIMIT**2, requires_grad=True)
    out = make(2, LIMIT)(parts)
    out.sum().backward()
    assert float(out.detach().abs().max()) == 0
    assert parts.grad is not None
    assert bool(parts.grad.isfinite().all())


def test_parameters_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"`spins` must start with 0 .*, got \[1, 2\]"):
        SpinConvolution(1, 1, 4, (1, 2))
    with pytest.raises(ConfigError, match=r"`spins` must start with 0 and differ .*, got \[0, 1, 1\]"):
        SpinConvolution(1, 1, 4, (0, 1, 1))
    with pytest.raises(ConfigError, match=r"`spins` must be smaller than the band-limit 2, got \[0, 2\]"):
        PhaseCollapse(1, 2, (0, 2))
    with pytest.raises(ShapeError, match="`parts` must have 2 spins and band-limit 4, got 2 and 8"):
        PhaseCollapse(3, 4)(spin_functions(1, (0, 1), 3).float())
    with pytest.raises(ShapeError, match="`parts` must have 3 spins and band-limit 8, got 2 and 8"):
        MagnitudeActivation(3, 8, (0, 1, 2))(spin_functions(1, (0, 1), 3).float())

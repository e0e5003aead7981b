"""Batch norm in the spectrum is batch norm on the sphere."""

from __future__ import annotations

import math

import pytest
import torch
from strategies import harmonic_coefficients

from geograph.algebra.wigner import random_rotation, rotate
from geograph.errors import ShapeError
from geograph.layers.spherical_norm import SphericalBatchNorm
from geograph.sphere.grids import make_grid
from geograph.sphere.sht import synthesis

_EPS = torch.finfo(torch.float64).eps


def functions(spheres: int, *rows: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    flat = harmonic_coefficients(spheres, math.prod(rows), 6, generator, torch.float64)
    return flat.reshape(spheres, *rows, 36)


def test_moments_are_those_of_the_samples() -> None:
    """Mean 0 and mean square 1 by quadrature, which is exact for squares on this grid."""
    norm = SphericalBatchNorm(3, eps=0.0).double()
    values = synthesis(norm(5.0 + 2.0 * functions(4, 3)).detach(), grid := make_grid("gl", 6))
    mean = grid.integrate(values).mean(0) / (4 * math.pi)
    square = grid.integrate(values.square()).mean(0) / (4 * math.pi)
    assert float(mean.abs().max()) <= 100 * _EPS * 6
    assert float((square - 1).abs().max()) <= 100 * _EPS * 6


def test_scale_and_shift_are_of_the_function() -> None:
    norm = SphericalBatchNorm(2, eps=0.0).double()
    with torch.no_grad():
        norm.weight.fill_(3.0)
        norm.bias.fill_(0.5)
    values = synthesis(norm(functions(4, 2)).detach(), grid := make_grid("gl", 6))
    mean = grid.integrate(values).mean(0) / (4 * math.pi)
    square = grid.integrate((values - 0.5).square()).mean(0) / (4 * math.pi)
    assert torch.allclose(mean, torch.full_like(mean, 0.5), rtol=0, atol=1e-13)
    assert torch.allclose(square, torch.full_like(square, 9.0), rtol=0, atol=1e-12)


def test_commutes_with_rotations() -> None:
    x = functions(4, 3)
    rotation = random_rotation(torch.Generator().manual_seed(0), 4)
    for is_training in (True, False):
        first, second = (SphericalBatchNorm(3).double().train(is_training) for _ in range(2))
        error = (first(rotate(x, rotation)) - rotate(second(x), rotation)).abs().max()
        assert float(error.detach()) <= 100 * _EPS * 6


def test_spins_share_nothing_but_the_parts_do() -> None:
    """Spin 1 has no degree 0: it is scaled alone, and both parts of a complex number by the same factor."""
    x = functions(4, 2, 2, 3)
    x[:, 1, ..., 0] = 0.0
    norm = SphericalBatchNorm(3, 2, 2, eps=0.0).double()
    y = norm(x).detach()
    assert bool((y[:, 1, ..., 0] == 0).all())
    ratio = (y / x)[..., 1:]
    assert torch.allclose(ratio, ratio[:1, :, :1, :, :1].expand_as(ratio), rtol=1e-12, atol=0)
    assert not torch.allclose(ratio[0, 0, 0, :, 0], ratio[0, 1, 0, :, 0])
    power = y.square().sum(dim=(2, 4)).mean(0) / (4 * math.pi)
    assert torch.allclose(power, torch.ones_like(power), rtol=1e-12, atol=0)


def test_evaluation_uses_the_running_moments() -> None:
    norm = SphericalBatchNorm(3, momentum=0.5).double()
    x = functions(8, 3)
    for _ in range(60):
        in_training = norm(x)
    norm.eval()
    assert torch.allclose(norm(x), in_training, rtol=0, atol=1e-12)
    assert torch.equal(norm(x)[:1], norm(x[:1]))


def test_constant_channel_is_finite() -> None:
    norm = SphericalBatchNorm(1)
    x = torch.zeros(2, 1, 36)
    x[..., 0] = 3.0
    x.requires_grad_()
    y = norm(x)
    y.square().sum().backward()
    assert bool(y.isfinite().all())
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())


def test_channels_are_checked() -> None:
    with pytest.raises(ShapeError, match="`harmonic` must have 3 channels, got 2"):
        SphericalBatchNorm(3)(torch.zeros(1, 2, 36))

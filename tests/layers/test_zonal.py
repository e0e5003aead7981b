"""Zonal convolution: the theorem by direct quadrature, its symmetry, and its filters."""

from __future__ import annotations

import math

import pytest
import torch
from strategies import harmonic_coefficients
from torch import Tensor

from geograph.algebra.wigner import random_rotation, rotate
from geograph.errors import ConfigError, ShapeError
from geograph.layers.zonal import ZonalBlock, ZonalConvolution, anchor_interpolation, mix_degrees
from geograph.sphere.grids import make_grid
from geograph.sphere.sht import synthesis

_EPS = torch.finfo(torch.float64).eps


def random_functions(spheres: int, channels: int, bandlimit: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return harmonic_coefficients(spheres, channels, bandlimit, generator, torch.float64)


def rotations(num: int, seed: int = 5) -> Tensor:
    return random_rotation(torch.Generator().manual_seed(seed), num)


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).detach().norm() / wanted.detach().norm())


def test_equals_direct_quadrature() -> None:
    """(f * h)(x) = 2 pi times the integral over y of f(y) h(x . y); the 2 pi is the third Euler angle."""
    bandlimit = 8
    torch.manual_seed(0)
    layer = ZonalConvolution(1, 1, bandlimit, num_anchors=4).double()
    f, grid = random_functions(1, 1, bandlimit), make_grid("gl", bandlimit)
    # h_l0 are the interpolated parameters; Y_l0 = sqrt((2 l + 1) / 4 pi) P_l.
    spectrum = (anchor_interpolation(4, bandlimit) @ layer.anchors.double().flatten()).detach()
    degree = torch.arange(bandlimit, dtype=torch.float64)
    directions = grid.directions().reshape(-1, 3)
    cosine = (directions @ directions.T).clamp(-1, 1)
    legendre = torch.stack([torch.special.legendre_polynomial_p(cosine, n) for n in range(bandlimit)])
    kernel = torch.einsum("l,lxy->xy", spectrum * ((2 * degree + 1) / (4 * math.pi)).sqrt(), legendre)
    area = grid.weights.repeat_interleave(grid.nlon)
    wanted = 2 * math.pi * kernel @ (area * synthesis(f, grid).flatten())
    found = synthesis(layer(f), grid).flatten()
    assert relative(found, wanted) <= 100 * _EPS * bandlimit


def test_commutes_with_rotations() -> None:
    torch.manual_seed(0)
    layer = ZonalConvolution(3, 5, 8).double()
    f, rotation = random_functions(4, 3, 8), rotations(4)
    assert relative(layer(rotate(f, rotation)), rotate(layer(f), rotation)) <= 100 * _EPS * 8


def test_filter_that_is_not_zonal_fails() -> None:
    """Negative control: another factor for each order."""
    f, rotation = random_functions(4, 3, 8), rotations(4)
    factor = torch.linspace(1, 2, 64, dtype=torch.float64)
    assert relative(factor * rotate(f, rotation), rotate(factor * f, rotation)) > 1e-2


def test_smaller_bandlimit_is_spectral_pooling() -> None:
    weight = torch.randn(4, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    f = random_functions(2, 3, 8)
    assert torch.equal(mix_degrees(f, weight), mix_degrees(f[..., :16], weight))


def test_mixing_by_hand() -> None:
    weight = torch.randn(3, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    f = random_functions(2, 4, 3)
    wanted = torch.cat([weight[n] @ f[..., n * n : (n + 1) ** 2] for n in range(3)], dim=-1)
    assert torch.allclose(mix_degrees(f, weight), wanted, rtol=0, atol=1e-14)


def test_mixing_has_its_gradient() -> None:
    weight = torch.randn(3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    f = random_functions(2, 2, 4)
    assert torch.autograd.gradcheck(mix_degrees, (f.requires_grad_(), weight.requires_grad_()))


def test_anchors_interpolate() -> None:
    table = anchor_interpolation(3, 5)
    wanted = [[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1]]
    assert torch.allclose(table, torch.tensor(wanted, dtype=torch.float64), rtol=0, atol=1e-15)
    assert torch.equal(anchor_interpolation(8, 4), torch.eye(4, dtype=torch.float64))
    assert torch.equal(anchor_interpolation(1, 4), torch.ones(4, 1, dtype=torch.float64))
    ones = anchor_interpolation(8, 31).sum(1)
    assert torch.allclose(ones, torch.ones_like(ones), rtol=0, atol=1e-14)


def test_few_anchors_localise_the_filter() -> None:
    """A smooth spectrum is a filter near its pole; a rough one reaches everywhere."""
    torch.manual_seed(0)
    share = {}
    for count in (4, 32):
        layer = ZonalConvolution(1, 32, 32, num_anchors=count).double()
        point = torch.zeros(1, 1, 1024, dtype=torch.float64)
        degree = torch.arange(32)
        point[0, 0, degree * degree + degree] = ((2 * degree + 1) / (4 * math.pi)).double().sqrt()
        grid = make_grid("gl", 32)
        energy = synthesis(layer(point), grid).square() * grid.weights[:, None]
        share[count] = float((energy[..., grid.theta < 0.5, :].sum() / energy.sum()).detach())
    assert share[4] > 0.8 > share[32]


def test_block_error_falls_with_oversampling() -> None:
    """A ReLU is not band-limited; a finer grid folds less of it back."""
    f, rotation = random_functions(4, 3, 8), rotations(4)
    errors = []
    for oversampling in (1.0, 2.0, 4.0):
        torch.manual_seed(0)
        block = ZonalBlock(3, 4, 8, activation="relu", oversampling=oversampling).double().eval()
        errors.append(relative(block(rotate(f, rotation)), rotate(block(f), rotation)))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[0] < 0.2


def test_block_with_polynomial_is_exact() -> None:
    torch.manual_seed(0)
    block = ZonalBlock(3, 4, 8, activation="quadratic", oversampling=1.5).double().eval()
    f, rotation = random_functions(4, 3, 8), rotations(4)
    assert relative(block(rotate(f, rotation)), rotate(block(f), rotation)) <= 200 * _EPS * 8


def test_channels_and_degrees_are_checked() -> None:
    layer = ZonalConvolution(3, 5, 8).double()
    with pytest.raises(ShapeError, match="`weight` must have 2 input channels .*, got 3 and 8"):
        layer(random_functions(1, 2, 8))
    with pytest.raises(ShapeError, match="at most 4 degrees, got 3 and 8"):
        layer(random_functions(1, 3, 4))
    with pytest.raises(ConfigError, match="`num_anchors` and `bandlimit` must be at least 1, got 0 and 8"):
        anchor_interpolation(0, 8)

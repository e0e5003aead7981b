"""Pooling: exact, over cells, and over the whole sphere."""

from __future__ import annotations

import math

import pytest
import torch
from strategies import harmonic_coefficients
from torch import Tensor

from geograph.algebra.harmonics import power_spectrum
from geograph.algebra.wigner import random_rotation, rotate
from geograph.errors import ConfigError
from geograph.layers.spherical_pooling import AreaPooling, GlobalPooling, SpectralPooling
from geograph.sphere.grids import make_grid
from geograph.sphere.sht import synthesis

_EPS = torch.finfo(torch.float64).eps


def functions(bandlimit: int = 8, spheres: int = 4, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return harmonic_coefficients(spheres, channels, bandlimit, generator, torch.float64)


def error(layer: torch.nn.Module, f: Tensor) -> float:
    rotation = random_rotation(torch.Generator().manual_seed(1), len(f))
    after, wanted = layer(rotate(f, rotation)), rotate(layer(f), rotation)
    return float((after - wanted).norm() / wanted.norm())


def test_spectral_pooling_is_exact() -> None:
    assert error(SpectralPooling(4), functions()) <= 100 * _EPS * 8


def test_area_pooling_keeps_constants() -> None:
    f = torch.zeros(1, 1, 64, dtype=torch.float64)
    f[..., 0] = 2.0
    wanted = torch.zeros(1, 1, 16, dtype=torch.float64)
    wanted[..., 0] = 2.0
    assert torch.allclose(AreaPooling(8)(f), wanted, rtol=0, atol=100 * _EPS * 8)


def test_area_pooling_is_centred() -> None:
    """It damps x and y alike and turns nothing about the axis."""
    f = torch.zeros(3, 1, 64, dtype=torch.float64)
    f[torch.arange(3), 0, torch.arange(1, 4)] = 1.0
    matrix = AreaPooling(8)(f)[:, 0, 1:4]
    off = matrix - torch.diag(matrix.diagonal())
    assert float(off.abs().max()) <= 100 * _EPS * 8
    assert bool(((matrix.diagonal() > 0.9) & (matrix.diagonal() < 1.0)).all())


def test_area_pooling_approximates_the_function_on_fine_grids() -> None:
    coarse, fine = (
        float((AreaPooling(n)(torch.nn.functional.pad(functions(4), (0, n * n - 16)))[..., :16]
               - functions(4)).norm() / functions(4).norm())
        for n in (8, 32)
    )  # fmt: skip
    # Means over cells of width h differ from the values by O(h^2).
    assert 10 < coarse / fine < 22


def test_area_pooling_commutes_as_far_as_the_grid_resolves() -> None:
    smooth = torch.nn.functional.pad(functions(4), (0, 32 * 32 - 16))
    assert error(AreaPooling(32), smooth) < 0.01
    assert error(AreaPooling(8), functions(8)) > 0.01  # negative control: no exact symmetry


def test_area_pooling_with_activation() -> None:
    f = functions()
    f[..., 0] += 50.0
    assert torch.allclose(AreaPooling(8, "relu")(f), AreaPooling(8)(f), rtol=0, atol=1e-10)


def test_mean_is_the_integral() -> None:
    f, grid = functions(), make_grid("gl", 8)
    wanted = grid.integrate(synthesis(f, grid)) / (4 * math.pi)
    assert torch.allclose(GlobalPooling(3, 8)(f), wanted, rtol=0, atol=100 * _EPS * 8)


@pytest.mark.parametrize("kind", ["mean", "power"])
def test_global_pooling_is_invariant(kind: str) -> None:
    pool, f = GlobalPooling(3, 8, kind), functions()
    rotation = random_rotation(torch.Generator().manual_seed(1), len(f))
    assert pool(f).shape == (4, pool.num_features)
    assert torch.allclose(pool(rotate(f, rotation)), pool(f), rtol=1e-11, atol=100 * _EPS)


def test_power_is_the_root_of_the_spectrum() -> None:
    f = functions()
    found = GlobalPooling(3, 8, "power")(f).reshape(4, 3, 8)[..., 1:]
    degree = torch.arange(1, 8)
    square = power_spectrum(f)[..., 1:] * (2 * degree + 1) / (4 * math.pi)
    assert torch.allclose(found, (square + 1e-6).sqrt() - 1e-3, rtol=1e-12, atol=0)


def test_power_has_a_gradient_at_zero() -> None:
    f = torch.zeros(1, 2, 16, requires_grad=True)
    out = GlobalPooling(2, 4, "power")(f)
    out.sum().backward()
    assert float(out.detach().abs().max()) == 0
    assert f.grad is not None
    assert bool(f.grad.isfinite().all())


def test_parameters_are_checked() -> None:
    with pytest.raises(ConfigError, match="`bandlimit` must be at least 1, got 0"):
        SpectralPooling(0)
    with pytest.raises(ConfigError, match="`bandlimit` of a pooling must be at most 8, got 9"):
        SpectralPooling(9)(functions())
    with pytest.raises(ConfigError, match="`bandlimit` must be even and at least 2 for area pooling, got 7"):
        AreaPooling(7)
    with pytest.raises(ConfigError, match="`activation` must be one of .*, got 'sine'"):
        AreaPooling(8, "sine")
    with pytest.raises(ConfigError, match="`readout` must be one of mean, power, got 'max'"):
        GlobalPooling(3, 8, "max")

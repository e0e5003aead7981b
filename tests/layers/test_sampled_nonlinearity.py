"""Activations on samples: what is exact, and how the rest falls with the grid."""

from __future__ import annotations

import pytest
import torch
from strategies import harmonic_coefficients
from torch import Tensor

from geograph.algebra.wigner import random_rotation, rotate
from geograph.errors import ConfigError
from geograph.layers.sampled_nonlinearity import ACTIVATIONS, SampledNonlinearity, oversampled_grid

_EPS = torch.finfo(torch.float64).eps


def functions(spheres: int = 4, channels: int = 3, bandlimit: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return harmonic_coefficients(spheres, channels, bandlimit, generator, torch.float64)


def error(layer: SampledNonlinearity, f: Tensor) -> float:
    rotation = random_rotation(torch.Generator().manual_seed(1), len(f))
    with torch.no_grad():
        after, wanted = layer(rotate(f, rotation)), rotate(layer(f), rotation)
    return float((after - wanted).norm() / wanted.norm())


def test_positive_functions_pass() -> None:
    f = functions()
    f[..., 0] += 50.0
    assert torch.allclose(SampledNonlinearity(8, "relu")(f), f, rtol=0, atol=50 * 100 * _EPS * 8)


@pytest.mark.parametrize("activation", ["relu", "prelu"])
def test_error_of_kinks_falls_with_oversampling(activation: str) -> None:
    """Coefficients of a function with a kink fall like l^-2, and with them what is folded back."""
    layers = [
        SampledNonlinearity(8, activation, 3, oversampling=factor).double() for factor in (1.0, 2.0, 4.0)
    ]
    errors = [error(layer, functions()) for layer in layers]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_error_of_smooth_functions_falls_faster() -> None:
    errors = [
        error(SampledNonlinearity(8, "tanh", oversampling=factor), functions()) for factor in (1.0, 2.0, 4.0)
    ]
    assert errors[0] > 10 * errors[1] > 100 * errors[2]


def test_polynomial_is_exact_from_three_halves_on() -> None:
    assert error(SampledNonlinearity(8, "quadratic"), functions()) > 1e-4
    assert error(SampledNonlinearity(8, "quadratic", oversampling=1.5), functions()) <= 200 * _EPS * 8


@pytest.mark.parametrize("kind", ["gl", "dh", "soft"])
def test_exact_on_every_grid(kind: str) -> None:
    wanted = SampledNonlinearity(8, "quadratic", oversampling=2.0)(functions())
    found = SampledNonlinearity(8, "quadratic", oversampling=2.0, grid=kind)(functions())
    assert torch.allclose(found, wanted, rtol=0, atol=float(wanted.abs().max()) * 200 * _EPS * 8)


def test_output_may_have_fewer_or_more_degrees() -> None:
    whole = SampledNonlinearity(8, "relu", oversampling=2.0)(functions())
    fewer = SampledNonlinearity(8, "relu", oversampling=2.0, output_bandlimit=4)(functions())
    more = SampledNonlinearity(8, "relu", oversampling=2.0, output_bandlimit=12)(functions())
    assert torch.allclose(fewer, whole[..., :16], rtol=0, atol=1e-13)
    assert torch.allclose(more[..., :64], whole, rtol=0, atol=1e-13)


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_gradients(activation: str) -> None:
    layer = SampledNonlinearity(3, activation, 2, oversampling=1.5).double()
    assert torch.autograd.gradcheck(layer, functions(2, 2, 3).requires_grad_())


def test_mixed_precision_stops_at_the_grid() -> None:
    """PReLU runs in half precision under autocast; the transforms do not."""
    layer, f = SampledNonlinearity(8, "prelu", 3), functions().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(f.bfloat16())
    assert out.dtype == torch.float32
    assert float((out - layer(f)).detach().norm() / out.detach().norm()) < 0.02


def test_grid_size() -> None:
    assert oversampled_grid(10, 1.5).bandlimit == 15
    assert oversampled_grid(10, 1.01).bandlimit == 11
    assert oversampled_grid(10, 1.1).bandlimit == 11


def test_parameters_are_checked() -> None:
    with pytest.raises(ConfigError, match="`activation` must be one of relu, .*, got 'sine'"):
        SampledNonlinearity(8, "sine")
    with pytest.raises(ConfigError, match="`oversampling` must be a number of at least 1, got 0.5"):
        SampledNonlinearity(8, oversampling=0.5)
    with pytest.raises(ConfigError, match="`output_bandlimit` must be at most 12, .*, got 13; raise"):
        SampledNonlinearity(8, output_bandlimit=13, oversampling=1.5)
    with pytest.raises(ConfigError, match="`harmonic` must have band-limit 8, got 4"):
        SampledNonlinearity(8)(functions(bandlimit=4))

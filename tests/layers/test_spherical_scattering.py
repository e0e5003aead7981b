"""The scattering layer: order of its channels, symmetry, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from strategies import harmonic_coefficients

from geograph.algebra.wigner import random_rotation, rotate
from geograph.errors import ConfigError, ShapeError
from geograph.layers.spherical_scattering import SphericalScattering
from geograph.sphere.scattering import scattering


def test_channels_are_input_channels_then_paths() -> None:
    layer = SphericalScattering(2, 12, smallest_scale=1, oversampling=1.5)
    harmonic = harmonic_coefficients(3, 2, 12, torch.Generator().manual_seed(0), torch.float64)
    out = layer(harmonic)
    paths = layer.plan.list_paths()
    assert layer.num_outputs == 2 * len(paths)
    assert layer.bandlimit == 2
    assert out.shape == (3, layer.num_outputs, layer.bandlimit**2)
    expected = scattering(harmonic, smallest_scale=1, oversampling=1.5)
    for channel in range(2):
        for number in range(len(paths)):
            assert torch.equal(out[:, channel * len(paths) + number], expected[:, channel, number])


def test_is_equivariant_up_to_aliasing() -> None:
    generator = torch.Generator().manual_seed(1)
    harmonic = harmonic_coefficients(2, 2, 16, generator, torch.float64)
    rotation = random_rotation(generator, 2)
    errors = []
    for oversampling in (1.0, 4.0):
        layer = SphericalScattering(2, 16, smallest_scale=2, oversampling=oversampling)
        expected = rotate(layer(harmonic), rotation)
        errors.append(float((layer(rotate(harmonic, rotation)) - expected).norm() / expected.norm()))
    assert errors[1] < 2e-3
    assert errors[1] < errors[0] / 5


def test_has_no_parameters_and_passes_gradients_on() -> None:
    layer = SphericalScattering(1, 8, smallest_scale=1)
    assert not list(layer.parameters())
    harmonic = harmonic_coefficients(
        2, 1, 8, torch.Generator().manual_seed(2), torch.float32
    ).requires_grad_()
    layer(harmonic).square().sum().backward()
    assert harmonic.grad is not None
    assert float(harmonic.grad.abs().min()) > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_channels": 0}, "`num_channels` must be at least 1, got 0"),
        ({"smallest_scale": 9}, "`smallest_scale` must lie between 0 and 3"),
        ({"oversampling": 0.0}, "`oversampling` must be at least 1"),
    ],
)
def test_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SphericalScattering(**{"num_channels": 1, "bandlimit": 8, "smallest_scale": 1, **options})


def test_input_is_checked() -> None:
    layer = SphericalScattering(1, 8, smallest_scale=1)
    with pytest.raises(ShapeError, match="`harmonic` must have 1 channels and 64 coefficients"):
        layer(torch.zeros(2, 2, 64))
    with pytest.raises(ConfigError, match="`dilation`"):
        SphericalScattering(1, 8, smallest_scale=1, dilation=0.5)

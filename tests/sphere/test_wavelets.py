"""Scale-discretised wavelets: gains by another quadrature, the tight frame, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from geograph.algebra.harmonics import degrees
from geograph.algebra.wigner import random_rotation, rotate
from geograph.errors import ConfigError, ShapeError
from geograph.sphere.wavelets import (
    largest_scale,
    scale_bandlimit,
    scaling_gain,
    wavelet_analysis,
    wavelet_gains,
    wavelet_synthesis,
)

EPS = float(np.finfo(np.float64).eps)


def kappa(t: float, dilation: float) -> float:
    """Definition of the cumulative bump, by adaptive quadrature."""

    def bump(x: float) -> float:
        u = (x - 1 / dilation) * 2 * dilation / (dilation - 1) - 1
        return math.exp(-2 / (1 - u * u)) / x if abs(u) < 1 else 0.0

    if t <= 1 / dilation:
        return 1.0
    if t >= 1:
        return 0.0
    options = {"epsabs": 1e-15, "epsrel": 1e-12}
    return quad(bump, t, 1, **options)[0] / quad(bump, 1 / dilation, 1, **options)[0]


@pytest.mark.parametrize("dilation", [2.0, 1.5, 3.0])
def test_gains_by_adaptive_quadrature(dilation: float) -> None:
    bandlimit, smallest = 20, 1
    expected = [kappa(degree / dilation**smallest, dilation) for degree in range(bandlimit)]
    gain = scaling_gain(bandlimit, smallest, dilation)
    assert np.abs(gain.numpy() ** 2 - expected).max() <= 1e-12
    for index, wavelet in enumerate(wavelet_gains(bandlimit, smallest, dilation).numpy()):
        scale = smallest + index
        expected = [
            kappa(degree / dilation ** (scale + 1), dilation) - kappa(degree / dilation**scale, dilation)
            for degree in range(bandlimit)
        ]
        assert np.abs(wavelet**2 - expected).max() <= 1e-12


@pytest.mark.parametrize("bandlimit", [2, 5, 64, 100, 1024])
@pytest.mark.parametrize("dilation", [1.3, 2.0, 3.0])
def test_frame_is_tight(bandlimit: int, dilation: float) -> None:
    for smallest in {0, largest_scale(bandlimit, dilation) // 2, largest_scale(bandlimit, dilation)}:
        gains = wavelet_gains(bandlimit, smallest, dilation)
        total = scaling_gain(bandlimit, smallest, dilation).square() + gains.square().sum(dim=0)
        assert float((total - 1).abs().max()) <= 4 * EPS * len(gains)


@pytest.mark.parametrize("dilation", [2.0, 1.7])
def test_support(dilation: float) -> None:
    bandlimit, smallest = 100, 2
    degree = torch.arange(bandlimit, dtype=torch.float64)
    scaling = scaling_gain(bandlimit, smallest, dilation)
    assert bool((scaling[degree >= dilation**smallest] == 0).all())
    assert float(scaling[0]) == 1.0
    for index, gain in enumerate(wavelet_gains(bandlimit, smallest, dilation)):
        scale = smallest + index
        outside = (degree <= dilation ** (scale - 1)) | (degree >= dilation ** (scale + 1))
        assert bool((gain[outside] == 0).all())
        limit = scale_bandlimit(scale + 1, bandlimit, dilation)
        assert bool((gain[limit:] == 0).all())


def test_powers_of_the_dilation_are_exact() -> None:
    assert [largest_scale(2**power) for power in range(1, 12)] == list(range(1, 12))
    assert largest_scale(1025) == 11
    assert [scale_bandlimit(scale, 1024) for scale in (0, 5, 10, 11)] == [1, 32, 1024, 1024]
    assert scale_bandlimit(3, 1000, 10 ** (1 / 3)) == 10


@pytest.mark.parametrize("smallest_scale", [0, 2])
def test_parseval_and_inverse(smallest_scale: int) -> None:
    harmonic = torch.randn(3, 2, 20 * 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    parts = wavelet_analysis(harmonic, smallest_scale)
    assert parts.shape == (3, 2, 2 + largest_scale(20) - smallest_scale, 400)
    energy = parts.square().sum(dim=(-1, -2)) / harmonic.square().sum(dim=-1)
    assert float((energy - 1).abs().max()) <= 1e-12
    again = wavelet_synthesis(parts, smallest_scale)
    assert float((again - harmonic).abs().max()) <= 1e-12


def test_analysis_commutes_with_rotations() -> None:
    generator = torch.Generator().manual_seed(1)
    harmonic = torch.randn(1, 1, 12 * 12, dtype=torch.float64, generator=generator)
    rotation = random_rotation(generator, 1)
    rotated = wavelet_analysis(rotate(harmonic, rotation), 1)
    expected = rotate(wavelet_analysis(harmonic, 1), rotation)
    assert float((rotated - expected).abs().max()) <= 1e-12
    # Negative control: a gain that depends on the order, too.
    gain = 1.0 + torch.arange(12 * 12) - degrees(12) ** 2
    assert float((rotate(harmonic, rotation) * gain - rotate(harmonic * gain, rotation)).abs().max()) > 1.0


def test_errors() -> None:
    with pytest.raises(ConfigError, match="`bandlimit` must be at least 2 for wavelets, got 1"):
        scaling_gain(1, 0)
    with pytest.raises(ConfigError, match=r"`dilation` must be a number above 1, got 1\.0"):
        scaling_gain(8, 0, 1.0)
    with pytest.raises(ConfigError, match=r"`smallest_scale` must lie between 0 and 3 for band-limit 8"):
        wavelet_gains(8, 4)
    with pytest.raises(ShapeError, match="`filtered` must have 4 filters"):
        wavelet_synthesis(torch.zeros(3, 16), 0)

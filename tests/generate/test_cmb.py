"""CMB maps: spectra, moments, matched classes, determinism, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from geograph.algebra.harmonics import degrees, power_spectrum
from geograph.algebra.wigner import random_rotation, rotate
from geograph.errors import ConfigError
from geograph.generate.cmb import (
    CLASS_NAMES,
    add_square,
    expected_spectrum,
    generate_cmb,
    transfer_function,
)
from geograph.generate.cmb_spectrum import load_spectrum
from geograph.sphere.grids import make_grid
from geograph.sphere.sht import analysis, synthesis

L = 24


def gaussian(num: int, bandlimit: int = L, seed: int = 0) -> np.ndarray:
    spectrum = load_spectrum("planck", bandlimit)
    draws = np.random.default_rng(seed).standard_normal((num, bandlimit**2))
    return draws * np.sqrt(spectrum)[degrees(bandlimit).numpy()]


def stacked(maps: list[Any], label: int) -> torch.Tensor:
    return torch.from_numpy(np.stack([one.harmonic[0] for one in maps if one.label == label])).double()


def test_records() -> None:
    maps = generate_cmb(3, bandlimit=8, seed=0)
    assert [record.label for record in maps] == [0, 1, 0, 1, 0, 1]
    assert [record.id for record in maps[2:4]] == ["gaussian-000001", "non-gaussian-000001"]
    assert all(record.harmonic.shape == (1, 64) and record.harmonic.dtype == np.float32 for record in maps)
    assert len({record.harmonic.tobytes() for record in maps}) == 6
    assert all((record.harmonic[0, :4] == 0).all() for record in maps)
    assert CLASS_NAMES == ("gaussian", "non-gaussian")


def test_same_maps_in_any_number_of_parts_and_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"bandlimit": 8, "seed": 3, "num_transfer_maps": 8}
    whole = generate_cmb(6, **options)
    parts = generate_cmb(4, **options) + generate_cmb(2, start=4, **options)
    by_two = generate_cmb(6, num_workers=2, **options)
    monkeypatch.setattr("geograph.generate.cmb._PIXELS_PER_CHUNK", 1)
    one_by_one = generate_cmb(6, **options)
    other_seed = generate_cmb(6, **{**options, "seed": 4})
    for first, second, third in zip(whole, parts, by_two, strict=True):
        assert first.id == second.id == third.id
        assert np.array_equal(first.harmonic, second.harmonic)
        assert np.array_equal(first.harmonic, third.harmonic)
    # Sums over other chunks of the separate maps are rounded differently.
    for first, second in zip(whole, one_by_one, strict=True):
        assert np.allclose(first.harmonic, second.harmonic, rtol=1e-6, atol=1e-6)
    assert not np.array_equal(whole[0].harmonic, other_seed[0].harmonic)


def test_spectrum_of_the_gaussian_maps() -> None:
    """(2 l + 1) C_l is C_l times chi^2 of 2 l + 1 degrees of freedom."""
    num, spectrum = 200, load_spectrum("planck", L)
    mean = power_spectrum(stacked(generate_cmb(num, bandlimit=L, seed=1), 0)).mean(dim=0).numpy()
    deviation = np.sqrt(2 / ((2 * np.arange(2, L) + 1) * num))
    assert np.abs((mean[2:] / spectrum[2:] - 1) / deviation).max() < 5


def test_square_has_no_aliasing() -> None:
    """A grid of twice the resolution gives the same coefficients to rounding."""
    harmonic, spectrum = gaussian(2), load_spectrum("planck", L)
    sigma = np.sqrt(((2 * np.arange(L) + 1) * spectrum).sum() / (4 * np.pi))
    grid = make_grid("gl", 3 * L)
    values = synthesis(torch.from_numpy(harmonic), grid)
    expected = analysis(values + 0.3 * (values**2 - sigma**2) / sigma, grid, L).numpy()
    assert np.abs(add_square(harmonic, spectrum, 0.3) - expected).max() <= 1e-12 * np.abs(expected).max()


def test_square_commutes_with_rotations() -> None:
    spectrum, rotation = load_spectrum("planck", L), random_rotation(torch.Generator().manual_seed(0), 1)

    def turned(values: np.ndarray) -> np.ndarray:
        return rotate(torch.from_numpy(values)[:, None], rotation)[:, 0].numpy()

    harmonic = gaussian(1)
    first = add_square(turned(harmonic), spectrum, 0.5)
    second = turned(add_square(harmonic, spectrum, 0.5))
    assert np.abs(first - second).max() <= 1e-12 * np.abs(first).max()
    assert np.abs(first - add_square(harmonic, spectrum, 0.5)).max() > 1.0  # negative control


def test_expected_spectrum_of_a_monopole_in_closed_form() -> None:
    """A field that is constant on the sphere, of variance sigma^2: its square has variance 2 sigma^4."""
    spectrum = np.array([4 * np.pi * 2.5, 0.0, 0.0])
    assert np.allclose(expected_spectrum(spectrum, 0.3), [spectrum[0] * (1 + 2 * 0.3**2), 0, 0], atol=1e-13)


def test_expected_spectrum_against_maps() -> None:
    num, strength, spectrum = 400, 0.5, load_spectrum("planck", L)
    spectra = power_spectrum(torch.from_numpy(add_square(gaussian(num), spectrum, strength))).numpy()
    error = (spectra.mean(axis=0) - expected_spectrum(spectrum, strength)) / (spectra.std(axis=0) / num**0.5)
    assert np.abs(error).max() < 5
    # Without the square the same check fails.
    assert np.abs((spectra.mean(axis=0) - spectrum)[2:] / (spectra.std(axis=0)[2:] / num**0.5)).max() > 20


def test_both_transfer_functions_agree() -> None:
    spectrum, strength, num = load_spectrum("planck", L), 0.2, 300
    exact = transfer_function(spectrum, strength, method="expectation")
    estimate = transfer_function(spectrum, strength, num_maps=num, seed=1)
    assert bool((exact[:2] == 0).all())
    # The cross term 2 strength a_T a_T2 has the relative scatter 2 strength (C_T2 / C_T)^(1/2) of a degree.
    extra = np.sqrt(expected_spectrum(spectrum, 1.0)[2:] / spectrum[2:] - 1)
    scatter = 2 * strength * extra / np.sqrt((2 * np.arange(2, L) + 1) * num)
    assert np.abs(estimate[2:] / exact[2:] - 1).max() < 5 * scatter.max()
    assert np.abs(transfer_function(spectrum, 0.0, num_maps=4)[2:] - 1).max() <= 1e-12


@pytest.mark.parametrize("transfer", ["ensemble", "expectation"])
def test_classes_have_one_spectrum_and_other_moments(transfer: Any) -> None:
    num, strength = 200, 0.1
    maps = generate_cmb(num, bandlimit=L, strength=strength, seed=5, transfer=transfer)
    spectra = [power_spectrum(stacked(maps, label))[:, 2:].numpy() for label in (0, 1)]
    spread = np.sqrt(sum(one.var(axis=0) for one in spectra) / num)
    assert np.abs((spectra[0] - spectra[1]).mean(axis=0) / spread).max() < 5
    grid, skewness = make_grid("gl", 2 * L), []
    for label in (0, 1):
        values = synthesis(stacked(maps, label), grid)
        third = float(grid.integrate(values**3).mean() / (4 * np.pi))
        skewness.append(third / float(grid.integrate(values**2).mean() / (4 * np.pi)) ** 1.5)
    # To first order T + strength (T^2 - sigma^2) / sigma has the skewness 6 strength where all degrees count;
    # the cut at L and the empty monopole and dipole take a part of it away.
    assert abs(skewness[0]) < 0.1
    assert 0.3 * 6 * strength < skewness[1] < 6 * strength


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_per_class": 0}, "`num_per_class` must be at least 1 and `start` not negative, got 0 and 0"),
        ({"start": -1}, "`num_per_class` must be at least 1 and `start` not negative, got 2 and -1"),
        ({"strength": -0.1}, r"`strength` must be a number not below 0, got -0\.1"),
        ({"strength": float("nan")}, "`strength` must be a number not below 0, got nan"),
        ({"num_transfer_maps": 0}, "`num_transfer_maps` must be at least 1, got 0"),
        ({"bandlimit": 2}, "`bandlimit` must be at least 3"),
    ],
)
def test_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        generate_cmb(**{"num_per_class": 2, "bandlimit": 8, "seed": 0, **options})

r"""Maps of the cosmic microwave background: Gaussian, and non-Gaussian with the same power spectrum.

Class 0 draws each coefficient from N(0, C_l). Class 1 adds to such a map T its own square,
T + strength (T^2 - sigma^2) / sigma with sigma^2 = sum_l (2 l + 1) C_l / 4 pi, and then scales each degree by
a transfer function (C_l / <C_l of such maps>)^(1/2), so that both classes have the same mean spectrum. The
square is formed on a grid fine enough to carry it without aliasing: the non-Gaussian maps are statistically
isotropic to rounding. What tells the classes apart is in moments beyond the second.

The transfer function must not come from the maps that it scales: their own scatter would then be divided out,
and a classifier of spectra would see that. It is estimated on separate maps, as the ratio of the spectra of
the same maps before and after the square, or taken from the expectation in closed form: with the correlation
function xi(theta) of T, T^2 has the correlation function 2 xi^2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float

from geograph.algebra.harmonics import degrees, num_harmonics, power_spectrum
from geograph.errors import ConfigError
from geograph.generate.cmb_spectrum import load_spectrum
from geograph.parallel import run_chunks
from geograph.records import SphereMap
from geograph.sphere.grids import make_grid
from geograph.sphere.sht import analysis, synthesis

Transfer = Literal["ensemble", "expectation"]

GAUSSIAN, NON_GAUSSIAN = 0, 1
CLASS_NAMES = ("gaussian", "non-gaussian")
#: Where the two classes are told apart to about 95 % at L = 128 (`python -m pipelines.cmb_strength`).
DEFAULT_STRENGTH = 0.045
#: Stream of the maps on which the transfer function is estimated, apart from those of the classes.
_SEPARATE = 2
#: Pixels that are held in memory at once, for each of a few arrays.
_PIXELS_PER_CHUNK = 1 << 23


def _chunk_size(bandlimit: int) -> int:
    rings = _square_bandlimit(bandlimit)
    return max(1, _PIXELS_PER_CHUNK // (2 * rings * rings))


def _square_bandlimit(bandlimit: int) -> int:
    """Band-limit N of a grid that carries squares: degrees L - 1 and 2 (L - 1) together below 2 N - 1."""
    return (3 * bandlimit) // 2


def _chunks(first: int, stop: int, size: int) -> list[tuple[int, int]]:
    return [(start, min(start + size, stop)) for start in range(first, stop, size)]


def _draw(
    seed: int, stream: int, first: int, stop: int, spectrum: Float[np.ndarray, " bandlimit"]
) -> Float[np.ndarray, "maps coefficients"]:
    """Gaussian maps by number: each has a random stream of its own, so that chunks do not matter."""
    bandlimit = len(spectrum)
    scale = np.sqrt(spectrum)[degrees(bandlimit).numpy()]
    draws = [
        np.random.default_rng([seed, stream, number]).standard_normal(num_harmonics(bandlimit))
        for number in range(first, stop)
    ]
    return np.stack(draws) * scale


def add_square(
    harmonic: Float[np.ndarray, "*batch coefficients"],
    spectrum: Float[np.ndarray, " bandlimit"],
    strength: float,
) -> Float[np.ndarray, "*batch coefficients"]:
    """Return the coefficients below L of T + strength (T^2 - sigma^2) / sigma, free of aliasing.

    Commutes with rotations.

    Parameters
    ----------
    harmonic
        Real coefficients of T.
    spectrum
        C_l of the ensemble, which gives sigma.
    strength
        Of the square, in units of sigma.
    """
    bandlimit = len(spectrum)
    grid = make_grid("gl", _square_bandlimit(bandlimit))
    sigma = float(np.sqrt(_variance(spectrum)))
    values = synthesis(torch.from_numpy(harmonic), grid)
    values = values + strength * (values.square() - sigma**2) / sigma
    return np.asarray(analysis(values, grid, bandlimit).numpy())


def _variance(spectrum: np.ndarray) -> float:
    return float(((2.0 * np.arange(len(spectrum)) + 1.0) * spectrum).sum() / (4.0 * np.pi))


def expected_spectrum(
    spectrum: Float[np.ndarray, " bandlimit"], strength: float
) -> Float[np.ndarray, " bandlimit"]:
    """Mean C_l of what `add_square` returns, in closed form.

    With xi(theta) = sum_l (2 l + 1) / 4 pi C_l P_l(cos theta), the covariance of T^2 is 2 xi^2; its spectrum
    is 2 pi times the integral of 2 xi^2 P_l over cos theta, which the quadrature gives exactly.

    Parameters
    ----------
    spectrum
        C_l of T.
    strength
        As in `add_square`.
    """
    bandlimit = len(spectrum)
    node, weight = np.polynomial.legendre.leggauss(_square_bandlimit(bandlimit))
    legendre = np.polynomial.legendre.legvander(node, bandlimit - 1)
    correlation = legendre @ ((2.0 * np.arange(bandlimit) + 1.0) * spectrum) / (4.0 * np.pi)
    squares = 2.0 * np.pi * legendre.T @ (weight * 2.0 * correlation**2)
    total: np.ndarray = spectrum + strength**2 * squares / _variance(spectrum)
    return total


def _summed_spectra(
    seed: int, first: int, stop: int, spectrum: np.ndarray, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Sum C_l over separate maps, before and after the square."""
    before = _draw(seed, _SEPARATE, first, stop, spectrum)
    after = add_square(before, spectrum, strength)
    plain, squared = (power_spectrum(torch.from_numpy(maps)).sum(dim=0).numpy() for maps in (before, after))
    return plain, squared


def transfer_function(
    spectrum: Float[np.ndarray, " bandlimit"],
    strength: float,
    *,
    method: Transfer = "ensemble",
    num_maps: int = 256,
    seed: int = 0,
    num_workers: int = 1,
) -> Float[np.ndarray, " bandlimit"]:
    """Factor for each degree that gives the maps of `add_square` the mean spectrum of the Gaussian ones.

    Parameters
    ----------
    spectrum
        C_l of the Gaussian maps.
    strength
        As in `add_square`.
    method
        `ensemble`: from the ratio of the spectra of separate maps before and after the square, so that most
        of their scatter cancels. `expectation`: from `expected_spectrum`, without scatter and without maps.
    num_maps
        Of the ensemble.
    seed, num_workers
        As in `generate_cmb`.

    Raises
    ------
    ConfigError
        If the method is unknown or there are no maps to estimate it on.
    """
    if method not in get_args(Transfer):
        raise ConfigError(f"`transfer` must be one of {', '.join(get_args(Transfer))}, got {method!r}.")
    if method == "expectation":
        plain, squared = spectrum, expected_spectrum(spectrum, strength)
    else:
        if num_maps < 1:
            raise ConfigError(f"`num_transfer_maps` must be at least 1, got {num_maps}.")
        sums = run_chunks(
            _summed_spectra,
            [
                (seed, first, stop, spectrum, strength)
                for first, stop in _chunks(0, num_maps, _chunk_size(len(spectrum)))
            ],
            num_workers=num_workers,
            description="transfer function",
        )
        plain, squared = (np.sum([pair[side] for pair in sums], axis=0) for side in (0, 1))
    return np.sqrt(np.divide(plain, squared, out=np.zeros_like(spectrum), where=spectrum > 0))


def _make(
    seed: int, label: int, first: int, stop: int, spectrum: np.ndarray, strength: float, transfer: np.ndarray
) -> list[SphereMap]:
    """Make maps of one class by number."""
    harmonic = _draw(seed, label, first, stop, spectrum)
    if label == NON_GAUSSIAN:
        harmonic = add_square(harmonic, spectrum, strength) * transfer[degrees(len(spectrum)).numpy()]
    return [
        SphereMap(one[None].astype(np.float32), label=label, id=f"{CLASS_NAMES[label]}-{first + number:06d}")
        for number, one in enumerate(harmonic)
    ]


def generate_cmb(
    num_per_class: int,
    *,
    bandlimit: int,
    strength: float = DEFAULT_STRENGTH,
    seed: int,
    num_workers: int = 1,
    spectrum: str | Path = "planck",
    transfer: Transfer = "ensemble",
    num_transfer_maps: int = 256,
    start: int = 0,
) -> list[SphereMap]:
    """Return maps of one channel in microkelvin: Gaussian (label 0) and non-Gaussian (label 1) in turns.

    The result depends neither on the number of processes nor, map by map, on how many are made.

    Parameters
    ----------
    num_per_class
        Maps of each class.
    bandlimit
        L: degrees 0 ... L - 1, of which 0 and 1 are empty.
    strength
        Of the non-Gaussianity (see `add_square`); with 0 the classes are alike.
    seed
        Of all random streams.
    num_workers
        Processes.
    spectrum
        `planck`, `camb` or a text file (see `load_spectrum`).
    transfer, num_transfer_maps
        How the spectra are matched: `method` and `num_maps` of `transfer_function`.
    start
        Number of the first map of each class: large sets can be made part by part.

    Raises
    ------
    ConfigError
        If a number is out of range.
    DataError
        If `spectrum` is a file and no such table.
    MissingExtraError
        If `spectrum` is `camb` and CAMB is not installed.
    """
    if num_per_class < 1 or start < 0:
        raise ConfigError(
            f"`num_per_class` must be at least 1 and `start` not negative, got {num_per_class} and {start}."
        )
    if not (np.isfinite(strength) and strength >= 0):
        raise ConfigError(f"`strength` must be a number not below 0, got {strength}.")
    power = load_spectrum(spectrum, bandlimit)
    factor = transfer_function(
        power, strength, method=transfer, num_maps=num_transfer_maps, seed=seed, num_workers=num_workers
    )
    jobs = [
        (seed, label, first, stop, power, strength, factor)
        for first, stop in _chunks(start, start + num_per_class, _chunk_size(bandlimit))
        for label in (GAUSSIAN, NON_GAUSSIAN)
    ]
    made = run_chunks(_make, jobs, num_workers=num_workers, description="CMB maps")
    classes = [[record for part in made[label::2] for record in part] for label in (GAUSSIAN, NON_GAUSSIAN)]
    return [record for pair in zip(*classes, strict=True) for record in pair]

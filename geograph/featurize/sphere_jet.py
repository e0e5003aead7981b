r"""Jet -> one sphere: what an observer at rest with the jet sees in each direction. This project's own.

With the momentum P = sum_i p_i and the mass m of the jet, each constituent has in the rest frame the energy
fraction z_i = E*_i / m and the direction n_i = p*_i / |p*_i|. The energy map is sum_i z_i delta(n, n_i); its
coefficients a_lm = sum_i z_i S_lm(n_i) need no grid. They are multiplied by exp(-l (l + 1) s^2 / 2), a
Gaussian beam of width s.

- sum_i z_i = 1, and for massless constituents sum_i z_i n_i = 0: the degree 0 is 1 / sqrt(4 pi), the degree 1
  zero.
- A Lorentz transformation of the jet turns the rest frame by a Wigner rotation and does nothing else. So what
  is invariant under rotations of the map is invariant under boosts of the jet.
- 4 pi / (2 l + 1) sum_m a_lm^2 = sum_ij z_i z_j P_l(n_i . n_j), the moments of Fox and Wolfram.
- A soft particle or a collinear splitting of a massless one leaves the map as it is.

References
----------
Fox and Wolfram (1978), Phys. Rev. Lett. 41, 1581 (moments); Chen (2012), arXiv:1112.2567, and Conway et al.
(2016), arXiv:1606.06859 (jets in their rest frame).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from jaxtyping import Float

from geograph.errors import ConfigError, DataError
from geograph.featurize.cast import cast_fields, class_label
from geograph.records import Jet
from geograph.sphere.pointwise import real_harmonics

CHANNELS = ("energy", "count", "beams", "mass")
#: A lighter jet has no rest frame worth the name: the rounding of its file would decide it.
MIN_MASS_GEV = 1.0
#: A constituent slower than this in the rest frame has no direction.
_AT_REST = 1e-12
#: Largest temporary table of pairs of constituents, or of constituents and coefficients.
_BLOCK_BYTES = 2**27
#: Width in radian, beyond it a beam leaves nothing but the degree 0 in float64.
_WIDEST = 100.0


@dataclass(frozen=True)
class RestFrame:
    """A jet as seen at rest with it.

    Attributes
    ----------
    energy
        Energy fraction z_i of each constituent.
    direction
        Unit vector of each; zero for a constituent at rest.
    mass_gev
        Mass of the jet in GeV.
    total
        Momentum (E, px, py, pz) of the jet in GeV, in the frame of the record.
    """

    energy: Float[np.ndarray, " n"]
    direction: Float[np.ndarray, "n 3"]
    mass_gev: float
    total: Float[np.ndarray, " 4"]


def _blocks(count: int, row_bytes: int) -> Iterator[slice]:
    """Rows that fit into the largest temporary table together."""
    step = max(1, _BLOCK_BYTES // row_bytes)
    return (slice(begin, begin + step) for begin in range(0, count, step))


def _products(p4: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    """Return p_i . P without taking large numbers from each other.

    p_i . p_j = |p_i| |p_j| |n_i - n_j|^2 / 2 + (E_i E_j - |p_i| |p_j|), the second term by E_i - |p_i|.
    """
    length = np.linalg.norm(p4[:, 1:], axis=1)
    unit = np.divide(p4[:, 1:], length[:, None], out=np.zeros((len(p4), 3)), where=length[:, None] > 0)
    excess = p4[:, 0] - length
    sums = [
        (((unit[rows, None, :] - unit[None, :, :]) ** 2).sum(axis=-1) / 2.0) @ length
        for rows in _blocks(len(p4), unit.nbytes)
    ]
    angular = length * np.concatenate(sums)
    return angular + length * excess.sum() + excess * (length.sum() + excess.sum())


def _boosted(
    p4: Float[np.ndarray, "n 4"], energy: Float[np.ndarray, " n"], mass: float, total: np.ndarray
) -> np.ndarray:
    """Momenta in the frame in which `total` is at rest: p* = p - P (E_i + E*_i) / (E + m)."""
    share = (p4[:, 0] + energy) / (total[0] + mass)
    return p4[:, 1:] - share[:, None] * total[1:]


def _unit(momentum: Float[np.ndarray, "n 3"], energy: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 3"]:
    length = np.linalg.norm(momentum, axis=1)
    moves = (length > _AT_REST * np.abs(energy))[:, None]
    return np.divide(momentum, length[:, None], out=np.zeros_like(momentum), where=moves)


def rest_frame(p4: Float[np.ndarray, "n 4"]) -> RestFrame:
    """Boost constituents to the rest frame of their sum.

    Under a Lorentz transformation of all momenta the energies and the mass stay, the directions turn together
    (Wigner rotation). Constituents without momentum and energy are left out.

    Parameters
    ----------
    p4
        Four-momenta (E, px, py, pz) in GeV, float64.

    Raises
    ------
    DataError
        If fewer than two constituents have a momentum, or the mass is below 1 GeV.
    """
    p4 = p4[p4.any(axis=1)]
    if len(p4) < 2:
        raise DataError(
            f"{len(p4) or 'no'} constituent with a momentum, at least 2 are needed for a rest frame",
            remedy="leave the jet out",
        )
    total, products = p4.sum(axis=0), _products(p4)
    squared = float(products.sum())
    if not squared >= MIN_MASS_GEV**2:
        raise DataError(
            f"the mass of the jet is {np.sqrt(max(squared, 0.0)):.3g} GeV, at least {MIN_MASS_GEV:g} is"
            " needed for a rest frame",
            remedy="leave the jet out",
        )
    mass = float(np.sqrt(squared))
    energy = products / mass
    return RestFrame(energy / mass, _unit(_boosted(p4, energy, mass, total), energy), mass, total)


def beam_directions(frame: RestFrame) -> Float[np.ndarray, "2 3"]:
    """Return the directions of the two beams (1, 0, 0, +-1) in the rest frame of a jet."""
    beams = np.array([[1.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, -1.0]])
    energy = (frame.total[0] - beams[:, 3] * frame.total[3]) / frame.mass_gev
    return _unit(_boosted(beams, energy, frame.mass_gev, frame.total), energy)


def _spikes(
    weight: Float[np.ndarray, " n"], direction: Float[np.ndarray, "n 3"], bandlimit: int
) -> Float[np.ndarray, " coefficients"]:
    """Sum of point sources; one without a direction counts in all directions alike."""

    def part(rows: slice) -> np.ndarray:
        values = real_harmonics(direction[rows], bandlimit)
        values[~direction[rows].any(axis=1), 1:] = 0.0
        return weight[rows] @ values

    return reduce(np.add, map(part, _blocks(len(weight), 8 * bandlimit**2)))


def _check_options(bandlimit: int, smoothing: float | None, channels: Sequence[str]) -> None:
    if not channels or not set(channels) <= set(CHANNELS) or len(set(channels)) != len(channels):
        raise ConfigError(
            f"`channels` must be distinct names among {', '.join(CHANNELS)},"
            f" got {', '.join(channels) or 'none'}."
        )
    if bandlimit < 1:
        raise ConfigError(f"`bandlimit` must be at least 1, got {bandlimit}.")
    if smoothing is not None and not 0 <= smoothing < np.inf:
        raise ConfigError(f"`smoothing` must be a finite number of at least 0, got {smoothing}.")


def jet_harmonic(
    p4: Float[np.ndarray, "n 4"],
    *,
    bandlimit: int,
    smoothing: float | None = None,
    channels: Sequence[str] = ("energy",),
) -> Float[np.ndarray, "channels coefficients"]:
    """Return the coefficients of the channels of a jet, in float64.

    Parameters
    ----------
    p4
        Four-momenta (E, px, py, pz) in GeV.
    bandlimit
        Degrees l = 0 ... L - 1.
    smoothing
        Width s of the Gaussian beam in radian; by default pi / L, none for 0.
    channels
        See `jet_sphere`.

    Raises
    ------
    ConfigError
        If a channel is unknown or named twice, or a number is out of range.
    DataError
        As `rest_frame`.
    """
    _check_options(bandlimit, smoothing, channels)
    frame = rest_frame(p4.astype(np.float64))
    count = len(frame.energy)
    flat = np.zeros(bandlimit**2)
    flat[0] = np.sqrt(4.0 * np.pi)
    degree = np.repeat(np.arange(bandlimit), 2 * np.arange(bandlimit) + 1)
    width = np.pi / bandlimit if smoothing is None else min(smoothing, _WIDEST)
    beam = np.exp(-degree * (degree + 1) * width**2 / 2.0)
    made = {
        "energy": lambda: beam * _spikes(frame.energy, frame.direction, bandlimit),
        "count": lambda: beam * _spikes(np.full(count, 1.0 / count), frame.direction, bandlimit),
        "beams": lambda: beam * _spikes(np.full(2, 0.5), beam_directions(frame), bandlimit),
        "mass": lambda: np.log(frame.mass_gev) * flat,
    }
    return np.stack([made[name]() for name in channels])


def jet_sphere(
    jet: Jet,
    *,
    bandlimit: int,
    smoothing: float | None = None,
    channels: Sequence[str] = ("energy",),
    max_constituents: int | None = None,
) -> dict[str, np.ndarray]:
    """Return the sphere of a jet: `harmonic` [1, channels, L^2] and, where known, the class `y`.

    Lorentz transformations of the jet rotate the coefficients; with the channel `beams` that holds if the
    beams are transformed too, that is in practice for rotations around them and boosts along them.

    Parameters
    ----------
    jet
        The record.
    bandlimit
        Degrees l = 0 ... L - 1.
    smoothing
        Width s of the Gaussian beam in radian; by default pi / L, none for 0.
    channels
        `energy`: energy fractions, infrared and collinear safe. `count`: the same weight for every
        constituent, not safe. `beams`: where the two beams are, half a unit each. `mass`: the constant
        function log(m / GeV), which the others do not know.
    max_constituents
        Keep only the first ones, which have the largest transverse momenta; they define the rest frame.

    Raises
    ------
    ConfigError
        If a channel is unknown or named twice, or a number is out of range.
    DataError
        If fewer than two constituents have a momentum, the mass is below 1 GeV, or beams are asked for and
        their direction is lost.
    """
    _check_options(bandlimit, smoothing, channels)
    if max_constituents is not None and max_constituents < 2:
        raise ConfigError(f"`max_constituents` must be at least 2, got {max_constituents}.")
    if "beams" in channels and not jet.has_beam_frame:
        raise DataError(
            "beams asked for, but this jet was transformed on its own and its beam direction is lost",
            record=jet.id,
            remedy="leave the channel `beams` out",
        )
    try:
        harmonic = jet_harmonic(
            jet.p4[:max_constituents], bandlimit=bandlimit, smoothing=smoothing, channels=channels
        )
    except DataError as error:
        raise error.at(record=jet.id) from error
    return cast_fields({"harmonic": harmonic[None], "y": class_label(jet.label)}, jet.id)

r"""Functions around each atom of a molecule, one for each element of its surroundings.

*Potential* (Cohen et al. 2018): with the centre p_i and radius r, channel e of atom i at the direction u is

    U_ie(u) = sum_{j != i, z_j = e} z_i z_j / |p_i + r u - p_j|^p,   p = 1 or 2.

Its coefficients are exact. With x = min(r, |d|) / max(r, |d|),

    1 / |r u - d|   = sum_l 4 pi / (2 l + 1) x^l / max(r, |d|)           sum_m S_lm(u) S_lm(d / |d|),
    1 / |r u - d|^2 = sum_l 2 pi / (r |d|)   Q_l((x + 1 / x) / 2)        sum_m S_lm(u) S_lm(d / |d|),

where Q_l is the Legendre function of the second kind. No grid, no aliasing: molecules and coefficients rotate
alike.

*Pairs* (Esteves et al. 2023): each neighbour puts a bump around its direction,

    sum_{j != i, z_j = e} z_i z_j / max(z)^2 (d_0 / d_ij)^p exp(-(cos angle - 1)^2 / s),

with s such that the bump falls to 0.05 at the angle `cut_degrees`. By the theorem of Funk and Hecke the
coefficients are those of the bump, a one-dimensional integral for each degree, times S_lm.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product

import numpy as np
from jaxtyping import Bool, Float, Int

from geograph.errors import DataError
from geograph.sphere.pointwise import real_harmonics

#: The five elements of QM7.
ELEMENTS = (1, 6, 7, 8, 16)
#: The squared potential counts as singular where the smaller of distance and radius exceeds this share of
#: the larger.
_SINGULAR = 0.99
#: Numbers in one intermediate array.
_BLOCK = 4_000_000
_BUMP_EDGE = 0.05


def legendre_q(x: Float[np.ndarray, " n"], bandlimit: int) -> Float[np.ndarray, "n degrees"]:
    """Return Q_l((x + 1 / x) / 2), Legendre functions of the second kind, for 0 < x < 1.

    Q_0 = 2 artanh x; the ratios Q_l / Q_{l-1} follow from the recursion of three terms run downwards, where
    it is stable, from so far up that its start, Q_l / Q_{l-1} = x, is forgotten: each step shrinks the error
    by x^2.
    """
    argument = (x + 1.0 / x) / 2.0
    steps = int(np.ceil(20.0 / -np.log(x.max(initial=0.1))))
    ratios = np.empty((len(x), bandlimit))
    ratio = x
    for degree in range(bandlimit + steps, 0, -1):
        ratio = degree / ((2 * degree + 1) * argument - (degree + 1) * ratio)
        if degree < bandlimit:
            ratios[:, degree] = ratio
    ratios[:, 0] = 2.0 * np.arctanh(x)
    return np.cumprod(ratios, axis=1)


@lru_cache(maxsize=16)
def bump_coefficients(bandlimit: int, cut_degrees: float) -> Float[np.ndarray, " degrees"]:
    """Return 2 pi int_{-1}^1 exp(-(t - 1)^2 / s) P_l(t) dt of each degree.

    Parameters
    ----------
    bandlimit
        Degrees l = 0 ... L - 1.
    cut_degrees
        Angle at which the bump has fallen to 0.05; s = -(cos cut - 1)^2 / ln 0.05.
    """
    spread = -((np.cos(np.radians(cut_degrees)) - 1.0) ** 2) / np.log(_BUMP_EDGE)
    nodes, weights = np.polynomial.legendre.leggauss(2 * bandlimit + 512)
    bump = np.exp(-((nodes - 1.0) ** 2) / spread)
    return 2.0 * np.pi * (weights * bump) @ np.polynomial.legendre.legvander(nodes, bandlimit - 1)


def _radial_potential(
    distance: Float[np.ndarray, " n"], radius: float, power: int | float, bandlimit: int
) -> Float[np.ndarray, "n degrees"]:
    larger, x = np.maximum(distance, radius), np.minimum(distance, radius) / np.maximum(distance, radius)
    if power == 1:
        degree = np.arange(bandlimit)
        return 4.0 * np.pi / (2 * degree + 1) * x[:, None] ** degree / larger[:, None]
    return 2.0 * np.pi / (radius * distance)[:, None] * legendre_q(x, bandlimit)


def _pairs(
    pos: Float[np.ndarray, "n 3"],
) -> tuple[Float[np.ndarray, "n n 3"], Float[np.ndarray, "n n"], Bool[np.ndarray, "n n"]]:
    """Direction from atom i to atom j, their distance (1 for i = j), and i != j."""
    offset = pos[None, :, :] - pos[:, None, :]
    is_other = ~np.eye(len(pos), dtype=bool)
    distance = np.where(is_other, np.linalg.norm(offset, axis=-1), 1.0)
    if not distance.all():
        i, j = np.argwhere(distance == 0)[0].tolist()
        raise DataError(f"atoms {i} and {j} coincide", remedy="remove the record")
    return offset / distance[..., None], distance, is_other


def _one_hot(z: Int[np.ndarray, " n"], elements: Sequence[int]) -> Float[np.ndarray, "elements n"]:
    is_element = z[None, :] == np.asarray(elements)[:, None]
    known = is_element.any(axis=0)
    if not known.all():
        raise DataError(
            f"atom {int(np.argmin(known))} has atomic number {int(z[np.argmin(known)])},"
            f" which is not among the elements {list(elements)}",
            remedy="add it to `elements`, or leave the record out",
        )
    return is_element.astype(np.float64)


def _not_singular(distance: np.ndarray, is_other: np.ndarray, radii: Sequence[int | float]) -> None:
    for radius in radii:
        ratio = np.minimum(distance, radius) / np.maximum(distance, radius)
        bad = is_other & (ratio > _SINGULAR)
        if bad.any():
            i, j = np.argwhere(bad)[0].tolist()
            raise DataError(
                f"atom {j} lies {distance[i, j]:.6g} angstrom from atom {i}, on its sphere of radius"
                f" {radius:.6g}, where the squared potential is singular",
                remedy="choose a smaller `radius_angstrom`, or `power` 1",
            )


def _expand(radial: np.ndarray, pos: np.ndarray, onehot: np.ndarray, bandlimit: int) -> np.ndarray:
    """Sum radial [N, N, K, L] x S_lm of each pair over the neighbours of each element: [N, K, C, L^2]."""
    direction, _, _ = _pairs(pos)
    num_atoms, num_kinds = len(pos), radial.shape[2]
    degree = np.repeat(np.arange(bandlimit), 2 * np.arange(bandlimit) + 1)
    harmonic = np.empty((num_atoms, num_kinds, len(onehot), bandlimit**2))
    rows = max(1, _BLOCK // (num_atoms * num_kinds * bandlimit**2))
    for start in range(0, num_atoms, rows):
        block = slice(start, start + rows)
        angular = real_harmonics(direction[block].reshape(-1, 3), bandlimit).reshape(
            -1, 1, num_atoms, bandlimit**2
        )
        scaled = np.moveaxis(radial[block], 2, 1)[..., degree] * angular
        harmonic[block] = onehot @ scaled
    return harmonic


def potential_harmonic(
    z: Int[np.ndarray, " n"],
    pos: Float[np.ndarray, "n 3"],
    *,
    bandlimit: int,
    radii_angstrom: Sequence[int | float],
    powers: Sequence[int | float] = (1,),
    elements: Sequence[int] = ELEMENTS,
) -> Float[np.ndarray, "n channels coefficients"]:
    """Return exact coefficients of the potential around each atom, in float64.

    Channels run over radii, then powers, then elements. Rotating the positions rotates the coefficients;
    moving them changes nothing. An atom inside the sphere of another is no obstacle, though radii are chosen
    so that there is none.

    Parameters
    ----------
    z, pos
        Atomic numbers, and positions in angstrom.
    bandlimit
        Degrees l = 0 ... L - 1.
    radii_angstrom
        Radii of the spheres.
    powers
        Of the inverse distance: 1, 2 or both.
    elements
        Atomic numbers, one channel each.

    Raises
    ------
    DataError
        If an element is unknown, two atoms coincide, or one lies on the sphere of another and the power is 2.
    """
    onehot = _one_hot(z, elements)
    _, distance, is_other = _pairs(pos.astype(np.float64))
    if 2 in powers:
        _not_singular(distance, is_other, radii_angstrom)
    charge = np.where(is_other, z[:, None] * z[None, :], 0.0)
    far = np.where(is_other, distance, 10.0 * max(radii_angstrom))
    kinds = [
        _radial_potential(far.ravel(), radius, power, bandlimit).reshape(*far.shape, bandlimit)
        for radius, power in product(radii_angstrom, powers)
    ]
    radial = np.stack(kinds, axis=2) * charge[:, :, None, None]
    harmonic = _expand(radial, pos.astype(np.float64), onehot, bandlimit)
    return harmonic.reshape(len(z), -1, bandlimit**2)


def sampled_potential(
    z: Int[np.ndarray, " n"],
    pos: Float[np.ndarray, "n 3"],
    directions: Float[np.ndarray, "*pixels 3"],
    *,
    radii_angstrom: Sequence[int | float],
    powers: Sequence[int | float] = (1,),
    elements: Sequence[int] = ELEMENTS,
) -> Float[np.ndarray, "n channels *pixels"]:
    """Return the potential around each atom at given directions; channels as in `potential_harmonic`.

    Raises
    ------
    DataError
        As `potential_harmonic`.
    """
    onehot = _one_hot(z, elements)
    direction, distance, is_other = _pairs(pos.astype(np.float64))
    if 2 in powers:
        _not_singular(distance, is_other, radii_angstrom)
    charge = np.where(is_other, z[:, None] * z[None, :], 0.0)
    pixels = directions.reshape(-1, 3).astype(np.float64)
    values = np.empty((len(z), len(radii_angstrom) * len(powers), len(elements), len(pixels)))
    for i in range(0, len(z), rows := max(1, _BLOCK // (len(z) * len(pixels)))):
        block = slice(i, i + rows)
        cosine = direction[block] @ pixels.T
        d = distance[block, :, None]
        for kind, (radius, power) in enumerate(product(radii_angstrom, powers)):
            squared = (d - radius) ** 2 + 2.0 * radius * d * (1.0 - cosine)
            squared = np.where(is_other[block, :, None], squared, 1.0)
            values[block, kind] = onehot @ (charge[block, :, None] * squared ** (-0.5 * power))
    return values.reshape(len(z), -1, *directions.shape[:-1])


def pair_harmonic(
    z: Int[np.ndarray, " n"],
    pos: Float[np.ndarray, "n 3"],
    *,
    bandlimit: int,
    powers: Sequence[int | float] = (2, 6),
    elements: Sequence[int] = ELEMENTS,
    cut_degrees: float = 45.0,
    unit_angstrom: float = 1.0,
) -> Float[np.ndarray, "n channels coefficients"]:
    """Return exact coefficients of the bumps of Esteves et al. (2023) around each atom, in float64.

    Channels run over powers, then elements. Rotating the positions rotates the coefficients.

    Parameters
    ----------
    z, pos
        Atomic numbers, and positions in angstrom.
    bandlimit
        Degrees l = 0 ... L - 1.
    powers
        Of the inverse distance.
    elements
        Atomic numbers, one channel each; the largest is the unit of charge.
    cut_degrees
        Angle at which a bump has fallen to 0.05.
    unit_angstrom
        d_0, the unit of distance; the published one is the smallest distance of the data set.

    Raises
    ------
    DataError
        If an element is unknown, or two atoms coincide.

    References
    ----------
    Esteves et al. (2023), arXiv:2306.05420, section 5.2.
    """
    onehot = _one_hot(z, elements)
    _, distance, is_other = _pairs(pos.astype(np.float64))
    charge = np.where(is_other, z[:, None] * z[None, :], 0.0) / max(elements) ** 2
    strength = charge[..., None] * (unit_angstrom / distance[..., None]) ** np.asarray(
        powers, dtype=np.float64
    )
    radial = strength[..., None] * bump_coefficients(bandlimit, cut_degrees)
    harmonic = _expand(radial, pos.astype(np.float64), onehot, bandlimit)
    return harmonic.reshape(len(z), -1, bandlimit**2)

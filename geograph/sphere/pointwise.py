"""Real spherical harmonics at single directions.

For sums of point sources, whose coefficients need no grid, and for checks of the transforms; a function on a
whole grid is what `geograph.sphere.sht` is for.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from geograph.algebra.harmonics import num_harmonics
from geograph.errors import ConfigError, ShapeError
from geograph.sphere.operators import check_memory

#: Beyond it the polynomials below leave the range of float64.
MAX_BANDLIMIT = 512
#: Bytes of intermediate arrays for each direction and degree: powers of x + i y and functions of two degrees.
_WORK_BYTES = 100


def real_harmonics(
    directions: Float[np.ndarray, "n 3"], bandlimit: int
) -> Float[np.ndarray, "n coefficients"]:
    r"""Return S_lm of every degree below the band-limit at each direction.

    S_lm = sqrt 2 Q_lm(z) Re (x + i y)^m and S_{l,-m} = sqrt 2 Q_lm(z) Im (x + i y)^m for m > 0, where
    Q_lm(cos t) sin^m t is the orthonormal Legendre function; Q_lm obeys the recursion of three terms in l,
    which is stable. No angle is computed, so that the poles need no care.

    Parameters
    ----------
    directions
        Unit vectors.
    bandlimit
        Degrees l = 0 ... L - 1, at most 512.

    Raises
    ------
    ShapeError
        If the directions are no rows of three numbers.
    ConfigError
        If the band-limit is out of range, or the memory does not suffice.

    References
    ----------
    Holmes and Featherstone (2002), J. Geodesy 76, 279, equations 11 and 12.
    """
    if directions.ndim != 2 or directions.shape[1] != 3:
        raise ShapeError(f"`directions` must have shape (n, 3), got {directions.shape}.")
    if not 1 <= bandlimit <= MAX_BANDLIMIT:
        raise ConfigError(f"`bandlimit` must be between 1 and {MAX_BANDLIMIT}, got {bandlimit}.")
    check_memory(
        f"spherical harmonics of band-limit {bandlimit} at {len(directions)} directions",
        len(directions) * (8 * num_harmonics(bandlimit) + _WORK_BYTES * bandlimit),
        torch.device("cpu"),
        "take fewer directions at once, or a lower `bandlimit`",
    )
    x, y, z = directions.astype(np.float64).T[:, :, None]
    factors = np.repeat(x + 1j * y, bandlimit, axis=1)
    factors[:, 0] = 1.0
    azimuthal = np.cumprod(factors, axis=1) * np.where(np.arange(bandlimit) == 0, 1.0, np.sqrt(2.0))
    values = np.empty((len(directions), num_harmonics(bandlimit)))
    before = last = np.zeros((len(directions), 0))
    diagonal = np.sqrt(1.0 / (4.0 * np.pi))
    for degree in range(bandlimit):
        order = np.arange(degree)
        first = np.sqrt((4.0 * degree**2 - 1.0) / (degree**2 - order**2)) if degree else order
        second = np.sqrt(
            np.maximum((degree - 1.0) ** 2 - order**2, 0.0) / np.maximum(4.0 * (degree - 1) ** 2 - 1, 1.0)
        )
        padded = np.pad(before, ((0, 0), (0, degree - before.shape[1])))
        diagonal *= np.sqrt((2.0 * degree + 1.0) / (2.0 * degree)) if degree else 1.0
        new = np.empty((len(directions), degree + 1))
        new[:, :degree] = first * (z * last - second * padded)
        new[:, degree] = diagonal
        centre = degree * degree + degree
        part = new * azimuthal[:, : degree + 1]
        values[:, centre : centre + degree + 1] = part.real
        values[:, centre - degree : centre] = part.imag[:, :0:-1]
        before, last = last, new
    return values

r"""Sampling grids on the sphere: rings of equally spaced pixels, with a quadrature weight for each ring.

A grid of band-limit L carries functions of degree l < L without loss. What differs is where the rings are.

- `gl`, Gauss-Legendre: L rings at the roots of P_L; the fewest pixels of a grid whose quadrature is exact for
  products of two such functions. The default.
- `dh`, Driscoll and Healy (1994): 2 L rings at theta = pi k / (2 L), the first one at the north pole.
- `soft`, the variant of the SOFT library and of Cohen et al. (2018): 2 L rings at pi (2 k + 1) / (4 L).
- `mw`, McEwen and Wiaux (2011): L rings at theta = pi (2 k + 1) / (2 L - 1), the last one at the south pole,
  2 L - 1 pixels each. The fewest pixels of all; the price is that its analysis is more than a weighted sum
  (see `resampling_matrices`), and its weights integrate single functions of degree < L, not their products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geograph.algebra.tables import cached_tables
from geograph.errors import ConfigError, ShapeError
from geograph.sphere.operators import check_memory

GridKind = Literal["gl", "dh", "soft", "mw"]
#: Entries of a temporary table, so that weights of large grids need no large memory.
_CHUNK = 1 << 22
_CPU = torch.device("cpu")
#: Bytes that `_interpolation` needs for each number of its matrix: that one and intermediate ones.
_INTERPOLATION_BYTES = 42
#: Bytes of a pixel in `Grid.directions`: three coordinates, and two of them once more.
_DIRECTION_BYTES = 40


@dataclass(frozen=True, eq=False)
class Grid:
    """Rings of pixels; made by `make_grid`.

    Attributes
    ----------
    kind
        See the module's documentation.
    bandlimit
        Functions of lower degree are carried without loss.
    theta
        Colatitude of each ring, radian, rising.
    nlon
        Pixels of a ring; pixel j is at longitude phi0 + 2 pi j / nlon.
    phi0
        Longitude of the first pixel, radian.
    weights
        Area that one pixel of each ring stands for: integral f = sum_ij weights_i f_ij, exact for functions
        of degree < 2 L - 1 (`mw`: < L).
    """

    kind: GridKind
    bandlimit: int
    theta: Float[Tensor, " nlat"]
    nlon: int
    phi0: float
    weights: Float[Tensor, " nlat"]

    @property
    def nlat(self) -> int:
        """Number of rings."""
        return len(self.theta)

    @property
    def shape(self) -> tuple[int, int]:
        """Rings and pixels of a ring."""
        return self.nlat, self.nlon

    @property
    def key(self) -> tuple[GridKind, int, int]:
        """What tells this grid from others."""
        return self.kind, self.bandlimit, self.nlon

    @property
    def phi(self) -> Float[Tensor, " nlon"]:
        """Longitude of each pixel of a ring, radian."""
        return self.phi0 + 2 * torch.pi * torch.arange(self.nlon, dtype=torch.float64) / self.nlon

    def directions(self) -> Float[Tensor, "nlat nlon 3"]:
        """Return the unit vector of each pixel.

        Raises
        ------
        ConfigError
            If the memory does not suffice.
        """
        check_memory(
            f"the directions of the grid {self.kind} of band-limit {self.bandlimit}",
            self.nlat * self.nlon * _DIRECTION_BYTES,
            _CPU,
            "take a lower `bandlimit`",
        )
        theta, phi = self.theta[:, None], self.phi[None, :]
        height = theta.cos().expand(self.shape)
        return torch.stack([theta.sin() * phi.cos(), theta.sin() * phi.sin(), height], dim=-1)

    def integrate(self, values: Float[Tensor, "*batch nlat nlon"]) -> Float[Tensor, "*batch"]:
        """Integral over the sphere by the grid's weights.

        Raises
        ------
        ShapeError
            If the values are not on this grid.
        """
        self.check(values)
        return torch.einsum("...ij,i->...", values, self.weights.to(values))

    def check(self, values: Tensor) -> None:
        """Raise a ShapeError if the last two axes are not those of this grid."""
        if values.ndim < 2 or tuple(values.shape[-2:]) != self.shape:
            raise ShapeError(
                f"`values` must end in the axes {self.shape} of the grid {self.kind} of band-limit "
                f"{self.bandlimit}, got shape {tuple(values.shape)}."
            )


def grid_shape(kind: GridKind, bandlimit: int) -> tuple[int, int]:
    """Rings and pixels of a ring that `make_grid` gives by default."""
    rings = {"gl": bandlimit, "dh": 2 * bandlimit, "soft": 2 * bandlimit, "mw": bandlimit}
    return rings[kind], 2 * bandlimit - 1 if kind == "mw" else 2 * bandlimit


def make_grid(kind: str, bandlimit: int, nlon: int | None = None) -> Grid:
    """Return the grid of that kind for functions of degree below the band-limit.

    Parameters
    ----------
    kind
        `gl`, `dh`, `soft` or `mw`.
    bandlimit
        L, at least 1.
    nlon
        Pixels of a ring, at least 2 L - 1; by default 2 L, for `mw` 2 L - 1.

    Raises
    ------
    ConfigError
        If the kind is unknown, the band-limit below 1 or the rings too coarse, or if the memory does not
        suffice for the weights of `mw`, which come from a matrix of 2 L^2 numbers.

    References
    ----------
    Driscoll and Healy (1994), doi:10.1006/aama.1994.1008, theorem 3; McEwen and Wiaux (2011),
    arXiv:1110.6298, section III.
    """
    if kind not in get_args(GridKind):
        raise ConfigError(f"`kind` must be one of {', '.join(get_args(GridKind))}, got {kind!r}.")
    if bandlimit < 1:
        raise ConfigError(f"`bandlimit` must be at least 1, got {bandlimit}.")
    nlon = grid_shape(cast(GridKind, kind), bandlimit)[1] if nlon is None else nlon
    if nlon < 2 * bandlimit - 1:
        raise ConfigError(
            f"`nlon` must be at least {2 * bandlimit - 1} for band-limit {bandlimit}, got {nlon}."
        )
    return _make_grid(cast(GridKind, kind), bandlimit, nlon)


@cached_tables(maxsize=64)
def _make_grid(kind: GridKind, bandlimit: int, nlon: int) -> Grid:
    theta, weights = {
        "gl": _gauss_legendre,
        "dh": _driscoll_healy,
        "soft": _soft,
        "mw": _mcewen_wiaux,
    }[kind](bandlimit)
    weights = weights * (2 * np.pi / nlon)
    return Grid(kind, bandlimit, torch.from_numpy(theta), nlon, 0.0, torch.from_numpy(weights))


def _gauss_legendre(num: int) -> tuple[np.ndarray, np.ndarray]:
    """Roots of P_L by Newton's method in theta, which stays accurate near the poles, and their weights."""
    half = (num + 1) // 2
    theta = np.pi * (4 * np.arange(1, half + 1, dtype=np.longdouble) - 1) / (4 * num + 2)
    theta += 1 / (8 * np.longdouble(num) ** 2 * np.tan(theta))
    for _ in range(3):
        value, slope = _legendre(num, theta)
        theta = theta + value / slope
    if num % 2:
        theta[-1] = np.arccos(np.longdouble(0))
    # sin^2 P_L'^2 = (dP_L / d theta)^2
    weights = 2 / _legendre(num, theta)[1] ** 2
    south = np.s_[: num // 2]
    theta = theta.astype(np.float64)
    return (
        np.concatenate([theta, np.pi - theta[south][::-1]]),
        np.concatenate([weights, weights[south][::-1]]).astype(np.float64),
    )


def _legendre(degree: int, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P_l(cos theta) and -dP_l / d theta."""
    x, before, value = np.cos(theta), np.zeros_like(theta), np.ones_like(theta)
    for i in range(1, degree + 1):
        before, value = value, ((2 * i - 1) * x * value - (i - 1) * before) / i
    return value, degree * (before - x * value) / np.sin(theta)


def _equiangular_weights(theta: np.ndarray, bandlimit: int) -> np.ndarray:
    """Integrate in cos(theta) over 2 L equally spaced rings, exact for degrees < 2 L."""
    odd = 2 * np.arange(bandlimit) + 1
    rows = max(1, _CHUNK // bandlimit)
    sums = [
        np.sin(np.outer(part, odd)) @ (1 / odd) for part in np.split(theta, range(rows, len(theta), rows))
    ]
    return 2 / bandlimit * np.sin(theta) * np.concatenate(sums)


def _driscoll_healy(bandlimit: int) -> tuple[np.ndarray, np.ndarray]:
    theta = np.pi * np.arange(2 * bandlimit) / (2 * bandlimit)
    return theta, _equiangular_weights(theta, bandlimit)


def _soft(bandlimit: int) -> tuple[np.ndarray, np.ndarray]:
    theta = np.pi * (2 * np.arange(2 * bandlimit) + 1) / (4 * bandlimit)
    return theta, _equiangular_weights(theta, bandlimit)


def _mcewen_wiaux_rings(bandlimit: int) -> np.ndarray:
    return np.pi * (2 * np.arange(bandlimit) + 1) / (2 * bandlimit - 1)


def _mcewen_wiaux(bandlimit: int) -> tuple[np.ndarray, np.ndarray]:
    check_memory(
        f"the grid mw of band-limit {bandlimit}",
        _INTERPOLATION_BYTES * 2 * bandlimit**2,
        _CPU,
        "take the grid `gl`, whose weights need no matrix, or a lower `bandlimit`",
    )
    theta = _mcewen_wiaux_rings(bandlimit)
    rings, weights = _soft(bandlimit)
    return theta, weights @ _interpolation(rings, theta, 1)


def _interpolation(target: np.ndarray, theta: np.ndarray, sign: int) -> np.ndarray:
    """Trigonometric interpolation from the `mw` rings, continued to the whole circle with that sign."""
    num = 2 * len(theta) - 1
    images = []
    for image in (theta, -theta):
        half = (target[:, None] - image[None, :]) / 2
        sine = np.sin(half)
        at_node = np.abs(sine) < 1e-14
        images.append(np.where(at_node, 1.0, np.sin(num * half) / (num * np.where(at_node, 1.0, sine))))
    matrix = images[0] + sign * images[1]
    matrix[:, -1] /= 2  # the pole is its own image
    return matrix


@cached_tables(maxsize=8)
def resampling_matrices(bandlimit: int) -> Float[Tensor, "parities rings nlat"]:
    """Matrices from the rings of the `mw` grid to those of `soft`, for even and for odd m + s.

    On a meridian continued over the pole, the part e^{i m phi} of a field of spin s is a trigonometric
    polynomial of degree < L with the symmetry (-1)^(m+s); 2 L - 1 samples determine it. On the 2 L rings of
    `soft` a quadrature is known that integrates its product with a spherical harmonic exactly.

    Raises
    ------
    ConfigError
        If the memory does not suffice.

    References
    ----------
    McEwen and Wiaux (2011), arXiv:1110.6298, equations 13 to 20: the same continuation, then another
    integral.
    """
    check_memory(
        f"the resampling of the grid mw of band-limit {bandlimit}",
        (_INTERPOLATION_BYTES + 8) * 2 * bandlimit**2,  # the second matrix is made beside the first
        _CPU,
        "take the grid `gl`, which needs none, or a lower `bandlimit`",
    )
    theta, rings = _mcewen_wiaux_rings(bandlimit), _soft(bandlimit)[0]
    return torch.from_numpy(np.stack([_interpolation(rings, theta, sign) for sign in (1, -1)]))

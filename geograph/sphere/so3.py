r"""Fourier transforms of functions on SO(3), on the equiangular grid of Kostelec and Rockmore.

A function of band-limit B is f(R) = sum_{l < B} sum_mn F^l_mn conj(D^l_mn(R)), with R = R_z(alpha) R_y(beta)
R_z(gamma) and D as in `geograph.algebra.harmonics`; so F^l_mn = (2 l + 1) int f D^l_mn dR over the Haar
measure of volume one. The coefficients stand degree by degree, then m, then n from -l to l: B (4 B^2 - 1) / 3
numbers. In this form (Q f)(R) = f(Q^-1 R) has the coefficients D^l(Q) F^l, so that the columns of F^l rotate
like the coefficients of a function on the sphere.

Samples stand on beta_j = pi (2 j + 1) / (4 b), alpha_k = gamma_k = pi k / b with j, k < 2 b for a grid of
band-limit b >= B, which is exact for products of two functions of band-limit b. Real functions have a faster
transform in `geograph.sphere.so3_real`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from geograph.algebra.tables import cached_tables
from geograph.algebra.wigner import wigner_d
from geograph.errors import ShapeError
from geograph.sphere.grids import make_grid
from geograph.sphere.operators import check_memory

_Tables = TypeVar("_Tables")
_CPU = torch.device("cpu")


def num_so3_coefficients(bandlimit: int) -> int:
    """Return the number of coefficients, B (4 B^2 - 1) / 3."""
    return bandlimit * (4 * bandlimit * bandlimit - 1) // 3


def so3_bandlimit_of(num_coefficients: int) -> int:
    """Band-limit of an array with that many coefficients.

    Raises
    ------
    ShapeError
        If there is none.
    """
    bandlimit = round((0.75 * num_coefficients) ** (1 / 3))
    if bandlimit < 1 or num_so3_coefficients(bandlimit) != num_coefficients:
        raise ShapeError(
            f"the axis of SO(3) coefficients must hold B (4 B^2 - 1) / 3 numbers, got {num_coefficients}."
        )
    return bandlimit


def degree_slice(degree: int) -> slice:
    """Return where the (2 l + 1)^2 coefficients of one degree stand."""
    return slice(num_so3_coefficients(degree), num_so3_coefficients(degree + 1))


def soft_angles(
    bandlimit: int,
) -> tuple[Float[Tensor, " nbeta"], Float[Tensor, " nalpha"]]:
    """Angles beta and alpha (also gamma) in radians of the grid, float64."""
    number = torch.arange(2 * bandlimit, dtype=torch.float64)
    return math.pi * (2 * number + 1) / (4 * bandlimit), math.pi * number / bandlimit


@cached_tables(32)
def soft_weights(bandlimit: int) -> Float[Tensor, " nbeta"]:
    """Weights w_j with sum_j w_j g(cos beta_j) = 1/2 int g sin beta for degree < 2 b; they sum to 1, float64.

    References
    ----------
    Driscoll and Healy (1994), "Computing Fourier transforms and convolutions on the 2-sphere", section 3;
    Kostelec and Rockmore (2008), "FFTs on the rotation group", section 3, for the half-shifted grid.
    """
    grid = make_grid("soft", bandlimit)
    return grid.weights * (grid.nlon / (4 * math.pi))


@cached_tables(32)
def wigner_table(bandlimit: int, grid_bandlimit: int) -> Float[Tensor, "rows columns nbeta bandlimit"]:
    """d^l_mn(beta_j), float64 [m, n, j, l]; zero where |m| or |n| exceeds l.

    Raises
    ------
    ConfigError
        If it does not fit into the free memory.
    """
    size = 2 * bandlimit - 1
    # The highest degree goes through two complex matrices and a real one for each angle.
    check_memory(
        f"a table of Wigner functions of band-limit {bandlimit} at {2 * grid_bandlimit} angles",
        size * size * 2 * grid_bandlimit * (8 * bandlimit + 40),
        _CPU,
        "take a lower `bandlimit` or a coarser grid",
    )
    table = torch.zeros(size, size, 2 * grid_bandlimit, bandlimit, dtype=torch.float64)
    beta, _ = soft_angles(grid_bandlimit)
    for degree in range(bandlimit):
        inside = slice(bandlimit - 1 - degree, bandlimit + degree)
        table[inside, inside, :, degree] = wigner_d(degree, beta).permute(1, 2, 0)
    return table


def check_grid(bandlimit: int, grid_bandlimit: int) -> None:
    """Check that a grid resolves a band-limit.

    Raises
    ------
    ShapeError
        If it does not.
    """
    if not 1 <= bandlimit <= grid_bandlimit:
        raise ShapeError(
            f"`bandlimit` must be from 1 to the band-limit of the grid, {grid_bandlimit}, got {bandlimit}."
        )


def grid_bandlimit_of(shape: tuple[int, ...]) -> int:
    """Band-limit of a grid from the lengths of its three axes.

    Raises
    ------
    ShapeError
        If it is none of this kind.
    """
    if len(set(shape)) != 1 or shape[0] < 2 or shape[0] % 2:
        raise ShapeError(f"`values` must end in three axes of 2 b angles each, got {shape}.")
    return shape[0] // 2


def checked_tables(
    bandlimit: int,
    grid_bandlimit: int,
    num_functions: int,
    num_bytes: int,
    device: torch.device,
    build: Callable[[], _Tables],
) -> _Tables:
    """Tables of a transform, whose other memory is checked before they are built, and after it once more.

    Parameters
    ----------
    bandlimit, grid_bandlimit
        Of the functions and of their grid.
    num_functions
        Functions that are transformed together.
    num_bytes
        Memory that the transform needs next to its tables.
    device
        Where it runs.
    build
        Makes the tables, or finds those that were made before, and checks their memory itself.

    Raises
    ------
    ConfigError
        If the memory does not suffice.
    """

    def check() -> None:
        check_memory(
            f"a transform on SO(3) of {num_functions} functions of band-limit {bandlimit} and a grid of "
            f"{grid_bandlimit}",
            num_bytes,
            device,
            "transform fewer functions at once, or take a lower `bandlimit` or a coarser grid",
        )

    check()
    tables = build()
    check()  # what the tables took is no longer free
    return tables


def so3_work_bytes(
    bandlimit: int, grid_bandlimit: int, num_functions: int, dtype: torch.dtype
) -> tuple[int, int]:
    """Bytes that synthesis and analysis need next to `wigner_table`: a complex copy and all other arrays.

    Parameters
    ----------
    bandlimit, grid_bandlimit
        Of the functions and of their grid.
    num_functions
        Functions that are transformed together.
    dtype
        complex64 or complex128.
    """
    each = dtype.itemsize
    square, points = (2 * bandlimit - 1) ** 2, 2 * grid_bandlimit
    table, cube = square * points * bandlimit, num_functions * points**3
    orders = num_functions * square * points
    synthesis = each * (table + num_functions * square * bandlimit + orders + 3 * cube)
    # The weighted table is there in float64 first; by then two of the three copies of the samples are gone.
    analysis = each * (orders + cube) + max(each * 2 * cube, (each + 8) * table)
    return synthesis, analysis


@cached_tables(32)
def _places(bandlimit: int) -> Int[Tensor, " coefficients"]:
    """Place of each coefficient in [m, n, l]."""
    parts = []
    for degree in range(bandlimit):
        order = torch.arange(-degree, degree + 1) + bandlimit - 1
        parts.append(((order[:, None] * (2 * bandlimit - 1) + order) * bandlimit + degree).flatten())
    return torch.cat(parts)


def so3_synthesis(
    coefficients: Complex[Tensor, "*batch coefficients"], bandlimit: int, grid_bandlimit: int
) -> Complex[Tensor, "*batch nbeta nalpha ngamma"]:
    """Compute samples of a function on SO(3) from its complex coefficients; differentiable.

    Parameters
    ----------
    coefficients
        Degree by degree, then m, then n.
    bandlimit
        Of the function.
    grid_bandlimit
        b of the grid of 2 b angles each, at least `bandlimit`.

    Raises
    ------
    ShapeError
        If the last axis does not hold B (4 B^2 - 1) / 3 numbers, or the grid is too coarse.
    ConfigError
        If the memory does not suffice.
    """
    check_grid(bandlimit, grid_bandlimit)
    if coefficients.shape[-1] != num_so3_coefficients(bandlimit):
        raise ShapeError(
            f"`coefficients` must end in an axis of {num_so3_coefficients(bandlimit)} for band-limit "
            f"{bandlimit}, got {coefficients.shape[-1]}."
        )
    size, points = 2 * bandlimit - 1, 2 * grid_bandlimit
    num = coefficients.shape[:-1].numel()
    table = checked_tables(
        bandlimit,
        grid_bandlimit,
        num,
        so3_work_bytes(bandlimit, grid_bandlimit, num, coefficients.dtype)[0],
        coefficients.device,
        lambda: wigner_table(bandlimit, grid_bandlimit),
    ).to(coefficients)
    flat = coefficients.reshape(-1, coefficients.shape[-1]).mT
    spread = flat.new_zeros((size * size * bandlimit, flat.shape[1]))
    spread = spread.index_copy(0, _places(bandlimit).to(flat.device), flat)
    orders = (table @ spread.unflatten(0, (size, size, bandlimit))).permute(3, 2, 0, 1)
    padded = torch.nn.functional.pad(orders, (0, points - size, 0, points - size))
    padded = padded.roll((1 - bandlimit, 1 - bandlimit), dims=(-2, -1))
    values = torch.fft.ifft2(padded, norm="forward")
    return values.reshape(*coefficients.shape[:-1], points, points, points)


def so3_analysis(
    values: Complex[Tensor, "*batch nbeta nalpha ngamma"], bandlimit: int
) -> Complex[Tensor, "*batch coefficients"]:
    """Complex coefficients of a function on SO(3) from its samples; exact below the grid's band-limit.

    Parameters
    ----------
    values
        Samples on the grid of 2 b angles each.
    bandlimit
        Degrees to compute, at most b.

    Raises
    ------
    ShapeError
        If the grid is none of this kind, or too coarse.
    ConfigError
        If the memory does not suffice.
    """
    grid_bandlimit = grid_bandlimit_of(tuple(values.shape[-3:]))
    check_grid(bandlimit, grid_bandlimit)
    num = values.shape[:-3].numel()
    wigner = checked_tables(
        bandlimit,
        grid_bandlimit,
        num,
        so3_work_bytes(bandlimit, grid_bandlimit, num, values.dtype)[1],
        values.device,
        lambda: wigner_table(bandlimit, grid_bandlimit),
    )
    orders = torch.fft.fft2(values, norm="forward").roll((bandlimit - 1, bandlimit - 1), dims=(-2, -1))
    size = 2 * bandlimit - 1
    orders = orders[..., :size, :size].reshape(-1, values.shape[-3], size, size).permute(2, 3, 1, 0)
    measure = soft_weights(grid_bandlimit)[:, None] * (2 * torch.arange(bandlimit) + 1)
    table = (wigner * measure).mT.to(values)
    spread = (table @ orders).flatten(0, 2)
    flat = spread.index_select(0, _places(bandlimit).to(values.device))
    return flat.mT.reshape(*values.shape[:-3], -1)

r"""Fourier transforms of real functions on SO(3), by batched matrix products in real arithmetic.

f(R) = sum_{l < B} sum_mn F^l_mn Delta^l_mn(R) with the real Wigner matrices Delta^l, which rotate the real
coefficients of functions on the sphere. Order of the coefficients, grid and measure are those of
`geograph.sphere.so3`; so F^l_mn = (2 l + 1) int f Delta^l_mn dR, and (Q f)(R) = f(Q^-1 R) has the
coefficients Delta^l(Q) F^l.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from geograph.algebra.tables import cached_tables
from geograph.sphere.operators import check_memory
from geograph.sphere.so3 import (
    check_grid,
    checked_tables,
    grid_bandlimit_of,
    num_so3_coefficients,
    so3_bandlimit_of,
    soft_angles,
    soft_weights,
    wigner_table,
)


@dataclass(frozen=True)
class _Tables:
    """What turns coefficients [coefficients, X] into samples [alpha, gamma, beta, X] and back.

    The orders are pairs |m|, |n| of cosines and sines. A turn about y keeps the parity under y -> -y, so that
    cosines and sines only mix crosswise: Delta(beta) has a cosine block and a sine block, and the products of
    the phases in alpha and gamma couple (cos cos, sin sin) with each other and (cos sin, sin cos) too.
    """

    gather: Tensor
    scatter: Tensor
    beta: Tensor
    measure: Tensor
    reorder: Tensor
    restore: Tensor
    phases: Tensor
    bandlimit: int


def _real_blocks(bandlimit: int, grid_bandlimit: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine blocks of the real Wigner matrices about y, [|m|, |n|, j, l] float64."""
    table = wigner_table(bandlimit, grid_bandlimit)
    order = torch.arange(bandlimit)
    centre = bandlimit - 1
    same, other = table[centre:, centre:], table[centre:, : centre + 1].flip(1)
    sign = (1.0 - 2.0 * (order % 2)).double()[:, None, None, None]
    same, other = sign * sign.transpose(0, 1) * same, sign * other
    cosine, sine = same + other, same - other
    cosine[0] = math.sqrt(2) * same[0]
    cosine[:, 0] = math.sqrt(2) * same[:, 0]
    cosine[0, 0] = same[0, 0]
    sine[0], sine[:, 0] = 0, 0
    return cosine, sine


def _gather_index(bandlimit: int) -> tuple[Tensor, Tensor]:
    """Source of each entry of [m, n, kind, slot, l], 0 for padding; and the place of each coefficient."""
    m, n, kind, slot, degree = torch.meshgrid(
        *(torch.arange(length) for length in (bandlimit, bandlimit, 2, 2, bandlimit)), indexing="ij"
    )
    # Kind 0 holds (cos cos, sin sin), kind 1 (cos sin, sin cos); the slot tells whether m is a cosine.
    row = torch.where(slot == 0, m, -m)
    column = torch.where(slot == kind, n, -n)
    is_there = (m <= degree) & (n <= degree)
    is_there &= ~((slot == 1) & (m == 0)) & ~((slot != kind) & (n == 0))
    start = degree * (4 * degree * degree - 1) // 3
    source = start + (row + degree) * (2 * degree + 1) + column + degree
    source = torch.where(is_there, source, 0).flatten()
    place = is_there.flatten().nonzero()[:, 0]
    scatter = torch.empty(num_so3_coefficients(bandlimit), dtype=torch.int64)
    scatter[source[place]] = place
    return source, scatter


def _check_tables(bandlimit: int, grid_bandlimit: int, dtype: torch.dtype, device: torch.device) -> None:
    """Refuse tables that do not fit into the free memory: of the CPU, which builds them, or of the device.

    Raises
    ------
    ConfigError
        If they do not.
    """
    what = f"a transform of real functions on SO(3) of band-limit {bandlimit} and a grid of {grid_bandlimit}"
    remedy = "take a lower `bandlimit` or a coarser grid"
    block = 2 * grid_bandlimit * bandlimit**3
    # 4 blocks in `wigner_table`, then 2 + 8 + 8 + 8 here; other dtypes need a copy of each result.
    num_blocks = 30 if dtype == torch.float64 else 38
    check_memory(what, 8 * num_blocks * block, torch.device("cpu"), remedy)
    if device.type != "cpu":
        check_memory(what, torch.finfo(dtype).bits // 8 * 16 * block, device, remedy)


@cached_tables(32)
def _tables(bandlimit: int, grid_bandlimit: int, dtype: torch.dtype, device: torch.device) -> _Tables:
    _check_tables(bandlimit, grid_bandlimit, dtype, device)
    cosine, sine = _real_blocks(bandlimit, grid_bandlimit)
    # Rows: the product of phases (slot, beta); columns: the coefficient (slot, l).
    first = torch.cat([torch.cat([cosine, sine], -1), torch.cat([-sine, -cosine], -1)], -2)
    second = torch.cat([torch.cat([-cosine, sine], -1), torch.cat([-sine, cosine], -1)], -2)
    beta = torch.stack([first, second], dim=2).flatten(0, 2)
    twice = 2 * torch.arange(bandlimit, dtype=torch.float64) + 1
    points = 2 * grid_bandlimit
    weight = soft_weights(grid_bandlimit) / points**2
    measure = (weight.repeat(2)[:, None] * twice.repeat(2)).expand(beta.shape[1:])
    number = torch.arange(4 * bandlimit**2).reshape(bandlimit, bandlimit, 2, 2)
    # [m, n, kind, slot] -> [m, cos or sin, n, cos or sin]; (kind, slot) -> (slot, kind xor slot).
    swapped = torch.stack([number[:, :, :, 0], number[:, :, :, 1].flip(2)], dim=2)
    reorder = swapped.permute(0, 2, 1, 3).flatten()
    _, alpha = soft_angles(grid_bandlimit)
    angle = torch.outer(alpha, torch.arange(bandlimit, dtype=torch.float64))
    phases = torch.stack([angle.cos(), angle.sin()], dim=-1).flatten(1)
    gather, scatter = _gather_index(bandlimit)
    return _Tables(
        gather.to(device),
        scatter.to(device),
        beta.to(device=device, dtype=dtype),
        (beta * measure).to(device=device, dtype=dtype),
        reorder.to(device),
        reorder.argsort().to(device),
        phases.to(device=device, dtype=dtype),
        bandlimit,
    )


def _checked_tables(bandlimit: int, grid_bandlimit: int, num: int, given: Tensor) -> _Tables:
    """Tables of a transform of `num` functions, with the memory of its result and intermediates checked."""
    points = 2 * grid_bandlimit
    steps = 4 * bandlimit**3 + 4 * bandlimit**2 * points + 2 * bandlimit * points**2 + points**3
    numbers = max(steps, 2 * points**3)  # the samples are copied into another order
    return checked_tables(
        bandlimit,
        grid_bandlimit,
        num,
        given.element_size() * num * numbers,
        given.device,
        lambda: _tables(bandlimit, grid_bandlimit, given.dtype, given.device),
    )


def _to_samples(columns: Tensor, tables: _Tables, beta: Tensor) -> Tensor:
    """[coefficients, X] -> [alpha, gamma, beta, X], given the products about y."""
    spread = columns.index_select(0, tables.gather).view(beta.shape[0], beta.shape[2], -1)
    orders = torch.bmm(beta, spread).view(tables.reorder.shape[0], -1)
    pairs = 2 * tables.bandlimit
    orders = orders.index_select(0, tables.reorder).view(pairs, -1)
    turned = (tables.phases @ orders).view(len(tables.phases), pairs, -1)
    return torch.matmul(tables.phases, turned).view(*(3 * [len(tables.phases)]), -1)


def _to_coefficients(samples: Tensor, tables: _Tables, beta: Tensor) -> Tensor:
    """Transpose of `_to_samples`."""
    points, pairs = len(tables.phases), 2 * tables.bandlimit
    turned = torch.matmul(tables.phases.mT, samples.reshape(points, points, -1)).view(points, -1)
    orders = (tables.phases.mT @ turned).view(pairs * pairs, -1)
    orders = orders.index_select(0, tables.restore).view(beta.shape[0], beta.shape[1], -1)
    spread = torch.bmm(beta.mT, orders).view(tables.gather.shape[0], -1)
    return spread.index_select(0, tables.scatter)


class _Transform(torch.autograd.Function):
    """Synthesis or analysis; the derivative of each is its transpose, with the same products about y."""

    @staticmethod
    def forward(values: Tensor, tables: _Tables, beta: Tensor, to_samples: bool) -> Tensor:
        return (_to_samples if to_samples else _to_coefficients)(values, tables, beta)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.rest = inputs[1:]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        tables, beta, to_samples = ctx.rest
        return _Transform.apply(gradients[0], tables, beta, not to_samples), None, None, None


def synthesize_columns(
    columns: Float[Tensor, "coefficients columns"], grid_bandlimit: int
) -> Float[Tensor, "nalpha ngamma nbeta columns"]:
    """Compute samples of real functions, one in each column; the layout in which networks compute.

    Raises
    ------
    ShapeError
        If there are not B (4 B^2 - 1) / 3 rows, or the grid is too coarse.
    ConfigError
        If the memory does not suffice.
    """
    bandlimit = so3_bandlimit_of(columns.shape[0])
    check_grid(bandlimit, grid_bandlimit)
    tables = _checked_tables(bandlimit, grid_bandlimit, columns.shape[1], columns)
    samples: Tensor = _Transform.apply(columns, tables, tables.beta, True)
    return samples


def analyze_columns(
    samples: Float[Tensor, "nalpha ngamma nbeta columns"], bandlimit: int
) -> Float[Tensor, "coefficients columns"]:
    """Real coefficients of functions from their samples; inverse of `synthesize_columns`.

    Raises
    ------
    ShapeError
        If the grid is none of this kind, or too coarse.
    ConfigError
        If the memory does not suffice.
    """
    grid_bandlimit = grid_bandlimit_of(tuple(samples.shape[:3]))
    check_grid(bandlimit, grid_bandlimit)
    tables = _checked_tables(bandlimit, grid_bandlimit, samples.shape[3], samples)
    columns: Tensor = _Transform.apply(samples, tables, tables.measure, False)
    return columns


def so3_synthesis_real(
    coefficients: Float[Tensor, "*batch coefficients"], grid_bandlimit: int
) -> Float[Tensor, "*batch nbeta nalpha ngamma"]:
    """Compute samples of real functions on SO(3) from their real coefficients; differentiable twice and more.

    Raises
    ------
    ShapeError
        If the last axis does not hold B (4 B^2 - 1) / 3 numbers, or the grid is too coarse.
    ConfigError
        If the memory does not suffice.
    """
    columns = coefficients.reshape(-1, coefficients.shape[-1]).mT
    samples = synthesize_columns(columns, grid_bandlimit)
    return samples.permute(3, 2, 0, 1).reshape(*coefficients.shape[:-1], *samples.shape[:3])


def so3_analysis_real(
    values: Float[Tensor, "*batch nbeta nalpha ngamma"], bandlimit: int
) -> Float[Tensor, "*batch coefficients"]:
    """Real coefficients of real functions on SO(3) from their samples.

    Raises
    ------
    ShapeError
        If the grid is none of this kind, or too coarse.
    ConfigError
        If the memory does not suffice.
    """
    flat = values.reshape(-1, *values.shape[-3:]).permute(2, 3, 1, 0)
    return analyze_columns(flat, bandlimit).mT.reshape(*values.shape[:-3], -1)

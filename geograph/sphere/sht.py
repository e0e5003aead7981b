"""Spherical harmonic transforms of real fields, differentiable, by one of two backends.

`gemm` is pure PyTorch: any device, many maps at once, tables of O(L^3) numbers. `ducc` is ducc0: the CPU, no
tables, any band-limit. Both give the same numbers. `auto` takes ducc for band-limits of 64 and more on the
CPU, where it is installed, else gemm.

The coefficients follow `geograph.algebra.harmonics`, the grids `geograph.sphere.grids`. Synthesis evaluates
the field at the pixels. Analysis of values of a field with degrees below the grid's band-limit gives its
coefficients back; of any other values it is the grid's quadrature of values times harmonics.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from geograph.algebra.harmonics import (
    bandlimit_of,
    num_harmonics,
    num_packed,
    packed_from_real,
    packed_orders,
    real_from_packed,
)
from geograph.algebra.tables import cached_tables
from geograph.errors import BackendError, ConfigError, ShapeError
from geograph.sphere.grids import Grid
from geograph.sphere.operators import apply_batched, check_memory
from geograph.sphere.sht_ducc import DuccTransform, ducc_work_bytes, has_ducc
from geograph.sphere.sht_gemm import GemmTransform, gemm_table_bytes, gemm_transform, gemm_work_bytes

Backend = Literal["auto", "ducc", "gemm"]
#: From here on ducc is the faster one on a CPU.
_DUCC_FROM = 64
_DTYPES = (torch.float32, torch.float64)


def choose_backend(backend: Backend, bandlimit: int, device: torch.device) -> Literal["ducc", "gemm"]:
    """Backend that `auto` stands for, or the given one if it can run.

    Parameters
    ----------
    backend
        `auto`, `ducc` or `gemm`.
    bandlimit
        Of the coefficients.
    device
        Where the input is.

    Raises
    ------
    ConfigError
        If there is no such backend.
    BackendError
        If ducc is asked for on another device than the CPU.
    """
    if backend not in get_args(Backend):
        raise ConfigError(f"`backend` must be one of {', '.join(get_args(Backend))}, got {backend!r}.")
    if backend == "ducc" and device.type != "cpu":
        raise BackendError(f"`backend` ducc runs on the CPU, but the input is on {device}; take gemm.")
    if backend == "auto":
        return "ducc" if device.type == "cpu" and bandlimit >= _DUCC_FROM and has_ducc() else "gemm"
    return backend


def estimate_memory_bytes(
    grid: Grid,
    bandlimit: int,
    num_maps: int = 1,
    *,
    dtype: torch.dtype = torch.float64,
    backend: Backend = "auto",
    device: torch.device | str = "cpu",
) -> int:
    """Memory that one transform needs: tables, input, output and intermediate arrays.

    Parameters
    ----------
    grid
        Grid of the values.
    bandlimit
        Of the coefficients.
    num_maps
        Maps that are transformed together.
    dtype
        float32 or float64.
    backend
        See the module's documentation.
    device
        Where it runs.

    Raises
    ------
    ConfigError
        If there is no such backend.
    BackendError
        If ducc is asked for on another device than the CPU.
    """
    chosen = choose_backend(backend, bandlimit, torch.device(device))
    if chosen == "ducc":
        return ducc_work_bytes(grid, bandlimit, num_maps, dtype)
    return gemm_table_bytes(grid, bandlimit, dtype) + gemm_work_bytes(grid, bandlimit, num_maps, dtype)


def synthesis(
    harmonic: Float[Tensor, "*batch coefficients"], grid: Grid, *, backend: Backend = "auto"
) -> Float[Tensor, "*batch nlat nlon"]:
    """Values of real fields at the pixels of a grid.

    Parameters
    ----------
    harmonic
        Real coefficients; their band-limit may be lower than the grid's.
    grid
        Where to evaluate.
    backend
        See the module's documentation.

    Raises
    ------
    ShapeError
        If the coefficients are no L^2 numbers of float32 or float64, or exceed the grid's band-limit.
    ConfigError
        If there is no such backend, or the memory does not suffice.
    BackendError
        If ducc is asked for on another device than the CPU.
    MissingExtraError
        If ducc is asked for and not installed.
    """
    bandlimit = bandlimit_of(harmonic.shape[-1])
    chosen = _prepare(harmonic, harmonic.shape[:-1], harmonic.dtype, grid, bandlimit, backend)
    plan = _real_plan(chosen, grid, bandlimit, harmonic, harmonic.shape[:-1].numel())
    forward_map, transpose = plan.synthesis, plan.synthesis_transpose
    return apply_batched(harmonic, forward_map, transpose, num_axes=1, tail=grid.shape, dtype=harmonic.dtype)


def analysis(
    values: Float[Tensor, "*batch nlat nlon"], grid: Grid, bandlimit: int, *, backend: Backend = "auto"
) -> Float[Tensor, "*batch coefficients"]:
    """Real coefficients of real fields from their values at the pixels of a grid.

    Parameters
    ----------
    values
        Values at the pixels.
    grid
        Where the values were taken.
    bandlimit
        Degrees below it are computed; at most the grid's.
    backend
        See the module's documentation.

    Raises
    ------
    ShapeError
        If the values are not on the grid, not of float32 or float64, or the band-limit exceeds the grid's.
    ConfigError
        If there is no such backend, or the memory does not suffice.
    BackendError
        If ducc is asked for on another device than the CPU.
    MissingExtraError
        If ducc is asked for and not installed.
    """
    grid.check(values)
    chosen = _prepare(values, values.shape[:-2], values.dtype, grid, bandlimit, backend)
    plan = _real_plan(chosen, grid, bandlimit, values, values.shape[:-2].numel())
    tail = (num_harmonics(bandlimit),)
    return apply_batched(
        values, plan.analysis, plan.analysis_transpose, num_axes=2, tail=tail, dtype=values.dtype
    )


def synthesis_packed(
    packed: Complex[Tensor, "*batch packed"], grid: Grid, *, backend: Backend = "auto"
) -> Float[Tensor, "*batch nlat nlon"]:
    """Values of real fields from packed complex coefficients; otherwise like `synthesis`.

    Parameters
    ----------
    packed
        Coefficients a_lm, m >= 0; imaginary parts of m = 0 have no effect.
    grid
        Where to evaluate.
    backend
        See the module's documentation.

    Raises
    ------
    ShapeError
        If the coefficients are no L (L + 1) / 2 numbers, or exceed the grid's band-limit.
    ConfigError, BackendError, MissingExtraError
        As `synthesis`.
    """
    bandlimit = round((2 * packed.shape[-1] + 0.25) ** 0.5 - 0.5)
    if bandlimit < 1 or num_packed(bandlimit) != packed.shape[-1]:
        raise ShapeError(f"`packed` must end in an axis of L (L + 1) / 2 numbers, got {packed.shape[-1]}.")
    real = packed.dtype.to_real()
    chosen = _prepare(packed, packed.shape[:-1], real, grid, bandlimit, backend)
    if chosen == "gemm":
        return synthesis(real_from_packed(packed, bandlimit), grid, backend="gemm")
    plan, weight = _ducc(grid, bandlimit), _order_weight(bandlimit, real)

    def transpose(gradient: Tensor) -> Tensor:
        return plan.synthesis_transpose(gradient) * weight

    return apply_batched(packed, plan.synthesis, transpose, num_axes=1, tail=grid.shape, dtype=real)


def analysis_packed(
    values: Float[Tensor, "*batch nlat nlon"], grid: Grid, bandlimit: int, *, backend: Backend = "auto"
) -> Complex[Tensor, "*batch packed"]:
    """Packed complex coefficients of real fields; otherwise like `analysis`.

    Parameters
    ----------
    values, grid, bandlimit, backend
        As `analysis`.

    Raises
    ------
    ShapeError, ConfigError, BackendError, MissingExtraError
        As `analysis`.
    """
    grid.check(values)
    chosen = _prepare(values, values.shape[:-2], values.dtype, grid, bandlimit, backend)
    if chosen == "gemm":
        return packed_from_real(analysis(values, grid, bandlimit, backend="gemm"))
    plan, weight = _ducc(grid, bandlimit), _order_weight(bandlimit, values.dtype)

    def transpose(gradient: Tensor) -> Tensor:
        return plan.analysis_transpose(gradient / weight)

    tail, dtype = (num_packed(bandlimit),), values.dtype.to_complex()
    return apply_batched(values, plan.analysis, transpose, num_axes=2, tail=tail, dtype=dtype)


@cached_tables(maxsize=64)
def _ducc(grid: Grid, bandlimit: int) -> DuccTransform:
    return DuccTransform(grid, bandlimit)


def _order_weight(bandlimit: int, dtype: torch.dtype) -> Tensor:
    """Weight of each packed coefficient in the inner product of real fields: 1 for m = 0, else 2."""
    return torch.where(packed_orders(bandlimit) == 0, 1.0, 2.0).to(dtype)


def _real_plan(
    chosen: Literal["ducc", "gemm"], grid: Grid, bandlimit: int, given: Tensor, num_maps: int
) -> _DuccReal | GemmTransform:
    if chosen == "ducc":
        return _DuccReal(grid, bandlimit)
    work_bytes = gemm_work_bytes(grid, bandlimit, num_maps, given.dtype)
    return gemm_transform(grid, bandlimit, given.dtype, given.device, work_bytes)


class _DuccReal:
    """The maps of ducc on real coefficients: these are orthonormal, so no factor 2 is needed."""

    def __init__(self, grid: Grid, bandlimit: int) -> None:
        self.plan, self.bandlimit = _ducc(grid, bandlimit), bandlimit

    def synthesis(self, harmonic: Tensor) -> Tensor:
        return self.plan.synthesis(packed_from_real(harmonic))

    def synthesis_transpose(self, values: Tensor) -> Tensor:
        return real_from_packed(self.plan.synthesis_transpose(values), self.bandlimit)

    def analysis(self, values: Tensor) -> Tensor:
        return real_from_packed(self.plan.analysis(values), self.bandlimit)

    def analysis_transpose(self, harmonic: Tensor) -> Tensor:
        return self.plan.analysis_transpose(packed_from_real(harmonic))


def _prepare(
    given: Tensor, batch: torch.Size, dtype: torch.dtype, grid: Grid, bandlimit: int, backend: Backend
) -> Literal["ducc", "gemm"]:
    """Check dtype, band-limit and memory, and return the backend."""
    if dtype not in _DTYPES:
        raise ShapeError(f"spherical transforms need float32, float64 or their complex, got {given.dtype}.")
    if not 1 <= bandlimit <= grid.bandlimit:
        raise ShapeError(
            f"`bandlimit` must be from 1 to {grid.bandlimit}, that of the grid {grid.kind}, got {bandlimit}; "
            "take a finer grid or truncate the coefficients."
        )
    chosen = choose_backend(backend, bandlimit, given.device)
    # The tables of gemm are checked where they are built: those that exist need no more memory.
    work_bytes = ducc_work_bytes if chosen == "ducc" else gemm_work_bytes
    check_memory(
        f"a transform of {batch.numel()} maps of band-limit {bandlimit} by `{chosen}`",
        work_bytes(grid, bandlimit, batch.numel(), dtype),
        given.device,
        "transform fewer maps at once, or take a lower `bandlimit`",
    )
    return chosen

r"""Transforms of spin-weighted functions by tables of Wigner functions, in PyTorch on any device.

The harmonics are sYlm = (-1)^s sqrt((2 l + 1) / 4 pi) d^l_{m,-s}(theta) exp(i m phi), for l >= |s|; spin 0
gives Y_lm. A function of spin s is complex, even where s = 0; it has dense complex coefficients, those of
degrees below |s| without effect. Under a rotation the coefficients of every spin mix by the same D^l; the
values also get a phase. Raising and lowering the spin is diagonal in the coefficients: `eth`, `eth_bar`.

References
----------
Goldberg et al. (1967), doi:10.1063/1.1705135, equations 2.6 to 2.14; McEwen and Wiaux (2011),
arXiv:1110.6298.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Complex
from torch import Tensor

from geograph.algebra.harmonics import bandlimit_of, degrees, num_harmonics
from geograph.errors import ShapeError
from geograph.sphere.grids import Grid, make_grid, resampling_matrices
from geograph.sphere.legendre import wigner_columns
from geograph.sphere.operators import PlanCache, apply_batched, check_memory

_DTYPES = (torch.complex64, torch.complex128)


def _table(bandlimit: int, spin: int, theta: np.ndarray) -> np.ndarray:
    """Return sYlm at longitude 0, [orders, rings, degrees]; the orders are 0 ... L - 1, 1 - L ... -1."""
    table = np.zeros((2 * bandlimit - 1, len(theta), bandlimit))
    plus, minus = wigner_columns(bandlimit, -spin, theta), wigner_columns(bandlimit, spin, theta)
    for (degree, positive), (_, negative) in zip(plus, minus, strict=True):
        order = np.arange(1, degree + 1)
        table[: degree + 1, :, degree] = (-1) ** spin * positive
        # (-1)^s d_{-m,-s} = (-1)^m d_{m,s}
        table[-order, :, degree] = (-1.0) ** order[:, None] * negative[1:]
    return table


class SpinTransform:
    """The four maps of one spin on one grid, between [batch, L^2] and [batch, nlat, nlon], all complex.

    Parameters
    ----------
    grid
        Grid of the values.
    spin
        Spin weight s.
    bandlimit
        Of the coefficients.
    dtype, device
        complex64 or complex128; where the tables are.
    """

    def __init__(
        self, grid: Grid, spin: int, bandlimit: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.grid, self.spin, self.bandlimit = grid, spin, bandlimit
        real = dtype.to_real()
        table = torch.from_numpy(_table(bandlimit, spin, grid.theta.numpy()))
        self.table = table.to(device, real)
        order = torch.cat([torch.arange(bandlimit), torch.arange(1 - bandlimit, 0)])
        degree = torch.arange(bandlimit)
        exists = order.abs()[:, None] <= degree
        place = degree * degree + degree + order[:, None]
        self._places = torch.where(exists, place, num_harmonics(bandlimit)).flatten().to(device)
        slots = torch.zeros(num_harmonics(bandlimit) + 1, dtype=torch.long, device=device)
        slots[self._places] = torch.arange(len(self._places), device=device)
        self._slots = slots[:-1]
        self._weights = grid.weights.to(device, real)[:, None, None]
        self._odd = ((order + spin) % 2).bool().to(device)
        self._dense: SpinTransform | None = None
        if grid.kind == "mw":
            soft = make_grid("soft", grid.bandlimit)
            self._dense = spin_transform(soft, spin, bandlimit, dtype, device)
            area = self._dense._weights[:, 0] * (soft.nlon / grid.nlon)
            self._resampling = area * resampling_matrices(grid.bandlimit).to(device, real)

    def synthesis(self, dense: Tensor) -> Tensor:
        """Values of a field at the pixels."""
        return self._from_rings(self._expand(dense))

    def synthesis_adjoint(self, values: Tensor) -> Tensor:
        """Sum over the pixels of values times conjugate harmonics."""
        return self._project(self._to_rings(values))

    def analysis(self, values: Tensor) -> Tensor:
        """Coefficients of a field of which the pixels are given."""
        parts = self._to_rings(values)
        if self._dense is None:
            return self._project(parts * self._weights)
        return self._dense._project(self._resample(parts, self._resampling))

    def analysis_adjoint(self, dense: Tensor) -> Tensor:
        """Adjoint of `analysis`."""
        if self._dense is None:
            return self._from_rings(self._expand(dense) * self._weights)
        parts = self._resample(self._dense._expand(dense), self._resampling.mT)
        return self._from_rings(parts)

    def _resample(self, parts: Tensor, matrices: Tensor) -> Tensor:
        flat = parts.flatten(2)
        even, odd = matrices[0] @ flat, matrices[1] @ flat
        return torch.where(self._odd[:, None, None], odd, even).unflatten(2, parts.shape[2:])

    def _expand(self, dense: Tensor) -> Tensor:
        """Sum over the degrees: [orders, rings, batch, 2]."""
        rows = torch.view_as_real(torch.nn.functional.pad(dense, (0, 1)).t().contiguous())
        content = rows[self._places].view(2 * self.bandlimit - 1, self.bandlimit, -1)
        return torch.bmm(self.table, content).unflatten(2, (-1, 2))

    def _project(self, parts: Tensor) -> Tensor:
        """Transpose of `_expand`: [batch, coefficients]."""
        content = torch.bmm(self.table.mT, parts.flatten(2)).view(-1, *parts.shape[2:])
        return torch.view_as_complex(content[self._slots].transpose(0, 1).contiguous())

    def _from_rings(self, parts: Tensor) -> Tensor:
        """Sum over the orders: values, [batch, nlat, nlon]."""
        num = self.bandlimit
        spectrum = parts.new_zeros((parts.shape[2], *self.grid.shape, 2))
        placed = parts.permute(2, 1, 0, 3)
        spectrum[:, :, :num] = placed[:, :, :num]
        spectrum[:, :, self.grid.nlon - num + 1 :] = placed[:, :, num:]
        return torch.fft.ifft(torch.view_as_complex(spectrum), norm="forward")

    def _to_rings(self, values: Tensor) -> Tensor:
        """Adjoint of `_from_rings`: [orders, nlat, batch, 2]."""
        num = self.bandlimit
        spectrum = torch.view_as_real(torch.fft.fft(values))
        kept = torch.cat([spectrum[:, :, :num], spectrum[:, :, self.grid.nlon - num + 1 :]], dim=2)
        return kept.permute(2, 1, 0, 3).contiguous()


_CACHE: PlanCache[SpinTransform] = PlanCache()


def spin_table_bytes(grid: Grid, bandlimit: int, dtype: torch.dtype) -> int:
    """Bytes of the tables; while they are built they are there in float64 too."""
    rings = grid.nlat + (2 * grid.bandlimit if grid.kind == "mw" else 0)
    return (2 * bandlimit - 1) * bandlimit * rings * (8 if dtype == torch.complex128 else 12)


def spin_work_bytes(grid: Grid, bandlimit: int, num_maps: int, dtype: torch.dtype) -> int:
    """Bytes of input, output and intermediate arrays of a transform of so many maps."""
    size = torch.finfo(dtype).bits // 8
    rings = 2 * grid.bandlimit if grid.kind == "mw" else grid.nlat
    return size * num_maps * (6 * rings * grid.nlon + 8 * num_harmonics(bandlimit))


def spin_transform(
    grid: Grid, spin: int, bandlimit: int, dtype: torch.dtype, device: torch.device, work_bytes: int = 0
) -> SpinTransform:
    """Tables of one spin on one grid, from the cache where they were built before.

    Parameters
    ----------
    grid, spin, bandlimit, dtype, device
        As `SpinTransform`.
    work_bytes
        Memory that must be left when the tables are built, for the transform itself.

    Raises
    ------
    ConfigError
        If tables that are not there yet, and the transform, do not fit into the free memory.
    """

    def build() -> tuple[SpinTransform, int]:
        check_memory(
            f"a transform of spin {spin} and band-limit {bandlimit}",
            spin_table_bytes(grid, bandlimit, dtype) + work_bytes,
            device,
            "take a lower `bandlimit` or transform fewer maps at once",
        )
        transform = SpinTransform(grid, spin, bandlimit, dtype, device)
        return transform, transform.table.nbytes

    return _CACHE.get((*grid.key, spin, bandlimit, dtype, device), build)


def _prepare(given: Tensor, batch: torch.Size, spin: int, grid: Grid, bandlimit: int) -> SpinTransform:
    if given.dtype not in _DTYPES:
        raise ShapeError(f"spin transforms need complex64 or complex128, got {given.dtype}.")
    if not 1 <= bandlimit <= grid.bandlimit:
        raise ShapeError(
            f"`bandlimit` must be from 1 to {grid.bandlimit}, that of the grid {grid.kind}, got {bandlimit}."
        )
    if abs(spin) >= bandlimit:
        raise ShapeError(f"`spin` must be smaller than the band-limit {bandlimit}, got {spin}.")
    work_bytes = spin_work_bytes(grid, bandlimit, batch.numel(), given.dtype)
    check_memory(
        f"a transform of {batch.numel()} maps of spin {spin} and band-limit {bandlimit}",
        work_bytes,
        given.device,
        "take a lower `bandlimit` or transform fewer maps at once",
    )
    return spin_transform(grid, spin, bandlimit, given.dtype, given.device, work_bytes)


def spin_synthesis(
    dense: Complex[Tensor, "*batch coefficients"], spin: int, grid: Grid
) -> Complex[Tensor, "*batch nlat nlon"]:
    """Values of functions of one spin at the pixels of a grid; differentiable.

    Parameters
    ----------
    dense
        Complex coefficients at l^2 + l + m; their band-limit may be lower than the grid's.
    spin
        Spin weight, of either sign.
    grid
        Where to evaluate.

    Raises
    ------
    ShapeError
        If the coefficients are no L^2 complex numbers, exceed the grid's band-limit or leave no room for the
        spin.
    ConfigError
        If the tables do not fit into the free memory.
    """
    plan = _prepare(dense, dense.shape[:-1], spin, grid, bandlimit_of(dense.shape[-1]))
    forward_map, adjoint = plan.synthesis, plan.synthesis_adjoint
    return apply_batched(dense, forward_map, adjoint, num_axes=1, tail=grid.shape, dtype=dense.dtype)


def spin_analysis(
    values: Complex[Tensor, "*batch nlat nlon"], spin: int, grid: Grid, bandlimit: int
) -> Complex[Tensor, "*batch coefficients"]:
    """Dense complex coefficients of functions of one spin; differentiable, inverse of `spin_synthesis`.

    Parameters
    ----------
    values
        Values at the pixels.
    spin
        Spin weight, of either sign.
    grid
        Where the values were taken.
    bandlimit
        Degrees below it are computed; at most the grid's.

    Raises
    ------
    ShapeError
        If the values are not complex or not on the grid, or the band-limit exceeds the grid's or is not above
        the spin.
    ConfigError
        If the tables do not fit into the free memory.
    """
    grid.check(values)
    plan = _prepare(values, values.shape[:-2], spin, grid, bandlimit)
    tail = (num_harmonics(bandlimit),)
    return apply_batched(
        values, plan.analysis, plan.analysis_adjoint, num_axes=2, tail=tail, dtype=values.dtype
    )


def eth(dense: Complex[Tensor, "*batch coefficients"], spin: int) -> Complex[Tensor, "*batch coefficients"]:
    """Raise the spin by one: -(sin theta)^s (d/d theta + i / sin theta d/d phi) (sin theta)^-s f."""
    degree = degrees(bandlimit_of(dense.shape[-1])).to(dense.device)
    return dense * ((degree - spin) * (degree + spin + 1)).clamp(min=0).double().sqrt().to(dense.real.dtype)


def eth_bar(
    dense: Complex[Tensor, "*batch coefficients"], spin: int
) -> Complex[Tensor, "*batch coefficients"]:
    """Lower the spin by one: -(sin theta)^-s (d/d theta - i / sin theta d/d phi) (sin theta)^s f."""
    degree = degrees(bandlimit_of(dense.shape[-1])).to(dense.device)
    return -dense * ((degree + spin) * (degree - spin + 1)).clamp(min=0).double().sqrt().to(dense.real.dtype)

r"""Spherical harmonic transforms as matrix products in PyTorch: any device, many maps at once.

For each order m the Legendre functions stand in a table [degrees, rings]; the transform over the colatitude
is a product with it, the one over the longitude a Fourier transform. Two facts halve the tables each: the
degree runs from m up, and lambda_lm(pi - theta) = (-1)^(l + m) lambda_lm(theta), so that degrees of either
parity see only the northern rings. Orders are taken in blocks, one batched product for each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geograph.algebra.harmonics import num_harmonics
from geograph.sphere.grids import Grid, make_grid, resampling_matrices
from geograph.sphere.legendre import wigner_columns
from geograph.sphere.operators import PlanCache, check_memory

#: Orders of one block: few for little padding, many for few products.
_BLOCK = 32
#: Rings whose functions are computed together, so that they fit into the processor's cache.
_RINGS = 128
_SQRT_HALF = 0.5**0.5


@dataclass(frozen=True)
class _Rings:
    """How rings pair up: ring i shows northern ring `half[i]`, mirrored where `sign[i]` is -1."""

    north: Tensor
    south: Tensor
    has_south: Tensor
    half: Tensor
    sign: Tensor


@dataclass(frozen=True)
class _Block:
    """Some orders: table [num * 2 parities, rings, degrees], places [num, 2, degrees, 2]."""

    first: int
    num: int
    table: Tensor
    places: Tensor


def _rings(grid: Grid, device: torch.device) -> _Rings:
    nlat = grid.nlat
    every = torch.arange(nlat)
    if grid.kind == "mw":
        mirror = torch.full((nlat,), -1)
    elif grid.kind == "dh":
        mirror = torch.where(every > 0, nlat - every, -1)
    else:
        mirror = nlat - 1 - every
    is_north = (mirror >= every) | (mirror < 0)
    north = every[is_north]
    south = mirror[is_north]
    has_south = south > north
    half = torch.empty_like(every)
    half[north] = torch.arange(len(north))
    half[south[has_south]] = torch.arange(len(north))[has_south]
    sign = torch.where(is_north, 1.0, -1.0)
    moved = (t.to(device) for t in (north, south.clamp(min=0), has_south, half, sign))
    return _Rings(*moved)


def _block_starts(bandlimit: int) -> list[tuple[int, int]]:
    return [(first, min(_BLOCK, bandlimit - first)) for first in range(0, bandlimit, _BLOCK)]


def table_entries(bandlimit: int, num_rings: int) -> int:
    """Return the numbers in the tables for that band-limit and number of northern rings."""
    return sum(
        2 * num * ((bandlimit - first + 1) // 2) * num_rings for first, num in _block_starts(bandlimit)
    )


def _places(bandlimit: int, first: int, num: int) -> Tensor:
    """Where the coefficients (l, m) and (l, -m) of each slot stand; beyond the last degree: L^2, a zero."""
    order = torch.arange(first, first + num)[:, None, None]
    parity, step = torch.arange(2)[None, :, None], torch.arange((bandlimit - first + 1) // 2)
    degree = order + parity + 2 * step
    centre = degree * degree + degree
    places = torch.stack([centre + order, centre - order], dim=-1)
    nothing = num_harmonics(bandlimit)
    places[..., 1].masked_fill_((order == 0).expand(degree.shape), nothing)
    return places.masked_fill((degree >= bandlimit)[..., None], nothing)


def _tables(grid: Grid, bandlimit: int, north: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Legendre functions in the real basis, times 1/sqrt 2 for m > 0; [orders, parity, rings, step]."""
    starts = _block_starts(bandlimit)
    shapes = [(num, 2, len(north), (bandlimit - first + 1) // 2) for first, num in starts]
    tables = [torch.zeros(shape, dtype=dtype) for shape in shapes]
    theta = grid.theta.numpy()[north.cpu().numpy()]
    for first_ring in range(0, len(theta), _RINGS):
        part = np.s_[first_ring : first_ring + _RINGS]
        for degree, values in wigner_columns(bandlimit, 0, theta[part]):
            order = np.arange(degree + 1)
            # S_lm = sqrt 2 (-1)^m Re Y_lm; the Fourier transform gives the other factor 2 of m > 0.
            factor = np.where(order == 0, 1.0, _SQRT_HALF * (-1.0) ** order)
            scaled = values * factor[:, None]
            for table, (first, num) in zip(tables, starts, strict=True):
                m = order[first : first + num]
                table.numpy()[m - first, (degree - m) % 2, part, (degree - m) // 2] = scaled[m]
    return tables


class GemmTransform:
    """Transforms between real coefficients [batch, L^2] and values [batch, nlat, nlon] on one grid.

    Each of the four maps is written out, so that no gradient has to be recorded: `synthesis`, `analysis` and
    their transposes.

    Parameters
    ----------
    grid
        Grid of the values.
    bandlimit
        Of the coefficients.
    dtype, device
        Of the tables; they are computed in extended precision.
    """

    def __init__(self, grid: Grid, bandlimit: int, dtype: torch.dtype, device: torch.device) -> None:
        self.grid, self.bandlimit, self.dtype, self.device = grid, bandlimit, dtype, device
        self._rings = _rings(grid, device)
        self._blocks = self._make_blocks()
        self._weights = grid.weights.to(device, dtype)[:, None, None]
        slots = torch.cat([block.places.flatten() for block in self._blocks])
        self._slot_of = torch.zeros(num_harmonics(bandlimit) + 1, dtype=torch.long, device=device)
        self._slot_of[slots] = torch.arange(len(slots), device=device)
        degree = torch.arange(bandlimit, device=device)
        self._factor = torch.full((num_harmonics(bandlimit),), 2.0, dtype=dtype, device=device)
        self._factor[degree * degree + degree] = 1.0
        self._dense: GemmTransform | None = None
        self._resampling: Tensor | None = None
        if grid.kind == "mw":
            self._dense = gemm_transform(make_grid("soft", grid.bandlimit), bandlimit, dtype, device)
            self._resampling = resampling_matrices(grid.bandlimit).to(device, dtype)

    def _make_blocks(self) -> list[_Block]:
        blocks = []
        tables = _tables(self.grid, self.bandlimit, self._rings.north, self.dtype)
        for table, (first, num) in zip(tables, _block_starts(self.bandlimit), strict=True):
            tensor = table.flatten(0, 1).to(self.device)
            places = _places(self.bandlimit, first, num).to(self.device)
            blocks.append(_Block(first, num, tensor, places))
        return blocks

    @property
    def num_bytes(self) -> int:
        """Memory of the tables."""
        return sum(block.table.nbytes + block.places.nbytes for block in self._blocks)

    def synthesis(self, harmonic: Float[Tensor, "batch coefficients"]) -> Float[Tensor, "batch nlat nlon"]:
        """Values of a field at the pixels."""
        return self._from_rings(self._expand(harmonic))

    def synthesis_transpose(
        self, values: Float[Tensor, "batch nlat nlon"]
    ) -> Float[Tensor, "batch coefficients"]:
        """Sum over the pixels of values times harmonics."""
        return self._project(self._to_rings(values))

    def analysis(self, values: Float[Tensor, "batch nlat nlon"]) -> Float[Tensor, "batch coefficients"]:
        """Coefficients of a field of which the pixels are given."""
        parts = self._to_rings(values)
        if self._dense is None:
            return self._project(parts * self._weights)
        return self._dense._project(self._resample(parts, is_transposed=False))

    def analysis_transpose(
        self, harmonic: Float[Tensor, "batch coefficients"]
    ) -> Float[Tensor, "batch nlat nlon"]:
        """Transpose of `analysis`."""
        if self._dense is None:
            return self._from_rings(self._expand(harmonic) * self._weights)
        return self._from_rings(self._resample(self._dense._expand(harmonic), is_transposed=True))

    def _resample(self, parts: Tensor, *, is_transposed: bool) -> Tensor:
        """From rings of `mw` to those of `soft` with their weights, or back; [m, ring, 2, batch]."""
        assert self._resampling is not None
        assert self._dense is not None
        area = self._dense._weights[:, 0] * (self._dense.grid.nlon / self.grid.nlon)
        matrices = self._resampling * area
        if is_transposed:
            matrices = matrices.mT
        result = parts.new_empty((len(parts), matrices.shape[1], *parts.shape[2:]))
        for parity in (0, 1):
            flat = parts[parity::2].flatten(2)
            result[parity::2] = (matrices[parity] @ flat).unflatten(2, parts.shape[2:])
        return result

    def _expand(self, harmonic: Tensor) -> Tensor:
        """Cosine and sine part of every ring, [orders, nlat, 2, batch]."""
        rows = torch.nn.functional.pad(harmonic, (0, 1)).t().contiguous()
        rings, batch = self._rings, harmonic.shape[0]
        result = harmonic.new_empty((self.bandlimit, self.grid.nlat, 2, batch))
        for block in self._blocks:
            content = rows[block.places.flatten()].view(2 * block.num, -1, 2 * batch)
            halves = torch.bmm(block.table, content).view(block.num, 2, -1, 2, batch)
            even, odd = halves[:, 0].index_select(1, rings.half), halves[:, 1].index_select(1, rings.half)
            sign = rings.sign.to(odd.dtype)[:, None, None]
            torch.addcmul(even, odd, sign, out=result[block.first : block.first + block.num])
        return result

    def _project(self, parts: Tensor) -> Tensor:
        """Transpose of `_expand`, with the factor 2 of orders m > 0; [batch, coefficients]."""
        rings, batch = self._rings, parts.shape[-1]
        slots = []
        for block in self._blocks:
            part = parts[block.first : block.first + block.num]
            north = part.index_select(1, rings.north)
            south = part.index_select(1, rings.south) * rings.has_south.to(part.dtype)[:, None, None]
            halves = torch.stack([north + south, north - south], dim=1)
            content = halves.view(2 * block.num, -1, 2 * batch)
            slots.append(torch.bmm(block.table.mT, content).view(-1, batch))
        harmonic = torch.cat(slots).index_select(0, self._slot_of[:-1]).t()
        return harmonic * self._factor

    def _from_rings(self, parts: Tensor) -> Tensor:
        """Sum over the orders: real values, [batch, nlat, nlon]."""
        nlon, batch = self.grid.nlon, parts.shape[-1]
        shape = (batch, self.grid.nlat, nlon // 2 + 1, 2)
        spectrum = parts.new_empty(shape)
        spectrum[:, :, : self.bandlimit] = parts.permute(3, 1, 0, 2)
        spectrum[:, :, self.bandlimit :] = 0
        # c cos + s sin is the real part of (c + i s) exp(-i m phi), and `hfft` adds the conjugate.
        return torch.fft.hfft(torch.view_as_complex(spectrum), nlon)

    def _to_rings(self, values: Tensor) -> Tensor:
        """Sum values times cosine and sine over each ring, [orders, nlat, 2, batch]."""
        spectrum = torch.view_as_real(torch.fft.rfft(values)[..., : self.bandlimit])
        parts = spectrum.permute(2, 1, 3, 0).contiguous()
        parts[:, :, 1] *= -1
        return parts


_CACHE: PlanCache[GemmTransform] = PlanCache()


def gemm_table_bytes(grid: Grid, bandlimit: int, dtype: torch.dtype) -> int:
    """Bytes of the tables."""
    num_rings = grid.nlat if grid.kind == "mw" else grid.nlat // 2 + 1
    entries = table_entries(bandlimit, num_rings)
    if grid.kind == "mw":
        entries += table_entries(bandlimit, grid.bandlimit) + 4 * grid.bandlimit**2
    return entries * torch.finfo(dtype).bits // 8


def gemm_work_bytes(grid: Grid, bandlimit: int, num_maps: int, dtype: torch.dtype) -> int:
    """Bytes of input, output and intermediate arrays of a transform of so many maps."""
    pixels = grid.nlat * grid.nlon * (2 if grid.kind == "mw" else 1)
    return torch.finfo(dtype).bits // 8 * num_maps * (4 * pixels + 4 * num_harmonics(bandlimit))


def gemm_transform(
    grid: Grid, bandlimit: int, dtype: torch.dtype, device: torch.device, work_bytes: int = 0
) -> GemmTransform:
    """Tables for a grid and a band-limit, from the cache where they were built before.

    Parameters
    ----------
    grid, bandlimit, dtype, device
        As `GemmTransform`.
    work_bytes
        Memory that must be left when the tables are built, for the transform itself.

    Raises
    ------
    ConfigError
        If tables that are not there yet, and the transform, do not fit into the free memory.
    """

    def build() -> tuple[GemmTransform, int]:
        check_memory(
            f"a transform of band-limit {bandlimit} by `gemm`",
            gemm_table_bytes(grid, bandlimit, dtype) + work_bytes,
            device,
            "take backend `ducc`, which needs no tables, fewer maps at once, or a lower `bandlimit`",
        )
        transform = GemmTransform(grid, bandlimit, dtype, device)
        return transform, transform.num_bytes

    return _CACHE.get((*grid.key, bandlimit, dtype, device), build)

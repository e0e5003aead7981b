"""Spherical harmonic transforms by ducc0: no tables, any band-limit, on the CPU.

ducc0 computes Legendre functions on the fly (Reinecke 2011, arXiv:1010.2084) and keeps packed coefficients.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from geograph.errors import MissingExtraError
from geograph.sphere.grids import Grid, make_grid, resampling_matrices


def has_ducc() -> bool:
    """Whether ducc0 is installed."""
    return find_spec("ducc0") is not None


def load_ducc() -> Any:
    """Import ducc0.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        import ducc0
    except ImportError as error:
        raise MissingExtraError("the backend `ducc` of spherical transforms", "ducc0", "sphere") from error
    return ducc0


class DuccTransform:
    """Transforms between packed coefficients [batch, L (L + 1) / 2] and values [batch, nlat, nlon].

    Parameters
    ----------
    grid
        Grid of the values.
    bandlimit
        Of the coefficients.
    """

    def __init__(self, grid: Grid, bandlimit: int) -> None:
        self._sht = load_ducc().sht
        self.grid, self.bandlimit = grid, bandlimit
        rings = np.arange(grid.nlat, dtype=np.uint64)
        self._geometry = {
            "theta": grid.theta.numpy(),
            "nphi": np.full(grid.nlat, grid.nlon, np.uint64),
            "phi0": np.full(grid.nlat, grid.phi0),
            "ringstart": rings * np.uint64(grid.nlon),
            "lmax": bandlimit - 1,
            "spin": 0,
        }
        self._weights = grid.weights.numpy()
        self._dense: DuccTransform | None = None
        if grid.kind == "mw":
            soft = make_grid("soft", grid.bandlimit, nlon=2 * grid.bandlimit)
            self._dense = DuccTransform(soft, bandlimit)

    def synthesis(self, packed: Complex[Tensor, "batch packed"]) -> Float[Tensor, "batch nlat nlon"]:
        """Values of a real field at the pixels."""
        return self._synthesis(packed, None)

    def synthesis_transpose(
        self, values: Float[Tensor, "batch nlat nlon"]
    ) -> Complex[Tensor, "batch packed"]:
        """Sum over the pixels of values times conj(Y_lm)."""
        return self._adjoint(values, None)

    def analysis(self, values: Float[Tensor, "batch nlat nlon"]) -> Complex[Tensor, "batch packed"]:
        """Coefficients of a real field of which the pixels are given."""
        if self._dense is None:
            return self._adjoint(values, self._weights)
        return self._dense.analysis(self._resample(values))

    def analysis_transpose(self, packed: Complex[Tensor, "batch packed"]) -> Float[Tensor, "batch nlat nlon"]:
        """Transpose of `analysis` in the inner product of real fields, see `geograph.algebra.harmonics`."""
        if self._dense is None:
            return self._synthesis(packed, self._weights)
        return self._resample_transpose(self._dense.analysis_transpose(packed))

    def _synthesis(self, packed: Tensor, factor: np.ndarray | None) -> Tensor:
        alm = packed.resolve_conj().contiguous().numpy()[:, None]
        values = self._sht.synthesis(
            alm=alm, ringfactor=factor, nthreads=torch.get_num_threads(), **self._geometry
        )
        return torch.from_numpy(values).view(-1, *self.grid.shape)

    def _adjoint(self, values: Tensor, factor: np.ndarray | None) -> Tensor:
        pixels = values.contiguous().flatten(1).numpy()[:, None]
        alm = self._sht.adjoint_synthesis(
            map=pixels, ringfactor=factor, nthreads=torch.get_num_threads(), **self._geometry
        )
        return torch.from_numpy(alm)[:, 0]

    def _resample(self, values: Tensor) -> Tensor:
        """From the rings of `mw` to the rings and pixels of `soft`."""
        num = self.grid.bandlimit
        spectrum = torch.fft.rfft(values)[..., :num]
        matrices = resampling_matrices(num).to(values.dtype)
        dense = spectrum.new_zeros((len(values), 2 * num, num + 1))
        for parity in (0, 1):
            part = torch.view_as_real(spectrum[..., parity::2]).flatten(2)
            dense[..., parity:num:2] = torch.view_as_complex((matrices[parity] @ part).unflatten(2, (-1, 2)))
        return torch.fft.irfft(dense, 2 * num) * (2 * num / self.grid.nlon)

    def _resample_transpose(self, values: Tensor) -> Tensor:
        num = self.grid.bandlimit
        spectrum = torch.fft.rfft(values)[..., :num]
        matrices = resampling_matrices(num).to(values.dtype).mT
        sparse = spectrum.new_zeros((len(values), num, self.grid.nlon // 2 + 1))
        for parity in (0, 1):
            part = torch.view_as_real(spectrum[..., parity::2]).flatten(2)
            sparse[..., parity:num:2] = torch.view_as_complex((matrices[parity] @ part).unflatten(2, (-1, 2)))
        return torch.fft.irfft(sparse, self.grid.nlon)


def ducc_work_bytes(grid: Grid, bandlimit: int, num_maps: int, dtype: torch.dtype) -> int:
    """Bytes of coefficients, values and the Fourier coefficients of the rings of so many maps.

    For `mw` also those of the resampling matrices, which are kept in float64 and copied for other dtypes.
    """
    size = torch.finfo(dtype).bits // 8
    rings = (2 * grid.bandlimit if grid.kind == "mw" else grid.nlat) * (grid.nlon + 2)
    work = size * num_maps * (4 * bandlimit * (bandlimit + 1) + (4 if grid.kind == "mw" else 2) * rings)
    if grid.kind != "mw":
        return work
    return work + 4 * grid.bandlimit**2 * (8 if dtype == torch.float64 else 8 + size)

"""HEALPix maps as input and output: FITS files, and transforms to and from real coefficients.

The pixels of HEALPix have equal areas, but no quadrature on them is exact: analysis is iterated, and keeps an
error of about 1e-3 at high degrees. Networks never compute on such a grid; they see coefficients.
"""

from __future__ import annotations

import warnings
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float

from geograph.algebra.harmonics import bandlimit_of, packed_from_real, real_from_packed
from geograph.errors import ConfigError, DataError, MissingExtraError
from geograph.sphere.operators import check_memory
from geograph.sphere.sht_ducc import load_ducc

Order = Literal["ring", "nested"]
_ORDERS: dict[str, Order] = {"RING": "ring", "NESTED": "nested", "NEST": "nested"}
#: What a file holds at pixels without data.
UNSEEN = -1.6375e30
#: How messages name the setting.
_ORDER_SETTING = "`order` (in params.yaml: `source.order`)"
_UNREADABLE = (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError)


def _load_healpy() -> Any:
    try:
        import healpy
    except ImportError as error:
        raise MissingExtraError("reading and writing HEALPix files", "healpy", "sphere") from error
    return healpy


def num_side(num_pixels: int) -> int:
    """Resolution parameter N_side of a map with that many pixels, 12 N_side^2.

    Raises
    ------
    DataError
        If there is no such map.
    """
    nside = round((num_pixels / 12) ** 0.5)
    if nside < 1 or 12 * nside * nside != num_pixels:
        raise DataError(
            f"a HEALPix map has 12 N_side^2 pixels, this one has {num_pixels}",
            remedy="maps on rings of equal length are read from .npy files",
        )
    return nside


def check_order(order: str) -> None:
    """Refuse an order of pixels that there is not.

    Raises
    ------
    ConfigError
        If it is neither `ring` nor `nested`.
    """
    if order not in get_args(Order):
        raise ConfigError(f"{_ORDER_SETTING} must be ring or nested, got {order!r}.")


def _check_nested(nside: int, remedy: str) -> None:
    """Refuse a map that cannot be in nested order, which halves the faces of the grid again and again."""
    if nside & (nside - 1):
        raise DataError(
            f"pixels in nested order need N_side to be a power of two, this map has N_side {nside}",
            remedy=remedy,
        )


def check_pixels(values: Float[np.ndarray, "*batch pixels"]) -> None:
    """Refuse maps with pixels that have no value.

    Raises
    ------
    DataError
        If a pixel is NaN, infinite or marked as unseen; with the count.
    """
    finite = np.isfinite(values)
    num_bad = int(values.size - finite.sum())
    if num_bad:
        raise DataError(f"{num_bad} of {values.size} pixels are not finite", remedy="fill or cut the map")
    num_unseen = int((np.abs(values - UNSEEN) < 1e-5 * abs(UNSEEN)).sum())
    if num_unseen:
        raise DataError(
            f"{num_unseen} of {values.size} pixels are marked as unseen", remedy="fill the masked part"
        )


def read_healpix(path: str | PathLike[str], order: Order | None = None) -> Float[np.ndarray, "maps pixels"]:
    """Read the maps of a FITS file, in ring order whatever the order of the file.

    Parameters
    ----------
    path
        File with a HEALPix table; every column is a map.
    order
        Order of the pixels, `ring` or `nested`, where the file does not tell.

    Raises
    ------
    DataError
        If the file is missing, unreadable or no HEALPix map, if the order of its pixels is unknown, another
        one than `order` or impossible for their number, or if pixels have no value.
    ConfigError
        If there is no such order.
    MissingExtraError
        If healpy is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError("no such file", source=path, remedy="check the path, or put the map there")
    if order is not None:
        check_order(order)
    healpy = _load_healpy()
    values, keyword = _read(path)
    maps = np.atleast_2d(values)
    try:
        nside = num_side(maps.shape[1])
        check_pixels(maps)
        found = _order_of(keyword, order)
        if found == "nested":
            told = f"{_ORDER_SETTING} is wrong" if keyword not in _ORDERS else "its keyword ORDERING is wrong"
            _check_nested(nside, f"{told}: the pixels can only be in ring order")
    except DataError as error:
        raise error.at(source=path) from error
    return healpy.reorder(maps, n2r=True) if found == "nested" else maps


def _read(path: Path) -> tuple[np.ndarray, str]:
    """Pixels as they stand in the file, and its keyword ORDERING; astropy only warns of truncated files."""
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyWarning

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", AstropyWarning)
            with path.open("rb") as file, fits.open(file, memmap=False) as table:
                values, header = _load_healpy().read_map(
                    table, field=None, dtype=np.float64, nest=None, h=True
                )
    except (*_UNREADABLE, AstropyWarning) as error:
        said = str(error).strip().splitlines()
        raise DataError(
            f"not a readable HEALPix map ({said[0] if said else type(error).__name__})",
            source=path,
            remedy="is it complete, and HEALPix at all?",
        ) from error
    return values, str(dict(header).get("ORDERING", "")).strip().upper()


def _order_of(keyword: str, order: Order | None) -> Order:
    told = _ORDERS.get(keyword)
    if told is None and order is None:
        said = f"its keyword ORDERING is {keyword!r}" if keyword else "it has no keyword ORDERING"
        raise DataError(
            f"the order of the HEALPix pixels is unknown: {said}", remedy=f"pass {_ORDER_SETTING}"
        )
    if told is not None and order is not None and told != order:
        raise DataError(
            f"the pixels are in {told} order, but `order` is {order}",
            remedy=f"leave {_ORDER_SETTING} out for this file",
        )
    chosen = told if told is not None else order
    assert chosen is not None
    return chosen


def write_healpix(
    path: str | PathLike[str], values: Float[np.ndarray, "maps pixels"], order: Order = "ring"
) -> None:
    """Write maps given in ring order to a FITS file, in either order.

    Parameters
    ----------
    path
        File; it is replaced where it exists.
    values
        Maps in ring order.
    order
        Order in the file.

    Raises
    ------
    DataError
        If the number of pixels is not that of a HEALPix map, or one that has no nested order.
    ConfigError
        If there is no such order.
    MissingExtraError
        If healpy is not installed.
    """
    check_order(order)
    nside = num_side(values.shape[-1])
    if order == "nested":
        _check_nested(nside, "write it in ring order")
    healpy = _load_healpy()
    is_nested = order == "nested"
    content = healpy.reorder(values, r2n=True) if is_nested else values
    healpy.write_map(path, content, nest=is_nested, dtype=np.float64, overwrite=True)


def _geometry(nside: int, bandlimit: int) -> dict[str, Any]:
    base = load_ducc().healpix.Healpix_Base(nside, "RING")
    return {**base.sht_info(), "lmax": bandlimit - 1, "spin": 0, "nthreads": torch.get_num_threads()}


def _check_work(nside: int, bandlimit: int, num_maps: int, copies: int) -> None:
    """Refuse a transform whose maps, coefficients and Fourier coefficients of the rings do not fit."""
    pixels, packed = 12 * nside * nside, bandlimit * (bandlimit + 1) // 2
    num_bytes = num_maps * (8 * copies * pixels + 2 * 16 * packed) + 16 * (4 * nside - 1) * bandlimit
    check_memory(
        f"a transform of {num_maps} HEALPix maps of N_side {nside} and band-limit {bandlimit}",
        num_bytes,
        torch.device("cpu"),
        "transform fewer maps at once, or take a lower N_side",
    )


def to_harmonic(
    values: Float[np.ndarray, "*batch pixels"], bandlimit: int, num_iterations: int = 3
) -> Float[np.ndarray, "*batch coefficients"]:
    """Real coefficients of maps in ring order.

    Parameters
    ----------
    values
        Pixels of each map.
    bandlimit
        Degrees below it are computed; at most 3 N_side.
    num_iterations
        How often the residual of the map is analysed again.

    Raises
    ------
    DataError
        If the number of pixels is not that of a HEALPix map, or if pixels have no value.
    ConfigError
        If the band-limit is out of range, or the transform does not fit into the free memory.
    MissingExtraError
        If ducc0 is not installed.

    References
    ----------
    Gorski et al. (2005), doi:10.1086/427976, section 4.
    """
    nside = num_side(values.shape[-1])
    if not 1 <= bandlimit <= 3 * nside:
        raise ConfigError(f"`bandlimit` must be from 1 to {3 * nside} for N_side {nside}, got {bandlimit}.")
    # What the coefficients give and the residual; the maps themselves where they must be converted.
    is_ready = values.dtype == np.float64 and values.flags.c_contiguous
    _check_work(nside, bandlimit, values.size // values.shape[-1], 2 if is_ready else 3)
    check_pixels(values)
    sht, geometry = load_ducc().sht, _geometry(nside, bandlimit)
    maps = np.ascontiguousarray(values, np.float64).reshape(-1, 1, values.shape[-1])
    area = 4 * np.pi / values.shape[-1]
    alm = area * sht.adjoint_synthesis(map=maps, **geometry)
    for _ in range(num_iterations):
        residual = maps - sht.synthesis(alm=alm, **geometry)
        alm += area * sht.adjoint_synthesis(map=residual, **geometry)
    harmonic: np.ndarray = real_from_packed(torch.from_numpy(alm[:, 0]), bandlimit).numpy()
    return harmonic.reshape(*values.shape[:-1], -1)


def from_harmonic(
    harmonic: Float[np.ndarray, "*batch coefficients"], nside: int
) -> Float[np.ndarray, "*batch pixels"]:
    """Evaluate real coefficients at the pixels, in ring order.

    Parameters
    ----------
    harmonic
        Real coefficients of each map.
    nside
        Resolution parameter, at least 1.

    Raises
    ------
    ConfigError
        If `nside` is below 1, or the maps do not fit into the free memory.
    MissingExtraError
        If ducc0 is not installed.
    """
    if nside < 1:
        raise ConfigError(f"`nside` must be at least 1, got {nside}.")
    bandlimit = bandlimit_of(harmonic.shape[-1])
    _check_work(nside, bandlimit, harmonic.size // harmonic.shape[-1], 1)
    flat = torch.from_numpy(np.ascontiguousarray(harmonic, np.float64)).reshape(-1, harmonic.shape[-1])
    alm = packed_from_real(flat).numpy()[:, None]
    maps: np.ndarray = load_ducc().sht.synthesis(alm=alm, **_geometry(nside, bandlimit))
    return maps.reshape(*harmonic.shape[:-1], -1)

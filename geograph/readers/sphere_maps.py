"""Maps on the sphere: a file, or a folder of HEALPix files (.fits) and of arrays on rings (.npy).

The class of a map is the name of the folder that holds it, after a split folder (`train`, `val`, `test`) is
stepped over, as with meshes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path, PurePosixPath
from tokenize import TokenError
from typing import get_args
from zipfile import BadZipFile

import numpy as np
import torch

from geograph.errors import ConfigError, DataError
from geograph.readers.meshes import mesh_split_of
from geograph.records import SphereMap
from geograph.sphere.grids import GridKind, grid_shape, make_grid
from geograph.sphere.healpix import Order, check_order, check_pixels, read_healpix, to_harmonic
from geograph.sphere.sht import analysis

OnError = Callable[[DataError], None]

_SUFFIXES = (".fits", ".fits.gz", ".npy")
_AGAIN = "the file is damaged or incomplete: fetch it again"
_SHAPES = "gl: (L, 2 L); dh and soft: (2 L, 2 L); mw: (L, 2 L - 1)"
#: What NumPy raises on files that are damaged, whose header names a size that no memory has among them.
_BROKEN = (OSError, ValueError, EOFError, SyntaxError, TokenError, BadZipFile, MemoryError)


def sphere_map_ids(path: str | PathLike[str]) -> list[str]:
    """Return the identifiers (paths inside the folder, sorted) of all maps; reads no map.

    Parameters
    ----------
    path
        Folder, or one file.

    Raises
    ------
    DataError
        If the path is missing or holds no map.
    """
    path = Path(path)
    if not path.exists():
        raise DataError("no such file or folder", source=path, remedy="check the path, or put the data there")
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    names = [file.name if path.is_file() else file.relative_to(path).as_posix() for file in files]
    members = sorted(name for name in names if name.lower().endswith(_SUFFIXES))
    members = [name for name in members if not any(part.startswith(".") for part in Path(name).parts)]
    if not members:
        raise DataError("no map found", source=path, remedy=f"known files: {', '.join(_SUFFIXES)}")
    return members


def _class_of(member: str) -> str | None:
    """Return the nearest folder of a member that is not a split folder, or None at the top level."""
    folders = PurePosixPath(member).parts[:-1]
    return next((name for name in reversed(folders) if mesh_split_of(f"{name}/map") is None), None)


def sphere_map_classes(path: str | PathLike[str]) -> list[str]:
    """Return the sorted class names of a folder; an empty list if its maps have no class folder.

    Parameters
    ----------
    path
        Folder, or one file.

    Raises
    ------
    DataError
        If the path is missing or holds no map.
    """
    return sorted({name for member in sphere_map_ids(path) if (name := _class_of(member)) is not None})


def _rings(file: Path, grid: GridKind, bandlimit: int) -> np.ndarray:
    """Coefficients of the maps in a .npy file."""
    try:
        with file.open("rb") as stream:
            values = np.load(stream, allow_pickle=False)
    except _BROKEN as error:
        raise DataError(f"not a readable .npy file ({error})", remedy=_AGAIN) from error
    if not isinstance(values, np.ndarray):
        raise DataError(
            "an archive of arrays (.npz) under the name of a .npy file",
            remedy="write each map with `numpy.save` into a file of its own",
        )
    if values.ndim not in (2, 3) or not np.issubdtype(values.dtype, np.number) or np.iscomplexobj(values):
        raise DataError(
            f"a map must be real numbers of shape (nlat, nlon) or (channels, nlat, nlon), "
            f"got {values.dtype} {values.shape}"
        )
    if not values.size:
        raise DataError(f"a map without pixels, of shape {values.shape}", remedy=_SHAPES)
    values = values.astype(np.float64).reshape(-1, *values.shape[-2:])
    num_rings = values.shape[1]
    own = num_rings if grid in ("gl", "mw") else num_rings // 2
    expected = grid_shape(grid, own) if own else (2, 2)
    if values.shape[1:] != expected:
        raise DataError(
            f"a map on the grid {grid} with {num_rings} rings must have shape {expected}, "
            f"got {values.shape[1:]}",
            remedy=_SHAPES,
        )
    if own < bandlimit:
        raise DataError(
            f"a map of {num_rings} rings on the grid {grid} has band-limit {own}, not {bandlimit}",
            remedy="lower `bandlimit`",
        )
    check_pixels(values)
    return analysis(torch.from_numpy(values), make_grid(grid, own), bandlimit).numpy()


def _healpix(file: Path, order: Order | None, bandlimit: int) -> np.ndarray:
    maps = read_healpix(file, order)
    limit = 3 * round((maps.shape[1] / 12) ** 0.5)
    if limit < bandlimit:
        raise DataError(
            f"a HEALPix map of {maps.shape[1]} pixels has band-limit {limit} at most, not {bandlimit}",
            remedy="lower `bandlimit`",
        )
    return to_harmonic(maps, bandlimit)


def _label_of(member: str, classes: Sequence[str]) -> int | None:
    name = _class_of(member)
    if name is None:
        return None
    if name not in classes:
        raise DataError(f"unknown class {name!r}", remedy=f"known classes: {', '.join(classes)}")
    return list(classes).index(name)


def read_sphere_maps(
    path: str | PathLike[str],
    *,
    bandlimit: int,
    grid: GridKind = "dh",
    order: Order | None = None,
    classes: Sequence[str] | None = None,
    split: str | None = None,
    on_error: OnError | None = None,
) -> Iterator[SphereMap]:
    """Read the maps of a file or folder, in the order of their names, as real coefficients.

    Parameters
    ----------
    path
        Folder, or one file: HEALPix FITS, or .npy with shape (nlat, nlon) or (channels, nlat, nlon).
    bandlimit
        Degrees below it are kept; a map must carry that many.
    grid
        Grid of the .npy files.
    order
        Order of the HEALPix pixels, for files that do not tell.
    classes
        Class names; the position is the label. By default `sphere_map_classes(path)`.
    split
        Only the maps in folders of this part.
    on_error
        Called with the error of each broken map, which is then left out; without it the error is raised.

    Raises
    ------
    ConfigError
        If the band-limit is below 1, there is no such grid or order, or a HEALPix map is too large for the
        memory that is free.
    DataError
        If the path is missing, or a map is unreadable, of the wrong shape or too coarse, of an unknown class,
        has pixels without a value, or HEALPix pixels of unknown or impossible order.
    MissingExtraError
        If a HEALPix file is to be read without healpy and ducc0.
    """
    if bandlimit < 1:
        raise ConfigError(f"`bandlimit` must be at least 1, got {bandlimit}.")
    if grid not in get_args(GridKind):
        raise ConfigError(f"`grid` must be one of {', '.join(get_args(GridKind))}, got {grid!r}.")
    if order is not None:
        check_order(order)
    path = Path(path)
    members = [name for name in sphere_map_ids(path) if split is None or mesh_split_of(name) == split]
    if not members:
        raise DataError(f"no map of split {split!r}", source=path, remedy="splits are read from folder names")
    known = sphere_map_classes(path) if classes is None else classes
    for member in members:
        file = path if path.is_file() else path / member
        try:
            label = _label_of(member, known)
            is_rings = file.suffix.lower() == ".npy"
            harmonic = _rings(file, grid, bandlimit) if is_rings else _healpix(file, order, bandlimit)
            yield SphereMap(harmonic, label, member)
        except DataError as error:
            located = DataError(error.what, source=path, record=member, remedy=error.remedy)
            if on_error is None:
                raise located from error
            on_error(located)

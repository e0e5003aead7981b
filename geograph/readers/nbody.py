"""Charged-particle systems: npz files, and folders in the layout of the released n-body data.

npz: `pos`, `vel` [systems, particles, 3], `charge` [systems, particles] and, where known, `pos_target`
[systems, particles, 3].

Released layout: `loc_SUFFIX.npy`, `vel_SUFFIX.npy` [systems, frames, 3, particles] and `charges_SUFFIX.npy`
[systems, particles, 1], where SUFFIX begins with the split (`train`, `valid`, `test`), for instance
`train_charged5_initvel1small`. The `edges_SUFFIX.npy` beside them hold products of charges: not needed.

References
----------
Satorras, Hoogeboom, Welling (2021), arXiv:2102.09844, section 5.1.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path

import numpy as np

from geograph.errors import DataError
from geograph.records import ParticleSystem

OnError = Callable[[DataError], None]

_AGAIN = "the file is damaged or incomplete: fetch it again"
_ALIASES = {"train": "train", "val": "valid", "valid": "valid", "test": "test"}
#: Frames of the published task: input and target.
_FRAMES = (30, 40)


def read_nbody(
    path: str | PathLike[str],
    *,
    split: str = "train",
    suffix: str | None = None,
    frames: tuple[int, int] = _FRAMES,
    max_systems: int | None = None,
    on_error: OnError | None = None,
) -> Iterator[ParticleSystem]:
    """Particle systems of an npz file or of a folder in the released layout, one after the other.

    Parameters
    ----------
    path
        The npz file, or the folder.
    split
        Part of the folder: `train`, `val` or `test`.
    suffix
        What follows `loc_SPLIT` in the file names of the folder (`_charged5_initvel1small`); it may be left
        out where there is only one.
    frames
        Frames of the folder for input and target.
    max_systems
        Read only the first ones; the published training set is the first 3000.
    on_error
        Called with the error of each broken system, which is then left out; without it the error is raised.

    Raises
    ------
    DataError
        If a file is missing, damaged, lacks an array, has arrays of unfit shape, or a system is broken.
    """
    path = Path(path)
    if path.is_dir():
        arrays = _released_arrays(path, split, suffix, frames)
        source, prefix = path, _ALIASES.get(split, split)
    elif path.is_file():
        arrays, source, prefix = _npz_arrays(path), path, path.stem
    else:
        raise DataError("no such file or folder", source=path, remedy="check the path, or put the data there")
    _check_shapes(arrays, source)
    target = arrays.get("pos_target")
    for index in range(len(arrays["pos"]))[:max_systems]:
        try:
            yield ParticleSystem(
                np.asarray(arrays["pos"][index], np.float64),
                np.asarray(arrays["vel"][index], np.float64),
                np.asarray(arrays["charge"][index], np.float64),
                None if target is None else np.asarray(target[index], np.float64),
                f"{prefix}-{index:06d}",
            )
        except DataError as error:
            located = DataError(error.what, source=source, record=index, remedy=error.remedy)
            if on_error is None:
                raise located from error
            on_error(located)


def _check_shapes(arrays: dict[str, np.ndarray], source: Path) -> None:
    pos = arrays["pos"]
    want = {name: pos.shape[:2] if name == "charge" else (*pos.shape[:2], 3) for name in arrays}
    for name, array in arrays.items():
        if pos.ndim != 3 or array.shape != want[name]:
            axes = "(systems, particles)" if name == "charge" else "(systems, particles, 3)"
            raise DataError(
                f"`{name}` must have shape {axes}, got {array.shape} beside `pos` {pos.shape}",
                source=source,
                remedy="check which axis is which",
            )


def _npz_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            missing = [name for name in ("pos", "vel", "charge") if name not in archive.files]
            if missing:
                found = ", ".join(archive.files) or "none"
                raise DataError(
                    f"missing array `{missing[0]}`",
                    source=path,
                    remedy=f"`pos`, `vel`, `charge` are needed, there are {found}",
                )
            names = ("pos", "vel", "charge", "pos_target")
            return {name: archive[name] for name in names if name in archive.files}
    except (OSError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise DataError(f"not a readable npz file ({error})", source=path, remedy=_AGAIN) from error


def _find_suffix(folder: Path, split: str) -> str:
    start = f"loc_{split}"
    found = sorted(file.name[len(start) : -len(".npy")] for file in folder.glob(f"{start}*.npy"))
    if len(found) != 1:
        what = f"{len(found)} files {start}*.npy" if found else f"no file {start}*.npy"
        some = f"name one of the suffixes {', '.join(found)}" if found else "check the folder and the split"
        raise DataError(f"{what} in the folder", source=folder, remedy=some)
    return found[0]


def _released_arrays(
    folder: Path, split: str, suffix: str | None, frames: tuple[int, int]
) -> dict[str, np.ndarray]:
    if split not in _ALIASES:
        raise DataError(f"unknown split {split!r}", source=folder, remedy="choose train, val or test")
    name = _ALIASES[split]
    ending = name + (_find_suffix(folder, name) if suffix is None else suffix)
    loc, vel, charges = (_load_npy(folder / f"{kind}_{ending}.npy") for kind in ("loc", "vel", "charges"))
    for kind, array in (("loc", loc), ("vel", vel)):
        if array.ndim != 4 or array.shape[2] != 3:
            raise DataError(
                f"`{kind}` must have shape (systems, frames, 3, particles), got {array.shape}",
                source=folder / f"{kind}_{ending}.npy",
            )
        if not 0 <= max(frames) < array.shape[1] or min(frames) < 0:
            raise DataError(
                f"frames {frames} asked for, `{kind}` has {array.shape[1]}",
                source=folder / f"{kind}_{ending}.npy",
                remedy="choose other frames",
            )
    return {
        "pos": loc[:, frames[0]].swapaxes(1, 2),
        "vel": vel[:, frames[0]].swapaxes(1, 2),
        "charge": charges[..., 0] if charges.ndim == 3 else charges,
        "pos_target": loc[:, frames[1]].swapaxes(1, 2),
    }


def _load_npy(path: Path) -> np.ndarray:
    if not path.is_file():
        raise DataError(
            "no such file", source=path, remedy="the released layout needs loc_, vel_ and charges_"
        )
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"not a readable npy file ({error})", source=path, remedy=_AGAIN) from error

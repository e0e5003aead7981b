"""Top-tagging jets: the reference HDF5 files, and zero-padded four-momenta in an npz file.

HDF5 layouts that are understood, all with columns ``E_0, PX_0, PY_0, PZ_0, E_1, ...`` and ``is_signal_new``:

- pandas ``table`` format, as published: a compound data set ``KEY/table`` whose fields (``values_block_0``
  and so on) hold several columns each, named by a pickled list in the attribute ``FIELD_kind``; plain named
  fields as well;
- pandas ``fixed`` format: a group with ``block0_items``, ``block0_values`` and so on;
- one two-dimensional data set with its column names in the attribute ``columns``.

References
----------
Kasieczka et al., SciPost Phys. 7, 014 (2019), arXiv:1902.09914; data: doi:10.5281/zenodo.2603256.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from geograph.errors import DataError
from geograph.readers.hdf5_tables import ColumnTable, open_table
from geograph.records import Jet

_COMPONENTS = ("E", "PX", "PY", "PZ")
_AGAIN = "the file is damaged or incomplete: fetch it again"

OnError = Callable[[DataError], None]


class _Batch(NamedTuple):
    first: int
    p4: np.ndarray
    label: np.ndarray


def read_top_tagging(
    path: str | PathLike[str],
    *,
    has_beam_frame: bool = True,
    label_column: str = "is_signal_new",
    batch_size: int = 10_000,
    on_error: OnError | None = None,
) -> Iterator[Jet]:
    """Jets of one file (``.npz``, otherwise HDF5), one after the other, without their padding.

    Constituents come sorted by falling pT; rows of four zeros are padding. Label 1 is a top jet.

    Parameters
    ----------
    path
        An ``npz`` file with ``p4`` [jets, constituents, 4] = (E, px, py, pz) in GeV and ``label`` [jets], or
        an HDF5 file in one of the layouts above.
    has_beam_frame
        False if each jet of the file was transformed on its own, so that the beam direction is lost.
    label_column
        HDF5 column of the label.
    batch_size
        Jets that are read at once.
    on_error
        Called with the error of each broken jet, which is then left out; without it the error is raised.

    Raises
    ------
    DataError
        If the file is missing, damaged or lacks a column, or a jet is broken.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError("no such file", source=path, remedy="check the path, or put the file there")
    if batch_size < 1:
        raise DataError(f"`batch_size` must be at least 1, got {batch_size}", source=path)
    batches = _npz_batches(path) if path.suffix == ".npz" else _hdf5_batches(path, label_column, batch_size)
    with closing(batches):
        for batch in batches:
            yield from _jets(batch, path, has_beam_frame, on_error)


def _jets(batch: _Batch, path: Path, has_beam_frame: bool, on_error: OnError | None) -> Iterator[Jet]:
    is_filled = np.any(batch.p4 != 0, axis=2)
    pt = np.hypot(batch.p4[..., 1], batch.p4[..., 2])
    order = np.argsort(np.where(is_filled, -pt, np.inf), axis=1, kind="stable")
    p4 = np.take_along_axis(batch.p4, order[..., None], axis=1).astype(np.float64)
    counts = is_filled.sum(axis=1)
    for row, (momenta, count, label) in enumerate(zip(p4, counts, batch.label, strict=True)):
        index = batch.first + row
        try:
            if label not in (0, 1):
                raise DataError(f"label {label} is out of range", remedy="labels must be 0 (QCD) or 1 (top)")
            yield Jet(momenta[:count], int(label), f"{path.stem}-{index}", has_beam_frame)
        except DataError as error:
            located = DataError(error.what, source=path, record=index, remedy=error.remedy)
            if on_error is None:
                raise located from None
            on_error(located)


def _npz_batches(path: Path) -> Generator[_Batch, None, None]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files if name in ("p4", "label")}
            names = ", ".join(archive.files)
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"not a readable npz file ({error})", source=path, remedy=_AGAIN) from error
    for name in ("p4", "label"):
        if name not in arrays:
            raise DataError(
                f"missing array `{name}`",
                source=path,
                remedy=f"it has {names or 'nothing'}; store `p4` and `label`",
            )
    _check_npz(path, arrays["p4"], arrays["label"])
    yield _Batch(0, arrays["p4"], arrays["label"])


def _check_npz(path: Path, p4: np.ndarray, label: np.ndarray) -> None:
    if p4.ndim != 3 or p4.shape[2] != 4 or label.shape != p4.shape[:1]:
        raise DataError(
            "`p4` must have shape (jets, constituents, 4) and `label` shape (jets), "
            f"got {p4.shape} and {label.shape}",
            source=path,
            remedy="store the energy first: (E, px, py, pz)",
        )


def _hdf5_batches(path: Path, label_column: str, batch_size: int) -> Generator[_Batch, None, None]:
    try:
        with h5py.File(path, "r") as file:
            table = open_table(file, path)
            columns = _momentum_columns(table, path)
            if label_column not in table.columns:
                raise _missing(label_column, table, path)
            for first in range(0, table.num_rows, batch_size):
                last = min(first + batch_size, table.num_rows)
                values = table.read(columns, first, last)
                label = table.read([label_column], first, last)[:, 0]
                yield _Batch(first, values.reshape(last - first, -1, 4), label)
    except OSError as error:
        raise DataError(f"not a readable HDF5 file ({error})", source=path, remedy=_remedy(error)) from error


def _remedy(error: OSError) -> str:
    if "filter" in str(error) and "register" in str(error):
        return "it is compressed with a filter that h5py lacks: `pip install hdf5plugin`"
    return _AGAIN


def _momentum_columns(table: ColumnTable, path: Path) -> list[str]:
    """Names of the four-momentum columns, constituent after constituent."""
    count = 0
    while f"E_{count}" in table.columns:
        count += 1
    names = [f"{component}_{i}" for i in range(max(count, 1)) for component in _COMPONENTS]
    for name in names:
        if name not in table.columns:
            raise _missing(name, table, path)
    return names


def _missing(name: str, table: ColumnTable, path: Path) -> DataError:
    some = ", ".join(list(table.columns)[:6])
    return DataError(
        f"missing column `{name}`",
        source=path,
        remedy=f"the file has {len(table.columns)} columns ({some}, ...); "
        "the top-tagging layout has E_0, PX_0, PY_0, PZ_0, ... and is_signal_new",
    )

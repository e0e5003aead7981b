"""Named columns of an HDF5 file that pandas, PyTables or h5py wrote, read with h5py alone."""

from __future__ import annotations

import importlib.util
import io
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from jaxtyping import Shaped

from geograph.errors import DataError

_REMEDY = (
    "known layouts: pandas `table` and `fixed` format, "
    "and one two-dimensional data set with the attribute `columns`"
)


class _Block(NamedTuple):
    """Several columns that lie together in the file."""

    columns: list[str]
    read: Callable[[int, int], np.ndarray]


class ColumnTable:
    """Columns by name, read by ranges of rows.

    Parameters
    ----------
    blocks
        Groups of columns, each with a function that reads a range of rows as [rows, columns].
    num_rows
        Number of rows.
    """

    def __init__(self, blocks: Sequence[_Block], num_rows: int) -> None:
        self.num_rows = num_rows
        self._blocks = blocks
        self.columns: dict[str, tuple[int, int]] = {
            name: (number, position)
            for number, block in enumerate(blocks)
            for position, name in enumerate(block.columns)
        }

    def read(self, names: Sequence[str], first: int, last: int) -> Shaped[np.ndarray, "rows columns"]:
        """Values of the columns `names`, in this order, in rows `first` to `last` (exclusive)."""
        places = np.array([self.columns[name] for name in names])
        parts = {
            number: self._blocks[number].read(first, last) for number in np.unique(places[:, 0]).tolist()
        }
        out = np.empty((last - first, len(names)), dtype=np.result_type(*parts.values()))
        for number, values in parts.items():
            here = places[:, 0] == number
            out[:, here] = values[:, places[here, 1]]
        return out


def open_table(file: h5py.File, path: Path) -> ColumnTable:
    """Find the only table of an open file and name its columns.

    Parameters
    ----------
    file
        The open file.
    path
        Its path, for messages.

    Raises
    ------
    DataError
        If there is no table in a known layout.
    """
    if importlib.util.find_spec("hdf5plugin") is not None:
        importlib.import_module("hdf5plugin")  # registers the compression filters of PyTables
    for group in (file, *(item for item in file.values() if isinstance(item, h5py.Group))):
        if "block0_values" in group:
            return _fixed(group, path)
        for dataset in (item for item in group.values() if isinstance(item, h5py.Dataset)):
            if dataset.dtype.names and dataset.ndim == 1:
                return _compound(dataset, path)
            if dataset.ndim == 2 and "columns" in dataset.attrs:
                return _plain(dataset, path)
    raise DataError("no table found", source=path, remedy=_REMEDY)


def _compound(dataset: h5py.Dataset, path: Path) -> ColumnTable:
    blocks: list[_Block] = []
    for name in dataset.dtype.names:
        width = int(np.prod(dataset.dtype[name].shape, dtype=int))
        kind = dataset.attrs.get(f"{name}_kind")
        if kind is not None:
            columns = _unpickle_names(kind, f"{name}_kind", path)
        elif width == 1:
            columns = [name]
        else:
            raise DataError(
                f"the attribute `{name}_kind` is missing: the {width} columns of `{name}` have no names",
                source=path,
                remedy=_REMEDY,
            )
        _check_width(columns, width, name, path)
        blocks.append(_Block(columns, _field_reader(dataset, name, width)))
    return ColumnTable(blocks, len(dataset))


def _field_reader(dataset: h5py.Dataset, name: str, width: int) -> Callable[[int, int], np.ndarray]:
    return lambda first, last: dataset.fields(name)[first:last].reshape(last - first, width)


def _fixed(group: h5py.Group, path: Path) -> ColumnTable:
    blocks: list[_Block] = []
    while f"block{len(blocks)}_values" in group:
        values = group[f"block{len(blocks)}_values"]
        columns = _text(group[f"block{len(blocks)}_items"][:])
        _check_width(columns, values.shape[1], values.name, path)
        blocks.append(_Block(columns, _row_reader(values)))
    return ColumnTable(blocks, len(group["block0_values"]))


def _plain(dataset: h5py.Dataset, path: Path) -> ColumnTable:
    columns = _text(dataset.attrs["columns"])
    _check_width(columns, dataset.shape[1], dataset.name, path)
    return ColumnTable([_Block(columns, _row_reader(dataset))], len(dataset))


def _row_reader(dataset: h5py.Dataset) -> Callable[[int, int], np.ndarray]:
    return lambda first, last: dataset[first:last]


def _check_width(columns: list[str], width: int, name: str, path: Path) -> None:
    if len(columns) != width:
        raise DataError(f"`{name}` has {width} columns but {len(columns)} names", source=path, remedy=_REMEDY)


def _text(names: Any) -> list[str]:  # noqa: ANN401
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


class _NamesOnly(pickle.Unpickler):
    """Unpickles lists of strings and refuses everything that would import or call."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        raise pickle.UnpicklingError(f"{module}.{name} is not a column name")


def _unpickle_names(kind: Any, attribute: str, path: Path) -> list[str]:  # noqa: ANN401
    """Column names from the attribute that PyTables wrote: a pickled list of strings."""
    data = kind.tobytes() if isinstance(kind, np.ndarray | np.void | np.bytes_) else kind
    data = data.encode("latin1") if isinstance(data, str) else data
    try:
        names = _NamesOnly(io.BytesIO(data), encoding="latin1").load()
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        IndexError,
        KeyError,
        AttributeError,
        TypeError,
    ) as error:
        raise DataError(
            f"the attribute `{attribute}` is not a list of names ({error})", source=path
        ) from error
    if isinstance(names, str):
        names = [names]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"the attribute `{attribute}` is not a list of names", source=path, remedy=_REMEDY)
    return names

"""Column tables: unreadable layouts are refused by name, and attributes are never executed."""

from __future__ import annotations

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from geograph.errors import DataError
from geograph.readers.hdf5_tables import open_table


def _compound(path: Path, kind: bytes | None) -> None:
    rows = np.zeros(3, dtype=[("index", "<i8"), ("values_block_0", "<f4", (2,))])
    rows["values_block_0"] = np.arange(6).reshape(3, 2)
    with h5py.File(path, "w") as file:
        table = file.create_dataset("table/table", data=rows)
        if kind is not None:
            table.attrs["values_block_0_kind"] = np.void(kind)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_names_come_from_the_pickled_attribute(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "a.h5"
    _compound(path, pickle.dumps(["a", "b"], protocol))
    with h5py.File(path) as file:
        table = open_table(file, path)
        assert list(table.columns) == ["index", "a", "b"]
        np.testing.assert_array_equal(table.read(["b", "a"], 1, 3), [[3, 2], [5, 4]])


def test_pickled_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    _compound(path, pickle.dumps(print))
    with (
        h5py.File(path) as file,
        pytest.raises(DataError, match=r"`values_block_0_kind` is not a list of names \(builtins\.print"),
    ):
        open_table(file, path)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            None,
            "the attribute `values_block_0_kind` is missing: the 2 columns of `values_block_0` have no names",
        ),
        (pickle.dumps({"a": 1}), "the attribute `values_block_0_kind` is not a list of names"),
        (pickle.dumps(["a"]), "`values_block_0` has 2 columns but 1 names"),
    ],
)
def test_unusable_names(tmp_path: Path, kind: bytes | None, message: str) -> None:
    path = tmp_path / "a.h5"
    _compound(path, kind)
    with h5py.File(path) as file, pytest.raises(DataError, match=message):
        open_table(file, path)


def test_no_table(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros(3)
    with (
        h5py.File(path) as file,
        pytest.raises(DataError, match=r"a\.h5: no table found; known layouts: pandas"),
    ):
        open_table(file, path)

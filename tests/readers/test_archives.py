from __future__ import annotations

import tarfile

import numpy as np
import pytest

from geograph.errors import DataError
from geograph.readers.archives import existing, iterate_texts, load_npz, read_text, report


def test_report_raises_where_nobody_listens():
    error = DataError("broken", record=3)
    with pytest.raises(DataError, match="record 3: broken"):
        report(error, None)
    heard: list[DataError] = []
    report(error, heard.append)
    assert heard == [error]


def test_missing_files_are_named(tmp_path):
    readers = (existing, read_text, lambda p: load_npz(p, ()), lambda p: list(iterate_texts(p, ".x")))
    for read in readers:
        with pytest.raises(DataError, match="nothing: no such file; check the path"):
            read(tmp_path / "nothing")


def test_arrays_and_pickles(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(3))
    assert load_npz(tmp_path / "a.npz", ["x"])["x"].tolist() == [0, 1, 2]
    with pytest.raises(DataError, match="array 'y' is missing; the arrays there are: x"):
        load_npz(tmp_path / "a.npz", ["y"])
    np.savez(tmp_path / "b.npz", x=np.array([{}], dtype=object))
    with pytest.raises(DataError, match=r"not a readable \.npz file \(Object arrays cannot be loaded"):
        load_npz(tmp_path / "b.npz", ["x"])


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_every_kind_of_tar(tmp_path, mode):
    (tmp_path / "a.txt").write_text("alpha")
    (tmp_path / "b.log").write_text("beta")
    with tarfile.open(tmp_path / "both", mode) as archive:
        archive.add(tmp_path / "a.txt", "x/a.txt")
        archive.add(tmp_path / "b.log", "x/b.log")
    assert list(iterate_texts(tmp_path / "both", ".txt")) == [("a.txt", "alpha")]

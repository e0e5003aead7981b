"""JetClass reader: published columns, labels of both releases, and every fault by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from geograph.errors import DataError
from geograph.readers.jetclass import JETCLASS_LABELS, read_jetclass

COUNTS = [3, 1, 4, 2]


def table_columns(seed: int = 0) -> dict[str, Any]:
    """Ragged momentum lists of four jets, unsorted, with a class number."""
    rng = np.random.default_rng(seed)
    p3 = [rng.normal(size=(count, 3)).astype(np.float32) for count in COUNTS]
    energy = [np.linalg.norm(p, axis=1) for p in p3]
    columns = {f"part_{name}": [p[:, i].tolist() for p in p3] for i, name in enumerate(("px", "py", "pz"))}
    return {**columns, "part_energy": [e.tolist() for e in energy], "jet_label": [3, 0, 187, 1]}


def write(path: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_jets_are_complete_and_sorted(tmp_path: Path, batch_size: int) -> None:
    columns = table_columns()
    jets = list(read_jetclass(write(tmp_path / "a.parquet", columns), batch_size=batch_size))
    assert [len(jet.p4) for jet in jets] == COUNTS
    assert [jet.label for jet in jets] == [3, 0, 187, 1]
    assert all(jet.has_beam_frame for jet in jets)
    for jet, energy in zip(jets, columns["part_energy"], strict=True):
        assert np.all(np.diff(np.hypot(jet.p4[:, 1], jet.p4[:, 2])) <= 0)
        np.testing.assert_array_equal(np.sort(jet.p4[:, 0]), np.sort(energy))


def test_one_hot_labels_in_published_order(tmp_path: Path) -> None:
    columns = table_columns()
    del columns["jet_label"]
    one_hot = {name: [0.0] * 4 for name in reversed(JETCLASS_LABELS)}
    for jet, name in enumerate(("label_Tbqq", "label_QCD", "label_Tbl", "label_QCD")):
        one_hot[name][jet] = 1.0
    jets = list(read_jetclass(write(tmp_path / "a.parquet", {**columns, **one_hot})))
    assert [jet.label for jet in jets] == [8, 0, 9, 0]


def test_own_label_columns(tmp_path: Path) -> None:
    columns = {**table_columns(), "b": [1, 0, 0, 1], "a": [0, 1, 1, 0]}
    jets = list(read_jetclass(write(tmp_path / "a.parquet", columns), label_columns=["a", "b"]))
    assert [jet.label for jet in jets] == [1, 0, 0, 1]
    jets = list(read_jetclass(tmp_path / "a.parquet", label_columns="b"))
    assert [jet.label for jet in jets] == [1, 0, 0, 1]


def _nan(columns: dict[str, Any]) -> None:
    columns["part_px"][2][1] = float("nan")


def _light(columns: dict[str, Any]) -> None:
    columns["part_energy"][2][1] *= 0.5


def _empty(columns: dict[str, Any]) -> None:
    for name in ("part_px", "part_py", "part_pz", "part_energy"):
        columns[name][2] = []


def _null(columns: dict[str, Any]) -> None:
    for name in ("part_px", "part_py", "part_pz", "part_energy"):
        columns[name][2] = None


def _label(columns: dict[str, Any]) -> None:
    columns["jet_label"][2] = 188


FAULTS = [
    (_nan, "`p4` of row 3 is not finite .*; remove or repair the record"),
    (_light, r"constituent \d has E < \|p\| by .* GeV; check the column order"),
    (_empty, "empty jet; remove the record"),
    (_null, "empty jet; remove the record"),
    (_label, "label 188 is out of range; class numbers are whole, start at 0 and end at 187"),
]


@pytest.mark.parametrize(("damage", "message"), FAULTS)
def test_broken_jet_is_named_and_skipped_only_on_request(tmp_path: Path, damage: Any, message: str) -> None:
    columns = table_columns()
    damage(columns)
    path = write(tmp_path / "a.parquet", columns)
    with pytest.raises(DataError, match=rf"a\.parquet, record 2: {message}"):
        list(read_jetclass(path, num_classes=188))
    rejected: list[DataError] = []
    jets = list(read_jetclass(path, num_classes=188, on_error=rejected.append))
    assert len(jets) == 3
    assert [error.record for error in rejected] == [2]


def test_labels_that_are_not_one_hot(tmp_path: Path) -> None:
    columns = {**table_columns(), "a": [0, 1, 1, 0], "b": [1, 1, 0, 1]}
    path = write(tmp_path / "a.parquet", columns)
    with pytest.raises(
        DataError, match=r"record 1: the label columns are not one-hot: \[1, 1\]; exactly one"
    ):
        list(read_jetclass(path, label_columns=["a", "b"]))


@pytest.mark.parametrize("column", ["part_py", "jet_label"])
def test_missing_column(tmp_path: Path, column: str) -> None:
    columns = table_columns()
    del columns[column]
    with pytest.raises(DataError, match=rf"a\.parquet: missing column `{column}`; JetClass files have"):
        next(read_jetclass(write(tmp_path / "a.parquet", columns)))


def test_lists_of_different_length(tmp_path: Path) -> None:
    columns = table_columns()
    columns["part_pz"][3].append(0.0)
    with pytest.raises(
        DataError, match=r"record 3: part_energy, .* have 2, 2, 2, 3 entries; the columns do not"
    ):
        list(read_jetclass(write(tmp_path / "a.parquet", columns)))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.parquet: no such file; check the path"):
        next(read_jetclass(tmp_path / "a.parquet"))


@pytest.mark.parametrize("keep", [0.0, 0.5])
def test_truncated_file(tmp_path: Path, keep: float) -> None:
    path = write(tmp_path / "a.parquet", table_columns())
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(DataError, match=r"not a readable parquet file .*; the file is damaged or incomplete"):
        list(read_jetclass(path))


def test_real_jets(shared_data: Path) -> None:
    path = shared_data / "toptag" / "JetClassII_example.parquet"
    if not path.is_file():
        pytest.skip(f"real data not present: no file {path}")
    jets = list(read_jetclass(path, num_classes=188))
    assert len(jets) == 100
    total = jets[0].p4.sum(axis=0)
    assert np.hypot(total[1], total[2]) == pytest.approx(717.327, rel=1e-3)  # jet_pt of the first jet

"""Top-tagging reader: every layout gives the same jets, and every fault names file, jet and remedy."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from geograph.errors import DataError
from geograph.readers.top_tagging import read_top_tagging

NUM_JETS, NUM_SLOTS = 7, 5
COLUMNS = [f"{name}_{i}" for i in range(NUM_SLOTS) for name in ("E", "PX", "PY", "PZ")]
TRUTH = ["truthE", "truthPX", "truthPY", "truthPZ"]


def padded_jets(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Zero-padded massless jets, sorted by falling pT, and labels."""
    rng = np.random.default_rng(seed)
    p3 = rng.normal(size=(NUM_JETS, NUM_SLOTS, 3)).astype(np.float32)
    order = np.argsort(-np.hypot(p3[..., 0], p3[..., 1]), axis=1)
    p3 = np.take_along_axis(p3, order[..., None], axis=1)
    p4 = np.concatenate([np.linalg.norm(p3, axis=2, keepdims=True), p3], axis=2)
    counts = np.array([5, 1, 3, 2, 5, 4, 1])
    p4[np.arange(NUM_SLOTS) >= counts[:, None]] = 0
    return p4, np.array([1, 0, 0, 1, 1, 0, 1])


def write_table(path: Path, p4: np.ndarray, label: np.ndarray, columns: list[str] = COLUMNS) -> None:
    """Write as pandas does with format="table": blocks of columns in one compound data set."""
    width = len(columns) + len(TRUTH)
    dtype = [("index", "<i8"), ("values_block_0", "<f4", (width,)), ("values_block_1", "<i8", (2,))]
    rows = np.zeros(len(p4), dtype=dtype)
    rows["values_block_0"][:, : len(columns)] = p4.reshape(len(p4), -1)
    rows["values_block_1"][:, 1] = label
    with h5py.File(path, "w") as file:
        group = file.create_group("table")
        group.attrs["pandas_type"] = np.bytes_("frame_table")
        table = group.create_dataset("table", data=rows, chunks=(3,), compression="gzip")
        for name, columns_of_block in (
            ("values_block_0", columns + TRUTH),
            ("values_block_1", ["ttv", "is_signal_new"]),
        ):
            # PyTables stores Python objects as pickles of protocol 0
            table.attrs[f"{name}_kind"] = np.bytes_(pickle.dumps(columns_of_block, 0))


def write_fixed(path: Path, p4: np.ndarray, label: np.ndarray) -> None:
    """Write as pandas does with format="fixed"."""
    with h5py.File(path, "w") as file:
        group = file.create_group("jets")
        group["block0_items"] = np.array(COLUMNS, dtype="S")
        group["block0_values"] = p4.reshape(len(p4), -1)
        group["block1_items"] = np.array(["is_signal_new"], dtype="S")
        group["block1_values"] = label[:, None]


def write_plain(path: Path, p4: np.ndarray, label: np.ndarray) -> None:
    """Write one two-dimensional data set, columns shuffled, names in an attribute."""
    names = np.array([*COLUMNS, "is_signal_new"])
    values = np.concatenate([p4.reshape(len(p4), -1), label[:, None]], axis=1)
    order = np.random.default_rng(1).permutation(len(names))
    with h5py.File(path, "w") as file:
        table = file.create_dataset("jets", data=values[:, order])
        table.attrs["columns"] = names[order].astype("S")


def write_named_fields(path: Path, p4: np.ndarray, label: np.ndarray) -> None:
    """Write a compound data set with one field for each column."""
    rows = np.zeros(len(p4), dtype=[*((name, "<f4") for name in COLUMNS), ("is_signal_new", "<i8")])
    for number, name in enumerate(COLUMNS):
        rows[name] = p4.reshape(len(p4), -1)[:, number]
    rows["is_signal_new"] = label
    with h5py.File(path, "w") as file:
        file["jets"] = rows


def write_npz(path: Path, p4: np.ndarray, label: np.ndarray) -> None:
    np.savez(path, p4=p4, label=label)


WRITERS: list[tuple[str, Callable[[Path, np.ndarray, np.ndarray], None]]] = [
    ("table.h5", write_table),
    ("fixed.h5", write_fixed),
    ("plain.h5", write_plain),
    ("fields.h5", write_named_fields),
    ("jets.npz", write_npz),
]


@pytest.mark.parametrize(("name", "write"), WRITERS, ids=[name for name, _ in WRITERS])
@pytest.mark.parametrize("batch_size", [2, 100])
def test_layouts_give_the_same_jets(tmp_path: Path, name: str, write: Callable, batch_size: int) -> None:
    p4, label = padded_jets()
    write(tmp_path / name, p4, label)
    jets = list(read_top_tagging(tmp_path / name, batch_size=batch_size, has_beam_frame=False))
    assert [jet.label for jet in jets] == label.tolist()
    assert [len(jet.p4) for jet in jets] == [5, 1, 3, 2, 5, 4, 1]
    assert len({jet.id for jet in jets}) == NUM_JETS
    assert not any(jet.has_beam_frame for jet in jets)
    for jet, rows in zip(jets, p4, strict=True):
        assert jet.p4.dtype == np.float64
        np.testing.assert_array_equal(jet.p4, rows[: len(jet.p4)])


def test_constituents_are_sorted_and_padding_may_stand_anywhere(tmp_path: Path) -> None:
    p4, label = padded_jets()
    np.savez(tmp_path / "jets.npz", p4=p4[:, ::-1], label=label)
    for jet, rows in zip(read_top_tagging(tmp_path / "jets.npz"), p4, strict=True):
        np.testing.assert_array_equal(jet.p4, rows[: len(jet.p4)])


def _broken(fault: str) -> tuple[np.ndarray, np.ndarray]:
    p4, label = padded_jets()
    if fault == "nan":
        p4[4, 2, 1] = np.nan
    elif fault == "mass shell":
        p4[4, 2, 0] *= 0.5
    elif fault == "empty":
        p4[4] = 0
    else:
        label[4] = 7
    return p4, label


FAULTS = [
    ("nan", r"`p4` of row \d is not finite .*; remove or repair the record"),
    ("mass shell", r"constituent 2 has E < \|p\| by .* GeV; check the column order: \(E, px, py, pz\)"),
    ("empty", "empty jet; remove the record"),
    ("label", r"label 7 is out of range; labels must be 0 \(QCD\) or 1 \(top\)"),
]


@pytest.mark.parametrize(("fault", "message"), FAULTS, ids=[fault for fault, _ in FAULTS])
@pytest.mark.parametrize(("name", "write"), [WRITERS[0], WRITERS[-1]], ids=["h5", "npz"])
def test_broken_jet_is_named_and_skipped_only_on_request(
    tmp_path: Path, name: str, write: Callable, fault: str, message: str
) -> None:
    write(tmp_path / name, *_broken(fault))
    with pytest.raises(DataError, match=rf"{name}, record 4: {message}"):
        list(read_top_tagging(tmp_path / name, batch_size=3))
    rejected: list[DataError] = []
    jets = list(read_top_tagging(tmp_path / name, batch_size=3, on_error=rejected.append))
    assert len(jets) == NUM_JETS - 1
    assert [error.record for error in rejected] == [4]


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.h5: no such file; check the path"):
        next(read_top_tagging(tmp_path / "train.h5"))


@pytest.mark.parametrize("name", ["table.h5", "jets.npz"])
@pytest.mark.parametrize("keep", [0.0, 0.6])
def test_truncated_file(tmp_path: Path, name: str, keep: float) -> None:
    path = tmp_path / name
    dict(WRITERS)[name](path, *padded_jets())
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(DataError, match=rf"{name}: not a readable .*damaged or incomplete: fetch it again"):
        list(read_top_tagging(path))


def test_npz_that_is_something_else(tmp_path: Path) -> None:
    with (tmp_path / "jets.npz").open("wb") as file:
        np.save(file, padded_jets()[0])
    with pytest.raises(DataError, match="not a readable npz file"):
        next(read_top_tagging(tmp_path / "jets.npz"))


@pytest.mark.parametrize("column", ["E_0", "PY_3"])
def test_missing_momentum_column(tmp_path: Path, column: str) -> None:
    columns = ["other" if name == column else name for name in COLUMNS]
    write_table(tmp_path / "jets.h5", *padded_jets(), columns=columns)
    with pytest.raises(DataError, match=rf"jets\.h5: missing column `{column}`; the file has 27 columns"):
        next(read_top_tagging(tmp_path / "jets.h5"))


def test_missing_label_column(tmp_path: Path) -> None:
    write_fixed(tmp_path / "jets.h5", *padded_jets())
    with pytest.raises(DataError, match="missing column `is_top`"):
        next(read_top_tagging(tmp_path / "jets.h5", label_column="is_top"))


def test_missing_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "jets.npz", p4=padded_jets()[0])
    with pytest.raises(DataError, match=r"missing array `label`; it has p4; store `p4` and `label`"):
        next(read_top_tagging(tmp_path / "jets.npz"))


def test_wrong_shape(tmp_path: Path) -> None:
    np.savez(tmp_path / "jets.npz", p4=np.zeros((2, 5, 3)), label=np.zeros(2))
    with pytest.raises(DataError, match=r"`p4` must have shape \(jets, constituents, 4\).*got \(2, 5, 3\)"):
        next(read_top_tagging(tmp_path / "jets.npz"))


def test_batch_size_out_of_range(tmp_path: Path) -> None:
    write_npz(tmp_path / "jets.npz", *padded_jets())
    with pytest.raises(DataError, match="`batch_size` must be at least 1, got 0"):
        next(read_top_tagging(tmp_path / "jets.npz", batch_size=0))


def test_missing_compression_filter_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_table(tmp_path / "jets.h5", *padded_jets())

    def refuse(*_: object) -> None:
        raise OSError("Can't synchronously read data (required filter 'blosc' is not registered)")

    monkeypatch.setattr("geograph.readers.hdf5_tables.ColumnTable.read", refuse)
    with pytest.raises(
        DataError, match=r"compressed with a filter that h5py lacks: `pip install hdf5plugin`"
    ):
        next(read_top_tagging(tmp_path / "jets.h5"))


def test_real_jets(shared_data: Path) -> None:
    path = shared_data / "toptag" / "toptag30_train.npz"
    if not path.is_file():
        pytest.skip(f"real data not present: no file {path}")
    jets = list(read_top_tagging(path, has_beam_frame=False))
    assert (len(jets), sum(jet.label or 0 for jet in jets)) == (5980, 999)
    assert max(len(jet.p4) for jet in jets) == 30
    pt = np.hypot(jets[0].p4[:, 1], jets[0].p4[:, 2])
    assert np.all(np.diff(pt) <= 0)

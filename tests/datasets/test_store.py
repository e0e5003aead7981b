from __future__ import annotations

import json

import numpy as np
import pytest

from geograph.datasets.store import Store, StoreWriter, write_store
from geograph.errors import DataError, ShapeError
from geograph.fields import FIELDS, Field, Level

FIELDS_HERE = {
    "pos": FIELDS["pos"],
    "z": FIELDS["z"],
    "edge_index": FIELDS["edge_index"],
    "y": Field(Level.GRAPH, "float64", (-1,), "eV"),
}


def _records(counts=(3, 1, 4)):
    rng = np.random.default_rng(0)
    for count in counts:
        yield {
            "pos": rng.normal(size=(count, 3)),
            "z": rng.integers(1, 9, count),
            "edge_index": np.stack([np.zeros(count - 1, int), np.arange(1, count)]),
            "y": rng.normal(size=2),
        }


def test_what_is_written_is_read(tmp_path):
    records = list(_records())
    store = write_store(tmp_path / "s", records, FIELDS_HERE, {"name": "demo", "edges": "stored"})
    assert len(store) == 3
    assert store.attributes["name"] == "demo"
    for index, record in enumerate(records):
        read = store.record(index)
        np.testing.assert_array_equal(read["pos"], record["pos"].astype(np.float32))
        np.testing.assert_array_equal(read["z"], record["z"])
        np.testing.assert_array_equal(read["edge_index"], record["edge_index"])
        np.testing.assert_array_equal(read["y"], record["y"])
    store.verify()


def test_few_files_whatever_the_number_of_records(tmp_path):
    write_store(tmp_path / "a", _records([3] * 5), FIELDS_HERE, {})
    write_store(tmp_path / "b", _records([3] * 50), FIELDS_HERE, {})
    assert len(list((tmp_path / "a").iterdir())) == len(list((tmp_path / "b").iterdir()))


def test_digest_depends_on_content_alone(tmp_path):
    first = write_store(tmp_path / "a", _records(), FIELDS_HERE, {"name": "a"})
    second = write_store(tmp_path / "b", _records(), FIELDS_HERE, {"name": "b"})
    other = write_store(tmp_path / "c", _records((3, 1, 5)), FIELDS_HERE, {"name": "a"})
    assert first.digest() == second.digest() != other.digest()


def test_records_without_edges(tmp_path):
    store = write_store(tmp_path / "s", _records((1, 1)), FIELDS_HERE, {"edges": "stored"})
    assert store.record(1)["edge_index"].shape == (2, 0)
    store.verify()


def test_changed_file_is_found(tmp_path):
    store = write_store(tmp_path / "s", _records(), FIELDS_HERE, {})
    path = tmp_path / "s" / "z.bin"
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"z\.bin: checksum does not match.*rebuild"):
        store.verify()


def test_truncated_file_is_found(tmp_path):
    write_store(tmp_path / "s", _records(), FIELDS_HERE, {})
    path = tmp_path / "s" / "pos.bin"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataError, match=r"pos\.bin: file has 92 bytes, the manifest says 96"):
        Store(tmp_path / "s").field("pos")


def test_unfinished_store_is_refused(tmp_path):
    def broken():
        yield from _records()
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        write_store(tmp_path / "s", broken(), FIELDS_HERE, {})
    with pytest.raises(DataError, match="no manifest found; run the stage"):
        Store(tmp_path / "s")


def test_second_store_in_the_same_folder_is_refused(tmp_path):
    write_store(tmp_path / "s", _records(), FIELDS_HERE, {})
    with pytest.raises(DataError, match="already holds a store"):
        StoreWriter(tmp_path / "s", FIELDS_HERE, {})


def test_newer_format_is_refused(tmp_path):
    write_store(tmp_path / "s", _records(), FIELDS_HERE, {})
    path = tmp_path / "s" / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"format_version": 99}))
    with pytest.raises(DataError, match="store format 99 is newer"):
        Store(tmp_path / "s")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"z": np.zeros(2, int)}, "`z` has 2 rows, another node field has 3"),
        ({"pos": np.zeros((3, 2))}, r"rows of `pos` must have shape \(3,\)"),
        ({"extra": np.zeros(3)}, "record has fields"),
    ],
)
def test_inconsistent_records_are_refused(tmp_path, change, message):
    record = next(_records()) | change
    with pytest.raises(ShapeError, match=message):
        write_store(tmp_path / "s", [record], FIELDS_HERE, {})


def test_empty_store_is_refused(tmp_path):
    with pytest.raises(DataError, match="no records to write"):
        write_store(tmp_path / "s", [], FIELDS_HERE, {})

"""A store in memory serves what the one on disk does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from geograph.datasets.loader import GraphLoader
from geograph.datasets.memory import MemoryStore
from geograph.datasets.store import write_store
from geograph.errors import DataError, ShapeError
from geograph.fields import FIELDS, Field, Level

FIELDS_HERE = {
    "pos": FIELDS["pos"],
    "z": FIELDS["z"],
    "edge_index": FIELDS["edge_index"],
    "y": Field(Level.GRAPH, "float32", (-1,), "eV"),
}
ATTRIBUTES = {"edges": "stored"}


def records() -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    made = []
    for size in (4, 1, 3):
        target = np.arange(size if size > 1 else 0)
        made.append(
            {
                "pos": rng.standard_normal((size, 3)),
                "z": rng.integers(1, 9, size),
                "edge_index": np.stack([(target + 1) % size, target]),
                "y": rng.standard_normal(2),
            }
        )
    return made


def test_serves_what_the_store_on_disk_serves(tmp_path: Path) -> None:
    disk = write_store(tmp_path, records(), FIELDS_HERE, ATTRIBUTES)
    for memory in (MemoryStore.read(disk), MemoryStore.from_records(records(), FIELDS_HERE, ATTRIBUTES)):
        assert len(memory) == 3
        assert memory.digest() == disk.digest()
        assert memory.stored == disk.stored
        for index in range(3):
            for name, value in disk.record(index).items():
                np.testing.assert_array_equal(memory.record(index)[name], value)
        batches = [GraphLoader(store, range(3), batch_size=3).batch(np.arange(3)) for store in (memory, disk)]
        for key, value in batches[0].to_dict().items():
            same = torch.equal if isinstance(value, torch.Tensor) else int.__eq__
            assert same(value, batches[1][key]), key


def test_needs_no_files(tmp_path: Path) -> None:
    memory = MemoryStore.read(write_store(tmp_path, records(), FIELDS_HERE, ATTRIBUTES))
    for file in tmp_path.iterdir():
        file.unlink()
    memory.verify()
    assert GraphLoader(memory, [2, 0], batch_size=2).batch(np.array([2, 0])).num_nodes == 7


def test_change_is_found() -> None:
    memory = MemoryStore.from_records(records(), FIELDS_HERE, ATTRIBUTES)
    memory.field("pos")[0, 0] += 1
    with pytest.raises(DataError, match="`pos` was changed in memory; read it again"):
        memory.verify()


def test_bad_records_are_refused() -> None:
    with pytest.raises(DataError, match="no records given"):
        MemoryStore.from_records([], FIELDS_HERE, ATTRIBUTES)
    short = records()
    short[1] = {name: value for name, value in short[1].items() if name != "z"}
    with pytest.raises(ShapeError, match=r"record has fields \['edge_index', 'pos', 'y'\]"):
        MemoryStore.from_records(short, FIELDS_HERE, ATTRIBUTES)
    flat = records()
    flat[2]["pos"] = flat[2]["pos"][:, :2]
    with pytest.raises(ShapeError, match=r"`pos` must have shape \(3,\).*got \(2,\)"):
        MemoryStore.from_records(flat, FIELDS_HERE, ATTRIBUTES)
    uneven = records()
    uneven[0]["z"] = uneven[0]["z"][1:]
    with pytest.raises(ShapeError, match="`z` and another node field differ in length"):
        MemoryStore.from_records(uneven, FIELDS_HERE, ATTRIBUTES)

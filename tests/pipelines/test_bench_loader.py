"""The benchmark of the loader: rows of the three loaders on the same molecules."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch_geometric.loader import DataLoader

from geograph.datasets.loader import GraphLoader
from pipelines import bench_loader
from pipelines.bench_rows import KEYS


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bench_loader._STEP_MODEL, "num_hidden", 4)
    monkeypatch.setitem(bench_loader._STEP_MODEL, "num_layers", 1)


def test_rows() -> None:
    rows = bench_loader.bench_loader(20, 2)
    assert [(row["case"], row["backend"]) for row in rows] == [
        ("loader", "pyg_inmemory"),
        ("loader", "pyg_list"),
        ("loader", "geograph"),
    ]
    for row in rows:
        assert list(row) == list(KEYS)
        assert row["graphs_per_s"] == pytest.approx(20 / row["forward_s"])
        assert row["speedup_forward"] == pytest.approx(rows[0]["forward_s"] / row["forward_s"])
        assert 0 < bench_loader.loader_share(row) < math.inf
        assert row["peak_mb"] is None
    assert rows[0]["speedup_forward"] == 1


def test_all_loaders_serve_the_same_graphs(tmp_path: Path) -> None:
    store = bench_loader.random_molecules(5, tmp_path / "store")
    ours = GraphLoader(store, range(5), batch_size=5)
    collated = bench_loader.Collated(tmp_path / "collated", ours.as_list())
    batch = next(iter(ours))
    for data in (collated, ours.as_list()):
        theirs = next(iter(DataLoader(data, batch_size=5)))
        for name in ("z", "pos", "y", "edge_index"):
            assert torch.equal(theirs[name], batch[name]), name

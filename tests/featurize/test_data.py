from __future__ import annotations

import numpy as np
import pytest
import torch

from geograph.datasets.loader import GraphLoader
from geograph.datasets.store import write_store
from geograph.errors import ShapeError
from geograph.featurize.data import as_data
from geograph.fields import FIELDS, Field, Level


def _fields(num_nodes: int, seed: int, edge_index: np.ndarray | None = None) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    fields = {
        "z": rng.integers(1, 9, num_nodes),
        "pos": rng.standard_normal((num_nodes, 3)).astype(np.float32),
        "y": rng.standard_normal(2).astype(np.float32),
    }
    return fields if edge_index is None else fields | {"edge_index": edge_index.astype(np.int32)}


def test_complete_edges_and_bookkeeping_are_added():
    data = as_data(_fields(3, 0), record_index=7)
    assert data.edge_index.tolist() == [[1, 2, 0, 2, 0, 1], [0, 0, 1, 1, 2, 2]]
    assert data.edge_ptr.tolist() == [0, 2, 4, 6]
    assert (data.num_graphs, data.num_nodes) == (1, 3)
    assert (data.batch.tolist(), data.ptr.tolist(), data.record_index.tolist()) == ([0, 0, 0], [0, 3], [7])
    assert data.y.shape == (1, 2)
    assert data.edge_index.dtype == data.edge_ptr.dtype == data.batch.dtype == torch.int64


def test_class_labels_are_one_number_for_each_graph():
    data = as_data(_fields(2, 0) | {"y": np.array(3)})
    assert data.y.tolist() == [3]
    assert data.y.dtype == torch.int64


@pytest.mark.parametrize("has_edges", [False, True])
def test_one_graph_is_what_the_loader_gives(tmp_path, has_edges: bool):
    edges = np.array([[1, 2, 0], [0, 0, 3]]) if has_edges else None
    records = [_fields(4, seed, edges) for seed in range(3)]
    schema = {name: FIELDS[name] for name in records[0]} | {"y": Field(Level.GRAPH, "float32", (-1,), "eV")}
    store = write_store(tmp_path / "store", records, schema, {"edges": "stored" if has_edges else "complete"})
    loaded = GraphLoader(store, [1], batch_size=1).batch(np.array([1]))
    made = as_data(records[1], record_index=1)
    assert set(made.keys()) == set(loaded.keys())
    for name in made.keys():  # noqa: SIM118  (Data is no mapping)
        if isinstance(made[name], torch.Tensor):
            assert made[name].dtype == loaded[name].dtype
            torch.testing.assert_close(made[name], loaded[name], rtol=0, atol=0)
        else:
            assert made[name] == loaded[name]


def test_node_fields_of_different_length():
    broken = _fields(3, 0) | {"z": np.array([1, 2])}
    with pytest.raises(ShapeError, match="node fields of one length, got .*'z': 2, 'pos': 3"):
        as_data(broken)
    with pytest.raises(ShapeError, match="node fields of one length, got none"):
        as_data({"y": np.zeros(1)})

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geograph.datasets.loader import GraphLoader, complete_graph_edges, ragged_arange
from geograph.datasets.store import write_store
from geograph.errors import DataError
from geograph.fields import FIELDS, Field, Level

COUNTS = (3, 1, 4, 2, 6, 5)


def _store(folder, edges="complete"):
    rng = np.random.default_rng(1)
    fields = {"pos": FIELDS["pos"], "y": Field(Level.GRAPH, "float64", (1,), "eV")}
    if edges == "stored":
        fields["edge_index"] = FIELDS["edge_index"]
    records = []
    for count in COUNTS:
        record = {"pos": rng.normal(size=(count, 3)), "y": rng.normal(size=1)}
        if edges == "stored":  # a directed ring: node k sends to k + 1
            target = np.arange(count)
            record["edge_index"] = np.stack([(target - 1) % count, target])[:, : count if count > 1 else 0]
        records.append(record)
    return write_store(folder, records, fields, {"edges": edges})


@given(st.lists(st.integers(0, 5), max_size=8))
def test_ragged_arange(lengths):
    expected = [value for length in lengths for value in range(length)]
    assert ragged_arange(np.array(lengths, dtype=int)).tolist() == expected


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_complete_edges_against_brute_force(counts):
    edge_index, edge_ptr = complete_graph_edges(np.array(counts))
    expected, offset = [], 0
    for count in counts:
        expected += [(offset + j, offset + i) for i in range(count) for j in range(count) if i != j]
        offset += count
    assert list(map(tuple, edge_index.T)) == expected
    degree = np.bincount(edge_index[1], minlength=offset)
    np.testing.assert_array_equal(np.diff(edge_ptr), degree)


@pytest.mark.parametrize("edges", ["complete", "stored"])
def test_batch_equals_its_records(tmp_path, edges):
    store = _store(tmp_path, edges)
    loader = GraphLoader(store, range(len(COUNTS)), batch_size=4)
    batch = loader.batch(np.array([4, 1, 0]))
    assert batch.num_graphs == 3
    assert batch.num_nodes == 10
    assert batch.ptr.tolist() == [0, 6, 7, 10]
    assert batch.batch.tolist() == [0] * 6 + [1] + [2] * 3
    assert batch.record_index.tolist() == [4, 1, 0]
    for graph, record in enumerate((4, 1, 0)):
        rows = slice(int(batch.ptr[graph]), int(batch.ptr[graph + 1]))
        np.testing.assert_array_equal(batch.pos[rows], store.record(record)["pos"])
    assert bool((batch.batch[batch.edge_index[0]] == batch.batch[batch.edge_index[1]]).all())
    assert bool((batch.edge_index[1].diff() >= 0).all())
    degree = torch.bincount(batch.edge_index[1], minlength=10)
    assert torch.equal(batch.edge_ptr.diff(), degree)
    if edges == "stored":
        np.testing.assert_array_equal(
            batch.edge_index[:, batch.edge_index[1] >= 7] - 7, store.record(0)["edge_index"]
        )


def test_every_record_once_in_each_epoch(tmp_path):
    loader = GraphLoader(_store(tmp_path), range(len(COUNTS)), batch_size=4, shuffle=True, seed=3)
    seen = [record for batch in loader for record in batch.record_index.tolist()]
    assert sorted(seen) == list(range(len(COUNTS)))
    assert len(loader) == 2


def test_order_is_a_function_of_seed_and_epoch(tmp_path):
    store = _store(tmp_path)

    def order(seed, epoch):
        loader = GraphLoader(store, range(len(COUNTS)), batch_size=1, shuffle=True, seed=seed)
        loader.set_epoch(epoch)
        return [int(batch.record_index[0]) for batch in loader]

    assert order(3, 5) == order(3, 5)
    assert order(3, 5) != order(3, 6)
    assert order(3, 5) != order(4, 5)


def test_max_edges_bounds_batches_and_loses_nothing(tmp_path):
    loader = GraphLoader(_store(tmp_path), range(len(COUNTS)), batch_size=4, max_edges=20)
    sizes = [(batch.edge_index.shape[1], batch.num_graphs) for batch in loader]
    assert sum(graphs for _, graphs in sizes) == len(COUNTS)
    assert all(edges <= 20 or graphs == 1 for edges, graphs in sizes)
    assert len(loader) == len(sizes)


def test_bad_selection_is_refused(tmp_path):
    store = _store(tmp_path)
    with pytest.raises(DataError, match="no records selected"):
        GraphLoader(store, [], batch_size=2)
    with pytest.raises(DataError, match="record 6 asked for, there are 6"):
        GraphLoader(store, [6], batch_size=2)

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_geometric.loader import DataLoader

from geograph.datasets.loader import GraphLoader
from geograph.datasets.store import write_store
from geograph.errors import ConfigError, DataError
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


def test_values_that_make_no_sense_are_refused(tmp_path):
    store = _store(tmp_path)
    with pytest.raises(ConfigError, match="`batch_size` must be at least 1, got 0"):
        GraphLoader(store, [0], batch_size=0)
    with pytest.raises(ConfigError, match="`max_edges` must be at least 1, got 0"):
        GraphLoader(store, [0], batch_size=1, max_edges=0)
    with pytest.raises(ConfigError, match="`balance_edges` and `max_edges` exclude each other"):
        GraphLoader(store, [0], batch_size=1, max_edges=9, balance_edges=True)
    with pytest.raises(DataError, match=r"columns \[1\] of `y` asked for, its shape is \(6, 1\)"):
        GraphLoader(store, [0], batch_size=1, y_columns=[1])
    with pytest.raises(DataError, match="record -1 asked for"):
        GraphLoader(store, [3, -1], batch_size=1)


@pytest.mark.parametrize("edges", ["complete", "stored"])
def test_balanced_epochs(tmp_path, edges):
    loader = GraphLoader(
        _store(tmp_path, edges), [5, 4, 3, 2, 0], batch_size=2, shuffle=True, seed=3, balance_edges=True
    )

    def epoch(number):
        loader.set_epoch(number)
        return [batch.record_index.tolist() for batch in loader]

    orders = [epoch(number) for number in range(8)]
    for order in orders:
        assert len(order) == len(loader) == 3
        assert sorted(record for batch in order for record in batch) == [0, 2, 3, 4, 5]
        # Edges (complete): 30, 20, 12, 6, 2. The largest stays alone, the smallest joins the third.
        assert {frozenset(batch) for batch in order} == {frozenset([4]), frozenset([5, 3]), frozenset([2, 0])}
    assert orders == [epoch(number) for number in range(8)]
    assert len({str(order) for order in orders}) > 1


def test_order_is_settled_when_the_pass_begins(tmp_path):
    loader = GraphLoader(_store(tmp_path), range(len(COUNTS)), batch_size=2, shuffle=True)
    expected = [batch.record_index.tolist() for batch in loader]
    begun = iter(loader)
    loader.set_epoch(1)
    assert [batch.record_index.tolist() for batch in begun] == expected


def test_columns_of_y(tmp_path):
    fields = {"pos": FIELDS["pos"], "y": Field(Level.GRAPH, "float32", (3,), "eV")}
    records = [{"pos": np.zeros((2, 3)), "y": [10 * k, 10 * k + 1, 10 * k + 2]} for k in range(3)]
    store = write_store(tmp_path, records, fields, {"edges": "complete"})
    loader = GraphLoader(store, range(3), batch_size=3, y_columns=[2, 0])
    assert loader.batch(np.array([1, 2])).y.tolist() == [[12, 10], [22, 20]]


def test_batches_own_their_memory(tmp_path):
    """Nobody who changes a batch changes the next one, or the loader's indices."""
    loader = GraphLoader(_store(tmp_path), range(len(COUNTS)), batch_size=2)
    expected = [batch.to_dict() for batch in loader]
    for batch in loader:
        for value in batch.to_dict().values():
            if isinstance(value, torch.Tensor):
                value.zero_()
    for batch, before in zip(loader, expected, strict=True):
        assert all(torch.equal(batch[key], value) for key, value in before.items() if torch.is_tensor(value))


@pytest.mark.parametrize("edges", ["complete", "stored"])
def test_single_graphs(tmp_path, edges):
    store = _store(tmp_path, edges)
    loader = GraphLoader(store, [4, 1, 0], batch_size=2)
    listed = loader.as_list()
    assert [graph.record for graph in listed] == [4, 1, 0]
    assert [graph.record for graph in loader.graphs[1:]] == [1, 0]
    assert loader.graphs[-1].record == 0
    for graph in listed:
        record = store.record(graph.record)
        assert sorted(graph.keys()) == ["edge_index", "num_nodes", "pos", "record", "y"]
        np.testing.assert_array_equal(graph.pos, record["pos"])
        np.testing.assert_array_equal(graph.y[0], record["y"])
    with pytest.raises(IndexError, match="graph 3 asked for, the loader has 3"):
        loader.graphs[3]


@pytest.mark.parametrize("edges", ["complete", "stored"])
def test_single_graphs_collate_to_our_batch(tmp_path, edges):
    loader = GraphLoader(_store(tmp_path, edges), range(len(COUNTS)), batch_size=len(COUNTS))
    theirs, ours = next(iter(DataLoader(loader.graphs, batch_size=len(COUNTS)))), next(iter(loader))
    for name in ("pos", "y", "edge_index", "batch", "ptr"):
        assert torch.equal(theirs[name], ours[name]), name
    assert theirs.num_graphs == ours.num_graphs
    assert torch.equal(theirs.record, ours.record_index)

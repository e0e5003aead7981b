"""Batches by one gather from a store: no loop over graphs, no object for each record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Int
from torch_geometric.data import Data

from geograph.datasets.store import Store
from geograph.errors import DataError
from geograph.fields import Level


def ragged_arange(lengths: Int[np.ndarray, " n"]) -> Int[np.ndarray, " total"]:
    """Concatenate `arange(length)` for every length."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) - np.repeat(ends - lengths, lengths)


def complete_graph_edges(
    num_nodes: Int[np.ndarray, " g"],
) -> tuple[Int[np.ndarray, "2 e"], Int[np.ndarray, " n1"]]:
    """Edges of disjoint complete graphs without self-loops, sorted by target, then source.

    Parameters
    ----------
    num_nodes
        Number of nodes of each graph.

    Returns
    -------
    tuple
        `edge_index` (row 0 source, row 1 target) and the CSR pointer over targets.
    """
    total = int(num_nodes.sum())
    degree = np.repeat(num_nodes - 1, num_nodes)
    edge_ptr = np.concatenate([[0], np.cumsum(degree)])
    target = np.repeat(np.arange(total), degree)
    start = np.repeat(np.cumsum(num_nodes) - num_nodes, num_nodes)[target]
    rank = ragged_arange(degree)
    source = start + rank + (rank >= target - start)
    return np.stack([source, target]), edge_ptr


class GraphLoader:
    """Iterate over batches of a store.

    The order of an epoch is a pure function of `(seed, epoch)`, so that an interrupted run can be continued
    with the same batches. The last batch may be smaller; nothing is dropped.

    Parameters
    ----------
    store
        Graph store; attribute `edges` is "complete" (edges are made here) or "stored".
    indices
        Records to serve.
    batch_size
        Graphs in one batch.
    shuffle
        Draw a new order each epoch.
    seed
        Seed of the order.
    y_columns
        Columns of `y` to serve; all where it is None.
    max_edges
        If given, batches are cut so that none holds more edges, unless a single graph does.

    Raises
    ------
    DataError
        If `indices` is empty or out of range.
    """

    def __init__(
        self,
        store: Store,
        indices: Sequence[int] | np.ndarray,
        *,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        y_columns: Sequence[int] | None = None,
        max_edges: int | None = None,
    ) -> None:
        self.store = store
        self.indices = np.asarray(indices, dtype=np.int64)
        if len(self.indices) == 0:
            raise DataError("no records selected", source=store.folder, remedy="check the split")
        if self.indices.min() < 0 or self.indices.max() >= len(store):
            raise DataError(
                f"record {self.indices.max()} asked for, there are {len(store)}", source=store.folder
            )
        self.batch_size, self.shuffle, self.seed, self.max_edges = batch_size, shuffle, seed, max_edges
        self.y_columns = None if y_columns is None else list(y_columns)
        self.epoch = 0
        self._node_ptr = np.asarray(store.pointer(Level.NODE))
        self._has_edges = store.attributes["edges"] == "stored"
        self._edge_ptr = np.asarray(store.pointer(Level.EDGE)) if self._has_edges else None

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration follows."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._bounds(self._order())) - 1

    def __iter__(self) -> Iterator[Data]:
        order = self._order()
        bounds = self._bounds(order)
        for start, stop in zip(bounds[:-1], bounds[1:], strict=True):
            yield self.batch(order[start:stop])

    def _order(self) -> np.ndarray:
        if not self.shuffle:
            return self.indices
        generator = np.random.default_rng([self.seed, self.epoch])
        return self.indices[generator.permutation(len(self.indices))]

    def _num_edges(self, order: np.ndarray) -> np.ndarray:
        if self._edge_ptr is not None:
            return self._edge_ptr[order + 1] - self._edge_ptr[order]
        nodes = self._node_ptr[order + 1] - self._node_ptr[order]
        return nodes * (nodes - 1)

    def _bounds(self, order: np.ndarray) -> list[int]:
        if self.max_edges is None:
            return [*range(0, len(order), self.batch_size), len(order)]
        total = np.concatenate([[0], np.cumsum(self._num_edges(order))])
        bounds = [0]
        while bounds[-1] < len(order):  # one step for each batch
            fits = int(np.searchsorted(total, total[bounds[-1]] + self.max_edges, side="right")) - 1
            bounds.append(min(max(fits, bounds[-1] + 1), bounds[-1] + self.batch_size, len(order)))
        return bounds

    def batch(self, records: np.ndarray) -> Data:
        """Gather the given records into one batch (see the class for the order of edges)."""
        starts = self._node_ptr[records]
        counts = self._node_ptr[records + 1] - starts
        rows = np.repeat(starts, counts) + ragged_arange(counts)
        data = Data()
        for name, stored in self.store.stored.items():
            if stored.field.level is Level.NODE:
                data[name] = torch.from_numpy(self.store.field(name)[rows])
            elif stored.field.level is Level.GRAPH:
                data[name] = torch.from_numpy(self.store.field(name)[records])
        if self.y_columns is not None:
            data.y = data.y[:, self.y_columns]
        self._add_edges(data, records, counts)
        data.batch = torch.from_numpy(np.repeat(np.arange(len(records)), counts))
        data.ptr = torch.from_numpy(np.concatenate([[0], np.cumsum(counts)]))
        data.record_index = torch.from_numpy(np.asarray(records))
        data.num_graphs = len(records)
        data.num_nodes = len(rows)
        return data

    def _add_edges(self, data: Data, records: np.ndarray, counts: np.ndarray) -> None:
        if self._edge_ptr is None:
            edge_index, edge_ptr = complete_graph_edges(counts)
        else:
            starts = self._edge_ptr[records]
            num_edges = self._edge_ptr[records + 1] - starts
            rows = np.repeat(starts, num_edges) + ragged_arange(num_edges)
            shift = np.repeat(np.cumsum(counts) - counts, num_edges)
            edge_index = self.store.field("edge_index")[rows].T.astype(np.int64) + shift
            degree = np.bincount(edge_index[1], minlength=int(counts.sum()))
            edge_ptr = np.concatenate([[0], np.cumsum(degree)])
            if "edge_attr" in self.store:
                data.edge_attr = torch.from_numpy(self.store.field("edge_attr")[rows])
        data.edge_index = torch.from_numpy(np.ascontiguousarray(edge_index))
        data.edge_ptr = torch.from_numpy(edge_ptr)

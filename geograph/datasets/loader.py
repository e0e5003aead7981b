"""Batches by one gather from a store: no loop over graphs, no object for each record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch_geometric.data import Data

from geograph.datasets.batching import balance, bounds_by_edges, even_bounds
from geograph.datasets.edges import complete_graph_edges, ragged_arange, ragged_rows, row_pointer
from geograph.datasets.store import Store
from geograph.errors import ConfigError, DataError
from geograph.fields import Level

__all__ = ["GraphLoader", "Graphs", "complete_graph_edges", "ragged_arange"]


class GraphLoader:
    """Iterate over batches of a store.

    The order of an epoch is a pure function of `(seed, epoch)`, so that an interrupted run can be continued
    with the same batches. The last batch may be smaller; nothing is dropped. Edges are sorted by target;
    those that are made here also by source.

    Parameters
    ----------
    store
        Graph store, on disk or in memory; attribute `edges` is "complete" (edges are made here) or "stored".
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
    balance_edges
        Deal the graphs to batches of about equal numbers of edges (see `batching.balance`): every batch gets
        graphs of all sizes, so that batches take the same time and memory.

    Raises
    ------
    ConfigError
        If `batch_size` or `max_edges` is below 1, or both `max_edges` and `balance_edges` are given.
    DataError
        If `indices` is empty or out of range, or `y_columns` names a column that is not there.
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
        balance_edges: bool = False,
    ) -> None:
        self.store = store
        self.indices = np.asarray(indices, dtype=np.int64)
        self.batch_size, self.shuffle, self.seed = batch_size, shuffle, seed
        self.max_edges, self.balance_edges = max_edges, balance_edges
        self.y_columns = None if y_columns is None else list(y_columns)
        self.epoch = 0
        self._check()
        levels = {name: stored.field.level for name, stored in store.stored.items()}
        # Views as plain arrays: the subclass of memory maps costs time at every access.
        self._fields = {name: np.asarray(store.field(name)) for name in levels}
        self._node_names = [name for name, level in levels.items() if level is Level.NODE]
        self._graph_names = [name for name, level in levels.items() if level is Level.GRAPH]
        self._node_ptr = np.array(store.pointer(Level.NODE))
        self._num_nodes = np.diff(self._node_ptr)
        self._edge_ptr: np.ndarray | None = None
        self._has_no_edges = store.attributes["edges"] == "none"
        if store.attributes["edges"] == "stored":
            self._edge_ptr = np.array(store.pointer(Level.EDGE))

    def _check(self) -> None:
        for name, value in (("batch_size", self.batch_size), ("max_edges", self.max_edges)):
            if value is not None and value < 1:
                raise ConfigError(f"`{name}` must be at least 1, got {value}.")
        if self.balance_edges and self.max_edges is not None:
            raise ConfigError(
                "`balance_edges` and `max_edges` exclude each other: leave one out "
                f"(got `max_edges` = {self.max_edges})."
            )
        if len(self.indices) == 0:
            raise DataError("no records selected", source=self.store.folder, remedy="check the split")
        bad = self.indices[(self.indices < 0) | (self.indices >= len(self.store))]
        if len(bad):
            raise DataError(
                f"record {bad[0]} asked for, there are {len(self.store)}", source=self.store.folder
            )
        if self.y_columns is not None:
            shape = self.store.field("y").shape
            if len(shape) != 2 or not all(0 <= column < shape[1] for column in self.y_columns):
                raise DataError(
                    f"columns {self.y_columns} of `y` asked for, its shape is {shape}",
                    source=self.store.folder,
                )

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration follows."""
        self.epoch = epoch

    def __len__(self) -> int:
        if self.max_edges is None:
            return -(-len(self.indices) // self.batch_size)
        return len(self._plan()[1]) - 1

    def __iter__(self) -> Iterator[Data]:
        # The order is settled now and not at the first batch, whatever happens to `epoch` meanwhile.
        order, bounds = self._plan()
        return (self.batch(order[start:stop]) for start, stop in zip(bounds[:-1], bounds[1:], strict=True))

    def _plan(self) -> tuple[np.ndarray, list[int]]:
        """Return the records in the order of this epoch, and the bounds of the batches among them."""
        order, generator = self.indices, None
        if self.shuffle:
            generator = np.random.default_rng([self.seed, self.epoch])
            order = order[generator.permutation(len(order))]
        if self.balance_edges:
            places, bounds = balance(self._num_edges(order), self.batch_size, generator)
            return order[places], bounds
        if self.max_edges is not None:
            return order, bounds_by_edges(self._num_edges(order), self.batch_size, self.max_edges)
        return order, even_bounds(len(order), self.batch_size)

    def _num_edges(self, order: np.ndarray) -> np.ndarray:
        if self._edge_ptr is not None:
            return self._edge_ptr[order + 1] - self._edge_ptr[order]
        if self._has_no_edges:
            return np.zeros(len(order), np.int64)
        return self._num_nodes[order] * (self._num_nodes[order] - 1)

    def batch(self, records: np.ndarray) -> Data:
        """Gather the given records into one batch (see the class for the order of edges)."""
        counts = self._num_nodes[records]
        values = self._gather(records, counts)
        edge_index, edge_ptr = self._edges(records, counts, values)
        num_graphs = len(records)
        values["edge_index"] = torch.from_numpy(edge_index)
        values["edge_ptr"] = torch.from_numpy(edge_ptr)
        values["batch"] = torch.from_numpy(np.repeat(np.arange(num_graphs), counts))
        values["ptr"] = torch.from_numpy(row_pointer(counts))
        values["record_index"] = torch.from_numpy(np.array(records))
        values["num_graphs"] = num_graphs
        values["num_nodes"] = len(edge_ptr) - 1
        return Data().update(values)

    def _gather(self, records: np.ndarray, counts: np.ndarray) -> dict[str, Any]:
        """Node and graph fields of the given records."""
        rows = ragged_rows(self._node_ptr[records], counts)
        values = {name: torch.from_numpy(self._fields[name].take(rows, axis=0)) for name in self._node_names}
        for name in self._graph_names:
            values[name] = torch.from_numpy(self._fields[name].take(records, axis=0))
        if self.y_columns is not None:
            values["y"] = values["y"][:, self.y_columns]
        return values

    def _edges(
        self, records: np.ndarray, counts: np.ndarray, values: dict[str, Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return `edge_index` and its pointer over targets; stored edge features are added to `values`."""
        if self._edge_ptr is None:
            if self._has_no_edges:
                return np.zeros((2, 0), np.int64), np.zeros(int(counts.sum()) + 1, np.int64)
            return complete_graph_edges(counts)
        num_edges = self._edge_ptr[records + 1] - self._edge_ptr[records]
        rows = ragged_rows(self._edge_ptr[records], num_edges)
        shift = np.repeat(np.cumsum(counts) - counts, num_edges)
        edge_index = np.empty((2, len(rows)), dtype=np.int64)
        np.add(self._fields["edge_index"].take(rows, axis=0).T, shift, out=edge_index)
        if "edge_attr" in self._fields:
            values["edge_attr"] = torch.from_numpy(self._fields["edge_attr"].take(rows, axis=0))
        return edge_index, row_pointer(np.bincount(edge_index[1], minlength=int(counts.sum())))

    @property
    def graphs(self) -> Graphs:
        """The records one by one, as `torch_geometric` objects that are made on request."""
        return Graphs(self)

    def as_list(self) -> list[Data]:
        """Return one object for each record, in the order of `indices`, as `torch_geometric` expects them."""
        return list(self.graphs)


class Graphs(Sequence[Data]):
    """The records of a loader as a sequence of single graphs, in the order of its `indices`.

    Each is made when it is asked for, without what belongs to a batch (`batch`, `ptr`, `edge_ptr`,
    `num_graphs`), so that `torch_geometric.loader.DataLoader` takes the sequence as a data set. `record` is
    the number of the record in the store.

    Parameters
    ----------
    loader
        Loader whose records, columns and edges are served.
    """

    def __init__(self, loader: GraphLoader) -> None:
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader.indices)

    def __getitem__(self, index: Any) -> Any:
        """Return one graph, or a list of them for a slice.

        Raises
        ------
        IndexError
            If the index is out of range.
        """
        if isinstance(index, slice):
            return [self[position] for position in range(len(self))[index]]
        if not -len(self) <= index < len(self):
            raise IndexError(f"graph {index} asked for, the loader has {len(self)}.")
        record = int(self._loader.indices[index])
        data = self._loader.batch(np.array([record]))
        for name in ("batch", "ptr", "edge_ptr", "num_graphs", "record_index"):
            del data[name]
        data.record = record
        return data

"""Featurized fields -> one-graph batch, as every model and task receives it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch_geometric.data import Data

from geograph.errors import ShapeError
from geograph.featurize.edges import complete_edges, edge_ptr
from geograph.fields import FIELDS, Level


def as_data(fields: Mapping[str, np.ndarray], *, record_index: int = 0) -> Data:
    """Return a batch of one graph: the fields as tensors, edges with their pointer, and the numbering.

    Complete edges are made here if there are none among the fields.

    Parameters
    ----------
    fields
        Arrays by field name, as the featurizers return them.
    record_index
        Number of the record in its data set.

    Raises
    ------
    ShapeError
        If there is no node field, or node fields differ in length.
    """
    lengths = {name: len(fields[name]) for name in fields if FIELDS[name].level is Level.NODE}
    if len(set(lengths.values())) != 1:
        raise ShapeError(f"`fields` must hold node fields of one length, got {lengths or 'none'}.")
    num_nodes = next(iter(lengths.values()))
    data = Data()
    for name, values in fields.items():
        is_graph_level = FIELDS[name].level is Level.GRAPH
        data[name] = torch.from_numpy(np.array(values[None] if is_graph_level else values))
    edge_index = (
        fields["edge_index"].astype(np.int64) if "edge_index" in fields else complete_edges(num_nodes)
    )
    data.edge_index = torch.from_numpy(np.array(edge_index, order="C"))
    data.edge_ptr = torch.from_numpy(edge_ptr(edge_index, num_nodes))
    data.batch = torch.zeros(num_nodes, dtype=torch.int64)
    data.ptr = torch.tensor([0, num_nodes])
    data.record_index = torch.tensor([record_index])
    data.num_graphs = 1
    data.num_nodes = num_nodes
    return data

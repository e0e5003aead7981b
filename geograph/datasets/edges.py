"""Edges of a batch, made by arithmetic on whole arrays."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int


def ragged_arange(lengths: Int[np.ndarray, " n"]) -> Int[np.ndarray, " total"]:
    """Concatenate `arange(length)` for every length."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) - np.repeat(ends - lengths, lengths)


def ragged_rows(starts: Int[np.ndarray, " n"], lengths: Int[np.ndarray, " n"]) -> Int[np.ndarray, " total"]:
    """Concatenate `arange(start, start + length)` for every pair."""
    ends = np.cumsum(lengths)
    rows = np.repeat(starts - ends + lengths, lengths)
    rows += np.arange(len(rows))
    return rows


def row_pointer(lengths: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n1"]:
    """CSR pointer of rows with the given lengths, one longer than these."""
    pointer = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=pointer[1:])
    return pointer


def complete_graph_edges(
    num_nodes: Int[np.ndarray, " g"],
) -> tuple[Int[np.ndarray, "2 e"], Int[np.ndarray, " n1"]]:
    """Edges of disjoint complete graphs without self-loops, sorted by target, then source.

    The sources of one target are its graph's nodes in order, without itself: with `e` the number of the
    edge, `first` the first node of the graph and `ptr` the first edge of the target, the source is
    `e + first - ptr` before the target and one more behind it.

    Parameters
    ----------
    num_nodes
        Number of nodes of each graph.

    Returns
    -------
    tuple
        `edge_index` (row 0 source, row 1 target) and the CSR pointer over targets.
    """
    first = np.repeat(np.cumsum(num_nodes) - num_nodes, num_nodes)
    degree = np.repeat(num_nodes - 1, num_nodes)
    edge_ptr = row_pointer(degree)
    node = np.arange(len(degree))
    shift = np.empty((len(node), 2), dtype=np.int64)
    np.subtract(first, edge_ptr[:-1], out=shift[:, 0])
    np.add(shift[:, 0], 1, out=shift[:, 1])
    width = np.empty_like(shift)
    np.subtract(node, first, out=width[:, 0])
    np.subtract(degree, width[:, 0], out=width[:, 1])
    num_edges = int(edge_ptr[-1])
    edge_index = np.empty((2, num_edges), dtype=np.int64)
    np.add(np.repeat(shift.ravel(), width.ravel()), np.arange(num_edges), out=edge_index[0])
    edge_index[1] = np.repeat(node, degree)
    return edge_index, edge_ptr

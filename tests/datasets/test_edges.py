"""Edges by arithmetic against loops."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from geograph.datasets.edges import complete_graph_edges, ragged_arange, ragged_rows, row_pointer


@given(st.lists(st.integers(0, 5), max_size=8))
def test_ragged_arange(lengths: list[int]) -> None:
    expected = [value for length in lengths for value in range(length)]
    assert ragged_arange(np.array(lengths, dtype=int)).tolist() == expected


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=8))
def test_ragged_rows(pairs: list[tuple[int, int]]) -> None:
    expected = [value for start, length in pairs for value in range(start, start + length)]
    starts, lengths = np.array(pairs, dtype=int).reshape(-1, 2).T
    assert ragged_rows(starts, lengths).tolist() == expected


@given(st.lists(st.integers(0, 6), max_size=6))
def test_row_pointer(lengths: list[int]) -> None:
    pointer = row_pointer(np.array(lengths, dtype=int))
    assert pointer.tolist() == [sum(lengths[:end]) for end in range(len(lengths) + 1)]


@given(st.lists(st.integers(1, 6), max_size=5))
def test_complete_edges_against_brute_force(counts: list[int]) -> None:
    edge_index, edge_ptr = complete_graph_edges(np.array(counts, dtype=int))
    expected, offset = [], 0
    for count in counts:
        expected += [(offset + j, offset + i) for i in range(count) for j in range(count) if i != j]
        offset += count
    assert list(map(tuple, edge_index.T)) == expected
    assert edge_index.dtype == edge_ptr.dtype == np.int64
    degree = np.bincount(edge_index[1], minlength=offset)
    np.testing.assert_array_equal(np.diff(edge_ptr), degree)

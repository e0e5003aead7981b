"""Batches by number of edges: bounds hold, nothing is lost, balance is better than chance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geograph.datasets.batching import balance, bounds_by_edges, even_bounds

EDGES = st.lists(st.integers(0, 40), min_size=1, max_size=30)


def sums(num_edges: np.ndarray, bounds: list[int]) -> np.ndarray:
    return np.add.reduceat(num_edges, bounds[:-1])


@given(EDGES, st.integers(1, 7))
def test_balanced_batches_hold_every_record_once(num_edges: list[int], batch_size: int) -> None:
    places, bounds = balance(np.array(num_edges), batch_size, np.random.default_rng(0))
    assert sorted(places.tolist()) == list(range(len(num_edges)))
    assert len(bounds) == len(even_bounds(len(num_edges), batch_size))
    sizes = np.diff(bounds)
    assert sizes.sum() == len(num_edges)
    assert sizes.max() - sizes.min() <= 1
    assert sizes.max() <= batch_size


@given(EDGES, st.integers(1, 7))
def test_batches_differ_by_one_record_at_most(num_edges: list[int], batch_size: int) -> None:
    """The larger of a round goes to the lighter batch, so no difference exceeds the largest record."""
    values = np.array(num_edges)
    places, bounds = balance(values, batch_size, None)
    totals = sums(values[places], bounds)
    assert totals.max() - totals.min() <= values.max()


def test_spread_shrinks_many_times() -> None:
    sizes = np.clip(np.random.default_rng(1).normal(18, 3, 5000).round(), 3, 29).astype(int)
    num_edges = sizes * (sizes - 1)
    generator = np.random.default_rng(2)
    plain = sums(generator.permutation(num_edges), even_bounds(5000, 50))
    places, bounds = balance(num_edges, 50, generator)
    assert sums(num_edges[places], bounds).std() < 0.04 * plain.std()


def test_equal_records_are_dealt_as_given() -> None:
    """Identity control: without anything to balance, the deal is the order itself, round by round."""
    places, bounds = balance(np.full(6, 4), 2, None)
    assert (places.tolist(), bounds) == ([0, 3, 1, 4, 2, 5], [0, 2, 4, 6])


def test_generator_shuffles_the_batches_alone() -> None:
    num_edges = np.arange(40)
    plain, bounds = balance(num_edges, 4, None)
    shuffled, _ = balance(num_edges, 4, np.random.default_rng(0))
    parts = [set(np.split(places, bounds[1:-1])[0].tolist()) for places in (plain, shuffled)]
    assert parts[0] != parts[1]
    batches = [{tuple(part) for part in np.split(places, bounds[1:-1])} for places in (plain, shuffled)]
    assert batches[0] == batches[1]


@given(EDGES, st.integers(1, 7), st.integers(1, 90))
def test_bounds_by_edges(num_edges: list[int], batch_size: int, max_edges: int) -> None:
    bounds = bounds_by_edges(np.array(num_edges), batch_size, max_edges)
    sizes = np.diff(bounds)
    assert (bounds[0], bounds[-1]) == (0, len(num_edges))
    assert 1 <= sizes.min() <= sizes.max() <= batch_size
    totals = sums(np.array(num_edges), bounds)
    assert ((totals <= max_edges) | (sizes == 1)).all()


@pytest.mark.parametrize(("count", "bounds"), [(6, [0, 3, 6]), (7, [0, 3, 6, 7]), (2, [0, 2])])
def test_even_bounds(count: int, bounds: list[int]) -> None:
    assert even_bounds(count, 3) == bounds

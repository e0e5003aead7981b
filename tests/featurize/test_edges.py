from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geograph.errors import ConfigError, DataError
from geograph.featurize.edges import (
    angular_knn_edges,
    complete_edges,
    edge_ptr,
    edges_by_rule,
    knn_edges,
    mesh_edges,
    radius_edges,
)

SEEDS = st.integers(0, 2**32 - 1)


def _points(seed: int, num: int, is_grid: bool) -> np.ndarray:
    """Points in a box; on a coarse grid many distances are equal and some points coincide."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 3, (num, 3)).astype(float) if is_grid else rng.standard_normal((num, 3))


def _check_order(edge_index: np.ndarray) -> None:
    assert edge_index.dtype == np.int64
    assert (edge_index[0] != edge_index[1]).all()
    pairs = edge_index[::-1].T.tolist()
    assert pairs == sorted(pairs)
    assert len({tuple(pair) for pair in pairs}) == len(pairs)


def test_complete_edges():
    np.testing.assert_array_equal(complete_edges(3), [[1, 2, 0, 2, 0, 1], [0, 0, 1, 1, 2, 2]])
    assert complete_edges(1).shape == (2, 0)
    assert complete_edges(0).shape == (2, 0)
    np.testing.assert_array_equal(edge_ptr(complete_edges(3), 3), [0, 2, 4, 6])
    np.testing.assert_array_equal(edge_ptr(complete_edges(1), 1), [0, 0])


def test_pointer_of_isolated_nodes():
    np.testing.assert_array_equal(edge_ptr(np.array([[3, 0, 1], [1, 3, 3]]), 5), [0, 0, 1, 1, 3, 3])


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.integers(1, 20), st.booleans(), st.sampled_from([0.5, 1.0, np.sqrt(2), 10.0]))
def test_radius_edges_against_all_distances(seed: int, num: int, is_grid: bool, radius: float):
    pos = _points(seed, num, is_grid)
    edge_index = radius_edges(pos, float(radius))
    _check_order(edge_index)
    distance = np.linalg.norm(pos[:, None] - pos[None], axis=2)
    near = (distance <= radius) & ~np.eye(num, dtype=bool)
    clear = np.abs(distance - radius) > 1e-12
    found = np.zeros((num, num), dtype=bool)
    found[edge_index[1], edge_index[0]] = True
    np.testing.assert_array_equal(found[clear], near[clear])
    np.testing.assert_array_equal(found, found.T)


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.integers(2, 20), st.booleans(), st.data())
def test_knn_edges_against_all_distances(seed: int, num: int, is_grid: bool, data: st.DataObject):
    pos, k = _points(seed, num, is_grid), data.draw(st.integers(1, num - 1))
    edge_index = knn_edges(pos, k)
    _check_order(edge_index)
    squared = ((pos[:, None] - pos[None]) ** 2).sum(axis=2)
    np.fill_diagonal(squared, np.inf)
    expected = np.sort(np.argsort(squared, axis=1, kind="stable")[:, :k], axis=1)
    np.testing.assert_array_equal(edge_index[0].reshape(num, k), expected)


def test_knn_of_coincident_points_takes_the_lowest_numbers():
    np.testing.assert_array_equal(knn_edges(np.zeros((4, 3)), 2)[0], [1, 2, 0, 2, 0, 1, 0, 1])


def test_knn_is_directed():
    pos = np.array([[0.0, 0, 0], [1, 0, 0], [3, 0, 0]])
    np.testing.assert_array_equal(knn_edges(pos, 1), [[1, 0, 1], [0, 1, 2]])


def test_angular_neighbours_meet_across_the_seam():
    eta, phi = np.zeros(4), np.array([3.1, -3.1, 2.0, 3.1 + 2 * np.pi - 0.5])
    np.testing.assert_array_equal(angular_knn_edges(eta, phi, 1)[0], [1, 0, 3, 0])


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.floats(-10, 10), st.floats(-3, 3))
def test_angular_neighbours_do_not_change_under_rotation_and_boost_along_the_beam(
    seed: int, turn: float, boost: float
):
    rng = np.random.default_rng(seed)
    eta, phi = rng.uniform(-2, 2, 12), rng.uniform(-np.pi, np.pi, 12)
    edge_index = angular_knn_edges(eta, phi, 3)
    _check_order(edge_index)
    np.testing.assert_array_equal(angular_knn_edges(eta + boost, phi + turn, 3), edge_index)


def test_mesh_edges_of_a_tetrahedron_and_of_degenerate_faces():
    tetrahedron = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
    np.testing.assert_array_equal(mesh_edges(tetrahedron, 4), complete_edges(4))
    odd = mesh_edges(np.array([[0, 0, 2], [2, 2, 2]]), 5)
    np.testing.assert_array_equal(odd, [[2, 0], [0, 2]])
    _check_order(mesh_edges(np.random.default_rng(0).integers(0, 30, (50, 3)), 30))
    with pytest.raises(DataError, match="a face names vertex 4, but there are 4 vertices; repair"):
        mesh_edges(np.array([[0, 1, 4]]), 4)


def test_too_few_nodes_and_parameters_out_of_range():
    pos = np.zeros((3, 3))
    message = "a graph of 3 nodes has no 3 nearest neighbours for each; choose `k` of at most 2, or complete"
    with pytest.raises(DataError, match=message):
        knn_edges(pos, 3)
    with pytest.raises(DataError, match=message):
        angular_knn_edges(pos[:, 0], pos[:, 1], 3)
    with pytest.raises(ConfigError, match="`k` must be at least 1, got 0"):
        knn_edges(pos, 0)
    with pytest.raises(ConfigError, match="`radius` must be positive, got 0"):
        radius_edges(pos, 0.0)


def test_rules():
    pos = np.random.default_rng(0).standard_normal((6, 3))
    assert edges_by_rule(pos, "complete") is None
    np.testing.assert_array_equal(edges_by_rule(pos, "radius", radius=1.5), radius_edges(pos, 1.5))
    np.testing.assert_array_equal(edges_by_rule(pos, "knn", k=2), knn_edges(pos, 2))
    with pytest.raises(ConfigError, match="`edges` is 'radius', so that a radius must be given"):
        edges_by_rule(pos, "radius")
    with pytest.raises(ConfigError, match="`edges` is 'knn', so that `k` must be given"):
        edges_by_rule(pos, "knn")

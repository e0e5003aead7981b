"""Edges of graphs: complete, within a radius, to the nearest neighbours, along a mesh.

Row 0 of `edge_index` is the source, row 1 the target; edges are sorted by target, then by source, without
self-loops and without duplicates.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from geograph.errors import ConfigError, DataError

EdgeRule = Literal["complete", "radius", "knn"]

#: Relative slack of the search radius; the distances themselves decide.
_SLACK = 1e-9


def _sorted(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    order = np.lexsort((source, target))
    return np.stack([source[order], target[order]]).astype(np.int64)


def edge_ptr(edge_index: Int[np.ndarray, "2 e"], num_nodes: int) -> Int[np.ndarray, " n1"]:
    """Return where the edges of each target begin: edges of node i are `ptr[i]` to `ptr[i + 1]` exclusive."""
    degree = np.bincount(edge_index[1], minlength=num_nodes)
    return np.concatenate([[0], np.cumsum(degree)]).astype(np.int64)


def complete_edges(num_nodes: int) -> Int[np.ndarray, "2 e"]:
    """Return the edges between all ordered pairs of different nodes."""
    target, source = np.nonzero(~np.eye(num_nodes, dtype=bool))
    return np.stack([source, target]).astype(np.int64)


def radius_edges(pos: Float[np.ndarray, "n d"], radius: float) -> Int[np.ndarray, "2 e"]:
    """Return the edges between all pairs at most `radius` apart, in both directions.

    Invariant under rotations, reflections and translations, up to rounding at the radius itself.

    Parameters
    ----------
    pos
        Positions.
    radius
        Largest distance, in the unit of `pos`.

    Raises
    ------
    ConfigError
        If `radius` is not positive.
    """
    if not radius > 0:
        raise ConfigError(f"`radius` must be positive, got {radius}.")
    pairs = cKDTree(pos).query_pairs(radius, output_type="ndarray").reshape(-1, 2)
    return _sorted(np.concatenate([pairs[:, 0], pairs[:, 1]]), np.concatenate([pairs[:, 1], pairs[:, 0]]))


def _check_enough(num_nodes: int, k: int) -> None:
    if k < 1:
        raise ConfigError(f"`k` must be at least 1, got {k}.")
    if num_nodes < k + 1:
        raise DataError(
            f"a graph of {num_nodes} nodes has no {k} nearest neighbours for each",
            remedy=f"choose `k` of at most {num_nodes - 1}, or complete edges",
        )


def _nearest(source: np.ndarray, target: np.ndarray, distance: np.ndarray, k: int) -> np.ndarray:
    """Keep the k nearest sources of each target; among equally distant ones the lowest numbers."""
    order = np.lexsort((source, distance, target))
    source, target = source[order], target[order]
    counts = np.bincount(target)
    rank = np.arange(len(target)) - np.repeat(np.cumsum(counts) - counts, counts)
    return _sorted(source[rank < k], target[rank < k])


def knn_edges(pos: Float[np.ndarray, "n d"], k: int) -> Int[np.ndarray, "2 e"]:
    """Return edges to each node from its `k` nearest other nodes.

    Among equally distant nodes the one with the lowest number is nearer. Coincident nodes are neighbours of
    each other like any others.

    Parameters
    ----------
    pos
        Positions.
    k
        Number of neighbours.

    Raises
    ------
    ConfigError
        If `k` is smaller than one.
    DataError
        If there are fewer than `k + 1` nodes.
    """
    _check_enough(len(pos), k)
    tree = cKDTree(pos)
    reach = tree.query(pos, k=[k + 1])[0][:, 0]
    near = tree.query_ball_point(pos, reach * (1 + _SLACK), return_sorted=True)
    target = np.repeat(np.arange(len(pos)), [len(sources) for sources in near])
    source = np.concatenate([np.asarray(sources, dtype=np.int64) for sources in near])
    target, source = target[source != target], source[source != target]
    return _nearest(source, target, ((pos[source] - pos[target]) ** 2).sum(axis=1), k)


def angular_knn_edges(
    eta: Float[np.ndarray, " n"], phi: Float[np.ndarray, " n"], k: int
) -> Int[np.ndarray, "2 e"]:
    """Return edges to each particle from its `k` nearest others in pseudorapidity and azimuth.

    The squared distance is `d_eta^2 + d_phi^2` with `d_phi` in [-pi, pi]: invariant under rotations around
    the beam and, for massless particles, boosts along it. Ties go to the lowest number.

    Parameters
    ----------
    eta
        Pseudorapidities (or rapidities).
    phi
        Azimuths in radians, of any period.
    k
        Number of neighbours.

    Raises
    ------
    ConfigError
        If `k` is smaller than one.
    DataError
        If there are fewer than `k + 1` particles.
    """
    _check_enough(len(eta), k)
    source, target = complete_edges(len(eta))
    apart = np.abs(phi[source] - phi[target]) % (2 * np.pi)
    apart = np.minimum(apart, 2 * np.pi - apart)
    return _nearest(source, target, (eta[source] - eta[target]) ** 2 + apart**2, k)


def mesh_edges(faces: Int[np.ndarray, "f 3"], num_vertices: int) -> Int[np.ndarray, "2 e"]:
    """Return the sides of the triangles in both directions, each once; collapsed sides are left out.

    Parameters
    ----------
    faces
        Vertex numbers of each triangle.
    num_vertices
        Number of vertices.

    Raises
    ------
    DataError
        If a face names a vertex that is not there.
    """
    if faces.size and not 0 <= int(faces.min()) <= int(faces.max()) < num_vertices:
        raise DataError(
            f"a face names vertex {int(faces.max())}, but there are {num_vertices} vertices",
            remedy="repair the mesh",
        )
    a, b = faces.astype(np.int64).ravel(), np.roll(faces, -1, axis=1).astype(np.int64).ravel()
    a, b = a[a != b], b[a != b]
    key = np.unique(np.concatenate([a * num_vertices + b, b * num_vertices + a]))
    return np.stack([key % num_vertices, key // num_vertices])


def edges_by_rule(
    pos: Float[np.ndarray, "n 3"], rule: EdgeRule, *, radius: float | None = None, k: int | None = None
) -> Int[np.ndarray, "2 e"] | None:
    """Return the edges that a rule asks for; None for complete graphs, whose edges the loader makes.

    Parameters
    ----------
    pos
        Positions.
    rule
        `complete`, `radius` or `knn`.
    radius
        For `radius`: largest distance, in the unit of `pos`.
    k
        For `knn`: number of neighbours.

    Raises
    ------
    ConfigError
        If the rule is unknown or its parameter is missing.
    DataError
        If there are fewer than `k + 1` nodes.
    """
    if rule == "complete":
        return None
    if rule == "radius":
        if radius is None:
            raise ConfigError("`edges` is 'radius', so that a radius must be given, got none.")
        return radius_edges(pos, radius)
    if rule == "knn":
        if k is None:
            raise ConfigError("`edges` is 'knn', so that `k` must be given, got none.")
        return knn_edges(pos, k)
    raise ConfigError(f"`edges` must be one of {', '.join(get_args(EdgeRule))}, got {rule!r}.")

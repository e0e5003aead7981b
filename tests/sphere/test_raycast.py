from __future__ import annotations

import sys
import time

import numpy as np
import pytest
import trimesh

from geograph.errors import MissingExtraError, ShapeError
from geograph.sphere.raycast import cast_rays

pytest.importorskip("embreex", reason="extra `generate` not installed")


def _directions(num: int, seed: int = 0) -> np.ndarray:
    points = np.random.default_rng(seed).standard_normal((num, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def _box(half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    box = trimesh.creation.box(extents=2 * half)
    return np.asarray(box.vertices, dtype=np.float64), np.asarray(box.faces, dtype=np.int64)


def _first_hits(vertices, faces, origins, directions) -> np.ndarray:
    """Distance of the first hit by trying every triangle (Moeller and Trumbore 1997)."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    e1, e2 = b - a, c - a
    p = np.cross(directions[:, None], e2[None])
    det = np.einsum("fi,nfi->nf", e1, p)
    s = origins[:, None] - a[None]
    u = np.einsum("nfi,nfi->nf", s, p) / det
    q = np.cross(s, e1[None])
    v = np.einsum("ni,nfi->nf", directions, q) / det
    t = np.einsum("fi,nfi->nf", e2, q) / det
    return np.where((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0), t, np.inf).min(axis=1)


def test_box_is_met_where_the_slabs_say():
    half = np.array([0.3, 0.5, 0.7])
    u = _directions(4000)
    hits = cast_rays(*_box(half), u, -u)
    # A ray towards the centre enters through the side whose slab it reaches last.
    depth = half / np.abs(u)
    side = depth.argmin(axis=1)
    assert hits.is_hit.all()
    np.testing.assert_allclose(hits.distance, 1.0 - depth.min(axis=1), atol=1e-14)
    expected = np.zeros_like(u)
    expected[np.arange(len(u)), side] = np.sign(u[np.arange(len(u)), side])
    np.testing.assert_allclose(hits.normal, expected, atol=1e-14)


def test_triangles_without_order_agree_with_trying_all():
    rng = np.random.default_rng(3)
    vertices, faces = rng.uniform(-0.5, 0.5, (18, 3)), np.arange(18).reshape(6, 3)
    u = _directions(3000, seed=4)
    hits = cast_rays(vertices, faces, u, -u)
    expected = _first_hits(vertices, faces, u, -u)
    assert 0.1 < hits.is_hit.mean() < 0.99
    # Within float32 of an edge a ray may go either way.
    same = hits.is_hit == np.isfinite(expected)
    assert same.mean() > 0.998
    both = same & hits.is_hit
    assert (np.abs(hits.distance[both] - expected[both]) < 1e-12).mean() > 0.998
    assert np.isinf(hits.distance[~hits.is_hit]).all()
    assert not hits.normal[~hits.is_hit].any()


def test_orientation_and_order_of_the_triangles_do_not_matter():
    vertices, faces = _box(np.array([0.3, 0.5, 0.7]))
    u = _directions(500)
    hits, flipped = cast_rays(vertices, faces, u, -u), cast_rays(vertices, faces[::-1, ::-1], u, -u)
    np.testing.assert_allclose(hits.distance, flipped.distance, atol=1e-14)
    np.testing.assert_allclose(hits.normal, flipped.normal, atol=1e-14)
    assert (np.einsum("ni,ni->n", hits.normal, u) > 0).all()


def test_rays_from_inside_and_past_the_mesh():
    vertices, faces = _box(np.ones(3))
    origins = np.zeros((2, 3))
    hits = cast_rays(vertices, faces, origins, np.array([[1.0, 0, 0], [0, -1.0, 0]]))
    np.testing.assert_allclose(hits.distance, 1.0, atol=1e-14)
    np.testing.assert_allclose(hits.normal, [[-1.0, 0, 0], [0, 1.0, 0]], atol=1e-14)
    away = cast_rays(vertices, faces, origins + [5.0, 0, 0], np.array([[1.0, 0, 0], [0, -1.0, 0]]))
    assert not away.is_hit.any()
    assert len(cast_rays(vertices, faces, np.zeros((0, 3)), np.zeros((0, 3))).face) == 0


def test_closed_surfaces_let_no_ray_through_and_are_fast():
    ball = trimesh.creation.icosphere(4)
    vertices, faces = np.asarray(ball.vertices), np.asarray(ball.faces).astype(np.int64)
    u = _directions(500_000)
    seconds = []
    for _ in range(3):
        start = time.process_time()
        hits = cast_rays(0.9 * vertices, faces, u, -u)
        seconds.append(time.process_time() - start)
    assert hits.is_hit.all()
    assert len(u) / min(seconds) > 500_000


def test_a_triangle_without_area_does_no_harm():
    vertices, faces = _box(np.array([0.3, 0.5, 0.7]))
    u = _directions(200)
    more = np.concatenate([faces, [[0, 0, 1], [2, 2, 2]]])
    hits = cast_rays(vertices, more, u, -u)
    np.testing.assert_array_equal(hits.distance, cast_rays(vertices, faces, u, -u).distance)


def test_errors(monkeypatch):
    vertices, faces = _box(np.ones(3))
    with pytest.raises(ShapeError, match=r"`origins` and `directions` must have one shape, got \(2, 3\)"):
        cast_rays.__wrapped__(vertices, faces, np.zeros((2, 3)), np.zeros((1, 3)))
    monkeypatch.setitem(sys.modules, "embreex.rtcore_scene", None)
    with pytest.raises(MissingExtraError, match="Ray casting needs the package `embreex`"):
        cast_rays(vertices, faces, np.zeros((1, 3)), np.ones((1, 3)))

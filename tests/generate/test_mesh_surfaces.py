from __future__ import annotations

import sys

import numpy as np
import pytest

from geograph.errors import MissingExtraError
from geograph.generate.mesh_deform import is_watertight, signed_volume
from geograph.generate.mesh_surfaces import manifold3d, superquadric, tube


def _circle(num: int) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, num, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle), np.zeros(num)], axis=1)


def test_missing_manifold3d_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "manifold3d", None)
    with pytest.raises(MissingExtraError, match=r"generating meshes needs .*geograph\[generate\]"):
        manifold3d()


def test_torus_has_the_volume_of_pappus():
    vertices, faces = tube(_circle(200), 0.3, 100, closed=True)
    assert is_watertight(faces)
    assert signed_volume(vertices, faces) == pytest.approx(2 * np.pi**2 * 0.3**2, rel=2e-3)


def test_closed_tube_of_a_twisted_curve_has_no_seam():
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    reach = 1 + 0.4 * np.cos(3 * angle)
    curve = np.stack([reach * np.cos(2 * angle), reach * np.sin(2 * angle), -0.4 * np.sin(3 * angle)], axis=1)
    vertices, faces = tube(curve, 0.1, 8, closed=True)
    rings = vertices.reshape(90, 8, 3)
    steps = np.linalg.norm(np.roll(rings, -1, axis=0) - rings, axis=2).max(axis=1)
    assert is_watertight(faces)
    assert steps[-1] < 1.2 * steps[:-1].max()


def test_open_tube_is_a_capped_cylinder():
    line = np.stack([np.zeros(5), np.zeros(5), np.linspace(0, 2, 5)], axis=1)
    vertices, faces = tube(line, 0.5, 200, closed=False)
    assert is_watertight(faces)
    assert signed_volume(vertices, faces) == pytest.approx(np.pi * 0.5**2 * 2, rel=1e-3)


@pytest.mark.parametrize(
    ("exponent", "volume"),
    [(1.0, 4 / 3 * np.pi), (2.0, 4 / 3), (0.02, 8.0)],
    ids=["ball", "octahedron", "cube"],
)
def test_superquadric_limits(exponent: float, volume: float):
    pytest.importorskip("manifold3d", reason="extra `generate` not installed")
    solid = superquadric(exponent, np.array([0.5, 0.8, 1.0]), 20_000)
    assert solid.volume() == pytest.approx(0.4 * volume, rel=0.02)

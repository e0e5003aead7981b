from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from geograph.generate.mesh_deform import (
    is_watertight,
    normalise,
    random_rotation,
    random_stretch,
    random_waves,
    signed_volume,
    surface_centroid,
)

CUBE = np.array([[x, y, z] for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 1.0)])


def _cube_faces() -> np.ndarray:
    hull = ConvexHull(CUBE)
    faces = hull.simplices.astype(np.int64)
    a, b, c = (CUBE[faces[:, i]] for i in range(3))
    inward = np.einsum("fi,fi->f", np.cross(b - a, c - a), hull.equations[:, :3]) < 0
    faces[inward] = faces[inward][:, ::-1]
    return faces


def test_cube_is_closed_and_has_volume_one():
    faces = _cube_faces()
    assert is_watertight(faces)
    assert signed_volume(CUBE, faces) == pytest.approx(1.0, abs=1e-14)
    assert signed_volume(CUBE, faces[:, ::-1]) == pytest.approx(-1.0, abs=1e-14)
    np.testing.assert_allclose(surface_centroid(CUBE, faces), [0.5, 0.5, 0.5], atol=1e-15)


def test_a_hole_a_flip_and_a_doubled_face_are_not_watertight():
    faces = _cube_faces()
    flipped = faces.copy()
    flipped[0] = flipped[0, ::-1]
    assert not is_watertight(faces[1:])
    assert not is_watertight(flipped)
    assert not is_watertight(np.concatenate([faces, faces[:1]]))


def test_normalise_removes_translation_and_scale_and_turns_with_the_mesh():
    rng, faces = np.random.default_rng(0), _cube_faces()
    vertices = CUBE * [1, 2, 3]
    rotation = random_rotation(rng)
    moved = 2.5 * vertices @ rotation.T + [3, -1, 7]
    expected = normalise(vertices, faces) @ rotation.T
    np.testing.assert_allclose(normalise(moved, faces), expected, atol=64 * np.finfo(float).eps)
    assert np.linalg.norm(expected, axis=1).max() == pytest.approx(1.0, abs=1e-14)
    stretched = normalise(moved * [1, 1, 2], faces)  # control: an affine map is no symmetry
    assert np.abs(stretched - expected).max() > 1e-2


def test_normalise_of_a_mesh_without_area():
    faces = np.array([[0, 1, 2]])
    line = normalise(np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]), faces)
    np.testing.assert_allclose(line[:, 0], [-1, 0, 1])
    assert not normalise(np.ones((3, 3)), faces).any()


def test_rotations_are_proper_and_uniform():
    rng = np.random.default_rng(1)
    rotations = np.stack([random_rotation(rng) for _ in range(4000)])
    unit = np.broadcast_to(np.eye(3), rotations.shape)
    np.testing.assert_allclose(rotations @ rotations.transpose(0, 2, 1), unit, atol=1e-14)
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0, atol=1e-14)
    # Haar measure: each entry has mean 0 and variance 1/3; five standard errors.
    assert np.abs(rotations.mean(axis=0)).max() < 5 * np.sqrt(1 / 3 / 4000)
    assert np.abs((rotations**2).mean(axis=0) - 1 / 3).max() < 5 * np.sqrt(4 / 45 / 4000)


def test_stretch_stays_in_range():
    stretch = np.stack([random_stretch(np.random.default_rng(i), 0.45) for i in range(200)])
    assert np.abs(np.log(stretch)).max() <= 0.45
    np.testing.assert_array_equal(random_stretch(np.random.default_rng(0), 0.0), 1.0)


def test_waves_of_no_amplitude_do_nothing_and_small_ones_keep_the_orientation():
    faces, vertices = _cube_faces(), normalise(CUBE, _cube_faces())
    np.testing.assert_array_equal(random_waves(np.random.default_rng(0), vertices, 0.0), vertices)
    for seed in range(50):
        moved = random_waves(np.random.default_rng(seed), vertices, 0.15)
        assert signed_volume(moved, faces) > 0
        assert 0 < np.linalg.norm(moved - vertices, axis=1).max() <= 2 * 0.15

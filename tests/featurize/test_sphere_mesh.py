from __future__ import annotations

import pickle
from functools import partial
from itertools import islice

import numpy as np
import pytest
import torch
import trimesh

from geograph.algebra.wigner import random_rotation, rotate
from geograph.errors import ConfigError, DataError
from geograph.featurize.sphere_mesh import CHANNELS, PUBLISHED_CHANNELS, REACH, mesh_sphere, ray_channels
from geograph.generate.mesh_deform import normalise
from geograph.readers.meshes import read_meshes
from geograph.records import Mesh
from geograph.sphere.grids import make_grid
from geograph.sphere.sht import analysis

pytest.importorskip("embreex", reason="extra `generate` not installed")


def _mesh(shape: trimesh.Trimesh, **options) -> Mesh:
    return Mesh(np.asarray(shape.vertices), np.asarray(shape.faces).astype(np.int64), **options)


def _arrays(shape: trimesh.Trimesh) -> tuple[np.ndarray, np.ndarray]:
    return 0.6 * np.asarray(shape.vertices), np.asarray(shape.faces).astype(np.int64)


def _bent(label: int | None = None) -> Mesh:
    """Return a closed surface without symmetry, with a bump that hides other parts."""
    ball = trimesh.creation.icosphere(4)
    x, y, z = np.asarray(ball.vertices).T
    radius = 1 + 0.3 * x * y + 0.2 * z**3 + 0.8 * np.exp(-8 * ((x - 0.6) ** 2 + (y - 0.8) ** 2 + z**2))
    return Mesh(radius[:, None] * np.asarray(ball.vertices), np.asarray(ball.faces).astype(np.int64), label)


def _turned(mesh: Mesh, rotation: np.ndarray) -> Mesh:
    return Mesh(mesh.vertices @ rotation.T, mesh.faces, mesh.label, mesh.id)


def test_sphere_is_constant():
    fields = mesh_sphere(_mesh(trimesh.creation.icosphere(5)), bandlimit=6, channels=CHANNELS)
    harmonic = fields["harmonic"][0] / np.sqrt(4 * np.pi)
    # The triangles lie up to 4e-4 inside of the sphere and tilt by up to 0.02 against it.
    expected = np.array([0.01, 1, 0.01, 0.01, 1, 0.01, 1])
    tolerance = np.array([4e-4, 4e-4, 0.015, 4e-4, 4e-4, 0.015, 1e-6])
    assert (np.abs(harmonic[:, 0] - expected) < tolerance).all()
    assert np.abs(harmonic[:, 1:]).max() < 2e-3


def test_box_by_slabs():
    half = np.array([0.3, 0.5, 0.6])
    box = trimesh.creation.box(extents=2 * half)
    u = make_grid("soft", 16).directions().numpy().reshape(-1, 3) + 1e-9
    u /= np.linalg.norm(u, axis=1, keepdims=True)  # no component is zero
    found = ray_channels(np.asarray(box.vertices), np.asarray(box.faces).astype(np.int64), u, CHANNELS)
    depth = half / np.abs(u)
    cosine = np.abs(u)[np.arange(len(u)), depth.argmin(axis=1)]
    expected = [1 - depth.min(axis=1), cosine, np.sqrt(1 - cosine**2)]
    np.testing.assert_allclose(found, [*expected, *expected, np.ones(len(u))], atol=1e-13)


def test_hole_and_what_lies_behind_the_centre():
    torus = trimesh.creation.torus(0.7, 0.2, major_sections=64, minor_sections=32)
    vertices, faces = np.asarray(torus.vertices), np.asarray(torus.faces).astype(np.int64)
    u = np.array([[0.0, 0, 1], [1, 0, 0], [0.05, 0, np.sqrt(1 - 0.0025)]])
    found = dict(zip(CHANNELS, ray_channels(vertices, faces, u, CHANNELS), strict=True))
    np.testing.assert_array_equal(found["hit"], [0, 1, 0])
    np.testing.assert_allclose(found["distance"], [1, 0.1, 1], atol=2e-3)
    np.testing.assert_allclose(found["cos"], [0, 1, 0], atol=1e-2)
    np.testing.assert_allclose(found["sin"], [0, 0, 0], atol=0.12)
    np.testing.assert_allclose(found["hull_distance"], [0.8, 0.1, 0.8], atol=3e-3)
    # One half of the torus is seen from the other side through the centre.
    open_half = faces[vertices[faces].mean(axis=1)[:, 0] > 0]
    behind = ray_channels(vertices, open_half, np.array([[-1.0, 0, 0]]), ("distance", "hit"))
    np.testing.assert_allclose(behind[:, 0], [1.5, 1], atol=3e-3)


def test_turning_about_the_axis_by_pixels_rolls_the_picture():
    mesh, grid = _bent(), make_grid("soft", 12)
    angle = 2 * np.pi * 5 / grid.nlon
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    u = grid.directions().numpy().reshape(-1, 3)
    here, there = (
        ray_channels(0.9 * normalise(m.vertices, m.faces), m.faces, u, CHANNELS).reshape(7, *grid.shape)
        for m in (mesh, _turned(mesh, rotation))
    )
    close = np.abs(np.roll(here, 5, axis=2) - there) < 1e-6
    assert close.mean() > 0.999  # a ray within float32 of an edge may meet the other triangle
    assert (np.abs(np.roll(here, 4, axis=2) - there) < 1e-6).mean() < 0.9


def test_rotating_the_mesh_rotates_the_coefficients_up_to_aliasing():
    mesh, rotation = _bent(), random_rotation(torch.Generator().manual_seed(4), 1)[0]
    errors = []
    for size in (8, 16, 32, 64, 128):
        options = {"bandlimit": 8, "ray_bandlimit": size}
        here = rotate(torch.from_numpy(mesh_sphere(mesh, **options)["harmonic"]).double(), rotation).numpy()
        there = mesh_sphere(_turned(mesh, rotation.numpy()), **options)["harmonic"]
        errors.append(np.linalg.norm(here - there) / np.linalg.norm(there))
    assert errors[0] > 3e-3
    assert all(second < 0.7 * first for first, second in zip(errors, errors[1:], strict=False))
    assert errors[-1] < 1e-3
    assert np.linalg.norm(mesh_sphere(mesh, bandlimit=8)["harmonic"] - there) > 0.05 * np.linalg.norm(there)


def test_place_size_orientation_and_unused_faces_do_not_matter():
    mesh = _bent()
    expected = mesh_sphere(mesh, bandlimit=6, ray_bandlimit=16)["harmonic"]
    moved = Mesh(3.0 * mesh.vertices + [5.0, -2.0, 1.0], mesh.faces)
    np.testing.assert_allclose(
        mesh_sphere(moved, bandlimit=6, ray_bandlimit=16)["harmonic"], expected, atol=1e-3
    )
    inside_out = Mesh(mesh.vertices, mesh.faces[:, ::-1])
    np.testing.assert_allclose(
        mesh_sphere(inside_out, bandlimit=6, ray_bandlimit=16)["harmonic"], expected, atol=1e-5
    )


def test_unused_vertices_do_not_matter():
    box = _mesh(trimesh.creation.box(), id="box")
    expected = mesh_sphere(box, bandlimit=4, ray_bandlimit=8, channels=CHANNELS)["harmonic"]
    assert expected[0, 0, 0] / np.sqrt(4 * np.pi) == pytest.approx(0.3, abs=0.02)
    far = Mesh(np.concatenate([[[1000.0, 0, 0]], box.vertices]), box.faces + 1)
    found = mesh_sphere(far, bandlimit=4, ray_bandlimit=8, channels=CHANNELS)["harmonic"]
    np.testing.assert_array_equal(found, expected)


def test_normalisation_of_meshes_without_unused_vertices_is_the_shared_one():
    mesh = _bent()
    u = make_grid("soft", 16)
    values = ray_channels(
        REACH * normalise(mesh.vertices, mesh.faces), mesh.faces, u.directions().numpy().reshape(-1, 3)
    )
    expected = analysis(torch.from_numpy(values).reshape(-1, *u.shape), u, 6).numpy().astype(np.float32)
    np.testing.assert_array_equal(mesh_sphere(mesh, bandlimit=6, ray_bandlimit=16)["harmonic"][0], expected)


def test_surfaces_that_cross_themselves_show_what_is_outermost():
    box = trimesh.creation.box()
    beam = trimesh.creation.box(extents=[0.5, 0.5, 1.5])
    both = trimesh.util.concatenate([box, beam])
    u = np.array([[0.01, 0.02, 1.0], [1.0, 0.02, 0.01], [0.03, 1.0, 0.02]])
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    found = ray_channels(*_arrays(both), u, ("distance",))[0]
    separate = [ray_channels(*_arrays(part), u, ("distance",))[0] for part in (box, beam)]
    np.testing.assert_array_equal(found, np.minimum(*separate))
    assert (found == separate[0]).tolist() == [False, True, True]


@pytest.mark.parametrize("scale", [1e200, 1e-200, 1e-100, 1e100, 1e308])
def test_coordinates_out_of_range_are_refused(scale: float):
    box = _mesh(trimesh.creation.box(extents=[2.0, 2.0, 2.0]), id="far")
    scaled = Mesh(scale * box.vertices, box.faces, id="far")
    with pytest.raises(DataError, match="record far: the mesh has an extent of .*; give it in another unit"):
        mesh_sphere(scaled, bandlimit=4)


@pytest.mark.parametrize("scale", [1e50, 1e-50])
def test_coordinates_within_range_give_the_same(scale: float):
    mesh = _bent()
    expected = mesh_sphere(mesh, bandlimit=6, ray_bandlimit=16)["harmonic"]
    found = mesh_sphere(Mesh(scale * mesh.vertices, mesh.faces), bandlimit=6, ray_bandlimit=16)["harmonic"]
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_meshes_without_area_are_refused(offset: float):
    line = np.outer(np.array([0.0, 0.3, 1.0, 1.7]), [1.0, -2.0, 0.5]) + offset
    mesh = Mesh(line, np.array([[0, 1, 2], [1, 2, 3], [0, 0, 3]]), id="line")
    for channels in (PUBLISHED_CHANNELS, ("distance", "hit")):
        with pytest.raises(DataError, match="record line: the mesh has no area: the corners of each"):
            mesh_sphere(mesh, bandlimit=4, channels=channels)


def test_fields():
    mesh = _bent(label=4)
    fields = mesh_sphere(mesh, bandlimit=8, ray_bandlimit=16)
    assert set(fields) == {"harmonic", "y"}
    assert (fields["harmonic"].shape, fields["harmonic"].dtype) == ((1, 6, 64), np.float32)
    assert (int(fields["y"]), fields["y"].dtype) == (4, np.int64)
    assert "y" not in mesh_sphere(_bent(), bandlimit=2, ray_bandlimit=4)
    made = pickle.loads(pickle.dumps(partial(mesh_sphere, bandlimit=8, ray_bandlimit=16, grid="gl")))
    other = made(mesh)["harmonic"]
    np.testing.assert_allclose(other, fields["harmonic"], atol=0.05)
    only = mesh_sphere(mesh, bandlimit=8, ray_bandlimit=16, channels=("hull_cos", "distance"))["harmonic"]
    np.testing.assert_array_equal(only, fields["harmonic"][:, [4, 0]])
    assert PUBLISHED_CHANNELS[4] == "hull_cos"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"channels": ("distance", "depth")},
            "`channels` must be distinct names among distance, cos, sin, hull_",
        ),
        ({"channels": ()}, "got none"),
        ({"channels": ("cos", "cos")}, "got cos, cos"),
        ({"ray_bandlimit": 4}, "`ray_bandlimit` must be at least `bandlimit` = 8, got 4"),
        ({"grid": "healpix"}, "`kind` must be one of gl, dh, soft, mw"),
    ],
)
def test_wrong_options(options: dict, message: str):
    plain = getattr(mesh_sphere, "__wrapped__", mesh_sphere)
    if "grid" in options:
        with pytest.raises(Exception, match="grid|kind"):
            plain(_bent(), bandlimit=8, **options)
        return
    with pytest.raises(ConfigError, match=message):
        plain(_bent(), bandlimit=8, **options)


def test_wrong_meshes():
    with pytest.raises(DataError, match="record void: empty mesh: it has no faces"):
        Mesh(np.zeros((3, 3)), np.zeros((0, 3), dtype=np.int64), id="void")
    point = Mesh(np.ones((3, 3)), np.array([[0, 1, 2]]), id="point")
    with pytest.raises(DataError, match="record point: all vertices coincide"):
        mesh_sphere(point, bandlimit=4)
    square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    flat = Mesh(square, np.array([[0, 1, 2], [0, 2, 3]]), id="flat")
    with pytest.raises(
        DataError, match="record flat: the mesh has no convex hull: its vertices lie in a plane"
    ):
        mesh_sphere(flat, bandlimit=4)
    assert np.isfinite(mesh_sphere(flat, bandlimit=4, channels=("distance", "hit"))["harmonic"]).all()
    triangle = Mesh(square[:3], np.array([[0, 1, 2]]), id="few")
    with pytest.raises(DataError, match="or are fewer than four"):
        mesh_sphere(triangle, bandlimit=4)


def test_real_meshes(shared_data):
    archives = {"shrec16_500faces_train.tar.gz": 7, "modelnet10_bathtub_5.tar.gz": 2}
    for name, step in archives.items():
        for mesh in islice(read_meshes(shared_data / "mesh" / name), 0, 40, step):
            harmonic = mesh_sphere(mesh, bandlimit=16, ray_bandlimit=32, channels=CHANNELS)["harmonic"][0]
            mean = dict(zip(CHANNELS, harmonic[:, 0] / np.sqrt(4 * np.pi), strict=True))
            assert 0 < mean["hull_distance"] < mean["distance"] < 1.6
            assert 0.1 < mean["hit"] <= 1 + 1e-5
            assert 0 < mean["cos"] < 1

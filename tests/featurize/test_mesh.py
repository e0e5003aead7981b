from __future__ import annotations

import numpy as np
import pytest
import trimesh

from geograph.errors import ConfigError, DataError
from geograph.featurize.mesh import mesh_graph, vertex_geometry
from geograph.generate.mesh_deform import random_rotation
from geograph.records import Mesh

EPS = np.finfo(np.float64).eps


def _torus() -> tuple[np.ndarray, np.ndarray]:
    mesh = trimesh.creation.torus(1.0, 0.3, major_sections=16, minor_sections=8)
    return np.asarray(mesh.vertices), np.asarray(mesh.faces, np.int64)


def test_normals_of_a_sphere_point_outward_and_areas_sum_up():
    mesh = trimesh.creation.icosphere(subdivisions=2)
    vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces, np.int64)
    normal, area = vertex_geometry(vertices, faces)
    assert (normal * vertices).sum(axis=1).min() > 0.999
    np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1.0, rtol=1e-14)
    assert area.sum() == pytest.approx(mesh.area, rel=1e-13)
    np.testing.assert_allclose(vertex_geometry(vertices, faces[:, ::-1])[0], normal, atol=1e-14)


def test_open_surface_keeps_its_orientation():
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(vertex_geometry(vertices, np.array([[0, 1, 2]]))[0], [[0, 0, 1]] * 3)
    np.testing.assert_array_equal(vertex_geometry(vertices, np.array([[0, 2, 1]]))[0], [[0, 0, -1]] * 3)


def test_vertices_without_direction_have_no_normal():
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [2, 0, 0], [5, 5, 5]])
    both_sides = np.array([[0, 1, 2], [0, 2, 1]])
    normal, area = vertex_geometry(vertices, both_sides)
    assert not normal.any()
    np.testing.assert_allclose(area, [1 / 3, 1 / 3, 1 / 3, 0, 0])
    normal, area = vertex_geometry(vertices, np.array([[0, 1, 3]]))  # no area, and a lonely vertex
    assert not normal.any()
    assert not area.any()


@pytest.mark.parametrize("is_reflected", [False, True])
def test_geometry_is_equivariant(is_reflected: bool):
    vertices, faces = _torus()
    rng = np.random.default_rng(0)
    matrix = random_rotation(rng) @ np.diag([1, 1, -1 if is_reflected else 1])
    normal, area = vertex_geometry(vertices, faces)
    turned, same = vertex_geometry(vertices @ matrix.T + rng.standard_normal(3), faces)
    np.testing.assert_allclose(turned, normal @ matrix.T, atol=256 * EPS)
    np.testing.assert_allclose(same, area, atol=256 * EPS)
    stretched, _ = vertex_geometry(vertices * [1, 1, 2], faces)  # control: normals are no positions
    assert np.abs(stretched - normal * [1, 1, 2]).max() > 0.1


def test_graph_fields():
    vertices, faces = _torus()
    fields = mesh_graph(Mesh(7 * vertices + 3, faces, 4, "torus"))
    assert {name: values.dtype.name for name, values in fields.items()} == {
        "pos": "float32",
        "normal": "float32",
        "area": "float32",
        "edge_index": "int32",
        "y": "int64",
    }
    num = len(vertices)
    assert fields["pos"].shape == fields["normal"].shape == (num, 3)
    assert fields["edge_index"].shape == (2, 6 * num)  # genus 1: three sides for each vertex, both ways
    assert fields["y"].shape == ()
    assert np.linalg.norm(fields["pos"], axis=1).max() == pytest.approx(1.0, abs=1e-6)
    assert "y" not in mesh_graph(Mesh(vertices, faces))


def test_graph_does_not_depend_on_place_and_size():
    vertices, faces = _torus()
    first, second = mesh_graph(Mesh(vertices, faces)), mesh_graph(Mesh(7 * vertices + 3, faces))
    for name in ("pos", "normal", "area"):
        np.testing.assert_allclose(first[name], second[name], atol=1e-6)


def test_mesh_without_extent():
    with pytest.raises(DataError, match="record dot: all vertices coincide; remove the mesh"):
        mesh_graph(Mesh(np.ones((3, 3)), np.array([[0, 1, 2]]), id="dot"))


def test_edges_between_vertices_that_are_near_in_space():
    vertices, faces = _torus()
    mesh = Mesh(vertices=vertices, faces=faces, id="torus")
    near = mesh_graph(mesh, edges="knn", k=5)
    assert np.array_equal(np.bincount(near["edge_index"][1]), np.full(len(vertices), 5))
    within = mesh_graph(mesh, edges="radius", radius=0.8)
    source, target = within["edge_index"]
    assert np.linalg.norm(within["pos"][source] - within["pos"][target], axis=1).max() <= 0.8 + 1e-6
    assert within["edge_index"].shape[1] > mesh_graph(mesh)["edge_index"].shape[1]


def test_edge_rules_are_checked():
    vertices, faces = _torus()
    mesh = Mesh(vertices=vertices, faces=faces, id="torus")
    with pytest.raises(ConfigError, match="`edges` must be one of mesh, radius, knn, got 'complete'"):
        mesh_graph(mesh, edges="complete")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="`edges` is 'knn', so that `k` must be given"):
        mesh_graph(mesh, edges="knn")

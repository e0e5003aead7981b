from __future__ import annotations

import hashlib

import numpy as np
import pytest
import trimesh

from geograph.errors import ConfigError, DataError
from geograph.generate import meshes as module
from geograph.generate.mesh_deform import is_watertight, signed_volume, surface_centroid
from geograph.generate.mesh_difficulty import difficulty, shape_histograms
from geograph.generate.mesh_pictures import plot_meshes
from geograph.generate.mesh_shapes import BUILDERS, build_shape
from geograph.generate.meshes import MESH_CLASSES, generate_meshes
from geograph.records import Mesh

pytest.importorskip("manifold3d", reason="extra `generate` not installed")

#: Genus of each class where it does not depend on the draw.
GENUS = {"ellipsoid": 0, "superbox": 0, "octa": 0, "cone": 0, "torus": 1, "pipe": 1, "spring": 0, "knot": 1}
GENUS |= {"gear": 1, "profile": 0, "table": 0, "mug": 1, "dumbbell": 0, "plane": 0}


@pytest.fixture(scope="module")
def small() -> list[Mesh]:
    return generate_meshes(2, seed=5, num_workers=1, chunk_size=30)


def _digest(meshes: list[Mesh]) -> str:
    content = b"".join(part.tobytes() for mesh in meshes for part in (mesh.vertices, mesh.faces))
    return hashlib.sha256(content + repr([(m.id, m.label) for m in meshes]).encode()).hexdigest()


@pytest.mark.parametrize("name", MESH_CLASSES)
def test_every_class_is_one_closed_solid_of_few_faces(name: str):
    for seed in range(6):
        vertices, faces = build_shape(name, np.random.default_rng(seed), 700)
        mesh = trimesh.Trimesh(vertices, faces, process=False)
        assert 500 <= len(faces) <= 700
        assert is_watertight(faces)
        assert mesh.is_watertight
        assert mesh.is_winding_consistent
        assert signed_volume(vertices, faces) > 0
        assert mesh.body_count == 1
        if name in GENUS:
            assert (2 - mesh.euler_number) // 2 == GENUS[name]


def test_two_workers_and_other_chunks_give_the_same_bytes(small):
    again = generate_meshes(2, seed=5, num_workers=2, chunk_size=7)
    assert _digest(again) == _digest(small)
    assert _digest(generate_meshes(2, seed=6, chunk_size=30)) != _digest(small)


def test_more_meshes_extend_each_class(small):
    fewer = generate_meshes(1, seed=5, chunk_size=30)
    assert _digest(fewer) == _digest(small[::2])


def test_meshes_are_labelled_centred_and_scaled(small):
    assert [mesh.label for mesh in small] == [label for label in range(15) for _ in range(2)]
    assert len({mesh.id for mesh in small}) == 30
    for mesh in small:
        assert mesh.id.startswith(MESH_CLASSES[mesh.label])
        assert mesh.vertices.dtype == np.float32
        assert is_watertight(mesh.faces)
        assert signed_volume(mesh.vertices, mesh.faces) > 0
        assert np.linalg.norm(mesh.vertices, axis=1).max() == pytest.approx(1.0, abs=1e-6)
        assert np.abs(surface_centroid(mesh.vertices, mesh.faces)).max() < 1e-6


def test_fewest_faces():
    meshes = generate_meshes(1, seed=0, max_faces=500)
    assert max(len(mesh.faces) for mesh in meshes) <= 500


def test_upright_meshes_are_the_same_shapes_before_the_turn(small):
    upright = generate_meshes(2, seed=5, chunk_size=30, upright=True)
    assert [(mesh.id, mesh.label) for mesh in upright] == [(mesh.id, mesh.label) for mesh in small]
    for straight, turned in zip(upright, small, strict=True):
        np.testing.assert_array_equal(straight.faces, turned.faces)
        # The best rotation (Kabsch) takes one to the other, in float32.
        left, _, right = np.linalg.svd(turned.vertices.T @ straight.vertices)
        np.testing.assert_allclose(straight.vertices @ (left @ right).T, turned.vertices, atol=1e-5)
        assert np.abs(straight.vertices - turned.vertices).max() > 0.05


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"max_faces": 100}, "`max_faces` must be at least 500, got 100"),
        ({"anisotropy": -0.1}, "`anisotropy` must be at least 0"),
        ({"deformation": float("nan")}, "`deformation` must be at least 0, got nan"),
        ({"chunk_size": 0}, "`chunk_size` must be at least 1"),
    ],
)
def test_parameters_out_of_range(params: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        generate_meshes(1, seed=0, **params)
    with pytest.raises(ConfigError, match="`num_per_class` must be at least 1, got 0"):
        generate_meshes(0, seed=0)


def test_mesh_turned_inside_out_is_an_error(monkeypatch):
    def inward(name: str, rng: np.random.Generator, max_faces: int) -> tuple[np.ndarray, np.ndarray]:
        vertices, faces = build_shape(name, rng, max_faces)
        return vertices, faces[:, ::-1]

    monkeypatch.setattr(module, "build_shape", inward)
    with pytest.raises(
        DataError, match=r"record cone-00003: .* not a closed surface oriented outward; choose"
    ):
        module._one_mesh(0, MESH_CLASSES.index("cone"), 3, 0.4, 0.1, 1000)


def test_histograms_do_not_change_under_rotation(small):
    mesh = small[0]
    rotation = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=np.float32)
    turned = Mesh(mesh.vertices @ rotation.T, mesh.faces, mesh.label)
    first = shape_histograms(mesh, np.random.default_rng(0))
    second = shape_histograms(turned, np.random.default_rng(0))
    assert first.sum() == pytest.approx(3.0, abs=1e-2)
    assert np.abs(first - second).sum() < 0.02  # points at the edge of a bin may change sides
    assert np.abs(first - shape_histograms(small[12], np.random.default_rng(0))).sum() > 0.5


def test_difficulty_tells_round_from_thin():
    chosen = [
        Mesh(*build_shape(name, np.random.default_rng(seed), 400), label)
        for label, name in enumerate(("ellipsoid", "torus"))
        for seed in range(40)
    ]
    scores = difficulty(chosen, 0)
    assert scores["chance"] == 0.5
    assert scores["accuracy"] > 0.85
    assert {"accuracy/0", "accuracy/1"} <= set(scores)


def test_pictures(small, tmp_path):
    open_mesh = Mesh(small[0].vertices, small[0].faces[10:])
    plot_meshes([*small[:2], open_mesh], tmp_path / "grid.png", num_columns=2)
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match="`meshes` must hold at least one mesh"):
        plot_meshes([], tmp_path / "none.png")
    with pytest.raises(ConfigError, match="`titles` must hold one text for each of the 1 meshes, got 2"):
        plot_meshes(small[:1], tmp_path / "none.png", titles=["a", "b"])


def test_there_are_fifteen_classes():
    assert len(BUILDERS) == len(set(MESH_CLASSES)) == 15

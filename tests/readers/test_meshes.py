from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import trimesh

from geograph.errors import DataError
from geograph.generate.mesh_deform import is_watertight
from geograph.readers.meshes import merge_vertices, mesh_classes, mesh_ids, mesh_split_of, read_meshes

TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\n"


@pytest.fixture
def folder(tmp_path) -> Path:
    root = tmp_path / "shapes"
    for name, mesh in (("box", trimesh.creation.box()), ("ball", trimesh.creation.icosphere(subdivisions=1))):
        for split, suffix in (("train", "obj"), ("train", "off"), ("test", "ply")):
            (root / name / split).mkdir(parents=True, exist_ok=True)
            mesh.export(root / name / split / f"a_{suffix}.{suffix}")
    (root / "box" / "readme.txt").write_text("not a mesh")
    (root / "box" / "._a.obj").write_bytes(b"\x00")
    return root


def _write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_folder_gives_classes_splits_and_ids(folder):
    meshes = list(read_meshes(folder))
    assert mesh_classes(folder) == ["ball", "box"]
    assert [mesh.id for mesh in meshes] == mesh_ids(folder)
    assert meshes[0].id == "ball/test/a_ply.ply"
    assert [mesh.label for mesh in meshes] == [0, 0, 0, 1, 1, 1]
    assert [mesh_split_of(mesh.id) for mesh in meshes] == ["test", "train", "train"] * 2
    assert all(is_watertight(mesh.faces) for mesh in meshes)
    assert [mesh.id for mesh in read_meshes(folder, split="test")] == [
        "ball/test/a_ply.ply",
        "box/test/a_ply.ply",
    ]
    assert next(read_meshes(folder, classes=["box", "cone", "ball"])).label == 2


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_archives_give_what_the_folder_gives(folder, kind):
    archive = folder.with_name(f"shapes.{kind}")
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            for member in sorted(folder.rglob("*")):
                file.write(member, member.relative_to(folder).as_posix())
    else:
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(folder, arcname=".")
    read = list(read_meshes(archive))
    assert mesh_classes(archive) == ["ball", "box"]
    for mesh, expected in zip(read, read_meshes(folder), strict=True):
        assert Path(mesh.id) == Path(expected.id)
        assert mesh.label == expected.label
        np.testing.assert_array_equal(mesh.vertices, expected.vertices)
        np.testing.assert_array_equal(mesh.faces, expected.faces)


@pytest.mark.parametrize("suffix", ["obj", "off", "ply", "stl", "glb"])
def test_single_files_of_any_format(tmp_path, suffix):
    trimesh.creation.box().export(tmp_path / f"box.{suffix}")
    (mesh,) = read_meshes(tmp_path / f"box.{suffix}")
    assert (len(mesh.vertices), len(mesh.faces)) == (8, 12)
    assert mesh.label is None
    assert mesh.id == f"box.{suffix}"
    assert is_watertight(mesh.faces)


def test_merging_can_be_left_out(tmp_path):
    trimesh.creation.box().export(tmp_path / "box.stl")
    (mesh,) = read_meshes(tmp_path / "box.stl", is_merged=False)
    assert len(mesh.vertices) == 36


def test_merge_keeps_the_order_of_first_occurrence():
    vertices = np.array([[1.0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0], [-0.0, 0, 0]])
    merged, faces = merge_vertices(vertices, np.array([[0, 1, 3], [2, 3, 4]]))
    np.testing.assert_array_equal(merged, [[1, 0, 0], [0, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(faces, [[0, 1, 2], [0, 2, 1]])


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("shrec_16/alien/train/T133.obj", "train"),
        ("a/test/x/b.off", "test"),
        ("a/Validation/b.off", "val"),
        ("training/test/b.off", "test"),
        ("train.off", None),
        ("a/b.off", None),
    ],
)
def test_split_of(path, split):
    assert mesh_split_of(path) == split


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.obj", "", "the file is empty; the file is damaged or incomplete"),
        ("a.obj", TRIANGLE, "the mesh has no faces"),
        ("a.obj", TRIANGLE + "f 1 2 9\n", "not a readable obj file .*out of bounds"),
        ("a.obj", TRIANGLE.replace("1 0 0", "nan 0 0") + "f 1 2 3\n", "`vertices` of row 1 is not finite"),
        ("a.off", "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n", "a face names vertex 7, but there are 3"),
        ("a.off", "OFF\n3 1 0\n0 0 0\n1 0 0\n", "promises 3 vertices and 1 faces, but only 2 lines follow"),
        ("a.off", "OFF\n3 0 0\n0 0 0\n1 0 0\n0 1 0\n", "empty mesh: it has no faces"),
        ("a.ply", "garbage", "not a readable ply file"),
        ("a.stl", b"\x00" * 100, "no faces|not a readable stl file"),
        ("a.glb", "garbage", "not a readable glb file"),
    ],
)
def test_broken_files_name_file_record_and_remedy(tmp_path, name, content, message):
    path = _write(tmp_path / name, content)
    with pytest.raises(DataError, match=message) as caught:
        list(read_meshes(path))
    assert str(caught.value).startswith(f"{path}, record {name}: ")


@pytest.mark.parametrize("suffix", ["ply", "stl", "glb"])
def test_truncated_binary_files(tmp_path, suffix):
    trimesh.creation.box().export(tmp_path / f"box.{suffix}")
    content = (tmp_path / f"box.{suffix}").read_bytes()
    path = _write(tmp_path / f"cut.{suffix}", content[: len(content) // 2])
    with pytest.raises(DataError, match=r"damaged or incomplete|is it complete\?"):
        list(read_meshes(path))


def test_broken_meshes_can_be_collected(folder):
    _write(folder / "ball" / "train" / "b.off", "OFF\n3 1 0\n")
    errors: list[DataError] = []
    assert len(list(read_meshes(folder, on_error=errors.append))) == 6
    assert [error.record for error in errors] == ["ball/train/b.off"]


def test_unknown_class_split_and_missing_path(folder, tmp_path):
    with pytest.raises(DataError, match="unknown class 'ball'; known classes: box"):
        list(read_meshes(folder, classes=["box"]))
    with pytest.raises(DataError, match="no mesh of split 'val'; splits are read from folder names"):
        list(read_meshes(folder, split="val"))
    with pytest.raises(DataError, match="nowhere: no such file or folder; check the path"):
        list(read_meshes(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no mesh file found; known formats: glb"):
        mesh_classes(tmp_path / "empty")


@pytest.mark.parametrize("name", ["broken.zip", "broken.tar.gz"])
def test_broken_archives(tmp_path, name):
    with pytest.raises(DataError, match=r"unreadable archive .*fetch it again"):
        list(read_meshes(_write(tmp_path / name, "garbage")))


def test_truncated_archive(folder):
    archive = folder.with_name("shapes.tar.gz")
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname=".")
    _write(archive, archive.read_bytes()[:-400])
    with pytest.raises(DataError, match="unreadable archive"):
        list(read_meshes(archive))


def test_shrec16(shared_data):
    path = shared_data / "mesh" / "shrec16_500faces_train.tar.gz"
    if not path.is_file():
        pytest.skip(f"real data not present: {path}")
    meshes = list(read_meshes(path))
    assert len(mesh_classes(path)) == 30
    np.testing.assert_array_equal(np.bincount([mesh.label for mesh in meshes]), 16)
    assert {len(mesh.faces) for mesh in meshes} == {500}
    assert all(is_watertight(mesh.faces) for mesh in meshes)
    assert {mesh_split_of(mesh.id) for mesh in meshes} == {"train"}


def test_geometric_shapes_and_modelnet(shared_data):
    shapes = shared_data / "mesh" / "geometric_shapes_raw.zip"
    bathtubs = shared_data / "mesh" / "modelnet10_bathtub_5.tar.gz"
    if not (shapes.is_file() and bathtubs.is_file()):
        pytest.skip(f"real data not present: {shapes}, {bathtubs}")
    assert len(list(read_meshes(shapes, split="train"))) == len(mesh_classes(shapes)) == 40
    assert [mesh.label for mesh in read_meshes(bathtubs)] == [0] * 5


def test_an_archive_cannot_write_outside_of_its_folder(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(folder / "box", "box")
        entry = tarfile.TarInfo("box/../../outside.off")
        entry.size = 3
        tar.addfile(entry, io.BytesIO(b"OFF"))
    with pytest.raises(DataError, match="unreadable archive .*outside.off' leads out of the archive"):
        list(read_meshes(path))

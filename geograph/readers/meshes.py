"""Triangle meshes in any format that trimesh reads: one file, a folder, a .zip or a .tar archive.

The class of a mesh is the name of the folder that holds it, after a split folder (`train`, `val`, `test`) is
stepped over: `shrec_16/alien/train/T133.obj` is an `alien` of the `train` part.
"""

from __future__ import annotations

import io
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from zlib import error as ZlibError

import numpy as np
from jaxtyping import Float, Int

from geograph.errors import DataError
from geograph.readers.off import parse_off
from geograph.records import Mesh

OnError = Callable[[DataError], None]

_AGAIN = "the file is damaged or incomplete: fetch it again"
_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
_BROKEN_ARCHIVE = (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError, ZlibError)
#: What trimesh's parsers raise on malformed input; there is no common base class.
_BROKEN_FILE = (ValueError, IndexError, KeyError, TypeError, AttributeError, NameError, struct.error)


def mesh_formats() -> tuple[str, ...]:
    """Return the suffixes of the mesh files that can be read, without their dots."""
    from trimesh.exchange.load import mesh_formats as known

    return tuple(sorted(known() - {"stl_ascii", "xyz"}))


def mesh_split_of(path: str | PathLike[str]) -> str | None:
    """Return the part (`train`, `val`, `test`) that the nearest split folder of a path names, or None.

    Parameters
    ----------
    path
        Path or identifier of a mesh.
    """
    folders = PurePosixPath(str(path)).parts[:-1]
    return next((_SPLITS[name.lower()] for name in reversed(folders) if name.lower() in _SPLITS), None)


def _class_of(member: str) -> str | None:
    """Return the nearest folder of a member that is not a split folder, or None at the top level."""
    folders = PurePosixPath(member).parts[:-1]
    return next((name for name in reversed(folders) if name.lower() not in _SPLITS), None)


def mesh_classes(path: str | PathLike[str]) -> list[str]:
    """Return the sorted class names of a folder or archive; an empty list if its meshes have no class folder.

    Parameters
    ----------
    path
        Folder, archive or mesh file.

    Raises
    ------
    DataError
        If the path is missing or unreadable, or holds no mesh.
    """
    return sorted({name for member in mesh_ids(path) if (name := _class_of(member)) is not None})


def mesh_ids(path: str | PathLike[str]) -> list[str]:
    """Return the identifiers (paths inside the folder or archive, sorted) of all meshes; reads no mesh.

    Parameters
    ----------
    path
        Folder, archive or mesh file.

    Raises
    ------
    DataError
        If the path is missing or unreadable, or holds no mesh.
    """
    path = Path(path)
    if not path.exists():
        raise DataError("no such file or folder", source=path, remedy="check the path, or put the data there")
    if path.is_dir():
        names = [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]
    elif _is_archive(path):
        names = _archive_names(path)
    else:
        names = [path.name]
    suffixes = {f".{suffix}" for suffix in mesh_formats()}
    members = sorted(
        name
        for name in names
        if PurePosixPath(name).suffix.lower() in suffixes
        and not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)
    )
    if not members:
        raise DataError(
            "no mesh file found", source=path, remedy=f"known formats: {', '.join(mesh_formats())}"
        )
    return members


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(":")


def _is_archive(path: Path) -> bool:
    return path.suffix.lower() in {".zip", ".tar", ".tgz", ".gz", ".xz", ".bz2"}


def _archive_names(path: Path) -> list[str]:
    try:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                return [entry.filename for entry in archive.infolist() if not entry.is_dir()]
        with tarfile.open(path) as tar:
            return [entry.name for entry in tar if entry.isfile()]
    except _BROKEN_ARCHIVE as error:
        raise DataError(f"unreadable archive ({_first_line(error)})", source=path, remedy=_AGAIN) from error


def _unpack(tar: tarfile.TarFile, folder: Path) -> None:
    """Write the plain files of an archive, and nothing outside of the folder.

    The standard library's filter for this came with Python 3.11.4.
    """
    for entry in tar:
        content = tar.extractfile(entry) if entry.isfile() else None
        if content is None:
            continue
        target = (folder / entry.name).resolve()
        if not target.is_relative_to(folder.resolve()):
            raise tarfile.TarError(f"entry {entry.name!r} leads out of the archive")
        target.parent.mkdir(parents=True, exist_ok=True)
        with content, target.open("wb") as file:
            shutil.copyfileobj(content, file)


@contextmanager
def _as_folder(path: Path) -> Iterator[Path]:
    """Give a folder with the meshes: the folder itself, or a temporary one with the unpacked archive."""
    if path.is_dir():
        yield path
    elif not _is_archive(path):
        yield path.parent
    else:
        with TemporaryDirectory(prefix="geograph-meshes-") as folder:
            try:
                if path.suffix.lower() == ".zip":
                    with zipfile.ZipFile(path) as archive:
                        archive.extractall(folder)
                else:
                    with tarfile.open(path) as tar:
                        _unpack(tar, Path(folder))
            except _BROKEN_ARCHIVE as error:
                raise DataError(
                    f"unreadable archive ({_first_line(error)})", source=path, remedy=_AGAIN
                ) from error
            yield Path(folder)


def _load(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices and faces as the file has them."""
    content = file.read_bytes()
    if not content.strip():
        raise DataError("the file is empty", remedy=_AGAIN)
    suffix = file.suffix.lower().lstrip(".")
    if suffix == "off":
        return parse_off(content)
    import trimesh

    try:
        mesh = trimesh.load_mesh(io.BytesIO(content), file_type=suffix, process=False)
    except _BROKEN_FILE as error:
        raise DataError(f"not a readable {suffix} file ({error})", remedy=_AGAIN) from error
    if not isinstance(mesh, trimesh.Trimesh) or len(mesh.faces) == 0:
        raise DataError(
            "the mesh has no faces", remedy="point clouds and curves are not meshes; is it complete?"
        )
    return np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)


def merge_vertices(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> tuple[Float[np.ndarray, "w 3"], Int[np.ndarray, "f 3"]]:
    """Return the mesh with vertices at the very same position made one; the order of first occurrence stays.

    Formats without shared vertices (STL), and those that split a vertex for each texture coordinate, become
    connected by it.
    """
    _, first, inverse = np.unique(vertices + 0.0, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return vertices[first[order]], rank[inverse.reshape(-1)][faces]


def _label_of(member: str, classes: Sequence[str]) -> int | None:
    name = _class_of(member)
    if name is None:
        return None
    if name not in classes:
        raise DataError(f"unknown class {name!r}", remedy=f"known classes: {', '.join(classes)}")
    return list(classes).index(name)


def _read(file: Path, member: str, classes: Sequence[str], is_merged: bool) -> Mesh:
    label = _label_of(member, classes)
    vertices, faces = _load(file)
    mesh = Mesh(vertices, faces, label, member)
    return Mesh(*merge_vertices(vertices, faces), label, member) if is_merged else mesh


def read_meshes(
    path: str | PathLike[str],
    *,
    classes: Sequence[str] | None = None,
    split: str | None = None,
    is_merged: bool = True,
    on_error: OnError | None = None,
) -> Iterator[Mesh]:
    """Meshes of a file, folder or archive, in the order of their names; the identifier is the path inside it.

    Parameters
    ----------
    path
        Mesh file, folder, `.zip` or `.tar.gz`; archives are unpacked to a temporary folder.
    classes
        Class names; the position is the label. By default `mesh_classes(path)`.
    split
        Only the meshes in folders of this part, see `mesh_split_of`.
    is_merged
        Whether vertices at the same position become one.
    on_error
        Called with the error of each broken mesh, which is then left out; without it the error is raised.

    Raises
    ------
    DataError
        If the path is missing, an archive is damaged, or a mesh is truncated, empty, without faces, of an
        unknown class, has a coordinate that is not finite, or a face that names a vertex that is not there.
    """
    path = Path(path)
    members = [name for name in mesh_ids(path) if split is None or mesh_split_of(name) == split]
    if not members:
        raise DataError(
            f"no mesh of split {split!r}", source=path, remedy="splits are read from folder names"
        )
    known = mesh_classes(path) if classes is None else classes
    with _as_folder(path) as folder:
        for member in members:
            try:
                yield _read(folder / member, member, known, is_merged)
            except DataError as error:
                located = DataError(error.what, source=path, record=member, remedy=error.remedy)
                if on_error is None:
                    raise located from error
                on_error(located)

"""Pictures of meshes, to look at a data set before anything is trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from geograph.errors import ConfigError
from geograph.generate.mesh_deform import is_watertight
from geograph.records import Mesh

if TYPE_CHECKING:
    from mpl_toolkits.mplot3d import Axes3D

_ELEVATION, _AZIMUTH = 30.0, -60.0  # degrees
_LIGHT = np.array([0.3, -0.6, 0.74])
_COLOUR = np.array([0.45, 0.62, 0.85])


def _towards_viewer() -> np.ndarray:
    up, around = np.radians([_ELEVATION, _AZIMUTH])
    return np.array([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)])


def _draw(axes: Axes3D, mesh: Mesh, title: str) -> None:
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    corners = mesh.vertices[mesh.faces].astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > 0)
    if is_watertight(
        mesh.faces
    ):  # matplotlib sorts faces by depth only roughly: leave out what cannot be seen
        is_seen = normals @ _towards_viewer() > 0
        corners, normals = corners[is_seen], normals[is_seen]
    shade = normals @ _LIGHT
    colours = np.clip(0.35 + 0.65 * np.clip(shade, 0, 1), 0, 1)[:, None] * _COLOUR
    axes.add_collection3d(Poly3DCollection(corners, facecolors=colours, edgecolors="0.25", linewidths=0.15))
    centre = (mesh.vertices.max(axis=0) + mesh.vertices.min(axis=0)) / 2
    reach = float((mesh.vertices.max(axis=0) - mesh.vertices.min(axis=0)).max()) / 2
    axes.set(
        xlim=centre[0] + [-reach, reach], ylim=centre[1] + [-reach, reach], zlim=centre[2] + [-reach, reach]
    )
    axes.set_box_aspect((1, 1, 1), zoom=1.35)
    axes.view_init(_ELEVATION, _AZIMUTH)
    axes.set_proj_type("ortho")
    axes.set_axis_off()
    axes.set_title(title, fontsize=8)


def plot_meshes(
    meshes: Sequence[Mesh],
    path: str | PathLike[str],
    *,
    titles: Sequence[str] | None = None,
    num_columns: int = 5,
) -> None:
    """Write a grid of shaded pictures of meshes, one for each, to an image file.

    Parameters
    ----------
    meshes
        What to draw.
    path
        Image file; the suffix chooses the format.
    titles
        Text above each picture; by default the identifier of the mesh.
    num_columns
        Pictures in a row.

    Raises
    ------
    ConfigError
        If there are no meshes, or the number of titles differs from theirs.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not meshes:
        raise ConfigError("`meshes` must hold at least one mesh, got none.")
    names = [mesh.id for mesh in meshes] if titles is None else list(titles)
    if len(names) != len(meshes):
        raise ConfigError(
            f"`titles` must hold one text for each of the {len(meshes)} meshes, got {len(names)}."
        )
    num_rows = -(-len(meshes) // num_columns)
    figure = Figure(figsize=(2 * num_columns, 2.1 * num_rows), layout="constrained")
    FigureCanvasAgg(figure)
    for i, (mesh, name) in enumerate(zip(meshes, names, strict=True)):
        axes = figure.add_subplot(num_rows, num_columns, i + 1, projection="3d")
        _draw(axes, mesh, name)
    figure.savefig(path, dpi=110)

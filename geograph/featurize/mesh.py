"""Mesh -> graph: vertices are nodes, sides of triangles are edges."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from geograph.errors import ConfigError, DataError
from geograph.featurize.cast import cast_fields, class_label
from geograph.featurize.edges import edges_by_rule, mesh_edges
from geograph.generate.mesh_deform import is_watertight, normalise, signed_volume
from geograph.records import Mesh

MESH_EDGES = ("mesh", "radius", "knn")

#: A normal shorter than this share of the area around its vertex has no direction.
_DEGENERATE = 1e-9


def _sum_at_vertices(values: np.ndarray, faces: np.ndarray, num_vertices: int) -> np.ndarray:
    return np.bincount(faces.ravel(), np.repeat(values, 3), minlength=num_vertices)


def vertex_geometry(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> tuple[Float[np.ndarray, "v 3"], Float[np.ndarray, " v"]]:
    """Return the unit normal and the area of each vertex.

    The normal is the area-weighted mean of those of the triangles around, a vector under rotations and
    reflections (of vertices and orientation). A closed surface whose faces look inward is taken the other way
    round, so that its normals point outward; an open one keeps the orientation of its faces. Where there is
    no direction (a vertex without triangles, triangles without area or that cancel), the normal is zero.
    The area is one third of that of the triangles around; the areas sum to that of the surface.

    Parameters
    ----------
    vertices
        Positions.
    faces
        Vertex numbers of each triangle.
    """
    corners = vertices[faces].astype(np.float64)
    doubled = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    if is_watertight(faces) and signed_volume(vertices, faces) < 0:
        doubled = -doubled
    area = _sum_at_vertices(np.linalg.norm(doubled, axis=1) / 6, faces, len(vertices))
    normal = np.stack([_sum_at_vertices(doubled[:, i] / 6, faces, len(vertices)) for i in range(3)], axis=1)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    has_direction = length > _DEGENERATE * area[:, None]
    return np.divide(normal, length, out=np.zeros_like(normal), where=has_direction), area


def mesh_graph(
    mesh: Mesh, *, edges: str = "mesh", radius: float | None = None, k: int | None = None
) -> dict[str, np.ndarray]:
    """Return the graph of a mesh: `pos`, `normal`, `area`, `edge_index` and, where known, the class `y`.

    Positions are moved and scaled so that the surface centroid lies at the origin and the largest radius is
    one; areas are those of the scaled surface.

    Parameters
    ----------
    mesh
        The record.
    edges
        `mesh` joins the ends of each side of a triangle; `radius` and `knn` join vertices that are near in
        space, wherever they are on the surface.
    radius
        For `radius`: largest distance on the scaled surface, whose largest radius is one.
    k
        For `knn`: number of neighbours.

    Raises
    ------
    ConfigError
        If the edge rule is unknown or lacks its parameter.
    DataError
        If all vertices coincide, or there are fewer than `k + 1`.
    """
    if edges not in MESH_EDGES:
        raise ConfigError(f"`edges` must be one of {', '.join(MESH_EDGES)}, got {edges!r}.")
    vertices = normalise(mesh.vertices.astype(np.float64), mesh.faces)
    if not np.any(vertices):
        raise DataError("all vertices coincide", record=mesh.id, remedy="remove the mesh")
    normal, area = vertex_geometry(vertices, mesh.faces)
    edge_index = (
        mesh_edges(mesh.faces, len(vertices))
        if edges == "mesh"
        else edges_by_rule(vertices, "knn" if edges == "knn" else "radius", radius=radius, k=k)
    )
    return cast_fields(
        {
            "pos": vertices,
            "normal": normal,
            "area": area,
            "edge_index": edge_index,
            "y": class_label(mesh.label),
        }
    )

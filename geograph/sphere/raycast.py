"""First hits of rays on triangles: found by embree in float32, refined in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from geograph.errors import MissingExtraError, ShapeError

#: A refined distance farther than this from the one found, in units of the reach of the scene, belongs to a
#: triangle too thin for its plane to be known; the found one is kept.
_THIN = 1e-4


@dataclass(frozen=True)
class RayHits:
    """Where rays met a surface first.

    Attributes
    ----------
    distance
        From the start of the ray to the hit, in the unit of the vertices; infinite where there is none.
    face
        Number of the triangle, -1 where there is none.
    normal
        Unit normal of the triangle, of the two the one that looks back to where the ray came from; zero where
        there is no hit. It does not depend on the orientation of the triangle, and is the outward one where
        the surface is closed and the ray starts outside.
    """

    distance: Float[np.ndarray, " n"]
    face: Int[np.ndarray, " n"]
    normal: Float[np.ndarray, "n 3"]

    @property
    def is_hit(self) -> Bool[np.ndarray, " n"]:
        """Whether there was a hit."""
        return self.face >= 0


def cast_rays(
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    origins: Float[np.ndarray, "n 3"],
    directions: Float[np.ndarray, "n 3"],
) -> RayHits:
    """Return the first hit of each ray, seen from either side of the triangles.

    Which triangle is hit is decided in float32, so that a ray within about 1e-7 of an edge may take either
    neighbour; the distance is that to the plane of the triangle in float64.

    Parameters
    ----------
    vertices, faces
        Triangles; any orientation, closed or not.
    origins
        Starts of the rays.
    directions
        Unit vectors.

    Raises
    ------
    ShapeError
        If the numbers of origins and directions differ.
    MissingExtraError
        If embreex is not installed.

    References
    ----------
    Wald et al. (2014), ACM Trans. Graph. 33, 143 (embree).
    """
    try:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene
    except ImportError as error:
        raise MissingExtraError("Ray casting", "embreex", "generate") from error
    if origins.shape != directions.shape:
        raise ShapeError(
            f"`origins` and `directions` must have one shape, got {origins.shape} and {directions.shape}."
        )
    corners = vertices.astype(np.float64)[faces]
    scene = EmbreeScene(robust=True)
    TriangleMesh(scene, np.ascontiguousarray(corners, dtype=np.float32))
    found = scene.run(
        np.ascontiguousarray(origins, dtype=np.float32),
        np.ascontiguousarray(directions, dtype=np.float32),
        output=True,
    )
    return _refined(corners, origins, directions, found["primID"].astype(np.int64), found["tfar"])


def _refined(
    corners: np.ndarray, origins: np.ndarray, directions: np.ndarray, face: np.ndarray, rough: np.ndarray
) -> RayHits:
    """Meet the plane of the triangle that was found."""
    rays = np.flatnonzero(face >= 0)
    start, along = origins[rays].astype(np.float64), directions[rays].astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = np.divide(normals, length, out=np.zeros_like(normals), where=length > 0)
    normal, corner = normals[face[rays]], corners[face[rays], 0]
    slope = np.einsum("ni,ni->n", normal, along)
    height = np.einsum("ni,ni->n", normal, corner - start)
    exact = np.divide(height, slope, out=np.full(len(rays), np.inf), where=slope != 0)
    near = rough[rays].astype(np.float64)
    reach = np.abs(corners).max(initial=0.0) + np.abs(origins).max(initial=0.0)
    distance = np.full(len(face), np.inf)
    distance[rays] = np.where(np.abs(exact - near) <= _THIN * reach, exact, near)
    back = np.zeros((len(face), 3))
    back[rays] = np.where(slope > 0, -1.0, 1.0)[:, None] * normal
    return RayHits(distance, face, back)

"""Closed surfaces for the mesh generator without boolean operations: tubes along curves, superquadrics."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from geograph.errors import MissingExtraError

#: Fewest and most sides of a tube.
_TUBE_SIDES = (6, 24)


def manifold3d() -> Any:
    """Return the module `manifold3d`, which the extra `generate` installs.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        import manifold3d as module
    except ImportError as error:
        raise MissingExtraError("generating meshes", "manifold3d", extra="generate") from error
    return module


def to_solid(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Any:
    """Return the manifold3d solid that a closed triangle surface bounds."""
    module = manifold3d()
    mesh = module.Mesh64(
        np.ascontiguousarray(vertices, dtype=np.float64), np.ascontiguousarray(faces, dtype=np.uint64)
    )
    return module.Manifold(mesh)


def _cube_sphere(num_steps: int) -> Any:
    """Return the unit cube [-1, 1]^3 with a grid of `num_steps^2` squares of equal angle on each side."""
    module = manifold3d()
    cube = module.Manifold.cube([2.0, 2.0, 2.0], center=True).refine(num_steps)
    return cube.warp_batch(lambda points: np.tan(np.pi / 4 * points))


def superquadric(exponent: float, semi_axes: Float[np.ndarray, " 3"], max_faces: int) -> Any:
    r"""Return the solid `|x/a|^(2/e) + |y/b|^(2/e) + |z/c|^(2/e) <= 1`.

    The vertices of a cube (`e < 0.5`) or of an octahedral sphere move along their rays, so that the mesh has
    the symmetry of the shape and its edges run along those of the shape.

    Parameters
    ----------
    exponent
        `e`: 1 gives an ellipsoid, 0 tends to a box, 2 gives an octahedron, more a star.
    semi_axes
        `(a, b, c)`.
    max_faces
        The most faces; the cube has `12 n^2` of them, the sphere `8 n^2`.

    References
    ----------
    Barr (1981), IEEE Computer Graphics and Applications 1(1), Eqs. (2.10)-(2.13).
    """

    def stretch(points: np.ndarray) -> np.ndarray:
        power = 2.0 / exponent
        length = (np.abs(points) ** power).sum(axis=1, keepdims=True) ** (1.0 / power)
        return points / length * semi_axes

    if exponent < 0.5:
        start = _cube_sphere(int(np.sqrt(max_faces / 12)))
    else:
        start = manifold3d().Manifold.sphere(1.0, 4 * int(np.sqrt(max_faces / 8)))
    return start.warp_batch(stretch)


def _transport(tangents: np.ndarray) -> np.ndarray:
    """Return normals of a frame that turns as little as possible along the curve."""
    normals = np.empty_like(tangents)
    start = np.cross(tangents[0], np.eye(3)[np.argmin(np.abs(tangents[0]))])
    normals[0] = start / np.linalg.norm(start)
    for i in range(1, len(tangents)):
        normal = normals[i - 1] - tangents[i] * (normals[i - 1] @ tangents[i])
        normals[i] = normal / np.linalg.norm(normal)
    return normals


def _frame(curve: np.ndarray, closed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return two unit normals at each point of a curve; on a closed one they match at the seam."""
    if closed:
        tangents = np.roll(curve, -1, axis=0) - np.roll(curve, 1, axis=0)
    else:
        tangents = np.gradient(curve, axis=0)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    normals = _transport(tangents)
    binormals = np.cross(tangents, normals)
    if closed:
        back = normals[-1] - tangents[0] * (normals[-1] @ tangents[0])
        gap = np.arctan2(back @ binormals[0], back @ normals[0])
        angle = -gap * np.arange(len(curve))[:, None] / len(curve)
        turned = np.cos(angle) * normals + np.sin(angle) * binormals
        binormals = np.cross(tangents, turned)
        normals = turned
    return normals, binormals


def _tube_faces(num_rings: int, sides: int, closed: bool) -> np.ndarray:
    rings = num_rings if closed else num_rings - 1
    ring, side = np.divmod(np.arange(rings * sides), sides)
    after, beside = (ring + 1) % num_rings, (side + 1) % sides
    a, b = ring * sides + side, ring * sides + beside
    c, d = after * sides + side, after * sides + beside
    faces = np.concatenate([np.stack([a, b, d], axis=1), np.stack([a, d, c], axis=1)])
    if closed:
        return faces
    around, beside = np.arange(sides), (np.arange(sides) + 1) % sides
    first, last = num_rings * sides, num_rings * sides + 1
    shift = (num_rings - 1) * sides
    start = np.stack([np.full(sides, first), beside, around], axis=1)
    end = np.stack([np.full(sides, last), around + shift, beside + shift], axis=1)
    return np.concatenate([faces, start, end])


def tube(
    curve: Float[np.ndarray, "n 3"], radius: float, sides: int, *, closed: bool
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """Return the surface of a tube around a curve, faces outward.

    An open curve gets a flat cap at either end. The frame is carried along with the least turn, and on a
    closed curve the remaining angle is spread over its length.

    Parameters
    ----------
    curve
        Points of the curve; on a closed one the first point does not come again.
    radius
        Radius of the tube; it must stay below the radius of curvature.
    sides
        Corners of the cross-section.
    closed
        Whether the last point is joined to the first.
    """
    normals, binormals = _frame(curve, closed)
    angle = 2 * np.pi * np.arange(sides) / sides
    offsets = (
        np.cos(angle)[None, :, None] * normals[:, None] + np.sin(angle)[None, :, None] * binormals[:, None]
    )
    vertices = (curve[:, None] + radius * offsets).reshape(-1, 3)
    if not closed:
        vertices = np.concatenate([vertices, curve[:1], curve[-1:]])
    return vertices, _tube_faces(len(curve), sides, closed)


def tube_resolution(length: float, radius: float, max_faces: int) -> tuple[int, int]:
    """Return the numbers of rings and sides for compact triangles, at most `max_faces` of them."""
    sides = int(np.clip(np.sqrt(max_faces * np.pi * radius / length), *_TUBE_SIDES))
    return max(8, max_faces // (2 * sides) - 2), sides


def solid_tube(curve: Float[np.ndarray, "n 3"], radius: float, max_faces: int, *, closed: bool) -> Any:
    """Return the solid inside a tube of at most `max_faces` faces around a finely sampled curve."""
    points = np.concatenate([curve, curve[:1]]) if closed else curve
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    arc = np.concatenate([[0.0], np.cumsum(steps)])
    num_rings, sides = tube_resolution(float(arc[-1]), radius, max_faces)
    where = np.linspace(0.0, arc[-1], num_rings, endpoint=not closed)
    even = np.stack([np.interp(where, arc, points[:, axis]) for axis in range(3)], axis=1)
    return to_solid(*tube(even, radius, sides, closed=closed))

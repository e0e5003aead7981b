"""Mesh -> one sphere: what rays from an enclosing sphere towards its centre meet first.

For each direction u a ray starts at u, on the unit sphere around the mesh, and runs towards the origin and on
through it. Channels, of the mesh and, with the prefix `hull_`, of its convex hull:

- `distance` from the start of the ray to the first hit: 0 on the enclosing sphere, 1 at the centre, up to 2
  where the ray passed through a hole; 1 without a hit;
- `cos`, `sin` of the angle between the ray and the normal there, both 0 without a hit;
- `hit`: 1 where the ray met the mesh, 0 where not (no prefix: the hull is always met).

All are scalar functions that turn with the mesh.

A surface may cross itself, be open or have parts inside one another: a ray needs no inside, and of all the
triangles in its way the first one counts, which is unique. What lies behind it is not seen. The convex hull
depends on the vertices alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.spatial import ConvexHull, QhullError

from geograph.errors import ConfigError, DataError
from geograph.featurize.cast import cast_fields, class_label
from geograph.generate.mesh_deform import normalise
from geograph.records import Mesh
from geograph.sphere.grids import GridKind, make_grid
from geograph.sphere.raycast import cast_rays
from geograph.sphere.sht import analysis

#: Channels of Cohen et al. (2018) and Esteves et al. (2018), in the published order.
PUBLISHED_CHANNELS = ("distance", "cos", "sin", "hull_distance", "hull_cos", "hull_sin")
CHANNELS = (*PUBLISHED_CHANNELS, "hit")
#: Largest radius of the mesh inside the unit sphere from which the rays start.
REACH = 0.99
#: Extent of a mesh within which the squares of its areas neither overflow nor vanish.
_EXTENTS = (1e-60, 1e60)
#: Twice the area of a triangle, for a mesh of largest radius one, that is nothing but rounding.
_NO_AREA = 1e-13


def _surface_channels(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"], directions: Float[np.ndarray, "n 3"]
) -> dict[str, np.ndarray]:
    hits = cast_rays(vertices, faces, directions, -directions)
    cosine = np.minimum(np.einsum("ni,ni->n", hits.normal, directions), 1.0)
    sine = np.linalg.norm(np.cross(hits.normal, directions), axis=1)
    distance = np.where(hits.is_hit, hits.distance, 1.0)
    return {"distance": distance, "cos": cosine, "sin": sine, "hit": hits.is_hit.astype(np.float64)}


def ray_channels(
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    directions: Float[np.ndarray, "n 3"],
    channels: Sequence[str] = PUBLISHED_CHANNELS,
) -> Float[np.ndarray, "channels n"]:
    """Return the channels at each direction, for a mesh inside the unit sphere, in float64.

    Parameters
    ----------
    vertices, faces
        The mesh, within the unit sphere.
    directions
        Unit vectors.
    channels
        Names from `CHANNELS`.

    Raises
    ------
    DataError
        If a channel of the convex hull is asked for and there is none, because the mesh is flat.
    MissingExtraError
        If embreex is not installed.
    """
    values: dict[str, np.ndarray] = {}
    if any(not name.startswith("hull_") for name in channels):
        values |= _surface_channels(vertices, faces, directions)
    if any(name.startswith("hull_") for name in channels):
        try:
            hull = ConvexHull(vertices[np.unique(faces)])
        except QhullError as error:
            raise DataError(
                "the mesh has no convex hull: its vertices lie in a plane or are fewer than four",
                remedy="remove the mesh, or leave the channels with `hull_` out",
            ) from error
        of_hull = _surface_channels(hull.points, hull.simplices, directions)
        values |= {f"hull_{name}": value for name, value in of_hull.items()}
    return np.stack([values[name] for name in channels])


def _normalised(mesh: Mesh) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """Vertices that faces use, moved and scaled into the unit sphere, and the faces in their numbers."""
    used, numbers = np.unique(mesh.faces, return_inverse=True)
    vertices, faces = mesh.vertices[used].astype(np.float64), numbers.reshape(mesh.faces.shape)
    with np.errstate(over="ignore"):
        extent = float(np.ptp(vertices, axis=0).max())
    if extent == 0.0:
        raise DataError("all vertices coincide", remedy="remove the mesh")
    if not _EXTENTS[0] <= extent <= _EXTENTS[1]:
        raise DataError(
            f"the mesh has an extent of {extent:.3g}, its areas cannot be told in float64",
            remedy="give it in another unit of length",
        )
    vertices = normalise(vertices, faces)
    corners = vertices[faces]
    doubled = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    if np.linalg.norm(doubled, axis=1).max() <= _NO_AREA:
        raise DataError(
            "the mesh has no area: the corners of each of its triangles lie on a line",
            remedy="remove the mesh",
        )
    return REACH * vertices, faces


def mesh_sphere(
    mesh: Mesh,
    *,
    bandlimit: int,
    ray_bandlimit: int = 64,
    channels: Sequence[str] = PUBLISHED_CHANNELS,
    grid: GridKind = "soft",
) -> dict[str, np.ndarray]:
    """Return the sphere of a mesh: `harmonic` [1, channels, L^2] and, where known, the class `y`.

    The mesh is moved so that its surface centroid lies at the origin, and scaled to the largest radius 0.99.
    Rays are cast from every pixel of a grid, and the degrees below `bandlimit` of what they saw are kept.
    The functions have edges, so that their degrees do not end: rotating the mesh rotates the coefficients up
    to aliasing, which falls as `ray_bandlimit` rises above `bandlimit`.

    Vertices that no face uses are left out. Surfaces that cross themselves are accepted, see the module.
    A mesh whose convex hull cannot be built, because it is flat or has fewer than four vertices, is refused
    if a channel of the hull is asked for, and accepted otherwise.

    Parameters
    ----------
    mesh
        The record.
    bandlimit
        Degrees l = 0 ... L - 1 are kept.
    ray_bandlimit
        Band-limit of the grid of rays, at least `bandlimit`; `soft` has 4 L^2 rays.
    channels
        Names, see the module; the default are the six published ones.
    grid
        Kind of the grid of rays; `soft` is the published one.

    Raises
    ------
    ConfigError
        If a channel is unknown or named twice, or the rays are too few for the band-limit.
    DataError
        If all vertices coincide, all triangles are without area, the coordinates are too large or too small
        for float64, or the convex hull is asked for and the mesh is flat.
    MissingExtraError
        If embreex is not installed.

    Notes
    -----
    The released program takes the sign of the cosine from the orientation of the triangles, which in many
    collections is arbitrary; here the normal is the one that looks towards the start of the ray, which for
    closed surfaces is the outward one.

    References
    ----------
    Cohen et al. (2018), arXiv:1801.10130, section 5.3; Esteves et al. (2018), arXiv:1711.06721, section 5.
    """
    unknown = [name for name in channels if name not in CHANNELS]
    if unknown or not channels or len(set(channels)) != len(channels):
        raise ConfigError(
            f"`channels` must be distinct names among {', '.join(CHANNELS)},"
            f" got {', '.join(channels) or 'none'}."
        )
    if ray_bandlimit < bandlimit:
        raise ConfigError(f"`ray_bandlimit` must be at least `bandlimit` = {bandlimit}, got {ray_bandlimit}.")
    rays = make_grid(grid, ray_bandlimit)
    try:
        vertices, faces = _normalised(mesh)
        values = ray_channels(vertices, faces, rays.directions().numpy().reshape(-1, 3), channels)
    except DataError as error:
        raise error.at(record=mesh.id) from error
    harmonic = analysis(torch.from_numpy(values).reshape(-1, *rays.shape), rays, bandlimit)
    return cast_fields({"harmonic": harmonic.numpy()[None], "y": class_label(mesh.label)}, mesh.id)

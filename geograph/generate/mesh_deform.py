"""Random deformations and poses of meshes: anisotropic scale, smooth waves, rotation, normalisation."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

_NUM_WAVES = 4
#: Range of the wave numbers, in radians per unit of the bounding radius.
_WAVE_NUMBERS = (1.0, 2.5)


def is_watertight(faces: Int[np.ndarray, "f 3"]) -> bool:
    """Return whether every directed edge occurs once and its reverse occurs once.

    That is: the surface is closed, two faces meet at each edge, and neighbours are oriented alike.
    """
    source, target = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    num_vertices = int(faces.max()) + 1
    forward = np.sort(source * num_vertices + target)
    backward = np.sort(target * num_vertices + source)
    is_unique = bool((np.diff(forward) > 0).all())
    return is_unique and bool((source != target).all()) and np.array_equal(forward, backward)


def signed_volume(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> float:
    """Return the enclosed volume of a closed surface, positive if its faces are oriented outward.

    Parameters
    ----------
    vertices
        Positions, in the unit of the source.
    faces
        Vertex numbers of each triangle.

    Returns
    -------
    Volume in the cube of the unit of `vertices`.
    """
    a, b, c = (vertices[faces[:, corner]].astype(np.float64) for corner in range(3))
    return float(np.einsum("fi,fi->", a, np.cross(b, c)) / 6)


def random_rotation(rng: np.random.Generator) -> Float[np.ndarray, "3 3"]:
    """Return a rotation matrix, uniform on SO(3), from a normally distributed quaternion."""
    w, x, y, z = (quaternion := rng.standard_normal(4)) / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def surface_centroid(
    vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> Float[np.ndarray, " 3"]:
    """Return the area-weighted mean of a surface; of the vertices if the area is zero.

    It moves with the surface and does not depend on the triangulation.
    """
    corners = vertices[faces].astype(np.float64)
    doubled = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    total = doubled.sum()
    if total == 0.0:
        return vertices.mean(axis=0, dtype=np.float64)
    return doubled @ corners.mean(axis=1) / total


def normalise(vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Float[np.ndarray, "v 3"]:
    """Return the vertices with the surface centroid at the origin and the largest radius one.

    Equivariant under rotations and reflections, invariant under translations and uniform scale.
    """
    centred = vertices - surface_centroid(vertices, faces)
    radius = np.linalg.norm(centred, axis=1).max()
    return centred / radius if radius > 0 else centred


def random_stretch(rng: np.random.Generator, anisotropy: float) -> Float[np.ndarray, " 3"]:
    """Return three scale factors whose logarithms are uniform in [-anisotropy, anisotropy]."""
    return np.exp(rng.uniform(-anisotropy, anisotropy, 3))


def random_waves(
    rng: np.random.Generator, vertices: Float[np.ndarray, "v 3"], amplitude: float
) -> Float[np.ndarray, "v 3"]:
    r"""Return the vertices displaced by `amplitude / 2 * sum_k d_k sin(q_k . x + phi_k)`, k = 1..4.

    `d_k` are unit vectors, `1 <= |q_k| <= 2.5`. The Jacobian of the displacement is bounded by
    `amplitude / 2 * sum |q_k| <= 5 * amplitude`, so that below 0.2 the map is one-to-one: no surface crosses
    itself and none turns inside out.

    Parameters
    ----------
    rng
        Source of the waves.
    vertices
        Positions of a mesh with largest radius one.
    amplitude
        Root of the sum of the squared amplitudes of the four waves.
    """
    directions, axes = rng.standard_normal((2, _NUM_WAVES, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    axes *= rng.uniform(*_WAVE_NUMBERS, (_NUM_WAVES, 1)) / np.linalg.norm(axes, axis=1, keepdims=True)
    phase = rng.uniform(0, 2 * np.pi, _NUM_WAVES)
    return vertices + amplitude / np.sqrt(_NUM_WAVES) * np.sin(vertices @ axes.T + phase) @ directions

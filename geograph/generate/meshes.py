"""Generate labelled, watertight meshes of 15 classes with random proportions, deformations and poses."""

from __future__ import annotations

import numpy as np

from geograph.errors import ConfigError, DataError
from geograph.generate.mesh_deform import (
    is_watertight,
    normalise,
    random_rotation,
    random_stretch,
    random_waves,
    signed_volume,
)
from geograph.generate.mesh_shapes import BUILDERS, build_shape
from geograph.parallel import run_chunks
from geograph.records import Mesh

#: Class names; the position is the label.
MESH_CLASSES: tuple[str, ...] = tuple(BUILDERS)

_FEWEST_FACES = 500
#: The face budget of a mesh is drawn from this share of `max_faces` on, so that it does not tell the class.
_SMALLEST_SHARE = 0.7


def _one_mesh(
    seed: int,
    label: int,
    number: int,
    anisotropy: float,
    deformation: float,
    max_faces: int,
    upright: bool = False,
) -> Mesh:
    rng = np.random.default_rng([seed, label, number])
    name = MESH_CLASSES[label]
    budget = int(max_faces * rng.uniform(_SMALLEST_SHARE, 1.0))
    vertices, faces = build_shape(name, rng, budget)
    vertices = normalise(vertices * random_stretch(rng, anisotropy), faces)
    vertices = random_waves(rng, vertices, deformation)
    if not upright:
        vertices = vertices @ random_rotation(rng).T
    vertices = normalise(vertices, faces).astype(np.float32)
    record = f"{name}-{number:05d}"
    if not is_watertight(faces) or signed_volume(vertices, faces) <= 0:
        raise DataError(
            "the generated mesh is not a closed surface oriented outward",
            source="geograph.generate.meshes",
            record=record,
            remedy="choose a smaller `deformation`",
        )
    return Mesh(vertices, faces.astype(np.int32), label, record)


def _chunk(
    seed: int,
    jobs: list[tuple[int, int]],
    anisotropy: float,
    deformation: float,
    max_faces: int,
    upright: bool,
) -> list[Mesh]:
    return [
        _one_mesh(seed, label, number, anisotropy, deformation, max_faces, upright) for label, number in jobs
    ]


def _check(
    num_per_class: int, chunk_size: int, anisotropy: float, deformation: float, max_faces: int
) -> None:
    limits: dict[str, tuple[float, float]] = {
        "num_per_class": (num_per_class, 1),
        "chunk_size": (chunk_size, 1),
        "max_faces": (max_faces, _FEWEST_FACES),
        "anisotropy": (anisotropy, 0),
        "deformation": (deformation, 0),
    }
    for name, (value, least) in limits.items():
        if not value >= least:
            raise ConfigError(f"`{name}` must be at least {least}, got {value}.")


def generate_meshes(
    num_per_class: int,
    *,
    seed: int,
    num_workers: int = 1,
    chunk_size: int = 100,
    anisotropy: float = 0.45,
    deformation: float = 0.15,
    max_faces: int = 1000,
    upright: bool = False,
) -> list[Mesh]:
    """Return `num_per_class` meshes of each of the 15 classes of `MESH_CLASSES`, class after class.

    Every mesh is watertight and oriented outward, with its surface centroid at the origin and largest radius
    one, in float32. Mesh `number` of a class depends on `(seed, class, number)` and the parameters alone:
    neither on the number of workers and the chunk size, nor on how many meshes there are.

    Parameters
    ----------
    num_per_class
        Number of meshes of each class.
    seed
        Seed of all random numbers, not negative.
    num_workers
        Number of processes.
    chunk_size
        Number of meshes that a process makes at a time.
    anisotropy
        Largest logarithm of the scale factor along each of the three axes of the shape.
    deformation
        Amplitude of the smooth deformation, in units of the largest radius.
    max_faces
        The most faces of a mesh; the budget of each is drawn between 0.7 of it and all of it, so that size
        does not tell the class. There are about half as many vertices as faces.
    upright
        Leave every mesh in the pose in which its class is built (the axis of a cone along z, a table on its
        legs), for experiments that rotate parts of the data in a way of their own. The shapes are those that
        the same seed gives in random poses.

    Raises
    ------
    ConfigError
        If a parameter is out of range.
    DataError
        If the deformation turned a mesh inside out.
    MissingExtraError
        If manifold3d is not installed.
    """
    _check(num_per_class, chunk_size, anisotropy, deformation, max_faces)
    todo = [(label, number) for label in range(len(MESH_CLASSES)) for number in range(num_per_class)]
    jobs = [
        (seed, todo[start : start + chunk_size], anisotropy, deformation, max_faces, upright)
        for start in range(0, len(todo), chunk_size)
    ]
    chunks = run_chunks(_chunk, jobs, num_workers=num_workers, description="meshes")
    return [mesh for chunk in chunks for mesh in chunk]

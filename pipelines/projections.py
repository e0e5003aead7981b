"""From a projection's parameters to the function that makes it: one small function for each kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, cast

import numpy as np

from geograph.datasets.records import read_records
from geograph.errors import DataError
from geograph.records import Molecule
from pipelines.params_projections import (
    CelestialProjection,
    MapProjection,
    PairProjection,
    PotentialProjection,
    Projection,
    RayProjection,
    ScatteringProjection,
)

Projector = Callable[[Any], Mapping[str, np.ndarray]]


def open_projection(projection: Projection, folder: str) -> tuple[Projector, dict[str, Any]]:
    """Return what projects one record, and the facts that go into the manifest of the data set.

    Parameters
    ----------
    projection
        Its parameters.
    folder
        Store of the records, for what depends on all of them (the radius of the spheres about atoms).
    """
    options = projection.model_dump(exclude={"kind", "max_rejected"})
    return _PROJECTIONS[projection.kind](projection, options, folder)


def _potential(
    projection: PotentialProjection, options: dict[str, Any], folder: str
) -> tuple[Projector, dict[str, Any]]:
    from geograph.featurize.sphere_molecule import molecule_sphere

    radius = options.pop("radius")
    if isinstance(radius, str):
        smallest = _smallest_distance(folder)
        radius = [smallest / 2 if radius == "half_smallest" else smallest]
    made = partial(molecule_sphere, kind="potential", radius_angstrom=radius, **options)
    return made, {"radius_angstrom": radius}


def _pairs(
    projection: PairProjection, options: dict[str, Any], folder: str
) -> tuple[Projector, dict[str, Any]]:
    from geograph.featurize.sphere_molecule import molecule_sphere

    smallest = _smallest_distance(folder)
    made = partial(molecule_sphere, kind="pairs", unit_angstrom=smallest, **options)
    return made, {"unit_angstrom": smallest}


def _smallest_distance(folder: str) -> float:
    """Smallest distance of all molecules that have one; the others are rejected when they are projected."""
    from geograph.featurize.sphere_molecule import smallest_distance

    found = []
    for record in read_records(folder):
        with suppress(DataError):
            found.append(smallest_distance([cast(Molecule, record)]))
    if not found:
        raise DataError("no molecule has two atoms apart from each other", source=folder)
    return min(found)


def _rays(
    projection: RayProjection, options: dict[str, Any], folder: str
) -> tuple[Projector, dict[str, Any]]:
    from geograph.featurize.sphere_mesh import mesh_sphere

    return partial(mesh_sphere, **options), {"channels": list(projection.channels)}


def _celestial(
    projection: CelestialProjection, options: dict[str, Any], folder: str
) -> tuple[Projector, dict[str, Any]]:
    from geograph.featurize.sphere_jet import jet_sphere

    return partial(jet_sphere, **options), {"channels": list(projection.channels)}


def _maps(
    projection: MapProjection, options: dict[str, Any], folder: str
) -> tuple[Projector, dict[str, Any]]:
    from geograph.featurize.sphere_map import map_sphere

    return partial(map_sphere, **options), {}


def _scattering(
    projection: ScatteringProjection, options: dict[str, Any], folder: str
) -> tuple[Projector, dict[str, Any]]:
    from geograph.featurize.scattering import scattering_features

    return partial(scattering_features, **options), {}


_PROJECTIONS: dict[str, Callable[[Any, dict[str, Any], str], tuple[Projector, dict[str, Any]]]] = {
    "potential": _potential,
    "pairs": _pairs,
    "rays": _rays,
    "celestial": _celestial,
    "maps": _maps,
    "scattering": _scattering,
}


def first_records(folder: str, num: int) -> list[Any]:
    """Return the first records of a store, for pictures."""
    return list(islice(read_records(folder), num))

"""The part of `params.yaml` that describes projections: records of a data set as functions on spheres."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from pipelines.params_data import Count, Positive, PositiveFloat, Strict

#: Domain that each kind of projection takes.
DOMAIN_OF = {
    "potential": "molecules",
    "pairs": "molecules",
    "rays": "meshes",
    "celestial": "jets",
    "maps": "maps",
    "scattering": "maps",
}
MeshChannel = Literal["distance", "cos", "sin", "hull_distance", "hull_cos", "hull_sin", "hit"]
JetChannel = Literal["energy", "count", "beams", "mass"]
Grid = Literal["gl", "dh", "soft", "mw"]
Powers = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]


class _Projection(Strict):
    bandlimit: Positive
    max_rejected: Count = 0  # records that cannot be projected: listed, counted and left out

    @property
    def bandlimit_out(self) -> int:
        """Band-limit of what comes out."""
        return self.bandlimit


class PotentialProjection(_Projection):
    """Potential of the other atoms on a sphere about each atom."""

    kind: Literal["potential"]
    power: Annotated[list[Literal[1, 2]], Field(min_length=1)] = [1]  # of the inverse distance
    form: Literal["closed", "sampled"] = "closed"  # exact coefficients, or a transform of sampled values
    # of the spheres: in angstrom, or (half of) the smallest distance of two atoms in the data set
    radius: Annotated[list[PositiveFloat], Field(min_length=1)] | Literal["half_smallest", "smallest"] = (
        "half_smallest"
    )
    grid: Grid = "gl"  # form: sampled
    grid_bandlimit: Positive | None = None
    elements: Annotated[list[Positive], Field(min_length=1)]
    targets: list[str] = []


class PairProjection(_Projection):
    """Directions to the other atoms, weighted with charges over powers of distances."""

    kind: Literal["pairs"]
    power: Powers = [2.0, 6.0]
    cut_degrees: PositiveFloat = 45.0  # where the bump of a neighbour has fallen to 0.05
    elements: Annotated[list[Positive], Field(min_length=1)]
    targets: list[str] = []


class RayProjection(_Projection):
    """Rays from the enclosing sphere towards the centre."""

    kind: Literal["rays"]
    ray_bandlimit: Positive = 64  # of the grid of rays
    grid: Grid = "soft"
    channels: list[MeshChannel] = ["distance", "cos", "sin", "hull_distance", "hull_cos", "hull_sin"]


class CelestialProjection(_Projection):
    """Energy over the directions in the rest frame of a jet."""

    kind: Literal["celestial"]
    smoothing: Annotated[float, Field(ge=0)] | None = None  # radian; null: pi over the band-limit
    channels: list[JetChannel] = ["energy"]
    max_constituents: Positive | None = None


class MapProjection(_Projection):
    """Maps as they are, up to a band-limit."""

    kind: Literal["maps"]


class ScatteringProjection(_Projection):
    """Scattering coefficients of maps: one channel for each path of wavelets and moduli."""

    kind: Literal["scattering"]
    dilation: Annotated[float, Field(gt=1)] = 2.0
    smallest_scale: Count  # J0: the output keeps degrees up to dilation to this power
    depth: Annotated[int, Field(ge=0, le=4)] = 2
    oversampling: Annotated[float, Field(ge=1, le=8)] = 2.0  # of the grids on which moduli are taken
    max_grid_bandlimit: Positive | None = None  # of these grids: the finest scales are not oversampled
    paths: Literal["descending", "all"] = "descending"

    @property
    def bandlimit_out(self) -> int:
        """Band-limit of the outputs, below that of the maps."""
        return min(self.bandlimit, math.ceil(self.dilation**self.smallest_scale))


Projection = Annotated[
    PotentialProjection
    | PairProjection
    | RayProjection
    | CelestialProjection
    | MapProjection
    | ScatteringProjection,
    Field(discriminator="kind"),
]

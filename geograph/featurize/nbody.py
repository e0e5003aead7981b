"""Particle system -> graph: particles are nodes."""

from __future__ import annotations

import numpy as np

from geograph.errors import DataError
from geograph.featurize.cast import cast_fields
from geograph.featurize.edges import EdgeRule, edges_by_rule
from geograph.records import ParticleSystem


def nbody_graph(
    system: ParticleSystem,
    *,
    edges: EdgeRule = "complete",
    radius: float | None = None,
    k: int | None = None,
) -> dict[str, np.ndarray]:
    """Return the graph of a system: `pos`, `vel`, `charge`, `pos_target` if known, edges unless complete.

    Parameters
    ----------
    system
        The record.
    edges
        Which particles are joined: `complete`, `radius` or `knn`; the loader makes complete edges.
    radius
        For `radius`: largest distance, dimensionless like the positions.
    k
        For `knn`: number of neighbours.

    Raises
    ------
    ConfigError
        If the edge rule is unknown or lacks its parameter.
    DataError
        If there are fewer than `k + 1` particles.
    """
    try:
        edge_index = edges_by_rule(system.pos.astype(np.float64), edges, radius=radius, k=k)
    except DataError as error:
        raise error.at(record=system.id) from error
    return cast_fields(
        {
            "pos": system.pos,
            "vel": system.vel,
            "charge": system.charge,
            "pos_target": system.pos_target,
            "edge_index": edge_index,
        }
    )

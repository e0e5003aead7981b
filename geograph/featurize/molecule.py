"""Molecule -> graph: atoms are nodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geograph.errors import DataError
from geograph.featurize.cast import cast_fields
from geograph.featurize.edges import EdgeRule, edges_by_rule
from geograph.records import Molecule


def _targets(molecule: Molecule, targets: Sequence[str]) -> np.ndarray | None:
    for name in targets:
        if name not in molecule.properties:
            known = ", ".join(sorted(molecule.properties)) or "none"
            raise DataError(
                f"no property `{name}`",
                record=molecule.id,
                remedy=f"choose targets among those there are: {known}",
            )
    values = np.array([molecule.properties[name] for name in targets], dtype=np.float64)
    if not np.isfinite(values).all():
        name = targets[int(np.argmin(np.isfinite(values)))]
        raise DataError(f"property `{name}` is not finite", record=molecule.id, remedy="remove the record")
    return values if len(values) else None


def molecule_graph(
    molecule: Molecule,
    *,
    edges: EdgeRule = "complete",
    radius_angstrom: float | None = None,
    k: int | None = None,
    targets: Sequence[str] = ("energy_ev",),
) -> dict[str, np.ndarray]:
    """Return the graph of a molecule: `z`, `pos`, the targets `y` and, unless complete, `edge_index`.

    Parameters
    ----------
    molecule
        The record.
    edges
        Which atoms are joined: `complete`, `radius` or `knn`; the loader makes complete edges.
    radius_angstrom
        For `radius`: largest distance.
    k
        For `knn`: number of neighbours.
    targets
        Names of the properties that make up `y`, in this order; none leaves `y` out.

    Raises
    ------
    ConfigError
        If the edge rule is unknown or lacks its parameter.
    DataError
        If the molecule is periodic, lacks a target, or has fewer than `k + 1` atoms.
    """
    if molecule.is_periodic:
        raise DataError(
            "periodic cells are not supported yet",
            record=molecule.id,
            remedy="leave periodic structures out, or cut out a cluster without a cell",
        )
    try:
        edge_index = edges_by_rule(molecule.pos.astype(np.float64), edges, radius=radius_angstrom, k=k)
    except DataError as error:
        raise error.at(record=molecule.id) from error
    return cast_fields(
        {"z": molecule.z, "pos": molecule.pos, "edge_index": edge_index, "y": _targets(molecule, targets)}
    )

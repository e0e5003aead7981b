"""Jet -> graph: constituents, and the two beams where asked for, are nodes."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from geograph.errors import ConfigError, DataError
from geograph.featurize.cast import cast_fields, class_label
from geograph.featurize.edges import angular_knn_edges, complete_edges
from geograph.records import Jet

#: The two beams (E, px, py, pz) in GeV, of unit mass, as LorentzNet and CGENN take them.
BEAMS = np.array([[np.sqrt(2.0), 0.0, 0.0, 1.0], [np.sqrt(2.0), 0.0, 0.0, -1.0]])


def _directions(p4: Float[np.ndarray, "n 4"], record: str) -> tuple[np.ndarray, np.ndarray]:
    pt = np.hypot(p4[:, 1], p4[:, 2])
    if not pt.all():
        raise DataError(
            f"constituent {int(np.argmin(pt))} has no transverse momentum: infinite pseudorapidity",
            record=record,
            remedy="use complete edges, or remove the constituent",
        )
    return np.arcsinh(p4[:, 3] / pt), np.arctan2(p4[:, 2], p4[:, 1])


def _nearest_with_beams(
    p4: Float[np.ndarray, "n 4"], k: int, num_beams: int, record: str
) -> Int[np.ndarray, "2 e"]:
    """Join constituents to their k nearest, and each beam to every node in both directions."""
    near = angular_knn_edges(*_directions(p4, record), k) + num_beams
    every = complete_edges(num_beams + len(p4))
    joined = np.concatenate([near, every[:, (every < num_beams).any(axis=0)]], axis=1)
    return joined[:, np.lexsort((joined[0], joined[1]))]


def jet_graph(
    jet: Jet,
    *,
    use_beams: bool,
    edges: Literal["complete", "knn"] = "complete",
    k: int | None = None,
    max_constituents: int | None = None,
) -> dict[str, np.ndarray]:
    """Return the graph of a jet: `p4`, `is_beam`, the class `y` where known, `edge_index` unless complete.

    Parameters
    ----------
    jet
        The record.
    use_beams
        Whether the beams `(sqrt 2, 0, 0, +-1)` stand first, with `is_beam` = 1. They leave of the Lorentz
        group only rotations around the beam axis and the reflections that keep the pair.
    edges
        `complete` (the loader makes the edges), or `knn` in pseudorapidity and azimuth, where each beam is
        joined to all.
    k
        For `knn`: number of nearest constituents.
    max_constituents
        Keep only the first ones, which have the largest transverse momenta.

    Raises
    ------
    ConfigError
        If the edge rule is unknown or lacks `k`, or `max_constituents` is smaller than one.
    DataError
        If beams are asked for and the beam direction of the jet is lost, or there are fewer than `k + 1`
        constituents.

    References
    ----------
    Gong et al. (2022), arXiv:2201.08187, section 3 (beams).
    """
    if edges not in ("complete", "knn"):
        raise ConfigError(f"`edges` must be one of complete, knn for jets, got {edges!r}.")
    if edges == "knn" and k is None:
        raise ConfigError("`edges` is 'knn', so that `k` must be given, got none.")
    if max_constituents is not None and max_constituents < 1:
        raise ConfigError(f"`max_constituents` must be at least 1, got {max_constituents}.")
    if use_beams and not jet.has_beam_frame:
        raise DataError(
            "beams asked for, but this jet was transformed on its own and its beam direction is lost",
            record=jet.id,
            remedy="set `use_beams` to false",
        )
    p4 = jet.p4[:max_constituents].astype(np.float64)
    num_beams = len(BEAMS) if use_beams else 0
    edge_index = None
    if edges == "knn" and k is not None:
        try:
            edge_index = _nearest_with_beams(p4, k, num_beams, jet.id)
        except DataError as error:
            raise error.at(record=jet.id) from error
    return cast_fields(
        {
            "p4": np.concatenate([BEAMS[:num_beams], p4]),
            "is_beam": np.repeat([1, 0], [num_beams, len(p4)]),
            "edge_index": edge_index,
            "y": class_label(jet.label),
        }
    )

"""Map on the sphere -> its scattering coefficients: one node, a low band-limit, a channel for each path."""

from __future__ import annotations

import numpy as np
import torch

from geograph.algebra.harmonics import bandlimit_of, truncate
from geograph.errors import DataError
from geograph.featurize.cast import cast_fields, class_label
from geograph.records import SphereMap
from geograph.sphere.scattering import scatter
from geograph.sphere.scattering_plan import Paths, ScatteringPlan


def scattering_features(
    record: SphereMap,
    *,
    bandlimit: int,
    smallest_scale: int,
    dilation: float = 2.0,
    depth: int = 2,
    oversampling: float = 2.0,
    max_grid_bandlimit: int | None = None,
    paths: Paths = "descending",
) -> dict[str, np.ndarray]:
    """Return field `harmonic` [1, channels x paths, L0^2] of a map, and its class `y` where known.

    Worked out in float64 and stored in float32.

    Parameters
    ----------
    record
        The map.
    bandlimit
        Degrees of the map that are used; it must have as many.
    smallest_scale, dilation, depth, oversampling, max_grid_bandlimit, paths
        See `geograph.sphere.scattering_plan.ScatteringPlan`; L0 is its `bandlimit_out`.

    Raises
    ------
    ConfigError
        If a parameter is out of range.
    DataError
        If the map has a lower band-limit, or a coefficient of its scattering is too large for float32.
    """
    plan = ScatteringPlan(bandlimit, smallest_scale, dilation, depth, oversampling, max_grid_bandlimit, paths)
    found = bandlimit_of(record.harmonic.shape[1])
    if found < bandlimit:
        raise DataError(
            f"the map has band-limit {found}, but {bandlimit} is asked for",
            record=record.id,
            remedy="lower `bandlimit`, or make the map again with a higher one",
        )
    harmonic = truncate(torch.from_numpy(record.harmonic.astype(np.float64)), bandlimit)
    scattered = scatter(plan, harmonic)
    harmonics = scattered.flatten(0, 1)[None].numpy()
    return cast_fields({"harmonic": harmonics, "y": class_label(record.label)}, record.id)

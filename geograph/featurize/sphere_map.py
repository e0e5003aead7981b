"""Map on the sphere -> one sphere."""

from __future__ import annotations

import numpy as np
import torch

from geograph.algebra.harmonics import truncate
from geograph.errors import ConfigError
from geograph.featurize.cast import cast_fields, class_label
from geograph.records import SphereMap


def map_sphere(record: SphereMap, *, bandlimit: int) -> dict[str, np.ndarray]:
    """Return the sphere of a map: `harmonic` [1, channels, L^2] and, where known, the class `y`.

    Higher degrees are cut off, missing ones are zero; both are exact operations, and rotations commute with
    them.

    Parameters
    ----------
    record
        The map.
    bandlimit
        Degrees l = 0 ... L - 1.

    Raises
    ------
    ConfigError
        If the band-limit is below 1.
    DataError
        If a coefficient is too large for float32.
    """
    if bandlimit < 1:
        raise ConfigError(f"`bandlimit` must be at least 1, got {bandlimit}.")
    harmonic = truncate(torch.from_numpy(np.ascontiguousarray(record.harmonic)), bandlimit).numpy()
    return cast_fields({"harmonic": harmonic[None], "y": class_label(record.label)}, record.id)

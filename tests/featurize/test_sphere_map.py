from __future__ import annotations

import numpy as np
import pytest
import torch

from geograph.algebra.wigner import random_rotation, rotate
from geograph.errors import ConfigError, DataError
from geograph.featurize.sphere_map import map_sphere
from geograph.records import SphereMap


def _map(channels: int = 2, bandlimit: int = 6, **options) -> SphereMap:
    harmonic = np.random.default_rng(0).standard_normal((channels, bandlimit**2))
    return SphereMap(harmonic, **({"label": 3, "id": "map"} | options))


def test_fields():
    record = _map()
    fields = map_sphere(record, bandlimit=6)
    assert set(fields) == {"harmonic", "y"}
    assert (fields["harmonic"].shape, fields["harmonic"].dtype) == ((1, 2, 36), np.float32)
    np.testing.assert_array_equal(fields["harmonic"][0], record.harmonic.astype(np.float32))
    assert (int(fields["y"]), fields["y"].dtype) == (3, np.int64)
    assert "y" not in map_sphere(_map(label=None), bandlimit=6)


def test_degrees_are_cut_off_or_zero():
    record = _map()
    np.testing.assert_allclose(
        map_sphere(record, bandlimit=4)["harmonic"][0], record.harmonic[:, :16], rtol=1e-7
    )
    more = map_sphere(record, bandlimit=9)["harmonic"]
    assert more.shape == (1, 2, 81)
    assert not more[..., 36:].any()


def test_cutting_commutes_with_rotations():
    record, rotation = _map(), random_rotation(torch.Generator().manual_seed(0), 1)[0]
    turned = SphereMap(rotate(torch.from_numpy(record.harmonic), rotation).numpy())
    here = rotate(torch.from_numpy(map_sphere(record, bandlimit=4)["harmonic"]), rotation.float()).numpy()
    np.testing.assert_allclose(map_sphere(turned, bandlimit=4)["harmonic"], here, atol=1e-5)


def test_errors():
    with pytest.raises(ConfigError, match="`bandlimit` must be at least 1, got 0"):
        map_sphere(_map(), bandlimit=0)
    with pytest.raises(DataError, match="record map: 72 of 72 values of the field `harmonic` are not finite"):
        map_sphere(SphereMap(np.full((2, 36), 1e300), id="map"), bandlimit=6)

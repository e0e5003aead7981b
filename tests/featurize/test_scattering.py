"""Scattering coefficients of a map as a graph of one node."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geograph.algebra.harmonics import degrees, truncate
from geograph.errors import ConfigError, DataError
from geograph.featurize.scattering import scattering_features
from geograph.records import SphereMap
from geograph.sphere.scattering import scattering


def make_map(bandlimit: int = 16, channels: int = 2, label: int | None = 1) -> SphereMap:
    values = np.random.default_rng(0).standard_normal((channels, bandlimit**2))
    return SphereMap((values / (1 + degrees(bandlimit).numpy())).astype(np.float32), label=label, id="map-7")


def test_one_node_with_a_channel_for_each_path() -> None:
    record = make_map()
    features = scattering_features(record, bandlimit=16, smallest_scale=2)
    assert features["harmonic"].dtype == np.float32
    assert features["harmonic"].shape == (1, 2 * 7, 16)
    assert features["y"] == 1
    expected = scattering(torch.from_numpy(record.harmonic.astype(np.float64)), smallest_scale=2)
    assert np.array_equal(features["harmonic"][0], expected.flatten(0, 1).float().numpy())


def test_a_lower_bandlimit_drops_degrees() -> None:
    record = make_map()
    low = SphereMap(truncate(torch.from_numpy(record.harmonic), 9).numpy(), label=1)
    options = {"bandlimit": 9, "smallest_scale": 1, "oversampling": 1.0}
    full, part = scattering_features(record, **options), scattering_features(low, **options)
    assert np.array_equal(full["harmonic"], part["harmonic"])


def test_unlabelled() -> None:
    assert "y" not in scattering_features(make_map(label=None), bandlimit=16, smallest_scale=0)


def test_is_deterministic() -> None:
    first, second = (scattering_features(make_map(), bandlimit=16, smallest_scale=1) for _ in range(2))
    assert np.array_equal(first["harmonic"], second["harmonic"])


def test_errors() -> None:
    with pytest.raises(
        DataError, match="record map-7: the map has band-limit 16, but 17 is asked for; lower `bandlimit`"
    ):
        scattering_features(make_map(), bandlimit=17, smallest_scale=2)
    with pytest.raises(ConfigError, match="`smallest_scale`"):
        scattering_features(make_map(), bandlimit=16, smallest_scale=5)

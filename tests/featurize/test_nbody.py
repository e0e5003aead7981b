from __future__ import annotations

import numpy as np
import pytest

from geograph.errors import DataError
from geograph.featurize.edges import knn_edges
from geograph.featurize.nbody import nbody_graph
from geograph.records import ParticleSystem

RNG = np.random.default_rng(0)
SYSTEM = ParticleSystem(
    RNG.standard_normal((5, 3)), RNG.standard_normal((5, 3)), np.ones(5), RNG.standard_normal((5, 3)), "five"
)


def test_fields():
    fields = nbody_graph(SYSTEM)
    assert {name: values.dtype.name for name, values in fields.items()} == dict.fromkeys(
        ("pos", "vel", "charge", "pos_target"), "float32"
    )
    np.testing.assert_array_equal(fields["pos_target"], SYSTEM.pos_target.astype(np.float32))
    unknown = ParticleSystem(SYSTEM.pos, SYSTEM.vel, SYSTEM.charge)
    assert "pos_target" not in nbody_graph(unknown)


def test_neighbours():
    np.testing.assert_array_equal(
        nbody_graph(SYSTEM, edges="knn", k=2)["edge_index"], knn_edges(SYSTEM.pos, 2)
    )
    assert nbody_graph(SYSTEM, edges="radius", radius=100.0)["edge_index"].shape == (2, 20)
    with pytest.raises(DataError, match="record five: a graph of 5 nodes has no 5 nearest"):
        nbody_graph(SYSTEM, edges="knn", k=5)

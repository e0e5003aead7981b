from __future__ import annotations

import numpy as np
import pytest

from geograph.errors import ConfigError, DataError
from geograph.featurize.edges import knn_edges, radius_edges
from geograph.featurize.molecule import molecule_graph
from geograph.records import Molecule

WATER = Molecule(
    np.array([8, 1, 1]),
    np.array([[0.0, 0, 0.119], [0, 0.763, -0.477], [0, -0.763, -0.477]]),
    {"energy_ev": -76.4, "gap_ev": 7.5, "broken": float("nan")},
    "water",
)


def test_complete_graph_leaves_its_edges_to_the_loader():
    fields = molecule_graph(WATER, targets=("gap_ev", "energy_ev"))
    assert set(fields) == {"z", "pos", "y"}
    assert [fields[name].dtype.name for name in ("z", "pos", "y")] == ["int64", "float32", "float64"]
    np.testing.assert_array_equal(fields["y"], [7.5, -76.4])
    np.testing.assert_array_equal(fields["pos"], WATER.pos.astype(np.float32))
    assert "y" not in molecule_graph(WATER, targets=())


def test_radius_and_neighbours():
    near = molecule_graph(WATER, edges="radius", radius_angstrom=1.2)["edge_index"]
    assert near.dtype == np.int32
    np.testing.assert_array_equal(near, radius_edges(WATER.pos, 1.2))
    assert near.shape == (2, 4)
    one = molecule_graph(WATER, edges="knn", k=1)["edge_index"]
    np.testing.assert_array_equal(one, knn_edges(WATER.pos, 1))


def test_errors_name_the_molecule():
    periodic = Molecule(WATER.z, WATER.pos, WATER.properties, "ice", is_periodic=True)
    with pytest.raises(DataError, match="record ice: periodic cells are not supported yet; leave"):
        molecule_graph(periodic)
    with pytest.raises(DataError, match="record water: no property `dipole`; .*broken, energy_ev, gap_ev"):
        molecule_graph(WATER, targets=("dipole",))
    with pytest.raises(DataError, match="record water: property `broken` is not finite"):
        molecule_graph(WATER, targets=("gap_ev", "broken"))
    with pytest.raises(DataError, match="record water: a graph of 3 nodes has no 5 nearest"):
        molecule_graph(WATER, edges="knn", k=5)
    with pytest.raises(ConfigError, match="`edges` is 'radius', so that a radius"):
        molecule_graph(WATER, edges="radius")

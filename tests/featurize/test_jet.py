from __future__ import annotations

import numpy as np
import pytest

from geograph.errors import ConfigError, DataError
from geograph.featurize.jet import BEAMS, jet_graph
from geograph.records import Jet


def _jet(num: int, seed: int = 0, **options) -> Jet:
    momentum = np.random.default_rng(seed).standard_normal((num, 3)) * 10
    momentum = momentum[np.argsort(-np.hypot(momentum[:, 0], momentum[:, 1]))]
    energy = np.linalg.norm(momentum, axis=1, keepdims=True)
    return Jet(np.concatenate([energy, momentum], axis=1), **({"label": 1, "id": f"jet{seed}"} | options))


def test_beams_have_unit_mass_and_stand_first():
    np.testing.assert_allclose(BEAMS[:, 0] ** 2 - (BEAMS[:, 1:] ** 2).sum(axis=1), 1.0, atol=1e-15)
    jet = _jet(5)
    fields = jet_graph(jet, use_beams=True)
    assert set(fields) == {"p4", "is_beam", "y"}
    assert fields["p4"].dtype == np.float32
    np.testing.assert_allclose(fields["p4"][:2], [[2**0.5, 0, 0, 1], [2**0.5, 0, 0, -1]], rtol=1e-7)
    np.testing.assert_array_equal(fields["p4"][2:], jet.p4.astype(np.float32))
    np.testing.assert_array_equal(fields["is_beam"], [1, 1, 0, 0, 0, 0, 0])
    assert (int(fields["y"]), fields["y"].shape, fields["y"].dtype) == (1, (), np.int64)


def test_without_beams_and_label():
    fields = jet_graph(_jet(5, label=None), use_beams=False)
    assert "y" not in fields
    assert not fields["is_beam"].any()
    assert len(fields["p4"]) == 5


def test_leading_constituents():
    jet = _jet(9)
    np.testing.assert_allclose(
        jet_graph(jet, use_beams=False, max_constituents=4)["p4"], jet.p4[:4], rtol=1e-7
    )
    assert len(jet_graph(jet, use_beams=True, max_constituents=40)["p4"]) == 11


@pytest.mark.parametrize("use_beams", [False, True])
def test_neighbours_are_angular_and_beams_join_all(use_beams: bool):
    edges = jet_graph(_jet(8), use_beams=use_beams, edges="knn", k=3)["edge_index"]
    num_beams = 2 if use_beams else 0
    into = np.bincount(edges[1])
    np.testing.assert_array_equal(into[num_beams:], 3 + num_beams)
    np.testing.assert_array_equal(into[:num_beams], 9)
    assert edges[::-1].T.tolist() == sorted(edges[::-1].T.tolist())


def test_neighbours_turn_with_the_azimuth():
    jet, angle = _jet(12), 2.0
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    first = jet_graph(jet, use_beams=False, edges="knn", k=4)["edge_index"]
    second = jet_graph(Jet(jet.p4 @ turn.T), use_beams=False, edges="knn", k=4)["edge_index"]
    np.testing.assert_array_equal(first, second)


def test_errors():
    with pytest.raises(DataError, match="record jet0: beams asked for, .* lost; set `use_beams` to false"):
        jet_graph(_jet(5, has_beam_frame=False), use_beams=True)
    with pytest.raises(DataError, match="record jet0: a graph of 3 nodes has no 3 nearest"):
        jet_graph(_jet(3), use_beams=True, edges="knn", k=3)
    along = Jet(np.array([[5.0, 3, 4, 0], [1, 0, 0, 1]]), id="forward")
    with pytest.raises(DataError, match="record forward: constituent 1 has no transverse momentum"):
        jet_graph(along, use_beams=False, edges="knn", k=1)
    with pytest.raises(ConfigError, match="`edges` is 'knn', so that `k` must be given"):
        jet_graph(_jet(3), use_beams=False, edges="knn")
    with pytest.raises(ConfigError, match="`max_constituents` must be at least 1, got 0"):
        jet_graph(_jet(3), use_beams=False, max_constituents=0)

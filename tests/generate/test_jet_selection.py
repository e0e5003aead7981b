"""Clustering and truth matching on hand-made events."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from geograph.errors import MissingExtraError
from geograph.generate.jet_selection import (
    LeadingJets,
    Truth,
    contains_top,
    hardest_constituents,
    leading_jets,
)


def massless(pt: float, eta: float, phi: float) -> list[float]:
    return [pt * np.cosh(eta), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)]


class TestLeadingJets:
    @pytest.fixture(autouse=True)
    def _needs_fastjet(self) -> None:
        pytest.importorskip("fastjet", reason="fastjet (extra `generate`) is not installed")

    def test_hardest_jet_of_each_event(self) -> None:
        rows = [
            (3, massless(100, 0.1, 3.1)),
            (3, massless(50, 0.2, -3.1)),  # same jet, across the seam of the azimuth
            (3, massless(120, 0.1, 0.0)),
            (5, massless(20, 0.0, 0.0)),  # too soft
            (9, massless(80, -1.0, 1.0)),
        ]
        p4, event = np.array([row for _, row in rows]), np.array([number for number, _ in rows])
        jets = leading_jets(p4, event, radius=0.8, pt_min_gev=60.0)
        assert jets.event.tolist() == [3, 9]
        assert jets.num_constituents.tolist() == [2, 1]
        assert jets.pt[0] == pytest.approx(150, rel=0.01)
        np.testing.assert_allclose([jets.eta[1], jets.phi[1]], [-1.0, 1.0])
        np.testing.assert_array_equal(np.sort(jets.constituents[:, 0]), np.sort(p4[[0, 1, 4], 0]))

    def test_no_jet(self) -> None:
        p4 = np.array([massless(20, 0.0, 0.0)])
        assert len(leading_jets(p4, np.array([0]), radius=0.8, pt_min_gev=60.0).event) == 0
        assert len(leading_jets(p4[:0], np.array([], int), radius=0.8, pt_min_gev=60.0).event) == 0


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastjet", None)
    message = r"Clustering jets needs the package `fastjet`.*pip install 'geograph\[generate\]'"
    with pytest.raises(MissingExtraError, match=message):
        leading_jets(np.zeros((1, 4)), np.array([0]), radius=0.8, pt_min_gev=1.0)


def test_hardest_constituents_sorts_and_cuts() -> None:
    pt = [1.0, 3.0, 2.0, 5.0, 4.0]
    p4 = np.array([massless(value, 0.0, 0.3) for value in pt])
    kept, counts = hardest_constituents(p4, np.array([3, 2]), 2)
    np.testing.assert_allclose(np.hypot(kept[:, 1], kept[:, 2]), [3, 2, 5, 4])
    assert counts.tolist() == [2, 2]


def top_event(top_phi: float, quark_phi: float, event: int, first: int, sign: int = 1) -> list[tuple]:
    """Record (pdg, daughters, p4) of a top that radiates once and decays to b W, W to two quarks."""
    rows = [
        (6, 1, 1, massless(600, 0.0, 0.0)),
        (6, 2, 3, massless(600, 0.0, top_phi)),
        (24, 4, 4, massless(400, 0.0, 0.2)),
        (5, 3, 3, massless(200, 0.1, 0.1)),
        (24, 5, 6, massless(400, 0.0, 0.2)),
        (2, 5, 5, massless(200, 0.0, quark_phi)),
        (-1, 6, 6, massless(200, 0.0, 0.3)),
    ]
    signs = {6: sign, 24: sign, 5: sign}
    return [(signs.get(pdg, 1) * pdg, first + a, first + b, event, p4) for pdg, a, b, p4 in rows]


def truth_of(rows: list[tuple]) -> Truth:
    pdg, first, last, event, p4 = zip(*rows, strict=True)
    return Truth(
        np.array(p4),
        np.array(pdg),
        np.ones(len(pdg), int),
        np.array(event),
        np.stack([np.array(first), np.array(last)], axis=1),
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_top_and_its_quarks_must_lie_in_the_jet(sign: int) -> None:
    rows = [
        *top_event(0.0, 0.1, 0, 0, sign),
        *top_event(1.5, 0.1, 1, 7, sign),  # last copy of the top is away
        *top_event(0.0, 1.5, 2, 14, sign),  # one quark is away
        (21, 21, 21, 3, massless(600, 0.0, 0.0)),  # no top
    ]
    zero = np.zeros(4)
    jets = LeadingJets(np.arange(4), np.full(4, 600.0), zero, zero, np.zeros((0, 4)), np.zeros(4, int))
    assert contains_top(truth_of(rows), jets, radius=0.8).tolist() == [True, False, False, False]


def test_distance_wraps_around() -> None:
    turn = np.array([[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1.0]])
    rows = [(*row[:4], (turn @ row[4]).tolist()) for row in top_event(0.0, -0.1, 0, 0)]
    jets = LeadingJets(
        np.array([0]),
        np.array([600.0]),
        np.zeros(1),
        np.array([-np.pi + 0.01]),
        np.zeros((0, 4)),
        np.zeros(1, int),
    )
    assert contains_top(truth_of(rows), jets, radius=0.8).tolist() == [True]

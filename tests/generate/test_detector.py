"""Energy flow: conservation, response, thresholds, and independence of the events."""

from __future__ import annotations

import numpy as np
import pytest

from geograph.generate.detector import energy_flow, tower_bins
from geograph.generate.detector_response import (
    ecal_resolution,
    hcal_resolution,
    track_efficiency,
    track_resolution,
)

PION, MASS = 211, 0.13957


def particles(pt: float, pdg: int, count: int, *, mass: float = 0.0, eta: float = 0.33) -> tuple:
    """Particles of the same kind at one place, one in each event."""
    p3 = np.array([pt * np.cos(0.2), pt * np.sin(0.2), pt * np.sinh(eta)])
    p4 = np.tile([np.sqrt(p3 @ p3 + mass**2), *p3], (count, 1))
    return p4, np.full(count, pdg), np.arange(count)


@pytest.mark.parametrize(
    ("pt", "eta", "kind", "want"),
    [
        (0.05, 0.0, 211, 0.0),
        (0.5, 0.0, 211, 0.70),
        (5.0, 0.0, 211, 0.95),
        (0.5, 2.0, 211, 0.60),
        (5.0, -2.0, 211, 0.85),
        (5.0, 2.6, 211, 0.0),
        (5.0, 0.0, 11, 0.95),
        (500.0, 0.0, 11, 0.99),
        (500.0, 2.0, 11, 0.90),
        (0.5, 2.0, 11, 0.50),
        (5.0, 2.0, 13, 0.98),
    ],
)
def test_tracking_efficiency_of_the_card(pt: float, eta: float, kind: int, want: float) -> None:
    assert track_efficiency(np.array([pt]), np.array([eta]), np.array([kind]))[0] == want


@pytest.mark.parametrize(
    ("pt", "eta", "kind", "want"),
    [
        (10.0, 0.3, 211, np.hypot(0.06, 0.013)),
        (10.0, -1.0, 211, np.hypot(0.10, 0.017)),
        (10.0, 2.0, 11, np.hypot(0.15, 0.031)),
        (10.0, 0.3, 13, np.hypot(0.01, 0.001)),
        (1e4, 2.0, 211, 1.0),
    ],
)
def test_momentum_resolution_of_the_card(pt: float, eta: float, kind: int, want: float) -> None:
    got = track_resolution(np.array([pt]), np.array([eta]), np.array([kind]))[0]
    assert got == pytest.approx(want, rel=1e-12)


def test_calorimeter_resolutions_of_the_card() -> None:
    energy, eta = np.full(3, 100.0), np.array([0.0, 2.0, 4.0])
    np.testing.assert_allclose(
        ecal_resolution(energy, eta)[[0, 2]], [np.hypot(0.17, 1.01), np.hypot(3.5, 2.85)]
    )
    want = [np.sqrt(3.02**2 + 5.205**2 + 1.59**2), np.hypot(5.0, 7.06), np.hypot(9.42, 10.0)]
    np.testing.assert_allclose(hcal_resolution(energy, eta), want)


def test_towers_cover_the_detector_once() -> None:
    eta, phi = (
        np.array([-4.85, -2.45, 0.05, 2.45, 2.55, 4.85]),
        np.array([-np.pi, 0.0, np.pi, 1.0, 1.0, np.pi]),
    )
    rows, columns = tower_bins(eta, phi)
    assert rows.tolist() == [0, 12, 37, 61, 62, 73]
    assert columns.tolist() == [0, 18, 35, 23, 11, 17]


@pytest.mark.parametrize(("pdg", "mass"), [(22, 0.0), (2112, 0.93957), (130, 0.4976)])
def test_neutral_particles_become_towers_of_the_right_energy(pdg: int, mass: float) -> None:
    p4, pdgs, event = particles(80.0, pdg, 4000, mass=mass)
    flow = energy_flow(p4, pdgs, event, np.random.default_rng(0))
    assert not flow.is_track.any()
    np.testing.assert_array_equal(flow.event, event)
    resolution = ecal_resolution if pdg == 22 else hcal_resolution
    sigma = resolution(p4[:1, 0], np.array([0.35]))[0]
    assert abs(flow.p4[:, 0].mean() - p4[0, 0]) < 4 * sigma / np.sqrt(4000)
    assert flow.p4[:, 0].std() == pytest.approx(sigma, rel=0.1)
    np.testing.assert_allclose(np.linalg.norm(flow.p4[:, 1:], axis=1), flow.p4[:, 0], rtol=1e-12)
    eta = np.arcsinh(flow.p4[:, 3] / np.hypot(flow.p4[:, 1], flow.p4[:, 2]))
    assert 0.3 <= eta.min() <= eta.max() <= 0.4  # smeared inside its tower


def test_pions_are_tracks_with_the_efficiency_of_the_card() -> None:
    p4, pdgs, event = particles(5.0, PION, 4000, mass=MASS)
    flow = energy_flow(p4, pdgs, event, np.random.default_rng(1))
    share = flow.is_track.sum() / 4000
    assert share == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 4000))
    tracks = flow.p4[flow.is_track]
    mass = np.sqrt(tracks[:, 0] ** 2 - np.sum(tracks[:, 1:] ** 2, axis=1))
    np.testing.assert_allclose(mass, MASS, rtol=1e-6)
    # combining both detectors is better than the track alone
    assert tracks[:, 0].std() < track_resolution(np.array([5.0]), np.array([0.33]), np.array([PION]))[0] * 5.3


def test_muons_are_tracks_only_and_neutrinos_leave_nothing() -> None:
    p4, pdgs, event = particles(50.0, 13, 500, mass=0.10566)
    flow = energy_flow(p4, pdgs, event, np.random.default_rng(2))
    assert flow.is_track.all()
    assert len(flow.p4) > 480
    flow = energy_flow(p4, np.full(500, -14), event, np.random.default_rng(2))
    assert len(flow.p4) == 0


def test_soft_neutral_particles_are_below_threshold() -> None:
    flow = energy_flow(*particles(0.1, 22, 1000), np.random.default_rng(3))
    assert len(flow.p4) == 0


def test_events_do_not_share_towers() -> None:
    p4, pdgs, _ = particles(40.0, 22, 2)
    apart = energy_flow(p4, pdgs, np.array([0, 1]), np.random.default_rng(4))
    together = energy_flow(p4, pdgs, np.array([0, 0]), np.random.default_rng(4))
    assert (len(apart.p4), len(together.p4)) == (2, 1)
    assert together.p4[0, 0] == pytest.approx(2 * p4[0, 0], rel=0.2)


def test_same_random_numbers_give_the_same_result() -> None:
    source = np.random.default_rng(5)
    p3 = source.normal(size=(300, 3)) * 10
    p4 = np.concatenate([np.linalg.norm(p3, axis=1, keepdims=True), p3], axis=1)
    pdgs = source.choice([22, 211, -211, 130, 11, 13, 12, 310], 300)
    event = np.sort(source.integers(0, 5, 300))
    first, second = (energy_flow(p4, pdgs, event, np.random.default_rng(6)) for _ in range(2))
    np.testing.assert_array_equal(first.p4, second.p4)
    assert np.all(np.diff(first.event) >= 0)
    assert np.all(first.p4[:, 0] >= np.linalg.norm(first.p4[:, 1:], axis=1) * (1 - 1e-12))

"""Delphes-like energy flow: stable particles to tracks and calorimeter towers, for many events at once.

The efficiencies, resolutions and thresholds are those of the ATLAS card of Delphes. This is not Delphes:
there is no magnetic field, no confusion between tracks and towers beyond the energy sums, both
calorimeters have the same towers (0.1 x 10 degrees, as in the older card), and nothing is isolated or
filtered afterwards.

References
----------
Delphes 3, arXiv:1307.6346, and its file ``cards/delphes_card_ATLAS.tcl``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from geograph.generate.detector_response import (
    ELECTRON,
    MUON,
    PHOTON,
    ecal_resolution,
    hcal_resolution,
    track_efficiency,
    track_resolution,
)
from geograph.generate.jet_selection import direction

#: Stable charged particles, |PDG number|; electrons and muons are treated apart from the hadrons.
_CHARGED_HADRONS = (211, 321, 2212, 3112, 3222, 3312, 3334)
_INVISIBLE = (12, 14, 16)
#: K0S and Lambda leave this share of their energy in the electromagnetic calorimeter.
_LONG_LIVED_NEUTRALS = (310, 3122)
_LONG_LIVED_ECAL_SHARE = 0.3
#: Tower edges: 0.1 x 10 degrees up to |eta| = 2.5, then 0.2 x 20 degrees up to 4.9.
_FINE_ETA_EDGES = np.round(np.arange(-25, 26) * 0.1, 10)
_COARSE_ETA_EDGES = np.round(2.5 + np.arange(13) * 0.2, 10)
_ETA_EDGES = np.concatenate([-_COARSE_ETA_EDGES[:0:-1], _FINE_ETA_EDGES, _COARSE_ETA_EDGES[1:]])
_NUM_FINE_PHI, _NUM_COARSE_PHI = 36, 18
_SIGNIFICANCE_MIN = 2.0
_ECAL_ENERGY_MIN_GEV, _HCAL_ENERGY_MIN_GEV = 0.5, 1.0


class EnergyFlow(NamedTuple):
    """Reconstructed objects of many events, sorted by event.

    Attributes
    ----------
    p4
        Four-momenta (E, px, py, pz) in GeV; towers are massless.
    event
        Event number of each object, ascending.
    is_track
        True for tracks, False for neutral towers.
    """

    p4: Float[np.ndarray, "n 4"]
    event: Int[np.ndarray, " n"]
    is_track: Bool[np.ndarray, " n"]


class _Tracks(NamedTuple):
    pt: np.ndarray
    eta: np.ndarray
    phi: np.ndarray
    mass: np.ndarray
    energy: np.ndarray
    resolution: np.ndarray
    tower: np.ndarray
    kind: np.ndarray
    event: np.ndarray


class _Towers(NamedTuple):
    energy: np.ndarray
    eta: np.ndarray
    phi: np.ndarray
    event: np.ndarray


def energy_flow(
    p4: Float[np.ndarray, "n 4"],
    pdg: Int[np.ndarray, " n"],
    event: Int[np.ndarray, " n"],
    rng: np.random.Generator,
) -> EnergyFlow:
    r"""Tracks and neutral towers that the detector sees of stable particles.

    Every particle leaves its energy in one tower of each calorimeter. In a tower whose energy exceeds that of
    its tracks significantly, the excess becomes a massless neutral object; otherwise its tracks are rescaled
    to the weighted mean of the two measurements. Muons are tracks only, neutrinos are invisible.

    Parameters
    ----------
    p4
        Four-momenta (E, px, py, pz) in GeV.
    pdg
        PDG particle numbers.
    event
        Event number of each particle.
    rng
        Source of the smearing and of the inefficiency.

    References
    ----------
    Delphes 3, arXiv:1307.6346, Sec. 3.1-3.2 (energy flow).
    """
    kind = np.abs(pdg)
    pt, eta, phi = direction(p4)
    in_reach = (pt > 1e-6) & (np.abs(eta) < _ETA_EDGES[-1]) & ~np.isin(kind, _INVISIBLE)
    p4, kind, event = p4[in_reach], kind[in_reach], event[in_reach]
    pt, eta, phi = pt[in_reach], eta[in_reach], phi[in_reach]
    eta_bin, phi_bin = tower_bins(eta, phi)
    tower = (event.astype(np.int64) * (len(_ETA_EDGES) - 1) + eta_bin) * _NUM_FINE_PHI + phi_bin
    tracks = _reconstruct_tracks(p4, pt, eta, phi, kind, tower, event, rng)

    ecal_share = np.where(np.isin(kind, (ELECTRON, PHOTON)), 1.0, 0.0)
    ecal_share[np.isin(kind, _LONG_LIVED_NEUTRALS)] = _LONG_LIVED_ECAL_SHARE
    hcal_share = np.where(kind == MUON, 0.0, 1.0 - ecal_share)
    is_electron, is_muon = tracks.kind == ELECTRON, tracks.kind == MUON
    ecal, ecal_scale = _measure(
        p4[:, 0] * ecal_share, tower, tracks, is_electron, ecal_resolution, _ECAL_ENERGY_MIN_GEV, rng
    )
    hcal, hcal_scale = _measure(
        p4[:, 0] * hcal_share,
        tower,
        tracks,
        ~is_electron & ~is_muon,
        hcal_resolution,
        _HCAL_ENERGY_MIN_GEV,
        rng,
    )
    return _merge(tracks, ecal_scale * hcal_scale, ecal, hcal)


def tower_bins(
    eta: Float[np.ndarray, " n"], phi: Float[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Row (pseudorapidity) and column (azimuth) of the tower that a direction points to.

    Parameters
    ----------
    eta
        Pseudorapidity, |eta| < 4.9.
    phi
        Azimuth in radians, -pi to pi.
    """
    eta_bin = np.clip(np.searchsorted(_ETA_EDGES, eta, side="right") - 1, 0, len(_ETA_EDGES) - 2)
    num_phi = _num_phi(eta_bin)
    phi_bin = np.minimum(((phi + np.pi) / (2 * np.pi) * num_phi).astype(np.int64), num_phi - 1)
    return eta_bin, phi_bin


def _num_phi(eta_bin: np.ndarray) -> np.ndarray:
    first_fine = len(_COARSE_ETA_EDGES) - 1
    is_fine = (eta_bin >= first_fine) & (eta_bin < first_fine + len(_FINE_ETA_EDGES) - 1)
    return np.where(is_fine, _NUM_FINE_PHI, _NUM_COARSE_PHI)


def _log_normal(mean: np.ndarray, sigma: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw from the log-normal law with this mean and standard deviation; zero where the mean is zero."""
    draw = rng.standard_normal(mean.shape)
    safe = np.where(mean > 0, mean, 1.0)
    width = np.sqrt(np.log1p((sigma / safe) ** 2))
    return np.where(mean > 0, safe * np.exp(width * draw - 0.5 * width**2), 0.0)


def _reconstruct_tracks(
    p4: np.ndarray,
    pt: np.ndarray,
    eta: np.ndarray,
    phi: np.ndarray,
    kind: np.ndarray,
    tower: np.ndarray,
    event: np.ndarray,
    rng: np.random.Generator,
) -> _Tracks:
    is_charged = np.isin(kind, (*_CHARGED_HADRONS, ELECTRON, MUON))
    found = is_charged & (rng.random(len(pt)) < track_efficiency(pt, eta, kind))
    pt, eta, phi, kind = pt[found], eta[found], phi[found], kind[found]
    p4 = p4[found]
    squared_mass = p4[:, 0] ** 2 - np.sum(p4[:, 1:] ** 2, axis=1)
    mass = np.sqrt(np.maximum(squared_mass, 0.0))
    resolution = track_resolution(pt, eta, kind)
    smeared = _log_normal(pt, resolution * pt, rng)
    energy = np.hypot(smeared * np.cosh(eta), mass)
    return _Tracks(smeared, eta, phi, mass, energy, resolution, tower[found], kind, event[found])


def _measure(
    deposit: np.ndarray,
    tower: np.ndarray,
    tracks: _Tracks,
    points_here: np.ndarray,
    resolution: Callable[[np.ndarray, np.ndarray], np.ndarray],
    energy_min: float,
    rng: np.random.Generator,
) -> tuple[_Towers, np.ndarray]:
    """Neutral excess of each tower of one calorimeter, and the factor by which each track is rescaled."""
    hit = deposit > 0
    towers, slot = np.unique(np.concatenate([tower[hit], tracks.tower[points_here]]), return_inverse=True)
    num_towers, num_hits = len(towers), int(hit.sum())
    track_slot = slot[num_hits:]
    eta_bin = towers // _NUM_FINE_PHI % (len(_ETA_EDGES) - 1)
    centre = 0.5 * (_ETA_EDGES[eta_bin] + _ETA_EDGES[eta_bin + 1])
    true_energy = _sums(slot[:num_hits], deposit[hit], num_towers)
    energy = _log_normal(true_energy, resolution(true_energy, centre), rng)
    sigma = resolution(energy, centre)
    energy[(energy < energy_min) | (energy < _SIGNIFICANCE_MIN * sigma)] = 0.0

    in_tracks = _sums(track_slot, tracks.energy[points_here], num_towers)
    track_variance = _sums(
        track_slot, (tracks.resolution[points_here] * tracks.energy[points_here]) ** 2, num_towers
    )
    excess = np.maximum(energy - in_tracks, 0.0)
    is_neutral = (excess > energy_min) & (excess > _SIGNIFICANCE_MIN * np.sqrt(track_variance + sigma**2))
    scale = np.ones(len(tracks.pt))
    has_tracks = in_tracks > 0
    factor = np.ones(num_towers)
    factor[has_tracks] = _combined(energy, sigma**2, in_tracks, track_variance)[has_tracks]
    scale[points_here] = np.where(is_neutral, 1.0, factor)[track_slot]
    return _place(towers, eta_bin, excess, is_neutral, rng), scale


def _sums(slot: np.ndarray, weights: np.ndarray, num_slots: int) -> np.ndarray:
    return np.bincount(slot, weights, num_slots).astype(np.float64)  # integer where there is nothing to count


def _combined(
    energy: np.ndarray, variance: np.ndarray, in_tracks: np.ndarray, track_variance: np.ndarray
) -> np.ndarray:
    """Ratio of the inverse-variance mean of both measurements to the energy of the tracks."""
    calorimeter_weight = np.divide(1.0, variance, out=np.zeros_like(variance), where=variance > 0)
    track_weight = np.divide(1.0, track_variance, out=np.zeros_like(variance), where=track_variance > 0)
    total = (calorimeter_weight + track_weight) * in_tracks
    mean = calorimeter_weight * energy + track_weight * in_tracks
    return np.divide(mean, total, out=np.ones_like(total), where=total > 0)


def _place(
    towers: np.ndarray,
    eta_bin: np.ndarray,
    excess: np.ndarray,
    is_neutral: np.ndarray,
    rng: np.random.Generator,
) -> _Towers:
    """Put the neutral excess at a random place inside its tower."""
    num_phi = _num_phi(eta_bin)
    low, high = _ETA_EDGES[eta_bin], _ETA_EDGES[eta_bin + 1]
    eta = low + (high - low) * rng.random(len(towers))
    phi = -np.pi + 2 * np.pi * (towers % _NUM_FINE_PHI + rng.random(len(towers))) / num_phi
    event = towers // (_NUM_FINE_PHI * (len(_ETA_EDGES) - 1))
    return _Towers(excess[is_neutral], eta[is_neutral], phi[is_neutral], event[is_neutral])


def _merge(tracks: _Tracks, scale: np.ndarray, ecal: _Towers, hcal: _Towers) -> EnergyFlow:
    """Join tracks and towers and sort them by event (stable: tracks, then photons, then hadrons)."""
    towers = _Towers(*(np.concatenate(pair) for pair in zip(ecal, hcal, strict=True)))
    pt = np.concatenate([tracks.pt * scale, towers.energy / np.cosh(towers.eta)])
    eta = np.concatenate([tracks.eta, towers.eta])
    phi = np.concatenate([tracks.phi, towers.phi])
    mass = np.concatenate([tracks.mass, np.zeros(len(towers.energy))])
    event = np.concatenate([tracks.event.astype(np.int64), towers.event])
    is_track = np.arange(len(pt)) < len(tracks.pt)
    p3 = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=1)
    energy = np.sqrt(np.sum(p3**2, axis=1) + mass**2)
    order = np.argsort(event, kind="stable")
    p4 = np.concatenate([energy[:, None], p3], axis=1)
    return EnergyFlow(p4[order], event[order], is_track[order])

"""Efficiencies and resolutions of the Delphes ATLAS card, vectorised.

References
----------
Delphes 3, arXiv:1307.6346, and its file ``cards/delphes_card_ATLAS.tcl``.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

#: Absolute PDG numbers that are told apart.
ELECTRON, MUON, PHOTON = 11, 13, 22
#: Tracks end at this pseudorapidity.
TRACKER_ETA = 2.5
#: Constant and linear term of the relative momentum resolution for |eta| <= 0.5, <= 1.5, <= 2.5 (pT in GeV).
_HADRON_FLOOR, _HADRON_SLOPE = np.array([0.06, 0.10, 0.25]), np.array([1.3e-3, 1.7e-3, 3.1e-3])
_ELECTRON_FLOOR, _ELECTRON_SLOPE = np.array([0.03, 0.05, 0.15]), _HADRON_SLOPE
_MUON_FLOOR, _MUON_SLOPE = np.array([0.01, 0.015, 0.025]), np.array([1.0e-4, 1.5e-4, 3.5e-4])


def track_efficiency(
    pt: Float[np.ndarray, " n"], eta: Float[np.ndarray, " n"], kind: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Probability that a charged particle leaves a track; zero below 0.1 GeV and beyond |eta| = 2.5.

    Parameters
    ----------
    pt
        Transverse momentum in GeV.
    eta
        Pseudorapidity.
    kind
        Absolute PDG number.
    """
    barrel = np.abs(eta) <= 1.5
    soft, hard = pt <= 1.0, pt > 100.0
    hadron = np.where(barrel, np.where(soft, 0.70, 0.95), np.where(soft, 0.60, 0.85))
    electron = np.where(
        barrel,
        np.where(soft, 0.73, np.where(hard, 0.99, 0.95)),
        np.where(soft, 0.50, np.where(hard, 0.90, 0.83)),
    )
    muon = np.where(barrel, np.where(soft, 0.75, 0.99), np.where(soft, 0.70, 0.98))
    value = np.select([kind == ELECTRON, kind == MUON], [electron, muon], hadron)
    return np.where((pt > 0.1) & (np.abs(eta) <= TRACKER_ETA), value, 0.0)


def track_resolution(
    pt: Float[np.ndarray, " n"], eta: Float[np.ndarray, " n"], kind: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Relative resolution of the transverse momentum of a track, at most 1.

    Parameters
    ----------
    pt
        Transverse momentum in GeV.
    eta
        Pseudorapidity.
    kind
        Absolute PDG number.
    """
    region = np.digitize(np.abs(eta), (0.5, 1.5), right=True)
    is_kind = [kind == ELECTRON, kind == MUON]
    floor = np.select(is_kind, [_ELECTRON_FLOOR[region], _MUON_FLOOR[region]], _HADRON_FLOOR[region])
    slope = np.select(is_kind, [_ELECTRON_SLOPE[region], _MUON_SLOPE[region]], _HADRON_SLOPE[region])
    return np.minimum(np.hypot(floor, pt * slope), 1.0)


def ecal_resolution(energy: Float[np.ndarray, " n"], eta: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Energy resolution (GeV) of the electromagnetic calorimeter at an energy in GeV."""
    central = np.sqrt((0.0017 * energy) ** 2 + 0.101**2 * energy)
    forward = np.sqrt((0.0350 * energy) ** 2 + 0.285**2 * energy)
    return np.where(np.abs(eta) <= 3.2, central, forward)


def hcal_resolution(energy: Float[np.ndarray, " n"], eta: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Energy resolution (GeV) of the hadronic calorimeter at an energy in GeV."""
    barrel = np.sqrt((0.0302 * energy) ** 2 + 0.5205**2 * energy + 1.59**2)
    endcap = np.sqrt((0.0500 * energy) ** 2 + 0.706**2 * energy)
    forward = np.sqrt((0.09420 * energy) ** 2 + energy)
    distance = np.abs(eta)
    return np.select([distance <= 1.7, distance <= 3.2], [barrel, endcap], forward)

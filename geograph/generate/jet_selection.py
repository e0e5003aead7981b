"""Leading anti-kT jets of many events and their truth matching, on flat NumPy arrays.

References
----------
FastJet, arXiv:1111.6097; anti-kT, arXiv:0802.1189; cuts of the top-tagging reference set, arXiv:1902.09914.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from geograph.errors import MissingExtraError

_TOP, _W = 6, 24


class Truth(NamedTuple):
    """Event record of the generator, all events one after the other.

    Attributes
    ----------
    p4
        Four-momenta (E, px, py, pz) in GeV.
    pdg
        PDG particle numbers.
    status
        Status codes; positive for final particles.
    event
        Event number of each entry, ascending.
    daughters
        First and last daughter of each entry, as row numbers of these arrays.
    """

    p4: Float[np.ndarray, "n 4"]
    pdg: Int[np.ndarray, " n"]
    status: Int[np.ndarray, " n"]
    event: Int[np.ndarray, " n"]
    daughters: Int[np.ndarray, "n 2"]


class LeadingJets(NamedTuple):
    """The hardest jet of each event that has one.

    Attributes
    ----------
    event
        Event number of each jet.
    pt, eta, phi
        Transverse momentum in GeV, pseudorapidity, azimuth in radians.
    constituents
        Four-momenta (E, px, py, pz) in GeV of the constituents, jet after jet.
    num_constituents
        How many of these rows belong to each jet.
    """

    event: Int[np.ndarray, " n"]
    pt: Float[np.ndarray, " n"]
    eta: Float[np.ndarray, " n"]
    phi: Float[np.ndarray, " n"]
    constituents: Float[np.ndarray, "m 4"]
    num_constituents: Int[np.ndarray, " n"]


def flatten_events(particles: Any) -> Truth:  # noqa: ANN401
    """Turn the ragged record array of ``Pythia.nextBatch`` into flat arrays."""
    import awkward as ak

    def flat(array: Any) -> np.ndarray:  # noqa: ANN401
        return np.asarray(ak.to_numpy(ak.flatten(array)))

    counts = np.asarray(ak.to_numpy(ak.num(particles["status"])), dtype=np.int64)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    p4 = np.stack([flat(particles["p", name]) for name in ("e", "px", "py", "pz")], axis=1)
    daughters = np.stack([flat(particles["daughter1"]), flat(particles["daughter2"])], axis=1)
    return Truth(
        p4,
        flat(particles["id"]),
        flat(particles["status"]),
        np.repeat(np.arange(len(counts)), counts),
        starts[:, None] + daughters,
    )


def leading_jets(
    p4: Float[np.ndarray, "m 4"], event: Int[np.ndarray, " m"], *, radius: float, pt_min_gev: float
) -> LeadingJets:
    """Cluster each event with anti-kT and return its hardest jet, if that has at least `pt_min_gev`.

    Parameters
    ----------
    p4
        Four-momenta (E, px, py, pz) in GeV of all events.
    event
        Event number of each row, ascending.
    radius
        Jet radius R.
    pt_min_gev
        Smallest transverse momentum in GeV.

    Raises
    ------
    MissingExtraError
        If FastJet or Awkward Array is not installed.
    """
    try:
        import awkward as ak
        import fastjet
    except ImportError as error:
        raise MissingExtraError("Clustering jets", error.name or "fastjet", extra="generate") from error
    fastjet._swig.ClusterSequence.set_fastjet_banner_stream(None)
    if len(event) == 0:
        none = np.zeros(0)
        return LeadingJets(event, none, none, none, p4, event)
    numbers, counts = np.unique(event, return_counts=True)
    rows = ak.unflatten(ak.zip(dict(zip(("E", "px", "py", "pz"), p4.T, strict=True))), counts)
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, radius)
    clusters = fastjet.ClusterSequence(rows, definition)
    jets = clusters.inclusive_jets(min_pt=pt_min_gev)
    members = clusters.constituent_index(min_pt=pt_min_gev)
    has_jet = ak.to_numpy(ak.num(jets)) > 0
    hardest = ak.argmax(jets["px"] ** 2 + jets["py"] ** 2, axis=1, keepdims=True)[has_jet]
    chosen = ak.flatten(members[has_jet][hardest], axis=1)
    num_constituents = np.asarray(ak.to_numpy(ak.num(chosen)), dtype=np.int64)
    first_row = (np.cumsum(counts) - counts)[has_jet]
    local = np.asarray(ak.to_numpy(ak.flatten(chosen)), dtype=np.int64)
    constituents = p4[np.repeat(first_row, num_constituents) + local]
    total = np.zeros((len(num_constituents), 4))
    np.add.at(total, np.repeat(np.arange(len(total)), num_constituents), constituents)
    pt, eta, phi = direction(total)
    return LeadingJets(numbers[has_jet], pt, eta, phi, constituents, num_constituents)


def hardest_constituents(
    p4: Float[np.ndarray, "m 4"], num_constituents: Int[np.ndarray, " n"], limit: int
) -> tuple[Float[np.ndarray, "k 4"], Int[np.ndarray, " n"]]:
    """Sort the constituents of each jet by falling pT and keep the first `limit`."""
    jet = np.repeat(np.arange(len(num_constituents)), num_constituents)
    order = np.lexsort((-np.hypot(p4[:, 1], p4[:, 2]), jet))
    rank = np.arange(len(p4)) - np.repeat(np.cumsum(num_constituents) - num_constituents, num_constituents)
    return p4[order][rank < limit], np.minimum(num_constituents, limit)


def contains_top(truth: Truth, jets: LeadingJets, *, radius: float) -> Bool[np.ndarray, " n"]:
    """Tell which jets have a hadronic top, and all three quarks that it decays to, within `radius`.

    The top is the last copy in the event record; the quarks are its b (or d, s) and the two daughters
    of the last copy of its W, before they radiate.
    """
    result = np.zeros(len(jets.event), dtype=bool)
    num_events = int(truth.event[-1]) + 1 if len(truth.event) else 0
    for sign in (1, -1):
        top, boson = (_last_copies(truth, sign * pdg, num_events) for pdg in (_TOP, _W))
        found = (top[jets.event] >= 0) & (boson[jets.event] >= 0)
        top, boson = top[jets.event][found], boson[jets.event][found]
        first, last = truth.daughters[top].T
        quark = np.where(np.abs(truth.pdg[first]) == _W, last, first)
        partons = np.stack([top, quark, *truth.daughters[boson].T])
        _, eta, phi = direction(truth.p4[partons.ravel()])
        near = _distance(
            eta.reshape(partons.shape), phi.reshape(partons.shape), jets.eta[found], jets.phi[found]
        )
        result[found] |= np.all(near < radius, axis=0)
    return result


def direction(
    p4: Float[np.ndarray, "n 4"],
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Transverse momentum (GeV), pseudorapidity and azimuth (radians) of four-momenta (E, px, py, pz)."""
    pt = np.hypot(p4[:, 1], p4[:, 2])
    return pt, np.arcsinh(p4[:, 3] / np.maximum(pt, 1e-12)), np.arctan2(p4[:, 2], p4[:, 1])


def _last_copies(truth: Truth, pdg: int, num_events: int) -> np.ndarray:
    """Row of the only `pdg` entry of each event without a `pdg` daughter, or -1 if there is not just one."""
    rows = np.flatnonzero(truth.pdg == pdg)
    rows = rows[np.all(truth.pdg[truth.daughters[rows]] != pdg, axis=1)]
    event = truth.event[rows]
    result = np.full(num_events, -1)
    result[event] = rows
    result[np.bincount(event, minlength=num_events) != 1] = -1
    return result


def _distance(eta: np.ndarray, phi: np.ndarray, jet_eta: np.ndarray, jet_phi: np.ndarray) -> np.ndarray:
    turn = np.abs(phi - jet_phi)
    return np.hypot(eta - jet_eta, np.minimum(turn, 2 * np.pi - turn))

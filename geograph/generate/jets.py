"""Top and QCD jets: Pythia 8 events, Delphes-like energy flow, anti-kT jets, the published top-tagging cuts.

References
----------
Kasieczka et al., SciPost Phys. 7, 014 (2019), arXiv:1902.09914 (the reference data set and its cuts);
Pythia 8.3, arXiv:2203.11601; FastJet, arXiv:1111.6097; anti-kT, arXiv:0802.1189.
"""

from __future__ import annotations

import importlib
import math
from typing import Any, NamedTuple

import numpy as np

from geograph.errors import ConfigError, MissingExtraError
from geograph.generate.detector import energy_flow
from geograph.generate.jet_selection import contains_top, flatten_events, hardest_constituents, leading_jets
from geograph.parallel import run_chunks
from geograph.records import Jet

BACKGROUND, SIGNAL = 0, 1
#: Pythia takes seeds from 1 to this number.
_MAX_PYTHIA_SEED = 900_000_000
_COMMON_SETTINGS = ("Print:quiet = on", "Beams:eCM = 14000.", "PartonLevel:MPI = off", "Random:setSeed = on")
_PROCESS_SETTINGS = {
    BACKGROUND: ("HardQCD:all = on",),
    SIGNAL: ("Top:gg2ttbar = on", "Top:qqbar2ttbar = on", "24:onMode = off", "24:onIfAny = 1 2 3 4 5"),
}
_NAMES = {BACKGROUND: "qcd", SIGNAL: "top"}
_RADIUS = 0.8
_ABS_ETA_MAX = 2.0
_MAX_CONSTITUENTS = 200
#: Events that are held in memory at once (about 0.1 MB each).
_EVENTS_PER_BATCH = 250
#: Accepted jets per event at the default window: a first guess of how many chunks are needed.
_FIRST_GUESS = {BACKGROUND: 0.25, SIGNAL: 0.17}
_HOPELESS_EVENTS = 20_000


class _Window(NamedTuple):
    pt_hat_min: float
    pt_hat_max: float
    pt_min: float
    pt_max: float


class _Selected(NamedTuple):
    """Constituents of the accepted jets of one chunk: concatenated rows, rows per jet, event numbers."""

    p4: np.ndarray
    num_constituents: np.ndarray
    event: np.ndarray


def generate_jets(
    num_background: int,
    num_signal: int,
    *,
    seed: int,
    num_workers: int = 1,
    chunk_size: int = 1000,
    pt_hat_min_gev: float = 450.0,
    pt_hat_max_gev: float = 800.0,
    pt_min_gev: float = 550.0,
    pt_max_gev: float = 650.0,
) -> list[Jet]:
    """Background (light quarks and gluons, label 0) and then signal jets (hadronic tops, label 1).

    Proton-proton collisions at 14 TeV without multiple interactions or pile-up; the leading anti-kT jet
    (R = 0.8) of an event is kept if it lies in the pT window and within |eta| < 2 and, for the signal, if a
    top and its three decay quarks lie within 0.8 of it. At most 200 constituents, sorted by falling pT,
    exact in float32. The same arguments give the same jets for any number of workers; another
    `chunk_size` gives others. Chunks of fewer than 1000 events waste time: starting Pythia costs as much as
    150 events.

    Parameters
    ----------
    num_background, num_signal
        How many jets of each class.
    seed
        Non-negative; data sets of different seeds are independent.
    num_workers
        Number of processes.
    chunk_size
        Events per chunk of work.
    pt_hat_min_gev, pt_hat_max_gev
        Transverse momentum of the hard process. A window close to the pT cuts is fast but leaves out jets
        that radiation or the smearing brought into the cuts: see ``data/jets.md``.
    pt_min_gev, pt_max_gev
        Transverse momentum of the accepted jets.

    Raises
    ------
    MissingExtraError
        If Pythia, FastJet or Awkward Array is not installed.
    ConfigError
        If an argument is out of range, or the windows let no jet through.
    """
    window = _Window(pt_hat_min_gev, pt_hat_max_gev, pt_min_gev, pt_max_gev)
    wanted = {BACKGROUND: num_background, SIGNAL: num_signal}
    _check(wanted, seed, chunk_size, window)
    for module in ("pythia8mc", "fastjet", "awkward"):
        _optional(module)
    done: dict[int, list[_Selected]] = {BACKGROUND: [], SIGNAL: []}
    while jobs := _next_jobs(wanted, done, seed, chunk_size, window):
        results = run_chunks(_run_chunk, jobs, num_workers=num_workers, description="simulating jets")
        for job, result in zip(jobs, results, strict=True):
            done[job[0]].append(result)
    return [jet for label in wanted for jet in _records(label, done[label])[: wanted[label]]]


def chunk_seed(seed: int, label: int, chunk: int) -> int:
    """Pythia seed of one chunk: no two chunks of a class and no two classes share one.

    The user's seed is hashed first, so that neighbouring seeds do not share chunks.
    """
    start = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]) % (_MAX_PYTHIA_SEED // 2)
    return 1 + (2 * (start + chunk) + label) % _MAX_PYTHIA_SEED


def _check(wanted: dict[int, int], seed: int, chunk_size: int, window: _Window) -> None:
    for label, name in ((BACKGROUND, "num_background"), (SIGNAL, "num_signal")):
        if wanted[label] < 0:
            raise ConfigError(f"`{name}` must not be negative, got {wanted[label]}.")
    if seed < 0:
        raise ConfigError(f"`seed` must not be negative, got {seed}.")
    if chunk_size < 1:
        raise ConfigError(f"`chunk_size` must be at least 1, got {chunk_size}.")
    for low, high, name in (
        (window.pt_hat_min, window.pt_hat_max, "pt_hat"),
        (window.pt_min, window.pt_max, "pt"),
    ):
        if not 0 < low < high:
            raise ConfigError(
                f"`{name}_min_gev` must be positive and below `{name}_max_gev`, got {low} and {high}."
            )


def _optional(module: str) -> Any:  # noqa: ANN401
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError("Generating jets", module, extra="generate") from error


def _next_jobs(
    wanted: dict[int, int], done: dict[int, list[_Selected]], seed: int, chunk_size: int, window: _Window
) -> list[tuple[Any, ...]]:
    """Chunks still needed; the jets depend on the numbers of the chunks, not on how they are grouped."""
    jobs: list[tuple[Any, ...]] = []
    for label, number in wanted.items():
        num_done = sum(len(selected.event) for selected in done[label])
        num_events = len(done[label]) * chunk_size
        if num_done >= number:
            continue
        if num_done == 0 and num_events >= _HOPELESS_EVENTS:
            raise ConfigError(
                f"no {_NAMES[label]} jet passed the cuts in {num_events} events with {window}: "
                "bring `pt_hat_min_gev` and `pt_hat_max_gev` closer to the window of the jets."
            )
        efficiency = num_done / num_events if num_done else _FIRST_GUESS[label]
        needed = math.ceil((number - num_done) / (efficiency * chunk_size))
        first = len(done[label])
        jobs += [(label, chunk, seed, chunk_size, window) for chunk in range(first, first + needed)]
    return jobs


def _records(label: int, chunks: list[_Selected]) -> list[Jet]:
    jets: list[Jet] = []
    for chunk, selected in enumerate(chunks):
        rows = np.split(selected.p4.astype(np.float64), np.cumsum(selected.num_constituents)[:-1])
        jets += [
            Jet(p4, label, f"{_NAMES[label]}-{chunk}-{event}")
            for p4, event in zip(rows, selected.event, strict=False)
        ]
    return jets


def _run_chunk(label: int, chunk: int, seed: int, num_events: int, window: _Window) -> _Selected:
    """Simulate one chunk of events and select its jets."""
    pythia = _start_pythia(label, chunk_seed(seed, label, chunk), window)
    rng = np.random.default_rng([seed, label, chunk])
    parts: list[_Selected] = []
    first = 0
    for size in _batch_sizes(num_events):
        particles = pythia.nextBatch(size)["prt"]
        selected = _select(particles, label, window, rng)
        parts.append(selected._replace(event=selected.event + first))
        first += size
    return _Selected(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _batch_sizes(num_events: int) -> list[int]:
    full, rest = divmod(num_events, _EVENTS_PER_BATCH)
    return [_EVENTS_PER_BATCH] * full + ([rest] if rest else [])


def _start_pythia(label: int, pythia_seed: int, window: _Window) -> Any:  # noqa: ANN401
    pythia = _optional("pythia8mc").Pythia("", False)  # no start-up banner
    settings = (
        *_COMMON_SETTINGS,
        *_PROCESS_SETTINGS[label],
        f"PhaseSpace:pTHatMin = {window.pt_hat_min}",
        f"PhaseSpace:pTHatMax = {window.pt_hat_max}",
        f"Random:seed = {pythia_seed}",
    )
    for setting in settings:
        if not pythia.readString(setting):
            raise ConfigError(f"Pythia does not know the setting `{setting}`; check the installed version.")
    if not pythia.init():
        raise ConfigError(f"Pythia could not start with {window}.")
    return pythia


def _select(particles: Any, label: int, window: _Window, rng: np.random.Generator) -> _Selected:  # noqa: ANN401
    """Pass a batch of events through the detector, cluster them and keep the accepted leading jets."""
    truth = flatten_events(particles)
    stable = truth.status > 0
    flow = energy_flow(truth.p4[stable], truth.pdg[stable], truth.event[stable], rng)
    jets = leading_jets(flow.p4, flow.event, radius=_RADIUS, pt_min_gev=window.pt_min)
    accepted = (jets.pt > window.pt_min) & (jets.pt < window.pt_max) & (np.abs(jets.eta) < _ABS_ETA_MAX)
    if label == SIGNAL:
        accepted &= contains_top(truth, jets, radius=_RADIUS)
    num_constituents = jets.num_constituents[accepted]
    p4, kept = hardest_constituents(
        jets.constituents[np.repeat(accepted, jets.num_constituents)], num_constituents, _MAX_CONSTITUENTS
    )
    return _Selected(p4.astype(np.float32), kept, jets.event[accepted])

"""Quality of molecules from anyone: stability, validity, novelty, checks, strain, distributions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from rich.console import Console
from rich.progress import track

from geograph.errors import ConfigError, DataError
from geograph.interop import posebusters_checks, strain
from geograph.interop.molecule_distributions import compare, observe
from geograph.interop.molecule_figures import Judged, make_report, make_rows
from geograph.interop.molecule_files import concatenate
from geograph.interop.molecule_report import FRACTIONS, MoleculeReport, MoleculeRow, Unreadable
from geograph.interop.rdkit_molecules import comparable_smiles, sanitize_chunk
from geograph.interop.rdkit_perception import Perception, perceive
from geograph.parallel import run_chunks
from geograph.records import Molecule
from geograph.tasks.stability import Stability, stability

__all__ = [
    "FRACTIONS", "MoleculeReport", "MoleculeRow", "Unreadable", "evaluate_molecules", "smiles_of",
]  # fmt: skip

_CHUNK = 500
#: Molecules of one job of PoseBusters and of GFN2-xTB, which take about a second each.
_SLOW_CHUNK = 2
#: Jobs for which a progress bar is shown.
_MIN_SHOWN = 4
T = TypeVar("T")


@dataclass(frozen=True)
class _Settings:
    num_workers: int
    num_posebusters: int
    num_strain: int
    num_resamples: int
    seed: int
    charge: int


def evaluate_molecules(
    molecules: Sequence[Molecule],
    *,
    reference: Sequence[Molecule] | None = None,
    reference_smiles: Iterable[str] | None = None,
    num_workers: int = 1,
    num_posebusters: int = 0,
    num_strain: int = 0,
    num_resamples: int = 1000,
    seed: int = 0,
    charge: int = 0,
    unreadable: Sequence[Unreadable] = (),
) -> MoleculeReport:
    """Judge molecules by their atoms and positions alone.

    Two readings of the bonds are judged side by side. The published one takes bonds and orders from the
    table of bond lengths of EDM's released evaluation; the perceived one is the Lewis structure that RDKit
    finds (`rdkit_perception.perceive`). Uniqueness and novelty compare the canonical SMILES of the largest
    fragment. Invariant under E(3) and under the order of atoms.

    Parameters
    ----------
    molecules
        At least one molecule.
    reference
        Known molecules, for instance the training set: gives novelty, the distances of all distributions,
        and the same figures of the reference itself.
    reference_smiles
        More molecules that are not new: `smiles_of(training_molecules)` is compared like with like; other
        SMILES get explicit hydrogens first.
    num_workers
        Processes; the result does not depend on it.
    num_posebusters, num_strain
        Sizes of the random samples for PoseBusters' checks and for relaxation by GFN2-xTB (a second for
        each molecule, more for strained ones); 0 leaves them out.
    num_resamples
        Bootstrap resamples of the 95 % intervals; 0 leaves them out.
    seed
        Chooses the samples and the resamples.
    charge
        Total charge of every molecule in elementary charges, for the perception of its bonds. Strain is
        that of the neutral molecule and is refused for another charge.
    unreadable
        Records that could not be read, kept in the report.

    Raises
    ------
    DataError
        If there are no molecules, or a reference SMILES cannot be parsed.
    ConfigError
        If a number is negative, or strain is asked for with a charge.
    MissingExtraError
        If PoseBusters or tblite is needed and not installed.

    References
    ----------
    Hoogeboom et al. (2022), arXiv:2203.17003, section 5.1. On the valences of aromatic bonds: Nikitin et
    al. (2025), arXiv:2505.00169.
    """
    settings = _Settings(num_workers, num_posebusters, num_strain, num_resamples, seed, charge)
    _check(molecules, settings)
    judged = _judge(molecules, settings, "molecules")
    known: tuple[set[str], ...] | None = None
    ceiling, distributions = None, None
    if reference:
        truth = _judge(reference, settings, "reference")
        known = truth.known_smiles()
        ceiling = _report(truth, None, settings, "reference")
        distributions = compare(
            observe(judged.z, judged.pos, judged.ptr, judged.perceived),
            observe(truth.z, truth.pos, truth.ptr, truth.perceived),
            num_molecules=(len(molecules), len(reference)),
            seed=seed,
        )
    if reference_smiles is not None:
        more = _reference(reference_smiles)
        known = tuple(more | part for part in known or (set(), set()))
    report = _report(judged, known, settings, "molecules")
    return replace(
        report,
        unreadable=tuple(unreadable),
        num_unreadable=len(unreadable),
        distributions=distributions,
        reference=ceiling,
    )


def smiles_of(molecules: Sequence[Molecule], *, num_workers: int = 1) -> list[str]:
    """Return the SMILES of the valid ones among the molecules, read as published by `evaluate_molecules`."""
    if not molecules:
        return []
    z, pos, ptr = concatenate(molecules)
    rule = stability(z, pos, ptr)
    jobs = [
        (z[a:b], ptr[rows] - a, rule.bonds[first:last] - a, rule.orders[first:last])
        for rows, a, b, first, last in _spans(ptr, rule, _CHUNK)
    ]
    outcomes = _map(sanitize_chunk, jobs, num_workers, "sanitising")
    return [smiles for smiles, _ in outcomes if smiles]


def judge_chunk(
    z: np.ndarray, pos: np.ndarray, ptr: np.ndarray, bonds: np.ndarray, orders: np.ndarray, charge: int
) -> list[tuple[tuple[str, str], Perception]]:
    """Sanitise many molecules with given bonds, and perceive their Lewis structures.

    Parameters
    ----------
    z, pos
        Atomic numbers and positions in angstrom of all molecules, one after the other.
    ptr
        Row where each molecule begins, and the total at the end.
    bonds, orders
        Bonds of the published rule, as `sanitize_chunk` takes them.
    charge
        Total charge of each molecule.
    """
    perceived = [perceive(z[a:b], pos[a:b], charge=charge) for a, b in zip(ptr[:-1], ptr[1:], strict=True)]
    return list(zip(sanitize_chunk(z, ptr, bonds, orders), perceived, strict=True))


def _check(molecules: Sequence[Molecule], settings: _Settings) -> None:
    if not molecules:
        raise DataError("no molecules to evaluate", remedy="give at least one")
    for name in ("num_posebusters", "num_strain", "num_resamples"):
        if getattr(settings, name) < 0:
            raise ConfigError(f"`{name}` must not be negative, got {getattr(settings, name)}")
    if settings.num_strain and settings.charge:
        raise ConfigError(
            f"`num_strain` needs neutral molecules, got `charge` {settings.charge}; leave one of them out"
        )
    if settings.num_posebusters:
        posebusters_checks.require_posebusters()
    if settings.num_strain:
        strain.require_tblite()


def _judge(molecules: Sequence[Molecule], settings: _Settings, what: str) -> Judged:
    z, pos, ptr = concatenate(molecules)
    rule = stability(z, pos, ptr)
    jobs = [
        (
            z[a:b],
            pos[a:b],
            ptr[rows] - a,
            rule.bonds[first:last] - a,
            rule.orders[first:last],
            settings.charge,
        )
        for rows, a, b, first, last in _spans(ptr, rule, _CHUNK)
    ]
    outcomes = _map(judge_chunk, jobs, settings.num_workers, f"bonds of the {what}")
    sanitised, perceived = zip(*outcomes, strict=True)
    return Judged(list(molecules), z, pos, ptr, rule, list(sanitised), list(perceived))


def _report(
    judged: Judged, known: tuple[set[str], ...] | None, settings: _Settings, what: str
) -> MoleculeReport:
    checks, strains = {}, {}
    busted = relaxed = None
    if settings.num_posebusters:
        chosen = _sample(len(judged.molecules), settings.num_posebusters, settings.seed)
        jobs = [(*job, settings.charge) for job in _slow_jobs(judged, chosen)]
        failed = _map(posebusters_checks.failed_checks, jobs, settings.num_workers, f"PoseBusters, {what}")
        checks = dict(zip(chosen.tolist(), failed, strict=True))
        busted = posebusters_checks.summarise(
            failed, num_resamples=settings.num_resamples, seed=settings.seed
        )
    if settings.num_strain:
        chosen = _sample(len(judged.molecules), settings.num_strain, settings.seed)
        jobs = _slow_jobs(judged, chosen)
        found = _map(strain.strain_chunk, jobs, settings.num_workers, f"GFN2-xTB, {what}")
        strains = dict(zip(chosen.tolist(), found, strict=True))
        relaxed = strain.summarise(
            [judged.molecules[index] for index in chosen],
            found,
            num_resamples=settings.num_resamples,
            seed=settings.seed,
        )
    rows = make_rows(judged, known, checks, strains)
    report = make_report(judged, rows, known, num_resamples=settings.num_resamples, seed=settings.seed)
    return replace(report, posebusters=busted, strain=relaxed)


def _sample(num_molecules: int, num_wanted: int, seed: int) -> np.ndarray:
    order = np.random.default_rng(seed).permutation(num_molecules)
    return np.sort(order[:num_wanted])


def _slow_jobs(judged: Judged, chosen: np.ndarray) -> list[tuple[Any, ...]]:
    parts = [chosen[begin : begin + _SLOW_CHUNK] for begin in range(0, len(chosen), _SLOW_CHUNK)]
    return [concatenate([judged.molecules[index] for index in part]) for part in parts]


def _spans(ptr: np.ndarray, rule: Stability, size: int) -> list[tuple[slice, int, int, int, int]]:
    """Return for each chunk its rows of `ptr`, its first and last atom, and its first and last bond."""
    spans = []
    for begin in range(0, len(ptr) - 1, size):
        rows = slice(begin, min(begin + size, len(ptr) - 1) + 1)
        a, b = int(ptr[begin]), int(ptr[rows.stop - 1])
        first, last = np.searchsorted(rule.bonds[:, 0], [a, b]).tolist()
        spans.append((rows, a, b, first, last))
    return spans


def _map(
    function: Callable[..., list[T]],
    jobs: Sequence[tuple[Any, ...]],
    num_workers: int,
    description: str,
) -> list[T]:
    """Call the function for each job, in processes where that pays, and join the lists."""
    if len(jobs) == 1 or num_workers == 1:
        shown = track(jobs, description, console=Console(stderr=True), disable=len(jobs) < _MIN_SHOWN)
        chunks = [function(*job) for job in shown]
    else:
        chunks = run_chunks(function, jobs, num_workers=num_workers, description=description)
    return [outcome for chunk in chunks for outcome in chunk]


def _reference(smiles: Iterable[str]) -> set[str]:
    given = list(smiles)
    written, failed = comparable_smiles(given)
    if failed:
        raise DataError(
            f"RDKit cannot parse {len(failed)} of {len(given)} reference SMILES, first {given[failed[0]]!r}",
            source="reference",
            record=failed[0],
            remedy="remove it",
        )
    return set(written) | set(given)

"""Strain of molecules: how far energy and geometry fall when GFN2-xTB relaxes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
from jaxtyping import Float, Int

from geograph.errors import MissingExtraError
from geograph.interop.bootstrap import statistic_intervals
from geograph.records import Molecule
from geograph.units import KCAL_PER_MOL_EV

_FMAX_EV_PER_ANGSTROM = 0.05
_MAX_STEPS = 300
#: Closer atoms are a broken geometry, in angstrom: the self-consistency cycle would fail or never end.
_MIN_DISTANCE = 0.3


@dataclass(frozen=True)
class Strain:
    """Outcome for one molecule.

    Attributes
    ----------
    kcal_per_mol
        Energy given minus energy relaxed; None if the relaxation failed.
    rmsd_angstrom
        Root mean square displacement of the heavy atoms after the best superposition.
    reason
        Why it failed; empty if it did not.
    """

    kcal_per_mol: float | None
    rmsd_angstrom: float | None
    reason: str


@dataclass(frozen=True)
class StrainSummary:
    """Strain of a random sample of molecules.

    Attributes
    ----------
    num_asked, num_converged
        Molecules of the sample, and those whose relaxation converged: the figures are theirs.
    seed
        Seed that chose the sample.
    mean_kcal_per_mol, median_kcal_per_mol
        Energy drop; None if nothing converged.
    mean_rmsd_angstrom, median_rmsd_angstrom
        Displacement of the heavy atoms.
    intervals
        95 % bootstrap intervals of the four figures, by name.
    failures
        Id and reason of the molecules that did not converge.
    version
        Version of tblite.
    """

    num_asked: int
    num_converged: int
    seed: int
    mean_kcal_per_mol: float | None
    median_kcal_per_mol: float | None
    mean_rmsd_angstrom: float | None
    median_rmsd_angstrom: float | None
    intervals: dict[str, tuple[float, float]]
    failures: tuple[tuple[str, str], ...]
    version: str


def require_tblite() -> str:
    """Return the version of tblite.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    if find_spec("tblite") is None:
        raise MissingExtraError("Strain by GFN2-xTB", "tblite", extra="generate")
    return version("tblite")


def strain(z: Int[np.ndarray, " n"], pos: Float[np.ndarray, "n 3"]) -> Strain:
    """Relax a neutral closed-shell molecule with GFN2-xTB and measure the drop.

    Relaxed until no atom feels more than 0.05 eV/angstrom. A failure is an outcome, not an exception: an odd
    number of electrons, overlapping atoms, an element that GFN2-xTB does not know, or no convergence.

    Parameters
    ----------
    z
        Atomic numbers.
    pos
        Positions in angstrom.
    """
    from ase.data import covalent_radii
    from tblite.exceptions import TBLiteRuntimeError, TBLiteTypeError, TBLiteValueError

    from geograph.generate.xtb import Gfn2, OptimisationError, minimise, model_hessian

    if int(z.sum()) % 2:
        return Strain(None, None, "an odd number of electrons: a radical, or an atom is missing")
    if len(z) > 1 and _closest(pos) < _MIN_DISTANCE:
        return Strain(None, None, f"two atoms are closer than {_MIN_DISTANCE:g} angstrom")
    try:
        gfn2 = Gfn2(z, pos)
        energy_ev, _ = gfn2(pos)
        relaxed, relaxed_ev, _ = minimise(
            gfn2,
            pos,
            model_hessian(pos, covalent_radii[z]),
            fmax_ev_per_angstrom=_FMAX_EV_PER_ANGSTROM,
            max_steps=_MAX_STEPS,
        )
    except (OptimisationError, TBLiteRuntimeError, TBLiteTypeError, TBLiteValueError) as error:
        return Strain(None, None, " ".join(str(error).split()) or type(error).__name__)
    heavy = z > 1 if (z > 1).any() else np.ones(len(z), dtype=bool)
    drop = (energy_ev - relaxed_ev) / KCAL_PER_MOL_EV
    return Strain(float(drop), superposed_rmsd(pos[heavy], relaxed[heavy]), "")


def strain_chunk(
    z: Int[np.ndarray, " n"], pos: Float[np.ndarray, "n 3"], ptr: Int[np.ndarray, " starts"]
) -> list[Strain]:
    """Call `strain` for each of several molecules, given one after the other."""
    return [strain(z[a:b], pos[a:b]) for a, b in zip(ptr[:-1], ptr[1:], strict=True)]


def superposed_rmsd(first: Float[np.ndarray, "n 3"], second: Float[np.ndarray, "n 3"]) -> float:
    """Root mean square distance of corresponding atoms after the best rotation and translation.

    Symmetric in its arguments; reflections are not allowed, so mirror images differ. In the unit of the
    positions.

    References
    ----------
    Kabsch, Acta Cryst. A 32, 922 (1976).
    """
    one, two = first - first.mean(axis=0), second - second.mean(axis=0)
    u, singular, vt = np.linalg.svd(one.T @ two)
    singular[-1] *= np.sign(np.linalg.det(u) * np.linalg.det(vt))
    squares = (one**2).sum() + (two**2).sum() - 2.0 * singular.sum()
    return float(np.sqrt(max(0.0, squares) / len(one)))


def summarise(
    molecules: Sequence[Molecule], outcomes: Sequence[Strain], *, num_resamples: int, seed: int
) -> StrainSummary:
    """Aggregate the outcomes of a sample of molecules."""
    pairs = [(one.kcal_per_mol, one.rmsd_angstrom) for one in outcomes if one.kcal_per_mol is not None]
    names = ("kcal_per_mol", "rmsd_angstrom")
    figures: dict[str, float | None] = {
        f"{kind}_{name}": None for kind in ("mean", "median") for name in names
    }
    intervals: dict[str, tuple[float, float]] = {}
    for name, values in zip(names, np.array(pairs, dtype=np.float64).reshape(-1, 2).T, strict=True):
        if len(values):
            figures[f"mean_{name}"], figures[f"median_{name}"] = (
                float(values.mean()),
                float(np.median(values)),
            )
        found = statistic_intervals(values, num_resamples=num_resamples, seed=seed)
        intervals |= {f"{kind}_{name}": interval for kind, interval in found.items()}
    failures = tuple(
        (molecule.id, one.reason) for molecule, one in zip(molecules, outcomes, strict=True) if one.reason
    )
    return StrainSummary(
        num_asked=len(outcomes),
        num_converged=len(pairs),
        seed=seed,
        **figures,
        intervals=intervals,
        failures=failures,
        version=require_tblite(),
    )


def _closest(pos: np.ndarray) -> float:
    from scipy.spatial.distance import pdist

    return float(pdist(pos).min())

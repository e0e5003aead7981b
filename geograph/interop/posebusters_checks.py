"""PoseBusters' checks of single molecules: chemistry, bond lengths and angles, clashes, flatness, energy."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
from jaxtyping import Float, Int

from geograph.errors import MissingExtraError

#: The checks of PoseBusters' configuration "mol", by their names there.
CHECKS = (
    "mol_pred_loaded", "sanitization", "inchi_convertible", "all_atoms_connected", "no_radicals",
    "bond_lengths", "bond_angles", "internal_steric_clash", "aromatic_ring_flatness",
    "non-aromatic_ring_non-flatness", "double_bond_flatness", "internal_energy",
)  # fmt: skip


@dataclass(frozen=True)
class PoseBustersSummary:
    """PoseBusters' verdict on a random sample of molecules, fractions from 0 to 1.

    Attributes
    ----------
    num_checked
        Molecules of the sample.
    seed
        Seed that chose the sample.
    checks
        Fraction that passes each check, by PoseBusters' name of it.
    all_passed
        Fraction that passes all of them.
    intervals
        95 % bootstrap intervals, by the names of the checks and "all_passed".
    version
        Version of PoseBusters.
    """

    num_checked: int
    seed: int
    checks: dict[str, float]
    all_passed: float
    intervals: dict[str, tuple[float, float]]
    version: str


def require_posebusters() -> str:
    """Return the version of PoseBusters.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    if find_spec("posebusters") is None:
        raise MissingExtraError("PoseBusters' checks", "posebusters", extra="chem")
    return version("posebusters")


def failed_checks(
    z: Int[np.ndarray, " n"],
    pos: Float[np.ndarray, "n 3"],
    ptr: Int[np.ndarray, " starts"],
    charge: int = 0,
) -> list[tuple[str, ...]]:
    """Return the names of the checks that each of several molecules fails.

    The molecules are given with the bonds that RDKit perceives, as `rdkit_perception.perceive` does. A
    molecule without a perceived Lewis structure fails all checks: none of them is defined for it.

    Parameters
    ----------
    z
        Atomic numbers of all molecules, one after the other.
    pos
        Positions in angstrom.
    ptr
        Row where each molecule begins, and the total at the end.
    charge
        Total charge of each molecule in elementary charges.

    Notes
    -----
    PoseBusters compares the energy with that of conformers it makes; for molecules with a single heavy atom,
    and diatomic ones, that ratio has no meaning and "internal_energy" fails. Strained cages, for which no
    conformer can be made, pass it after some ten seconds.

    References
    ----------
    Buttenschoen, Morris, Deane, Chem. Sci. 15, 3130 (2024).
    """
    from posebusters import PoseBusters

    from geograph.interop.rdkit_perception import lewis_structure

    logging.getLogger("posebusters").setLevel(logging.CRITICAL)  # it tells of each ring that it cannot embed
    buster = PoseBusters(config="mol", max_workers=0)
    failed: list[tuple[str, ...]] = []
    for begin, end in zip(ptr[:-1], ptr[1:], strict=True):
        mol = lewis_structure(z[begin:end], pos[begin:end], charge=charge)
        if mol is None:
            failed.append(CHECKS)
            continue
        with _quiet():
            outcome = buster.bust([mol], None, None, full_report=False).iloc[0]
        failed.append(tuple(name for name in CHECKS if not bool(outcome[name])))
    return failed


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep PoseBusters' and RDKit's messages back, and give RDKit its own log again afterwards.

    PoseBusters moves RDKit's log to a Python handler for good, whose stream may have been closed since.
    """
    import rdkit
    from rdkit import rdBase

    rdBase.LogToPythonLogger()
    rdkit.log_handler.stream = sys.stderr
    try:
        with rdBase.BlockLogs(), warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # it leaves files open that swallow its output
            yield
    finally:
        rdBase.LogToCppStreams()


def summarise(failed: Sequence[tuple[str, ...]], *, num_resamples: int, seed: int) -> PoseBustersSummary:
    """Aggregate the failed checks of a sample of molecules."""
    from geograph.interop.bootstrap import ratio_intervals

    passed = {name: np.array([name not in one for one in failed], dtype=float) for name in CHECKS}
    passed["all_passed"] = np.array([not one for one in failed], dtype=float)
    fractions = {name: float(values.mean()) for name, values in passed.items()}
    ones = np.ones(len(failed))
    intervals = ratio_intervals(
        {name: (values, ones) for name, values in passed.items()}, num_resamples=num_resamples, seed=seed
    )
    all_passed = fractions.pop("all_passed")
    return PoseBustersSummary(len(failed), seed, fractions, all_passed, intervals, require_posebusters())

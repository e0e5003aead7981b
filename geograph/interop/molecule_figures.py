"""Rows and aggregate figures from what the bond-length rule and RDKit found in a set of molecules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from geograph.interop.bootstrap import ratio_intervals
from geograph.interop.molecule_report import MoleculeReport, MoleculeRow
from geograph.interop.rdkit_molecules import RDKIT_VERSION
from geograph.interop.rdkit_perception import Perception
from geograph.interop.strain import Strain
from geograph.records import Molecule
from geograph.tasks.stability import ALLOWED_VALENCES, SYMBOL_NUMBERS, Stability

_SYMBOLS = {number: symbol for symbol, number in SYMBOL_NUMBERS.items()}
#: Outcomes of a row that count as failures where they are False.
_MUST_HOLD = (
    "stable", "valid", "connected", "valency_stable", "perceived_valid", "perceived_connected",
)  # fmt: skip
_NOT_RELAXED = Strain(None, None, "")


@dataclass(frozen=True)
class Judged:
    """A set of molecules and what was found in it.

    Attributes
    ----------
    molecules
        The molecules.
    z, pos, ptr
        Atomic numbers, positions in angstrom and row pointer of all, one after the other.
    rule
        Outcome of the published bond-length rule.
    sanitised
        SMILES and reason of each molecule with the bonds of that rule.
    perceived
        Lewis structure of each molecule.
    """

    molecules: list[Molecule]
    z: Int[np.ndarray, " n"]
    pos: Float[np.ndarray, "n 3"]
    ptr: Int[np.ndarray, " starts"]
    rule: Stability
    sanitised: list[tuple[str, str]]
    perceived: list[Perception]

    def known_smiles(self) -> tuple[set[str], set[str]]:
        """Return the SMILES by the published and by the perceived bonds."""
        published = {smiles for smiles, _ in self.sanitised if smiles}
        return published, {one.smiles for one in self.perceived if one.smiles}


def make_rows(
    judged: Judged,
    known: tuple[set[str], ...] | None,
    checks: Mapping[int, tuple[str, ...]],
    strains: Mapping[int, Strain],
) -> list[MoleculeRow]:
    """Write one row for each molecule.

    Parameters
    ----------
    judged
        The molecules.
    known
        SMILES of the reference by the published and by the perceived bonds; None without a reference.
    checks
        Number of a molecule -> the checks of PoseBusters that it failed, for the sample.
    strains
        Number of a molecule -> outcome of its relaxation, for the sample.
    """
    rule, ptr = judged.rule, judged.ptr
    connected = _connected(ptr, rule.bonds)
    unstable = np.flatnonzero(~rule.atom_stable)
    first_unstable = np.append(unstable, len(judged.z))[np.searchsorted(unstable, ptr[:-1])]
    rows = []
    for index, molecule in enumerate(judged.molecules):
        (smiles, failure), one = judged.sanitised[index], judged.perceived[index]
        span = int(first_unstable[index]), int(ptr[index]), int(ptr[index + 1])
        values = {
            "stable": bool(rule.molecule_stable[index]),
            "valid": not failure,
            "connected": bool(connected[index]),
            "valency_stable": bool(one.atom_stable.all()),
            "perceived_valid": not one.reason,
            "perceived_connected": one.is_connected,
        }
        relaxation = strains.get(index, _NOT_RELAXED)
        rows.append(
            MoleculeRow(
                id=molecule.id or str(index),
                num_atoms=len(molecule.z),
                **values,
                smiles=smiles,
                reason=failure or _why_unstable(rule, judged.z, *span),
                perceived_smiles=one.smiles,
                perceived_reason=one.reason,
                novel=smiles not in known[0] if known and smiles else None,
                perceived_novel=one.smiles not in known[1] if known and one.smiles else None,
                posebusters=not checks[index] if index in checks else None,
                strain_kcal_per_mol=relaxation.kcal_per_mol,
                rmsd_angstrom=relaxation.rmsd_angstrom,
                failed=(
                    *(name for name in _MUST_HOLD if not values[name]),
                    *(["strain"] if relaxation.reason else []),
                    *checks.get(index, ()),
                ),
            )
        )
    return rows


def make_report(
    judged: Judged,
    rows: list[MoleculeRow],
    known: tuple[set[str], ...] | None,
    *,
    num_resamples: int,
    seed: int,
) -> MoleculeReport:
    """Aggregate the rows of `make_rows`; see there for `known`."""
    parts = _stability_parts(judged, rows)
    counts: dict[str, Any] = {}
    for prefix, texts, novel in (
        ("", [row.smiles for row in rows], [row.novel for row in rows]),
        ("perceived_", [row.perceived_smiles for row in rows], [row.perceived_novel for row in rows]),
    ):
        valid = np.array([text != "" for text in texts])
        first = _first(texts) & valid
        new = first & np.array([bool(one) for one in novel])
        parts[f"{prefix}uniqueness"] = (first.astype(float), valid.astype(float))
        if known is not None:
            parts[f"{prefix}novelty"] = (new.astype(float), first.astype(float))
        counts[f"num_{prefix}valid"], counts[f"num_{prefix}unique"] = int(valid.sum()), int(first.sum())
        counts[f"num_{prefix}novel"] = int(new.sum()) if known is not None else None
    figures: dict[str, Any] = {"novelty": None, "perceived_novelty": None}
    figures |= {name: _ratio(*pair) for name, pair in parts.items()}
    return MoleculeReport(
        **figures,
        **counts,
        num_molecules=len(rows),
        num_atoms=len(judged.z),
        rdkit_version=RDKIT_VERSION,
        num_unreadable=0,
        rows=rows,
        intervals=ratio_intervals(parts, num_resamples=num_resamples, seed=seed),
    )


def _stability_parts(judged: Judged, rows: list[MoleculeRow]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return numerators and denominators of the fractions of atoms and of molecules."""
    sizes, ones = np.diff(judged.ptr), np.ones(len(rows))
    per_atom = np.concatenate([one.atom_stable for one in judged.perceived])
    fields = {
        "molecule_stability": "stable",
        "rdkit_validity": "valid",
        "connected": "connected",
        "valency_molecule_stability": "valency_stable",
        "perceived_validity": "perceived_valid",
        "perceived_connected": "perceived_connected",
    }
    return {
        "atom_stability": (_sums(judged.rule.atom_stable, judged.ptr), sizes),
        "valency_atom_stability": (_sums(per_atom, judged.ptr), sizes),
    } | {
        name: (np.array([getattr(row, field) for row in rows], dtype=float), ones)
        for name, field in fields.items()
    }


def _sums(values: np.ndarray, ptr: np.ndarray) -> np.ndarray:
    return np.add.reduceat(values.astype(np.int64), ptr[:-1])


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> float | None:
    total = denominator.sum()
    return float(numerator.sum() / total) if total else None


def _first(texts: Sequence[str]) -> Bool[np.ndarray, " m"]:
    """Whether each text is the first of its kind."""
    first = np.zeros(len(texts), dtype=bool)
    places = {text: len(texts) - 1 - index for index, text in enumerate(reversed(texts))}
    first[list(places.values())] = True
    return first


def _why_unstable(rule: Stability, z: np.ndarray, atom: int, begin: int, end: int) -> str:
    if atom >= end:
        return ""
    symbol = _SYMBOLS.get(int(z[atom]))
    if symbol is None:
        return f"atom {atom - begin} (atomic number {int(z[atom])}) has no published valence"
    allowed = " or ".join(map(str, ALLOWED_VALENCES[symbol]))
    return f"atom {atom - begin} ({symbol}) has valence {int(rule.valence[atom])}, published {allowed}"


def _connected(ptr: np.ndarray, bonds: np.ndarray) -> np.ndarray:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    num_atoms = int(ptr[-1])
    adjacency = coo_matrix(
        (np.ones(len(bonds), dtype=np.int8), (bonds[:, 0], bonds[:, 1])), (num_atoms, num_atoms)
    )
    _, fragment = connected_components(adjacency, directed=False)
    lowest, highest = np.minimum.reduceat(fragment, ptr[:-1]), np.maximum.reduceat(fragment, ptr[:-1])
    return lowest == highest  # bonds never leave a molecule, so equal ends mean one fragment

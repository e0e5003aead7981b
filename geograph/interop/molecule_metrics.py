"""Quality of molecules from anyone: published bond-length stability, RDKit validity, uniqueness, novelty."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from geograph.errors import ConfigError, DataError
from geograph.interop.molecule_files import concatenate
from geograph.interop.rdkit_molecules import RDKIT_VERSION, comparable_smiles, sanitize_chunk
from geograph.parallel import run_chunks
from geograph.records import Molecule
from geograph.tasks.stability import ALLOWED_VALENCES, SYMBOL_NUMBERS, Stability, stability

_CHUNK = 1000
_SYMBOLS = {number: symbol for symbol, number in SYMBOL_NUMBERS.items()}


@dataclass(frozen=True)
class MoleculeRow:
    """One molecule of a report.

    Attributes
    ----------
    id, num_atoms
        Which molecule, and its size.
    stable
        Whether all atoms are stable by the published bond-length rule.
    valid
        Whether RDKit sanitises the molecule with the bonds of that rule.
    connected
        Whether those bonds make one fragment.
    smiles
        Canonical SMILES of the largest fragment, with explicit hydrogens; empty if not valid.
    reason
        Why it is not valid, or else not stable; empty if it is both.
    """

    id: str
    num_atoms: int
    stable: bool
    valid: bool
    connected: bool
    smiles: str
    reason: str


@dataclass(frozen=True)
class MoleculeReport:
    """Aggregate figures, fractions from 0 to 1, and one row for each molecule.

    Attributes
    ----------
    atom_stability, molecule_stability
        Fractions of atoms and of molecules that are stable by the published bond-length rule (EDM).
    rdkit_validity
        Fraction of molecules that RDKit sanitises with the bonds of that rule.
    uniqueness
        Different SMILES among the valid molecules; None where none is valid.
    novelty
        Unique SMILES that are not in the reference; None without a reference or without valid molecules.
    connected
        Fraction of molecules that are one fragment (validity looks at the largest fragment only).
    num_molecules, num_atoms, num_valid, num_unique, num_novel
        Counts; `num_novel` is None without a reference.
    rdkit_version
        Version that sanitised: the figures depend on it.
    rows
        The molecules one by one.
    """

    atom_stability: float
    molecule_stability: float
    rdkit_validity: float
    uniqueness: float | None
    novelty: float | None
    connected: float
    num_molecules: int
    num_atoms: int
    num_valid: int
    num_unique: int
    num_novel: int | None
    rdkit_version: str
    rows: list[MoleculeRow] = field(repr=False)

    def to_json(self) -> dict[str, float | int | str | None]:
        """Return the aggregate figures as JSON values, without the rows."""
        return {name: value for name, value in vars(self).items() if name != "rows"}

    def write_table(self, path: str | Path) -> None:
        """Write the rows as `.csv` or `.parquet`.

        Raises
        ------
        ConfigError
            If the suffix is another one.
        """
        target = Path(path)
        rows = [asdict(row) for row in self.rows]
        if target.suffix not in (".csv", ".parquet"):
            raise ConfigError(f"`path` of the table must end in .csv or .parquet, got {target.name!r}")
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix == ".csv":
            with target.open("w", newline="", encoding="utf-8") as stream:
                writer = csv.DictWriter(stream, fieldnames=list(MoleculeRow.__dataclass_fields__))
                writer.writeheader()
                writer.writerows(rows)
        else:
            import pyarrow
            import pyarrow.parquet

            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), target)


def evaluate_molecules(
    molecules: Sequence[Molecule], *, reference_smiles: Iterable[str] | None = None, num_workers: int = 1
) -> MoleculeReport:
    """Judge molecules by their atoms and positions alone.

    Bonds and bond orders come from the published table of bond lengths, as in the released evaluation of
    EDM. The molecule is then sanitised by RDKit; uniqueness and novelty compare the canonical SMILES of the
    largest fragment. Invariant under E(3) and under the order of atoms.

    Parameters
    ----------
    molecules
        At least one molecule.
    reference_smiles
        Molecules that are not new, for instance the training set: `smiles_of(training_molecules)` is
        compared like with like; other SMILES get explicit hydrogens first.
    num_workers
        Processes for RDKit's part; the result does not depend on it.

    Raises
    ------
    DataError
        If there are no molecules, or a reference SMILES cannot be parsed.

    References
    ----------
    Hoogeboom et al. (2022), arXiv:2203.17003, section 5.1.
    """
    if not molecules:
        raise DataError("no molecules to evaluate", remedy="give at least one")
    z, pos, ptr = concatenate(molecules)
    rule = stability(z, pos, ptr)
    outcomes = _sanitize(z, ptr, rule, num_workers)
    rows = _rows(molecules, z, ptr, rule, outcomes)
    valid = [row.smiles for row in rows if row.valid]
    unique = set(valid)
    known = _reference(reference_smiles) if reference_smiles is not None else None
    num_novel = len(unique - known) if known is not None else None
    return MoleculeReport(
        **rule.fractions(),
        rdkit_validity=len(valid) / len(rows),
        uniqueness=len(unique) / len(valid) if valid else None,
        novelty=num_novel / len(unique) if num_novel is not None and unique else None,
        connected=sum(row.connected for row in rows) / len(rows),
        num_molecules=len(rows),
        num_atoms=len(z),
        num_valid=len(valid),
        num_unique=len(unique),
        num_novel=num_novel,
        rdkit_version=RDKIT_VERSION,
        rows=rows,
    )


def smiles_of(molecules: Sequence[Molecule], *, num_workers: int = 1) -> list[str]:
    """Return the SMILES of the valid ones among the molecules, perceived as `evaluate_molecules` does."""
    if not molecules:
        return []
    z, pos, ptr = concatenate(molecules)
    outcomes = _sanitize(z, ptr, stability(z, pos, ptr), num_workers)
    return [smiles for smiles, _ in outcomes if smiles]


def _sanitize(z: np.ndarray, ptr: np.ndarray, rule: Stability, num_workers: int) -> list[tuple[str, str]]:
    jobs: list[tuple[Any, ...]] = []
    for begin in range(0, len(ptr) - 1, _CHUNK):
        rows = ptr[begin : begin + _CHUNK + 1]
        first, last = np.searchsorted(rule.bonds[:, 0], rows[[0, -1]])
        jobs.append(
            (z[rows[0] : rows[-1]], rows - rows[0], rule.bonds[first:last] - rows[0], rule.orders[first:last])
        )
    if num_workers == 1 or len(jobs) == 1:
        chunks = [sanitize_chunk(*job) for job in jobs]
    else:
        chunks = run_chunks(sanitize_chunk, jobs, num_workers=num_workers, description="sanitising")
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


def _rows(
    molecules: Sequence[Molecule],
    z: np.ndarray,
    ptr: np.ndarray,
    rule: Stability,
    outcomes: list[tuple[str, str]],
) -> list[MoleculeRow]:
    connected = _connected(ptr, rule.bonds)
    unstable = np.flatnonzero(~rule.atom_stable)
    first_unstable = np.append(unstable, len(z))[np.searchsorted(unstable, ptr[:-1])]
    return [
        MoleculeRow(
            id=molecule.id or str(index),
            num_atoms=len(molecule.z),
            stable=bool(rule.molecule_stable[index]),
            valid=not failure,
            connected=bool(connected[index]),
            smiles=smiles,
            reason=failure
            or _why_unstable(rule, z, int(first_unstable[index]), int(ptr[index]), int(ptr[index + 1])),
        )
        for index, (molecule, (smiles, failure)) in enumerate(zip(molecules, outcomes, strict=True))
    ]


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

"""What the judging of molecules found: one row for each molecule, aggregate figures, tables of both."""

from __future__ import annotations

import csv
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geograph.errors import ConfigError

if TYPE_CHECKING:
    from geograph.interop.molecule_distributions import Distribution
    from geograph.interop.posebusters_checks import PoseBustersSummary
    from geograph.interop.strain import StrainSummary

#: Fractions of a report that are figures of merit, in the order of tables; each may have an interval.
FRACTIONS = (
    "atom_stability", "molecule_stability", "rdkit_validity", "uniqueness", "novelty", "connected",
    "valency_atom_stability", "valency_molecule_stability", "perceived_validity", "perceived_uniqueness",
    "perceived_novelty", "perceived_connected",
)  # fmt: skip


@dataclass(frozen=True)
class Unreadable:
    """A record of a file that could not be read: which file, which record, and why."""

    source: str
    record: str
    reason: str


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
    valency_stable
        Whether all atoms have a valence that suits their element and formal charge in the Lewis structure
        that RDKit perceives.
    perceived_valid, perceived_connected, perceived_smiles, perceived_reason
        The same as `valid`, `connected`, `smiles` and `reason` with the bonds that RDKit perceives.
    novel, perceived_novel
        Whether the SMILES is not in the reference; None without a reference or without a SMILES.
    posebusters
        Whether all checks of PoseBusters are passed; None if the molecule is not in the sample for it.
    strain_kcal_per_mol, rmsd_angstrom
        Energy drop and heavy-atom displacement on relaxation; None if not in the sample or not converged.
    failed
        Names of what the molecule failed, in the order above; checks of PoseBusters by their names there,
        "strain" where the relaxation did not converge. Not being novel is no failure.
    """

    id: str
    num_atoms: int
    stable: bool
    valid: bool
    connected: bool
    smiles: str
    reason: str
    valency_stable: bool
    perceived_valid: bool
    perceived_connected: bool
    perceived_smiles: str
    perceived_reason: str
    novel: bool | None = None
    perceived_novel: bool | None = None
    posebusters: bool | None = None
    strain_kcal_per_mol: float | None = None
    rmsd_angstrom: float | None = None
    failed: tuple[str, ...] = ()


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
    valency_atom_stability, valency_molecule_stability
        Fractions of atoms and of molecules whose valences suit element and formal charge in the Kekulé
        structure that RDKit perceives (`rdkit_perception.valence_allowed`): aromatic and charged groups are
        counted for what they are. An atom of a molecule without such a structure is not stable.
    perceived_validity, perceived_uniqueness, perceived_novelty, perceived_connected
        As above with the bonds, orders and charges that RDKit perceives.
    num_perceived_valid, num_perceived_unique, num_perceived_novel
        Counts of these.
    num_unreadable, unreadable
        Records that could not be read and are in none of the other figures.
    intervals
        95 % bootstrap intervals of the fractions by their names, the molecules resampled. Uniqueness and
        novelty count the first molecule of each SMILES, and resample which molecules are such a first one.
    posebusters, strain
        Verdicts on random samples; None where they were not asked for.
    distributions
        Distances to the reference by quantity; None without reference molecules.
    reference
        The same figures of the reference molecules: the ceiling of every metric.
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
    valency_atom_stability: float
    valency_molecule_stability: float
    perceived_validity: float
    perceived_uniqueness: float | None
    perceived_novelty: float | None
    perceived_connected: float
    num_perceived_valid: int
    num_perceived_unique: int
    num_perceived_novel: int | None
    num_unreadable: int
    rows: list[MoleculeRow] = field(repr=False)
    unreadable: tuple[Unreadable, ...] = ()
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    posebusters: PoseBustersSummary | None = None
    strain: StrainSummary | None = None
    distributions: dict[str, Distribution] | None = field(default=None, repr=False)
    reference: MoleculeReport | None = field(default=None, repr=False)

    def distances(self) -> dict[str, float]:
        """Return the distance of every quantity to the reference, by names that carry the unit.

        For instance `bond_lengths_distance_angstrom`; quantities that cannot be compared are left out.
        """
        return {
            "_".join(filter(None, (name, "distance", one.unit))): one.distance
            for name, one in (self.distributions or {}).items()
            if one.distance is not None
        }

    def to_json(self) -> dict[str, Any]:
        """Return the aggregate figures as JSON values, without the rows.

        Figures are plain values; `unreadable`, `intervals`, `posebusters`, `strain`, `distributions` and
        `reference` (the same again, without its distributions) are nested.
        """
        values = {name: value for name, value in vars(self).items() if name != "rows"}
        values["unreadable"] = [asdict(one) for one in self.unreadable]
        for name in ("posebusters", "strain"):
            values[name] = None if values[name] is None else asdict(values[name])
        if self.distributions is not None:
            values["distributions"] = {name: asdict(one) for name, one in self.distributions.items()}
        values["reference"] = None if self.reference is None else self.reference.to_json()
        return {name: _json(value) for name, value in values.items()}

    def write_table(self, path: str | Path) -> None:
        """Write the rows as `.csv` or `.parquet`.

        In a CSV the failed checks stand in one cell, divided by semicolons.

        Raises
        ------
        ConfigError
            If the suffix is another one.
        """
        target = check_table_path(path)
        rows = [vars(row) for row in self.rows]
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix == ".csv":
            with target.open("w", newline="", encoding="utf-8") as stream:
                writer = csv.DictWriter(stream, fieldnames=list(MoleculeRow.__dataclass_fields__))
                writer.writeheader()
                writer.writerows({**row, "failed": ";".join(row["failed"])} for row in rows)
        else:
            import pyarrow
            import pyarrow.parquet

            kinds = {"num_atoms": pyarrow.int64(), "failed": pyarrow.list_(pyarrow.string())}
            texts = ("id", "smiles", "reason", "perceived_smiles", "perceived_reason")
            kinds |= dict.fromkeys(texts, pyarrow.string())
            kinds |= dict.fromkeys(("strain_kcal_per_mol", "rmsd_angstrom"), pyarrow.float64())
            schema = pyarrow.schema(
                [(name, kinds.get(name, pyarrow.bool_())) for name in MoleculeRow.__dataclass_fields__]
            )
            columns = [
                [list(v) if isinstance(v := row[name], tuple) else v for row in rows] for name in schema.names
            ]
            arrays = [pyarrow.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)]
            pyarrow.parquet.write_table(pyarrow.Table.from_arrays(arrays, schema=schema), target)


def check_table_path(path: str | Path) -> Path:
    """Return the path of a table.

    Raises
    ------
    ConfigError
        If the suffix is neither `.csv` nor `.parquet`.
    """
    target = Path(path)
    if target.suffix not in (".csv", ".parquet"):
        raise ConfigError(f"`path` of the table must end in .csv or .parquet, got {target.name!r}")
    return target


def _json(value: Any) -> Any:
    """Replace tuples by lists and numbers that are not finite by null: JSON has neither."""
    if isinstance(value, dict):
        return {name: _json(one) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return [_json(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""What a page of molecules holds, as JSON values: positions, bonds, outcomes, properties, figures."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import fields
from itertools import pairwise
from typing import Any

import numpy as np

from geograph.errors import DataError, ShapeError
from geograph.interop.molecule_files import concatenate
from geograph.interop.molecule_metrics import MoleculeReport, MoleculeRow
from geograph.interop.molecule_page_summary import check_entry, rank_of, summary_of
from geograph.records import Molecule
from geograph.tasks.stability import Stability, stability

#: Colours of common elements; the rest is drawn like the entry 0.
ELEMENT_COLOURS = {
    0: "#ff1493", 1: "#eef0f3", 5: "#ffb5b5", 6: "#5b616b", 7: "#3050f8", 8: "#e8210d", 9: "#6cbf38",
    14: "#d0a878", 15: "#ff8000", 16: "#e3c400", 17: "#1fb31f", 35: "#a62929", 53: "#940094",
}  # fmt: skip
#: Frames of a chain that are kept: noise and molecule, and evenly many between.
MAX_FRAMES = 21
_MAX_ATOMS = 65535  # atom numbers are stored in 16 bits
_INT16 = 32767
_FINEST = 1e-3  # angstrom: what frames are rounded to where the molecule is small enough


def page_content(
    molecules: Sequence[Molecule],
    report: MoleculeReport,
    frames: Sequence[Sequence[Molecule]] | None,
    title: str,
) -> dict[str, Any]:
    """Return everything that the script of the page reads, as JSON values.

    Parameters
    ----------
    molecules
        What is shown, at least one; positions in angstrom.
    report
        Their judgement, one row for each.
    frames
        For each molecule its chain from noise to molecule, the last one being the molecule; empty where
        there is none.
    title
        Heading.

    Raises
    ------
    ShapeError
        If report or frames do not fit the molecules.
    DataError
        If there is no molecule, or one has more than 65535 atoms.
    """
    _check(molecules, report, frames)
    z, pos, ptr = concatenate(molecules)
    rule = stability(z, pos, ptr)
    checks, properties = _checks(report.rows), _properties(molecules, report.rows)
    present = {int(number) for number in np.unique(z)}
    made = [_packed_molecule(rule, ptr, index, molecule) for index, molecule in enumerate(molecules)]
    for index, (entry, row) in enumerate(zip(made, report.rows, strict=True)):
        entry |= {
            "id": row.id,
            "smiles": row.smiles or molecules[index].smiles,
            "reason": row.reason,
            "notes": _notes(row),
            "checks": [_outcome(row, check["key"]) for check in checks],
            "values": [values[index] for _, values in properties],
        }
    for index, chain in enumerate(frames or ()):
        kept = _thinned(chain)
        made[index]["chain"] = _packed_chain(kept) if len(kept) > 1 else None
        present |= {int(number) for frame in kept for number in np.unique(frame.z)}
    return {
        "title": title,
        "about": _about(molecules, report, frames),
        "summary": summary_of(report),
        "checks": checks,
        "properties": [{"label": label} for label, _ in properties],
        "elements": _elements(present),
        "molecules": made,
    }


def _check(
    molecules: Sequence[Molecule], report: MoleculeReport, frames: Sequence[Sequence[Molecule]] | None
) -> None:
    if not molecules:
        raise DataError("no molecules to show", remedy="give at least one")
    if len(report.rows) != len(molecules):
        raise ShapeError(
            f"`report` must have one row for each of {len(molecules)} molecules, got {len(report.rows)}"
        )
    for molecule in molecules:
        if len(molecule.z) > _MAX_ATOMS:
            raise DataError(
                f"a page shows molecules of at most {_MAX_ATOMS} atoms, this one has {len(molecule.z)}",
                record=molecule.id,
                remedy="leave it out",
            )
    if frames is None:
        return
    if len(frames) != len(molecules):
        raise ShapeError(
            f"`frames` must hold a chain, which may be empty, for each of {len(molecules)} molecules, "
            f"got {len(frames)}"
        )
    for molecule, chain in zip(molecules, frames, strict=True):
        sizes = {len(frame.z) for frame in chain} - {len(molecule.z)}
        if sizes:
            raise ShapeError(
                f"`frames` of molecule {molecule.id!r} must have {len(molecule.z)} atoms, got {min(sizes)}"
            )


def _about(
    molecules: Sequence[Molecule], report: MoleculeReport, frames: Sequence[Sequence[Molecule]] | None
) -> str:
    num_chains = sum(len(chain) > 1 for chain in frames or ())
    chains = f" · {num_chains} with their denoising chain" if num_chains else ""
    return (
        f"{len(molecules)} molecules{chains} · bonds drawn are those of the published bond-length rule · "
        f"judged with RDKit {report.rdkit_version}"
    )


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")


def _packed_bonds(rule: Stability, begin: int, end: int) -> list[str]:
    """Bonds of the atoms from `begin` to `end` of a ragged list: atom numbers packed, orders as digits."""
    first, last = np.searchsorted(rule.bonds[:, 0], [begin, end])
    pairs = (rule.bonds[first:last] - begin).astype("<u2")
    return [_base64(pairs), "".join(map(str, rule.orders[first:last].tolist()))]


def _packed_molecule(rule: Stability, ptr: np.ndarray, index: int, molecule: Molecule) -> dict[str, Any]:
    begin, end = int(ptr[index]), int(ptr[index + 1])
    return {
        "n": end - begin,
        "formula": formula_of(molecule.z),
        "z": _base64(molecule.z.astype(np.uint8)),
        "pos": _base64(molecule.pos.astype("<f4")),
        "bonds": _packed_bonds(rule, begin, end),
        "bad": np.flatnonzero(~rule.atom_stable[begin:end]).tolist(),
        "turn": _best_view(molecule.pos),
        "chain": None,
    }


def _best_view(pos: np.ndarray) -> list[float]:
    """Quaternion (x, y, z, w) that turns the long axes of a molecule into the plane of the screen."""
    from scipy.spatial.transform import Rotation

    centred = pos.astype(np.float64) - pos.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=True)
    axes[2] *= np.linalg.det(axes)
    return [round(float(value), 4) for value in Rotation.from_matrix(axes).as_quat()]


def _thinned(chain: Sequence[Molecule]) -> list[Molecule]:
    if len(chain) <= MAX_FRAMES:
        return list(chain)
    kept = np.linspace(0, len(chain) - 1, MAX_FRAMES).round().astype(int)
    return [chain[k] for k in kept]


def _packed_chain(chain: Sequence[Molecule]) -> dict[str, Any]:
    """Pack all frames but the last, which is the molecule itself: positions in steps of `unit` angstrom."""
    before, final = chain[:-1], chain[-1]
    z, pos, ptr = concatenate(before)
    unit = max(_FINEST, float(np.abs(pos).max()) / _INT16)
    rule = stability(z, pos, ptr)
    has_changes = any((frame.z != final.z).any() for frame in before)
    starts = ptr.tolist()
    times = [_number(frame.properties.get("diffusion_time")) for frame in before]
    return {
        "unit": unit,
        "pos": _base64(np.rint(pos / unit).astype("<i2")),
        "z": _base64(z.astype(np.uint8)) if has_changes else "",
        "bonds": [_packed_bonds(rule, a, b) for a, b in pairwise(starts)],
        "times": times if None not in times else None,
    }


def formula_of(z: np.ndarray) -> str:
    """Return the chemical formula in Hill's order: carbon, hydrogen, then the rest by the alphabet."""
    from ase.data import chemical_symbols

    numbers, counts = np.unique(z, return_counts=True)
    found = {chemical_symbols[n]: c for n, c in zip(numbers.tolist(), counts.tolist(), strict=True)}
    first = [symbol for symbol in ("C", "H") if symbol in found and "C" in found]
    order = [*first, *sorted(found.keys() - set(first))]
    return "".join(symbol + (str(found[symbol]) if found[symbol] > 1 else "") for symbol in order)


def _elements(present: set[int]) -> dict[str, dict[str, str]]:
    from ase.data import chemical_symbols

    return {
        str(number): {
            "symbol": chemical_symbols[number],
            "colour": ELEMENT_COLOURS.get(number, ELEMENT_COLOURS[0]),
        }
        for number in sorted(present)
    }


def _checks(rows: Sequence[MoleculeRow]) -> list[dict[str, Any]]:
    """Every check that judged a molecule: yes-or-no columns of the rows, and failures with other names."""
    columns = [field.name for field in fields(rows[0])]
    keys = {name for name in columns if any(isinstance(getattr(row, name), bool) for row in rows)}
    named = {name for row in rows for name in row.failed}
    return [check_entry(key) for key in sorted(keys | named, key=rank_of)]


def _outcome(row: MoleculeRow, key: str) -> int | None:
    """Return 1 for passed, 0 for failed, None where the check was not made."""
    if hasattr(row, key):
        made = getattr(row, key)
        return None if made is None else int(made)
    if key in row.failed:
        return 0
    # A name that is no column is `strain` or one of PoseBusters' checks, made for a part of the molecules.
    was_made = row.strain_kcal_per_mol if key == "strain" else row.posebusters
    return None if was_made is None else 1


def _properties(
    molecules: Sequence[Molecule], rows: Sequence[MoleculeRow]
) -> list[tuple[str, list[float | None]]]:
    """Every number that is known of some molecule: numeric columns of the rows, then the labels."""
    found: list[tuple[str, list[float | None]]] = []
    for field in fields(rows[0]):
        values = [_number(getattr(row, field.name)) for row in rows]
        if any(value is not None for value in values):
            found.append((_words(field.name.removeprefix("num_")), values))
    for name in sorted({name for molecule in molecules for name in molecule.properties}):
        values = [_number(molecule.properties.get(name)) for molecule in molecules]
        if any(value is not None for value in values):
            found.append((name, values))
    return found


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return None
    return float(f"{float(value):.7g}") if math.isfinite(value) else None


def _notes(row: MoleculeRow) -> list[list[str]]:
    """Texts of the row beside id, SMILES and reason."""
    shown = {"id", "smiles", "reason"}
    texts = {field.name: getattr(row, field.name) for field in fields(row) if field.name not in shown}
    return [[_words(name), text] for name, text in texts.items() if isinstance(text, str) and text]


def _words(name: str) -> str:
    return name.replace("_", " ").replace("smiles", "SMILES")

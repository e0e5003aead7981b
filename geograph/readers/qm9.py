"""QM9: small organic molecules with up to nine C, N, O, F atoms, as published or as `.npz`.

Published are `dsgdb9nsd_*.xyz` files (a folder, a tar or zip archive of them, or one file), whose second line
is `gdb <number>` and 15 properties, and which may write exponents as `*^`. The `.npz` layouts hold `Z` and
`R` (angstrom) of all molecules one after the other, `n_atoms`, mostly `qm9_id`, and labels: `props` with
`prop_names`, `E_elec_hartree` with `dipole_debye` vectors, or `mu`. Energies come out in eV.

References
----------
Ramakrishnan, Dral, Rupp, von Lilienfeld, Sci. Data 1, 140022 (2014), Table 3 for the properties and units.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np

from geograph.errors import DataError
from geograph.readers.archives import OnError, existing, iterate_texts, load_npz, read_text, report
from geograph.readers.labels import finite_properties
from geograph.records import Molecule
from geograph.units import HARTREE_EV, KCAL_PER_MOL_EV

NUM_UNCHARACTERIZED = 3054

#: Published name -> (name here, factor to the unit of that name).
PROPERTIES = {
    "A": ("rotational_constant_a_ghz", 1.0),
    "B": ("rotational_constant_b_ghz", 1.0),
    "C": ("rotational_constant_c_ghz", 1.0),
    "mu": ("dipole_debye", 1.0),
    "alpha": ("polarizability_bohr3", 1.0),
    "homo": ("homo_ev", HARTREE_EV),
    "lumo": ("lumo_ev", HARTREE_EV),
    "gap": ("gap_ev", HARTREE_EV),
    "r2": ("r2_bohr2", 1.0),
    "zpve": ("zpve_ev", HARTREE_EV),
    "u0": ("u0_ev", HARTREE_EV),
    "u298": ("u298_ev", HARTREE_EV),
    "h298": ("h298_ev", HARTREE_EV),
    "g298": ("g298_ev", HARTREE_EV),
    "cv": ("cv_cal_per_mol_k", 1.0),
    "u0_atom": ("u0_atom_ev", KCAL_PER_MOL_EV),
    "u298_atom": ("u298_atom_ev", KCAL_PER_MOL_EV),
    "h298_atom": ("h298_atom_ev", KCAL_PER_MOL_EV),
    "g298_atom": ("g298_atom_ev", KCAL_PER_MOL_EV),
}
_RAW_ORDER = tuple(PROPERTIES)[:15]
_ATOMREF_ORDER = ("zpve", "u0", "u298", "h298", "g298", "cv")
_ELEMENTS = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9}


def read_qm9(
    path: str | PathLike[str],
    *,
    exclude: Collection[int] = (),
    require: Collection[str] | None = None,
    on_error: OnError | None = None,
) -> Iterator[Molecule]:
    """Molecules of QM9 in the order of the source, with the properties that it holds.

    The identifier is `gdb_` with the QM9 number; the SMILES is the one of the relaxed geometry where the file
    has it. Atomization energies (`u0_atom_ev`) are negative.

    Parameters
    ----------
    path
        A `.npz` file, a folder, tar or zip archive of `.xyz` files, or one `.xyz` file.
    exclude
        QM9 numbers to leave out, for instance `read_uncharacterized(...)`.
    require
        Properties that must be finite; a record where one is not is broken. None means all that the source
        has. What is not required is left out of the record where it is not finite.
    on_error
        Called with every broken record, which is then left out; without it the first one raises.

    Raises
    ------
    DataError
        If the source is missing, damaged or of another layout, or if a record is broken.
    """
    source = existing(path)
    left_out = frozenset(exclude)
    records = _npz_records(source) if source.suffix == ".npz" else _xyz_records(source)
    for name, load in records:
        try:
            number, molecule = load()
            if number not in left_out:
                molecule = finite_properties(molecule, require)
        except DataError as error:
            report(DataError(error.what, source=source, record=name, remedy=error.remedy), on_error)
        else:
            if number not in left_out:
                yield molecule


def read_uncharacterized(path: str | PathLike[str]) -> frozenset[int]:
    """QM9 numbers of the 3,054 molecules whose relaxed geometry has another bond graph than was meant.

    Raises
    ------
    DataError
        If the file does not hold exactly 3,054 different numbers.
    """
    first = (line.split()[0] for line in read_text(path).splitlines() if line.strip())
    numbers = frozenset(int(word) for word in first if word.isdigit())
    if len(numbers) != NUM_UNCHARACTERIZED:
        raise DataError(
            f"{len(numbers)} molecule numbers, but the published list has {NUM_UNCHARACTERIZED}",
            source=path,
            remedy="use the published uncharacterized.txt, whole",
        )
    return numbers


def read_atomref(path: str | PathLike[str]) -> dict[str, dict[int, float]]:
    """Read the values of free atoms: property (`u0_ev`) -> atomic number -> value.

    Raises
    ------
    DataError
        If the file is missing, or if the line of an element is missing or broken.
    """
    table: dict[str, dict[int, float]] = {PROPERTIES[name][0]: {} for name in _ATOMREF_ORDER}
    for line in read_text(path).splitlines():
        words = line.split()
        if not words or words[0] not in _ELEMENTS:
            continue
        if len(words) != 1 + len(_ATOMREF_ORDER):
            raise DataError(
                f"{len(words) - 1} values for {words[0]}, expected {len(_ATOMREF_ORDER)}",
                source=path,
                remedy="use the published atomref.txt",
            )
        for name, word in zip(_ATOMREF_ORDER, words[1:], strict=True):
            ours, factor = PROPERTIES[name]
            table[ours][_ELEMENTS[words[0]]] = _number(word, name) * factor
    missing = [element for element, z in _ELEMENTS.items() if z not in table["u0_ev"]]
    if missing:
        raise DataError(f"no line for {missing[0]}", source=path, remedy="use the published atomref.txt")
    return table


def with_atomization_energies(molecule: Molecule, atomref: Mapping[str, Mapping[int, float]]) -> Molecule:
    """Add `u0_atom_ev`, `u298_atom_ev`, ...: energy minus that of the free atoms.

    Raises
    ------
    DataError
        If an element of the molecule has no reference value.
    """
    added = {}
    for name in ("u0", "u298", "h298", "g298"):
        ours = PROPERTIES[name][0]
        if ours not in molecule.properties:
            continue
        unknown = [int(z) for z in molecule.z if int(z) not in atomref[ours]]
        if unknown:
            raise DataError(
                f"no reference energy for atomic number {unknown[0]}",
                record=molecule.id,
                remedy="add the element to the reference table",
            )
        free_atoms = sum(atomref[ours][int(z)] for z in molecule.z)
        added[PROPERTIES[f"{name}_atom"][0]] = molecule.properties[ours] - free_atoms
    return replace(molecule, properties={**molecule.properties, **added})


class _XyzRecord:
    """One `.xyz` text, parsed on call."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __call__(self) -> tuple[int, Molecule]:
        lines = self._text.splitlines()
        count = _count(lines)
        words = lines[1].split()
        if len(words) != 2 + len(_RAW_ORDER) or words[0] != "gdb" or not words[1].isdigit():
            raise DataError(
                f"the second line must be `gdb`, a number and {len(_RAW_ORDER)} properties,"
                f" got {len(words)} words",
                remedy="use the published dsgdb9nsd files",
            )
        properties = {}
        for name, word in zip(_RAW_ORDER, words[2:], strict=True):
            ours, factor = PROPERTIES[name]
            properties[ours] = _number(word, name) * factor
        rows = [_atom(line, row) for row, line in enumerate(lines[2 : 2 + count])]
        z = np.array([row[0] for row in rows], dtype=np.int64)
        pos = np.array([row[1] for row in rows], dtype=np.float64)
        # Vibrational frequencies, then the SMILES of GDB-17 and of the relaxed geometry.
        smiles = lines[3 + count].split() if len(lines) > 3 + count else []
        number = int(words[1])
        return number, Molecule(z, pos, properties, id=f"gdb_{number}", smiles=smiles[-1] if smiles else "")


def _count(lines: list[str]) -> int:
    first = lines[0].strip() if lines else ""
    if not first.isdigit() or int(first) == 0:
        raise DataError(
            f"the first line must be the number of atoms, got {first!r}",
            remedy="the file is empty or damaged",
        )
    count = int(first)
    if len(lines) < 2 + count:
        raise DataError(
            f"{count} atoms announced, {max(len(lines) - 2, 0)} there",
            remedy="the file is cut off; fetch it again",
        )
    return count


def _atom(line: str, row: int) -> tuple[int, list[float]]:
    words = line.split()
    if len(words) < 4:
        raise DataError(
            f"atom {row} has {len(words)} columns, at least 4 are required", remedy="repair the file"
        )
    if words[0] not in _ELEMENTS:
        raise DataError(
            f"unknown element: atom {row} is {words[0]!r}", remedy="QM9 has H, C, N, O and F alone"
        )
    return _ELEMENTS[words[0]], [_number(word, f"coordinate of atom {row}") for word in words[1:4]]


def _number(word: str, name: str) -> float:
    try:
        return float(word.replace("*^", "e"))
    except ValueError as error:
        raise DataError(f"{name} is not a number: {word!r}", remedy="repair the file") from error


def _xyz_records(source: Path) -> Iterator[tuple[str, _XyzRecord]]:
    for name, text in iterate_texts(source, ".xyz"):
        yield name, _XyzRecord(text)


class _NpzRecord:
    """One molecule of a `.npz` file, sliced on call."""

    def __init__(
        self, z: np.ndarray, pos: np.ndarray, number: int | None, row: int, labels: Mapping[str, np.ndarray]
    ) -> None:
        self._z, self._pos, self._number, self._row, self._labels = z, pos, number, row, labels

    def __call__(self) -> tuple[int, Molecule]:
        number = self._number if self._number is not None else -1
        name = f"gdb_{number}" if self._number is not None else f"record_{self._row}"
        properties = {label: float(values[self._row]) for label, values in self._labels.items()}
        molecule = Molecule(self._z.astype(np.int64), self._pos.astype(np.float64), properties, id=name)
        return number, molecule


def _npz_records(source: Path) -> Iterator[tuple[str, _NpzRecord]]:
    arrays = load_npz(source, ("Z", "R", "n_atoms"))
    z, pos, counts = arrays["Z"], arrays["R"], arrays["n_atoms"].astype(np.int64)
    if pos.shape != (len(z), 3) or counts.sum() != len(z):
        raise DataError(
            f"shapes do not fit: `Z` {z.shape}, `R` {pos.shape}, `n_atoms` sums to {int(counts.sum())}",
            source=source,
            remedy="the file is damaged; make it again",
        )
    ends = np.cumsum(counts)
    numbers = arrays.get("qm9_id")
    try:
        labels = _npz_labels(arrays)
    except DataError as error:
        raise error.at(source=source) from error
    for row, (start, end) in enumerate(zip(ends - counts, ends, strict=True)):
        number = int(numbers[row]) if numbers is not None else None
        name = f"{row} (gdb_{number})" if number is not None else str(row)
        yield name, _NpzRecord(z[start:end], pos[start:end], number, row, labels)


def _npz_labels(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    labels: dict[str, np.ndarray] = {}
    if "props" in arrays and "prop_names" in arrays:
        for column, name in enumerate(arrays["prop_names"].tolist()):
            if name not in PROPERTIES:
                raise DataError(
                    f"unknown property {name!r} in `prop_names`", remedy=f"known are: {', '.join(PROPERTIES)}"
                )
            ours, factor = PROPERTIES[name]
            labels[ours] = arrays["props"][:, column] * factor
    if "E_elec_hartree" in arrays:
        labels["electronic_energy_ev"] = arrays["E_elec_hartree"] * HARTREE_EV
    if "dipole_debye" in arrays:
        labels["dipole_debye"] = np.linalg.norm(arrays["dipole_debye"].astype(np.float64), axis=1)
    if "mu" in arrays:
        labels["dipole_debye"] = arrays["mu"]
    return labels

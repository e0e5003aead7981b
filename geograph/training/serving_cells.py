"""Cells of a served table: lists, JSON text, and molecules as mol block, xyz or SMILES.

RDKit is imported inside the functions that need it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from geograph.errors import ConfigError

#: Columns that hold a molecule as text, in the order in which they are looked at where `z` and `pos` lack.
TEXT_COLUMNS: tuple[str, ...] = ("molblock", "xyz", "smiles")
#: Seed of the embedding of SMILES unless the caller gives one.
DEFAULT_SEED = 0
_MAX_SEED = 2**31 - 1

_Molecule = tuple[list[int], list[list[float]]]


def is_missing(cell: Any) -> bool:
    """Whether a cell is empty: none, NaN or blank text."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return True
    return isinstance(cell, str) and not cell.strip()


def parsed_list(cell: Any, row: int, column: str) -> list[Any]:
    """Return a cell as a list; text is read as JSON, as in a CSV file.

    Raises
    ------
    ConfigError
        If it is empty, is text that is not JSON, or is no list.
    """
    if is_missing(cell):
        raise ConfigError(f"row {row}: the column `{column}` must hold a list, got an empty cell.")
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except json.JSONDecodeError as error:
            raise ConfigError(
                f"row {row}: the column `{column}` must hold a list or the JSON text of one, got "
                f"{cell[:40]!r} ({error})."
            ) from error
    if hasattr(cell, "tolist"):
        cell = cell.tolist()
    if not isinstance(cell, list | tuple):
        raise ConfigError(f"row {row}: the column `{column}` must hold a list, got {cell!r}.")
    return [_unquoted(entry) for entry in cell]


def _unquoted(value: Any) -> Any:
    """Turn texts of numbers into numbers: MLflow makes texts of them, where all rows have the same shape."""
    if isinstance(value, list | tuple):
        return [_unquoted(entry) for entry in value]
    if not isinstance(value, str):
        return value
    try:
        number = json.loads(value)
    except json.JSONDecodeError:
        return value
    return number if isinstance(number, int | float) else value


def molecule_columns(columns: Mapping[str, Sequence[Any]], seed: int = DEFAULT_SEED) -> dict[str, list[Any]]:
    """Columns `z` and `pos` of a table of molecules, whatever column each row has its molecule in.

    A row is taken from the first of these that it has: `z` and `pos`; `molblock`; `xyz`; `smiles`.

    Parameters
    ----------
    columns
        Cells by column; positions in angstrom. A SMILES gets hydrogens and a geometry by RDKit's distance
        geometry (ETKDG), which is not relaxed: a prediction is only as good as the likeness of this
        geometry to those that the model was trained on.
    seed
        Of the embedding of SMILES.

    Raises
    ------
    ConfigError
        If the seed is out of range, or a row has no molecule or one that cannot be read; the message then
        names row and column.
    """
    if not 0 <= seed < _MAX_SEED:
        raise ConfigError(f"`seed` must be from 0 to {_MAX_SEED - 1}, got {seed}.")
    molecules = [_molecule(columns, row, seed) for row in range(_num_rows(columns))]
    return {"z": [z for z, _ in molecules], "pos": [pos for _, pos in molecules]}


def _num_rows(columns: Mapping[str, Sequence[Any]]) -> int:
    used = [name for name in ("z", "pos", *TEXT_COLUMNS) if name in columns]
    if not used:
        raise ConfigError(
            f"the table must have the columns `z` and `pos`, or one of {', '.join(TEXT_COLUMNS)}, got "
            f"{', '.join(map(str, columns)) or 'none'}."
        )
    return len(columns[used[0]])


def _molecule(columns: Mapping[str, Sequence[Any]], row: int, seed: int) -> _Molecule:
    cells = {name: cells[row] for name, cells in columns.items() if not is_missing(cells[row])}
    if "z" in cells or "pos" in cells:
        missing = [name for name in ("z", "pos") if name not in cells]
        if missing:
            raise ConfigError(f"row {row}: the column `{missing[0]}` is empty or missing; give both.")
        return _checked(*(parsed_list(cells[name], row, name) for name in ("z", "pos")), row=row)
    for name, read in _READERS.items():
        if name in cells:
            try:
                return read(str(cells[name]), seed)
            except ValueError as error:
                raise ConfigError(
                    f"row {row}: the column `{name}` holds no molecule that can be read ({error})."
                ) from error
    raise ConfigError(f"row {row}: no molecule in any of the columns z, pos, {', '.join(TEXT_COLUMNS)}.")


def _checked(z: list[Any], pos: list[Any], *, row: int) -> _Molecule:
    """Return atomic numbers and positions, as whole numbers and rows of three finite ones.

    Raises
    ------
    ConfigError
        If they are something else.
    """
    if not z or not all(isinstance(number, int) and not isinstance(number, bool) for number in z):
        raise ConfigError(f"row {row}: the column `z` must list atomic numbers, got {z!r:.60}.")
    if not all(1 <= number <= 118 for number in z):
        raise ConfigError(f"row {row}: the column `z` must list atomic numbers from 1 to 118, got {z!r:.60}.")
    for atom, place in enumerate(pos):
        if not _is_point(place):
            raise ConfigError(
                f"row {row}: the column `pos` must list three finite coordinates for each atom, got "
                f"{place!r:.60} for atom {atom}."
            )
    if len(pos) != len(z):
        raise ConfigError(f"row {row}: `pos` must have {len(z)} entries like `z`, got {len(pos)}.")
    return z, [[float(x) for x in place] for place in pos]


def _is_point(place: Any) -> bool:
    if not isinstance(place, list | tuple) or len(place) != 3:
        return False
    return all(
        isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(float(x)) for x in place
    )


def _from_xyz(text: str, seed: int) -> _Molecule:
    """Read one frame of (extended) xyz: number of atoms, comment, then symbol and coordinates [angstrom]."""
    from rdkit import Chem, rdBase

    lines = text.strip("\r\n").splitlines()
    count = int(lines[0])
    rows = [line.split() for line in lines[2:] if line.strip()]
    if count < 1 or len(rows) != count or any(len(row) < 4 for row in rows):
        raise ValueError(f"{count} atoms announced, {len(rows)} lines of atoms there")
    table = Chem.GetPeriodicTable()
    numbers = []
    for symbol, *_ in rows:
        with rdBase.BlockLogs():
            try:
                numbers.append(table.GetAtomicNumber(symbol.capitalize()))
            except RuntimeError as error:
                raise ValueError(f"unknown element {symbol!r}") from error
    pos = [[float(x) for x in row[1:4]] for row in rows]
    if not all(map(_is_point, pos)):
        raise ValueError("a coordinate is not finite")
    return numbers, pos


def _from_molblock(text: str, seed: int) -> _Molecule:
    """Read a mol block (or an SDF record) with its own positions."""
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        mol = Chem.MolFromMolBlock(text, sanitize=False, removeHs=False)
    if mol is None or not mol.GetNumAtoms():
        raise ValueError("RDKit cannot read the mol block")
    if text.splitlines()[1][20:22] == "2D":
        raise ValueError("it is a 2-D drawing; embed it first, or give its SMILES")
    return _atoms(mol)


def _from_smiles(text: str, seed: int) -> _Molecule:
    """Embed a SMILES with all its hydrogens; RDKit takes the seeds 0 and 1 for the same one."""
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdDistGeom

    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(text)
        if mol is None or not mol.GetNumAtoms():
            raise ValueError("RDKit cannot parse the SMILES")
        mol = Chem.AddHs(mol)
        parameters = rdDistGeom.ETKDGv3()
        parameters.randomSeed = seed + 1  # type: ignore[assignment]
        if rdDistGeom.EmbedMolecule(mol, parameters) < 0:
            raise ValueError("RDKit finds no geometry for the SMILES; give positions")
    return _atoms(mol)


def _atoms(mol: Any) -> _Molecule:
    numbers = [int(atom.GetAtomicNum()) for atom in mol.GetAtoms()]
    if not all(numbers):
        raise ValueError("it has dummy atoms")
    return numbers, mol.GetConformer().GetPositions().tolist()


_READERS: dict[str, Callable[[str, int], _Molecule]] = {
    "molblock": _from_molblock,
    "xyz": _from_xyz,
    "smiles": _from_smiles,
}

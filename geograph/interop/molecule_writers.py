"""Molecules into files that other programs read: SDF, xyz, extended xyz, ASE databases.

What is written here is read back by `geograph.interop.molecule_files` and `geograph.readers.atoms`. ASE and
RDKit are imported inside the functions.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from geograph.errors import ConfigError, DataError
from geograph.records import Molecule

#: Names under which identifier and SMILES are written beside the properties.
_ID, _SMILES = "id", "smiles"
_EXTXYZ_KEYS = {"Properties", "Lattice", "pbc"}
_Form = TypeVar("_Form")
_RENAME = "rename it, with its unit in the name (`energy_ev`)"


def write_molecules(path: str | Path, molecules: Sequence[Molecule], *, replace: bool = False) -> None:
    """Write molecules to one file; the suffix chooses the format: `.sdf`, `.xyz`, `.extxyz` or `.db`.

    | format | positions | properties and SMILES | identifier |
    |---|---|---|---|
    | SDF, with the bonds that RDKit perceives | 4 decimals | data fields | title |
    | xyz | 8 decimals | no | comment |
    | extended xyz | exact | keys of the comment line | key `id` |
    | ASE database | exact | key-value pairs, or `data` where ASE forbids the name | `data["id"]` |

    Values of properties are exact in all three formats that have them; a property that is NaN is not known
    and is left out. The file appears under its name only when it is whole.

    Parameters
    ----------
    path
        File to write; its folder is made if needed. A file that is there is replaced, but not a database: it
        may be somebody's only copy of much more than what is written now.
    molecules
        What to write, in this order; positions in angstrom.
    replace
        Replace a database that is there. Nothing is ever appended to one.

    Raises
    ------
    ConfigError
        If the suffix names another format, or a database is there and `replace` is not set.
    DataError
        If the format has no place for something: an infinite property, a name of a property that the format
        keeps for itself, a periodic structure.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in (*_WRITERS, ".db"):
        known = ", ".join([*_WRITERS, ".db"])
        raise ConfigError(f"`path` must end in one of {known}, got {target.name!r}; choose another suffix")
    if suffix == ".db" and target.exists() and not replace:
        raise ConfigError(
            f"`path` must be a new database, but {target} is there; nothing is added to it: choose another "
            "name, remove the file, or ask for its replacement with `replace=True`."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}.{os.getpid()}{suffix}")
    try:
        if suffix == ".db":
            _write_database(temporary, molecules)
        else:
            with temporary.open("w", encoding="utf-8") as stream:
                stream.writelines(_converted(molecules, _WRITERS[suffix]))
        temporary.replace(target)
    except DataError as error:
        raise error.at(source=target) from error
    finally:
        temporary.unlink(missing_ok=True)


def _converted(molecules: Iterable[Molecule], convert: Callable[[Molecule], _Form]) -> Iterator[_Form]:
    """Molecules in the form that a format wants; errors name the record."""
    for index, molecule in enumerate(molecules):
        try:
            if molecule.is_periodic:
                raise DataError(
                    "a periodic structure cannot be written, its cell is not known", remedy="leave it out"
                )
            yield convert(molecule)
        except DataError as error:
            raise error.at(record=molecule.id or index) from error


def _known_properties(molecule: Molecule) -> dict[str, float]:
    """Properties that are not NaN, with names that no format takes for something else.

    Raises
    ------
    DataError
        If one is infinite, or its name is empty, has control characters or is kept for id and SMILES.
    """
    known = {}
    for name, value in molecule.properties.items():
        if not name.strip() or not name.isprintable() or name in (_ID, _SMILES):
            raise DataError(f"a property cannot be called {name!r} in a file", remedy=_RENAME)
        if math.isinf(value):
            raise DataError(f"property `{name}` is infinite", remedy="remove or repair it")
        if not math.isnan(value):
            known[name] = float(value)
    return known


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _sdf_text(molecule: Molecule) -> str:
    from geograph.interop.rdkit_molecules import mol_block

    fields: dict[str, str] = {name: repr(value) for name, value in _known_properties(molecule).items()}
    for name in fields:
        if set("<>") & set(name) or name.strip() != name:
            raise DataError(f"a data field of SDF cannot be called {name!r}", remedy=_RENAME)
    if molecule.smiles:
        fields[_SMILES] = _one_line(molecule.smiles)
    title = _one_line(molecule.id)
    if "$$$$" in title:
        raise DataError("an SDF title cannot hold `$$$$`, which ends a record", remedy="rename the record")
    block = mol_block(molecule.z, molecule.pos, title)
    data = "".join(f">  <{name}>\n{text}\n\n" for name, text in fields.items())
    return f"{block}{data}$$$$\n"


def _xyz_text(molecule: Molecule) -> str:
    return _xyz_block(molecule, _one_line(molecule.id), "{:.8f}".format)


def _extxyz_text(molecule: Molecule) -> str:
    pairs: dict[str, Any] = {}
    for name, text in ((_ID, _one_line(molecule.id)), (_SMILES, molecule.smiles)):
        if text:
            pairs[name] = text
    comment = [_pair(name, value) for name, value in (pairs | _known_properties(molecule)).items()]
    return _xyz_block(molecule, " ".join(['Properties=species:S:1:pos:R:3 pbc="F F F"', *comment]), repr)


def _pair(name: str, value: str | float) -> str:
    """Return `name=value` such that ASE reads it back as it is: texts that look like numbers go as JSON."""
    from ase.calculators.calculator import all_properties
    from ase.io.extxyz import key_val_str_to_dict

    if name in _EXTXYZ_KEYS or name in all_properties:
        raise DataError(f"extended xyz keeps the name {name!r} for itself", remedy=_RENAME)
    if isinstance(value, float):
        return f"{_quoted(name)}={value!r}"
    plain = f"{_quoted(name)}={_quoted(value)}"
    # ASE turns texts that look like numbers, truth values or lists into these.
    found = None if value.startswith("_JSON") else key_val_str_to_dict(plain)[name]
    if isinstance(found, str) and found == value:
        return plain
    return f"{_quoted(name)}={_quoted('_JSON ' + json.dumps(value, ensure_ascii=False))}"


def _quoted(text: str) -> str:
    if text and all(letter.isalnum() or letter in "_-+." for letter in text):
        return text
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'


def _xyz_block(molecule: Molecule, comment: str, write: Callable[[float], str]) -> str:
    from ase.data import chemical_symbols

    symbols = [chemical_symbols[number] for number in molecule.z.tolist()]
    lines = [
        f"{symbol:<2} {' '.join(map(write, row))}\n"
        for symbol, row in zip(symbols, molecule.pos.tolist(), strict=True)
    ]
    return f"{len(symbols)}\n{comment}\n{''.join(lines)}"


_WRITERS: dict[str, Callable[[Molecule], str]] = {
    ".sdf": _sdf_text,
    ".xyz": _xyz_text,
    ".extxyz": _extxyz_text,
}


def _write_database(path: Path, molecules: Sequence[Molecule]) -> None:
    """Write a new ASE database in one transaction; distances in angstrom, as its metadata say."""
    from ase import Atoms
    from ase.db import connect

    database = connect(str(path), type="db", use_lock_file=False)
    database.metadata = {"_distance_unit": "Ang"}
    with database:
        for molecule, (pairs, data) in zip(molecules, _converted(molecules, _row), strict=True):
            database.write(Atoms(numbers=molecule.z, positions=molecule.pos), pairs, data)


def _row(molecule: Molecule) -> tuple[dict[str, float], dict[str, Any]]:
    """Key-value pairs, which a database can be searched for, and what has to go into its `data`."""
    known = _known_properties(molecule)
    pairs = {name: value for name, value in known.items() if _is_searchable(name)}
    data: dict[str, Any] = {name: value for name, value in known.items() if name not in pairs}
    texts: Mapping[str, str] = {_ID: molecule.id, _SMILES: molecule.smiles}
    return pairs, data | {name: text for name, text in texts.items() if text}


def _is_searchable(name: str) -> bool:
    from ase.db.core import reserved_keys, word
    from ase.formula import Formula

    if not word.match(name) or name in reserved_keys:
        return False
    try:
        Formula(name, strict=True)
    except ValueError:
        return True
    return False

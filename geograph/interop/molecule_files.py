"""Molecule files that other programs read and write: SDF, xyz, extended xyz, any ASE format, zip of them."""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from geograph.errors import ConfigError, DataError
from geograph.readers.atoms import read_atoms
from geograph.records import Molecule

_SDF_SUFFIXES = (".sdf", ".sd", ".mol")
#: Column of the mol block header that holds the dimension code ("2D" or "3D").
_DIMENSION = slice(20, 22)
_NOT_FINITE = {"nan", "-nan", "inf", "-inf", "+inf"}


def write_molecules(path: str | Path, molecules: Sequence[Molecule]) -> None:
    """Write molecules to one file; the suffix chooses the format: `.sdf`, `.xyz` or `.extxyz`.

    An SDF record has the bonds that RDKit perceives from the positions; where it finds none, the record has
    atoms only. SDF keeps 4 decimals (1e-4 angstrom), the xyz formats 8. Scalar properties go into the data
    fields of SDF and the comment line of extended xyz.

    Parameters
    ----------
    path
        File to write; its folder is made if needed.
    molecules
        What to write, in this order.

    Raises
    ------
    ConfigError
        If the suffix names another format.
    """
    target = Path(path)
    if target.suffix.lower() not in _WRITERS:
        raise ConfigError(
            f"`path` must end in one of {', '.join(_WRITERS)}, got {target.name!r}; choose another suffix"
        )
    write = _WRITERS[target.suffix.lower()]
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", encoding="utf-8") as stream:
        stream.writelines(write(molecule) for molecule in molecules)


def read_molecule_files(paths: str | Path | Iterable[str | Path]) -> list[Molecule]:
    """Read all molecules of one or several files, in order.

    SDF (`.sdf`, `.sd`, `.mol`) is read with all its hydrogens and without sanitisation, so that no molecule
    is lost; its bonds are ignored. Every other suffix is left to ASE (xyz, extended xyz, `.db`, ...). The
    members of a `.zip` are read in the order of their names.

    Parameters
    ----------
    paths
        Files; positions in angstrom.

    Returns
    -------
    Records with unique ids: the title in the file where it has one of its own, else `file:number`.

    Raises
    ------
    DataError
        If a file is missing, empty, truncated or unreadable, or a record is empty, has an unknown element
        or a position that is not finite; the message names the file, the record and the remedy.
    """
    files = [paths] if isinstance(paths, str | Path) else list(paths)
    if not files:
        raise DataError(
            "no molecule file was named", remedy="give at least one SDF, xyz, extxyz, db or zip file"
        )
    molecules: list[Molecule] = []
    for path in map(Path, files):
        if not path.is_file():
            raise DataError("no such file", source=path, remedy="check the path")
        found = _read_zip(path) if path.suffix.lower() == ".zip" else _read_file(path, str(path), path.name)
        if not found:
            raise DataError(
                "no molecules in the file", source=path, remedy="check that it was written to its end"
            )
        molecules.extend(found)
    return _with_unique_ids(molecules)


def _sdf_text(molecule: Molecule) -> str:
    from geograph.interop.rdkit_molecules import mol_block

    block = mol_block(molecule.z, molecule.pos, " ".join(molecule.id.split()))
    fields = "".join(f">  <{name}>\n{value:.10g}\n\n" for name, value in molecule.properties.items())
    return f"{block}{fields}$$$$\n"


def _xyz_text(molecule: Molecule) -> str:
    return _xyz_block(molecule, " ".join(molecule.id.split()))


def _extxyz_text(molecule: Molecule) -> str:
    pairs = {"Properties": "species:S:1:pos:R:3", "pbc": '"F F F"'}
    texts = {"id": molecule.id, "smiles": molecule.smiles}
    pairs |= {
        name: '"' + " ".join(text.split()).replace("\\", "\\\\") + '"' for name, text in texts.items() if text
    }
    pairs |= {name: f"{value:.10g}" for name, value in molecule.properties.items()}
    return _xyz_block(molecule, " ".join(f"{name}={value}" for name, value in pairs.items()))


def _xyz_block(molecule: Molecule, comment: str) -> str:
    from ase.data import chemical_symbols

    symbols = [chemical_symbols[number] for number in molecule.z.tolist()]
    lines = [
        f"{s:<2} {x:.8f} {y:.8f} {z:.8f}\n"
        for s, (x, y, z) in zip(symbols, molecule.pos.tolist(), strict=True)
    ]
    return f"{len(symbols)}\n{comment}\n{''.join(lines)}"


_WRITERS: dict[str, Callable[[Molecule], str]] = {
    ".sdf": _sdf_text,
    ".xyz": _xyz_text,
    ".extxyz": _extxyz_text,
}


def _read_file(path: Path, source: str, name: str) -> list[Molecule]:
    if path.suffix.lower() in _SDF_SUFFIXES:
        return list(_read_sdf(path, source, name))
    try:
        return [replace(molecule, id=f"{name}:{molecule.id}") for molecule in read_atoms(path)]
    except DataError as error:
        raise DataError(error.what, source=source, record=error.record, remedy=error.remedy) from error


def _read_zip(path: Path) -> list[Molecule]:
    molecules: list[Molecule] = []
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
            members = sorted(m.filename for m in archive.infolist() if not m.is_dir())
            for number, member in enumerate(members):
                # A name of our own: the member's own one may lead out of the folder.
                copy = Path(folder) / f"{number}{Path(member).suffix}"
                copy.write_bytes(archive.read(member))
                molecules.extend(_read_file(copy, f"{path}:{member}", Path(member).name))
    except (zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"not a readable zip file ({error})", source=path, remedy="copy the file again"
        ) from error
    return molecules


def _read_sdf(path: Path, source: str, name: str) -> Iterator[Molecule]:
    text = path.read_text(encoding="utf-8", errors="replace")
    blocks = text.replace("\r\n", "\n").split("$$$$")
    if not blocks[-1].strip():
        blocks.pop()
    for index, block in enumerate(blocks):
        record = (
            block[block.find("\n") + 1 :] if index else block
        )  # what follows the `$$$$` belongs to that line
        try:
            yield _molecule_of_block(record, f"{name}:{index}")
        except DataError as error:
            raise DataError(error.what, source=source, record=index, remedy=error.remedy) from error


def _molecule_of_block(block: str, default_id: str) -> Molecule:
    from geograph.interop.rdkit_molecules import parse_mol_block

    lines = block.split("\n")
    if "M  END" not in block:
        raise DataError(
            "the record ends before `M  END`", remedy="the file is truncated or not SDF: write it again"
        )
    if len(lines) > 1 and lines[1][_DIMENSION] == "2D":
        raise DataError("the record is a 2-D drawing", remedy="embed it in three dimensions first")
    if _NOT_FINITE & set("\n".join(lines[3:]).lower().split("m  end")[0].split()):
        raise DataError("a coordinate is not finite", remedy="remove or repair the record")
    parsed = parse_mol_block(block)
    if parsed is None:
        raise DataError(
            "RDKit cannot read the record", remedy="check its counts line, elements and coordinates"
        )
    return Molecule(z=parsed[0], pos=parsed[1], id=lines[0].strip() or default_id)


def _with_unique_ids(molecules: list[Molecule]) -> list[Molecule]:
    seen: dict[str, int] = {}
    unique = []
    for molecule in molecules:
        count = seen.get(molecule.id, 0)
        seen[molecule.id] = count + 1
        unique.append(replace(molecule, id=f"{molecule.id}#{count}") if count else molecule)
    return unique


def concatenate(molecules: Sequence[Molecule]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return atomic numbers, positions and row pointer of all molecules, one after the other."""
    z = np.concatenate([molecule.z for molecule in molecules]).astype(np.int64)
    pos = np.concatenate([molecule.pos for molecule in molecules]).astype(np.float64)
    ptr = np.concatenate([[0], np.cumsum([len(molecule.z) for molecule in molecules])]).astype(np.int64)
    return z, pos, ptr

"""Molecule files that other programs read and write: SDF, xyz, extended xyz, any ASE format, zip or gz."""

from __future__ import annotations

import contextlib
import gzip
import math
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from geograph.errors import DataError
from geograph.interop.molecule_writers import write_molecules as write_molecules
from geograph.readers.archives import OnError, report
from geograph.readers.atoms import read_atoms
from geograph.records import Molecule

_SDF_SUFFIXES = (".sdf", ".sd", ".mol")
_ASE_SUFFIXES = (".xyz", ".extxyz", ".db", ".json", ".traj", ".pdb", ".cif", ".gen", ".xsf")
#: Column of the mol block header that holds the dimension code ("2D" or "3D").
_DIMENSION = slice(20, 22)
#: Column of the counts line that holds the version, and the lines of the header before it.
_VERSION, _HEADER_LINES = slice(33, 39), 3
#: A data field: its name in angle brackets, and the line after it.
_FIELD = re.compile(r"^>[^\n]*<(?P<name>[^>\n]+)>[^\n]*\n(?P<value>[^\n]*)$", re.MULTILINE)
_NOT_FINITE = {"nan", "-nan", "inf", "-inf", "+inf"}


def read_molecule_files(
    paths: str | Path | Iterable[str | Path], *, on_error: OnError | None = None
) -> list[Molecule]:
    """Read all molecules of one or several files, in order.

    SDF (`.sdf`, `.sd`, `.mol`) is read with all its hydrogens and without sanitisation, so that no molecule
    is lost; its bonds are ignored, numbers in its data fields are properties. Every other suffix is left to
    ASE (xyz, extended xyz, `.db`, ...). The members of a `.zip` are read in the order of their names, hidden
    ones left out; `.gz` is unpacked.

    Parameters
    ----------
    paths
        Files; positions in angstrom.
    on_error
        Called with every record or file that cannot be read, which is then left out; without it the first
        one raises. A file that does not exist always raises.

    Returns
    -------
    Records with unique ids: the title in the file where it has one of its own, else `file:number`.

    Raises
    ------
    DataError
        If a file is missing, empty, truncated or unreadable, or a record is empty, has an unknown element
        or a position that is not finite; the message names the file, the record and the remedy. With
        `on_error`, if nothing can be read at all.
    """
    files = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    if not files:
        raise DataError(
            "no molecule file was named", remedy="give at least one SDF, xyz, extxyz, db or zip file"
        )
    for path in files:
        if not path.is_file():
            raise DataError("no such file", source=path, remedy="check the path")
    refused: list[DataError] = []

    def tell(error: DataError) -> None:
        refused.append(error)
        report(error, on_error)

    molecules = [molecule for path in files for molecule in _read_path(path, str(path), path.name, tell)]
    if not molecules and refused:
        raise refused[0]
    return _with_unique_ids(molecules)


def _read_path(path: Path, source: str, name: str, on_error: OnError) -> list[Molecule]:
    """Read one file of any kind; what is wrong with it goes to `on_error`, with `source` as its place."""
    refused: list[DataError] = []

    def tell(error: DataError) -> None:
        refused.append(error)
        # A member or an unpacked copy has told its own place already.
        place = error.source if str(error.source).startswith(source) else source
        on_error(DataError(error.what, source=place, record=error.record, remedy=error.remedy))

    suffix = path.suffix.lower()
    read = _READERS.get(suffix, _read_ase)
    molecules: list[Molecule] = []
    try:
        molecules.extend(read(path, source, name, tell))
    except DataError as error:
        tell(error)
    if not molecules and not refused:
        tell(DataError("no molecules in the file", remedy="check that it was written to its end"))
    return molecules


def _read_ase(path: Path, source: str, name: str, on_error: OnError) -> Iterator[Molecule]:
    """Read a file that ASE knows; ASE guesses from the contents of a file whose suffix it does not know."""
    is_known = path.suffix.lower() in _ASE_SUFFIXES
    some = False
    try:
        found = read_atoms(
            path, default_id=lambda place: f"{name}:{place}", on_error=on_error if is_known else None
        )
        for molecule in found:
            some = True
            yield molecule
    except DataError as error:
        if is_known or some:
            raise
        what = f"not a molecule file that can be read: unknown suffix {path.suffix!r}"
        remedy = "give SDF, xyz, extxyz, an ASE database, or a zip of them, and name it so"
        raise DataError(what, remedy=remedy) from error


def _read_gzip(path: Path, source: str, name: str, on_error: OnError) -> Iterator[Molecule]:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / f"0{Path(path.stem).suffix}"
        try:
            with gzip.open(path) as packed, copy.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(f"not a readable gzip file ({error})", remedy="copy the file again") from error
        yield from _read_path(copy, source, name.removesuffix(path.suffix), on_error)


def _read_zip(path: Path, source: str, name: str, on_error: OnError) -> Iterator[Molecule]:
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
            for number, member in enumerate(sorted(m.filename for m in archive.infolist() if not m.is_dir())):
                inner = PurePosixPath(member)
                if inner.name.startswith(".") or inner.parts[0] == "__MACOSX":
                    continue
                # A name of our own: the member's own one may lead out of the folder.
                copy = Path(folder) / f"{number}{''.join(inner.suffixes[-2:])}"
                copy.write_bytes(archive.read(member))
                yield from _read_path(copy, f"{source}:{member}", inner.name, on_error)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        # RuntimeError: a member is encrypted; NotImplementedError: packed in a way that Python cannot undo.
        raise DataError(f"not a readable zip file ({error})", remedy="copy the file again") from error


def _read_sdf(path: Path, source: str, name: str, on_error: OnError) -> Iterator[Molecule]:
    text = path.read_text(encoding="utf-8", errors="replace")
    for index, record in enumerate(_sdf_records(text.replace("\r\n", "\n"))):
        try:
            yield _molecule_of_block(record, f"{name}:{index}")
        except DataError as error:
            on_error(DataError(error.what, source=source, record=index, remedy=error.remedy))


def _sdf_records(text: str) -> Iterator[str]:
    """Split an SDF file into its records; one that is cut off does not take the next one with it."""
    blocks = text.split("$$$$")
    if not blocks[-1].strip():
        blocks.pop()
    for index, block in enumerate(blocks):
        # What follows the `$$$$` belongs to that line.
        lines = (block[block.find("\n") + 1 :] if index else block).split("\n")
        counts = [number for number, line in enumerate(lines) if line[_VERSION].strip() in ("V2000", "V3000")]
        starts = [0, *(number - _HEADER_LINES for number in counts[1:])]
        for begin, end in zip(starts, [*starts[1:], len(lines)], strict=True):
            yield "\n".join(lines[begin:end])


_READERS: dict[str, Callable[[Path, str, str, OnError], Iterator[Molecule]]] = {
    **dict.fromkeys(_SDF_SUFFIXES, _read_sdf),
    ".zip": _read_zip,
    ".gz": _read_gzip,
}


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
    properties, smiles = _data_fields(block.split("M  END", 1)[1])
    return Molecule(parsed[0], parsed[1], properties, id=lines[0].strip() or default_id, smiles=smiles)


def _data_fields(text: str) -> tuple[dict[str, float], str]:
    """Return the finite numbers among the data fields of an SDF record, and its field `smiles`."""
    fields = {match["name"]: match["value"].strip() for match in _FIELD.finditer(text)}
    properties = {}
    for name, value in fields.items():
        with contextlib.suppress(ValueError):
            if math.isfinite(float(value)):
                properties[name] = float(value)
    return properties, fields.get("smiles", "")


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

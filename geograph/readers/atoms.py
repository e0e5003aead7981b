"""Molecules from any format that ASE reads: (extended) xyz, ASE databases, cif, trajectories and others.

Frames of (extended) xyz files and rows of databases are parsed one by one, so that a broken one can be left
out; other formats end at the first record that cannot be parsed. ASE is imported inside the functions.
"""

from __future__ import annotations

import binascii
import io
import lzma
import sqlite3
import struct
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geograph.errors import DataError
from geograph.readers.archives import OnError, existing, report
from geograph.readers.labels import finite_properties, with_unit
from geograph.readers.xyz_frames import split_frames
from geograph.records import Molecule
from geograph.units import BOHR_ANGSTROM

if TYPE_CHECKING:
    from ase import Atoms

#: What ASE's parsers, NumPy and the decompressors are known to raise on malformed input.
_PARSE_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, LookupError, NotImplementedError,
    OSError, RuntimeError, SyntaxError, TypeError, ValueError, binascii.Error, lzma.LZMAError, sqlite3.Error,
    struct.error, zlib.error,
)  # fmt: skip

#: Results of an ASE calculator that have a unit: ASE works in eV.
_ASE_UNITS = {"energy": "eV", "free_energy": "eV"}
_DISTANCE_UNITS = {"Ang": 1.0, "Angstrom": 1.0, "A": 1.0, "Bohr": BOHR_ANGSTROM, "bohr": BOHR_ANGSTROM}

#: A record on its way: its name in messages and a function that parses it.
_Pending = tuple[str | int, Callable[[], Molecule]]


def read_atoms(
    path: str | PathLike[str],
    *,
    format: str | None = None,
    rename: Mapping[str, str] | None = None,
    require: Collection[str] | None = None,
    default_id: Callable[[str | int], str] = str,
    on_error: OnError | None = None,
) -> Iterator[Molecule]:
    """Molecules of a file that ASE can read, in its order, positions in angstrom.

    Properties are the scalar results of a calculator and the numbers among the keys of a frame or the data
    of a row. Where the unit is known (ASE results in eV, databases that tell their units) the value is
    converted and the name gets the unit; other values and names stay as they are in the file. Texts called
    `id` and `smiles` are the identifier and the SMILES of a record.

    Parameters
    ----------
    path
        The file.
    format
        ASE's name of the format; None finds it from the name and contents of the file.
    rename
        Property name as described above -> name wanted.
    require
        Properties that must be there and finite; None means that all that are there must be finite. What is
        not required is left out of the record where it is not finite.
    default_id
        Makes the identifier of a record that has none, from its place (its id in a database).
    on_error
        Called with every broken record, which is then left out; without it the first one raises.

    Raises
    ------
    DataError
        If the file is missing, damaged or of an unknown format, or if a record is broken: an unknown
        element, a coordinate that is not finite, no atoms, a frame that is cut off.
    """
    source = existing(path)
    kind = format if format is not None else _format(source)
    if kind in ("extxyz", "xyz"):
        pending = _xyz_records(source)
    elif kind in ("db", "json"):
        pending = _database_records(source, kind)
    else:
        pending = _other_records(source, kind)
    names = dict(rename or {})
    for record, load in pending:
        try:
            molecule = load()
            properties = {names.get(k, k): v for k, v in molecule.properties.items()}
            place = record.removeprefix("id ") if isinstance(record, str) else record
            molecule = replace(molecule, properties=properties, id=molecule.id or default_id(place))
            molecule = finite_properties(molecule, require)
        except DataError as error:
            report(DataError(error.what, source=source, record=record, remedy=error.remedy), on_error)
        else:
            yield molecule


def _format(source: Path) -> str:
    from ase.io.formats import UnknownFileTypeError, filetype

    try:
        return filetype(str(source), read=True)
    except UnknownFileTypeError as error:
        raise DataError(
            f"ASE does not know this file type ({error})",
            source=source,
            remedy="give `format`, as ASE names it",
        ) from error
    except _PARSE_ERRORS as error:
        raise _unreadable(error).at(source=source) from error


def _unreadable(error: BaseException) -> DataError:
    return DataError(
        f"cannot be parsed ({type(error).__name__}: {error})",
        remedy="repair the record, or fetch the file again",
    )


def _fails(error: DataError) -> Callable[[], Molecule]:
    """Return a record that is known to be broken before it is parsed."""

    def load() -> Molecule:
        raise error

    return load


def _molecule(atoms: Atoms, extra: Mapping[str, Any], scale: float = 1.0) -> Molecule:
    results = dict(atoms.calc.results) if atoms.calc is not None else {}
    properties: dict[str, float] = {}
    given = {**atoms.info, **extra}
    for name, value in given.items():
        if _is_scalar(value):
            properties[name] = float(np.asarray(value).reshape(()))
    for name, value in results.items():
        if _is_scalar(value):
            ours, converted = with_unit(name, float(np.asarray(value).reshape(())), _ASE_UNITS.get(name))
            properties[ours] = converted
    texts = {name: value for name, value in given.items() if isinstance(value, str)}
    return Molecule(
        np.asarray(atoms.numbers, dtype=np.int64),
        np.asarray(atoms.positions, dtype=np.float64) * scale,
        properties,
        id=texts.get("id", ""),
        smiles=texts.get("smiles", ""),
        is_periodic=bool(np.any(atoms.pbc)),
    )


def _is_scalar(value: object) -> bool:
    # A word of a free comment line comes as a key with the value True: no label.
    if isinstance(value, bool | np.bool_ | str | bytes) or value is None:
        return False
    array = np.asarray(value)
    return array.size == 1 and array.dtype.kind in "iuf"


def _xyz_records(source: Path) -> Iterator[_Pending]:
    from ase.io.formats import open_with_compression

    try:
        with open_with_compression(str(source), "rt") as stream:
            for index, frame in enumerate(split_frames(stream.readline)):
                yield index, _fails(frame) if isinstance(frame, DataError) else _XyzFrame(frame)
    except _PARSE_ERRORS as error:
        if isinstance(error, DataError):
            raise
        raise _unreadable(error).at(source=source) from error


class _XyzFrame:
    """One frame of an (extended) xyz file, parsed on call."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def __call__(self) -> Molecule:
        from ase.io.extxyz import read_xyz

        if len(self._lines) == 2:
            raise DataError("empty molecule", remedy="remove the record")
        try:
            atoms = next(read_xyz(io.StringIO("".join(self._lines)), index=0))
        except KeyError as error:
            raise self._unknown(error) from error
        except (*_PARSE_ERRORS, StopIteration) as error:
            raise _unreadable(error) from error
        return _molecule(atoms, {})

    def _unknown(self, error: KeyError) -> DataError:
        symbol = str(error.args[0]) if error.args else ""
        for row, line in enumerate(self._lines[2:]):
            if symbol in (word.capitalize() for word in line.split()):
                return DataError(
                    f"unknown element: atom {row} is {symbol!r}",
                    remedy="use the symbols of the periodic table",
                )
        return _unreadable(error)


def _database_records(source: Path, kind: str) -> Iterator[_Pending]:
    import ase.db

    try:
        database = ase.db.connect(str(source), type=kind, use_lock_file=False)
        metadata = database.metadata
        rows = database.select()
        while (row := next(rows, None)) is not None:
            yield f"id {row.id}", _DatabaseRow(row, metadata)
    except _PARSE_ERRORS as error:
        raise _unreadable(error).at(source=source) from error


class _DatabaseRow:
    """One row of an ASE database, parsed on call."""

    def __init__(self, row: Any, metadata: Mapping[str, Any]) -> None:
        self._row, self._metadata = row, metadata

    def __call__(self) -> Molecule:
        unit = self._metadata.get("_distance_unit", "Ang")
        if unit not in _DISTANCE_UNITS:
            raise DataError(
                f"unknown distance unit {unit!r}", remedy=f"known are: {', '.join(_DISTANCE_UNITS)}"
            )
        try:
            atoms = self._row.toatoms()
            labels = {**self._row.key_value_pairs, **(self._row.data or {})}
        except _PARSE_ERRORS as error:
            raise _unreadable(error) from error
        units = self._metadata.get("_property_unit_dict", {})
        scalars = {k: float(np.asarray(v).reshape(())) for k, v in labels.items() if _is_scalar(v)}
        extra: dict[str, Any] = {name: labels[name] for name in ("id", "smiles") if name in labels}
        extra |= dict(with_unit(name, value, units.get(name)) for name, value in scalars.items())
        return _molecule(atoms, extra, _DISTANCE_UNITS[unit])


def _other_records(source: Path, kind: str) -> Iterator[_Pending]:
    from ase.io import ParseError, iread
    from ase.io.formats import UnknownFileTypeError

    index = 0
    try:
        for index, atoms in enumerate(iread(str(source), index=":", format=kind)):
            yield index, partial(_molecule, atoms, {})
        index += 1
    except UnknownFileTypeError as error:
        raise DataError(
            f"ASE does not know the format {kind!r}", source=source, remedy="give `format`, as ASE names it"
        ) from error
    except (*_PARSE_ERRORS, ParseError) as error:
        yield index, _fails(_unreadable(error))

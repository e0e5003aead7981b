"""Ragged arrays of many records in a few memory-mapped files, described by a manifest.

A store is a folder: one flat binary file for each field, one CSR pointer file for each level that has rows
(`node_ptr`, `edge_ptr`, `face_ptr`), and `manifest.json` with counts, shapes, dtypes, units and
sha256 sums. It is written in one pass, so that a data set larger than memory can be converted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from geograph.errors import DataError, ShapeError
from geograph.fields import Field, Level, Representation

FORMAT_VERSION = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class StoredField:
    """One field as it lies on disk: its contract, its number of rows and its checksum."""

    field: Field
    num_rows: int
    sha256: str


class _ArrayWriter:
    """Appends rows to one binary file and keeps count and checksum."""

    def __init__(self, path: Path, dtype: str, shape: tuple[int, ...]) -> None:
        self.dtype, self.shape = np.dtype(dtype), shape
        self.num_rows = 0
        self._hash = hashlib.sha256()
        self._file: BinaryIO = path.open("wb")

    def append(self, rows: np.ndarray) -> None:
        data = np.ascontiguousarray(rows, dtype=self.dtype).tobytes()
        self._hash.update(data)
        self._file.write(data)
        self.num_rows += len(rows)

    def close(self) -> str:
        self._file.close()
        return self._hash.hexdigest()


def _row_shape(declared: tuple[int, ...], rows: np.ndarray, name: str) -> tuple[int, ...]:
    got = rows.shape[1:]
    if len(got) != len(declared) or any(d not in (-1, g) for d, g in zip(declared, got, strict=True)):
        raise ShapeError(f"rows of `{name}` must have shape {declared} (-1: any), got {got}")
    return got


class StoreWriter:
    """Write a store record by record; use as a context manager.

    Parameters
    ----------
    folder
        Folder to create; it must not hold a store yet.
    fields
        Contract of each field, by name.
    attributes
        JSON-able facts about the whole data set (name, edge rule, target names, ...).
    """

    def __init__(
        self, folder: str | PathLike[str], fields: Mapping[str, Field], attributes: Mapping[str, Any]
    ) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / MANIFEST).exists():
            raise DataError("the folder already holds a store", source=self.folder, remedy="remove it first")
        self.fields, self.attributes = dict(fields), dict(attributes)
        self.num_records = 0
        self._writers: dict[str, _ArrayWriter] = {}
        levels = sorted({f.level.value for f in fields.values()} - {Level.GRAPH.value})
        self._ptr = {level: _ArrayWriter(self.folder / f"{level}_ptr.bin", "int64", ()) for level in levels}
        for writer in self._ptr.values():
            writer.append(np.zeros(1, np.int64))
        self._totals = dict.fromkeys(levels, 0)

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            for writer in (*self._writers.values(), *self._ptr.values()):
                writer.close()

    def append(self, values: Mapping[str, np.ndarray]) -> None:
        """Add one record.

        Parameters
        ----------
        values
            One array for each field; graph-level fields without a leading axis, `edge_index` as [2, E].

        Raises
        ------
        ShapeError
            If a field is missing, unknown, or two fields of one level differ in length.
        """
        if set(values) != set(self.fields):
            raise ShapeError(f"record has fields {sorted(values)}, the store has {sorted(self.fields)}")
        lengths: dict[str, int] = {}
        for name, spec in self.fields.items():
            rows = np.asarray(values[name])
            if (
                spec.representation is Representation.INDEX
                and rows.shape[:1] == (2,)
                and name == "edge_index"
            ):
                rows = rows.T
            if spec.level is Level.GRAPH:
                rows = rows[None]
            elif lengths.setdefault(spec.level.value, len(rows)) != len(rows):
                other = lengths[spec.level.value]
                raise ShapeError(
                    f"`{name}` has {len(rows)} rows, another {spec.level.value} field has {other}"
                )
            self._writer(name, rows).append(rows)
        for level, writer in self._ptr.items():
            self._totals[level] += lengths[level]
            writer.append(np.array([self._totals[level]]))
        self.num_records += 1

    def _writer(self, name: str, rows: np.ndarray) -> _ArrayWriter:
        spec = self.fields[name]
        if name not in self._writers:
            shape = _row_shape(spec.shape, rows, name)
            self._writers[name] = _ArrayWriter(self.folder / f"{name}.bin", spec.dtype, shape)
        writer = self._writers[name]
        if rows.shape[1:] != writer.shape:
            raise ShapeError(f"rows of `{name}` must have shape {writer.shape}, got {rows.shape[1:]}")
        return writer

    def _finish(self) -> None:
        if self.num_records == 0:
            raise DataError("no records to write", source=self.folder, remedy="check the data source")
        described = {}
        for name, spec in self.fields.items():
            writer = self._writers[name]
            described[name] = {
                **asdict(spec),
                "shape": list(writer.shape),
                "num_rows": writer.num_rows,
                "sha256": writer.close(),
            }
        manifest = {
            "format_version": FORMAT_VERSION,
            "num_records": self.num_records,
            "fields": described,
            "pointers": {level: writer.close() for level, writer in self._ptr.items()},
            "attributes": self.attributes,
        }
        text = json.dumps(manifest, indent=2, sort_keys=True)
        (self.folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


class Store:
    """Read a store: fields are memory maps, nothing is loaded until it is touched.

    Parameters
    ----------
    folder
        Folder that `StoreWriter` wrote.

    Raises
    ------
    DataError
        If the folder is missing, unfinished, of a newer format, or a file is shorter than the manifest says.
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        self.folder = Path(folder)
        path = self.folder / MANIFEST
        if not path.is_file():
            raise DataError("no manifest found", source=self.folder, remedy="run the stage that writes it")
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format_version"] > FORMAT_VERSION:
            raise DataError(
                f"store format {manifest['format_version']} is newer than {FORMAT_VERSION}",
                source=path,
                remedy="update geograph or rebuild the data set",
            )
        self.attributes: dict[str, Any] = manifest["attributes"]
        self.num_records: int = manifest["num_records"]
        self.stored = {name: _stored_field(entry) for name, entry in manifest["fields"].items()}
        self._pointer_sums: dict[str, str] = manifest["pointers"]
        self._maps: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return self.num_records

    def __contains__(self, name: str) -> bool:
        return name in self.stored

    def field(self, name: str) -> np.ndarray:
        """Return all rows of a field as a read-only memory map."""
        if name not in self.stored:
            raise DataError(f"no field `{name}`; there are {sorted(self.stored)}", source=self.folder)
        stored = self.stored[name]
        return self._map(name, stored.field.dtype, (stored.num_rows, *stored.field.shape))

    def pointer(self, level: Level) -> np.ndarray:
        """Return the CSR pointer (length `num_records` + 1) of the node, edge or face rows."""
        return self._map(f"{level.value}_ptr", "int64", (self.num_records + 1,))

    def record(self, index: int) -> dict[str, np.ndarray]:
        """Return the fields of one record; `edge_index` as [2, E]."""
        values = {}
        for name, stored in self.stored.items():
            rows = self.field(name)
            if stored.field.level is Level.GRAPH:
                values[name] = np.asarray(rows[index])
            else:
                start, stop = self.pointer(stored.field.level)[index : index + 2]
                values[name] = rows[start:stop].T if name == "edge_index" else rows[start:stop]
        return values

    def verify(self) -> None:
        """Compare every file with its checksum.

        Raises
        ------
        DataError
            If a file was changed since it was written.
        """
        sums = {name: stored.sha256 for name, stored in self.stored.items()}
        sums |= {f"{level}_ptr": value for level, value in self._pointer_sums.items()}
        for name, expected in sums.items():
            path = self.folder / f"{name}.bin"
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                    raise DataError(
                        "checksum does not match the manifest", source=path, remedy="rebuild the data set"
                    )

    def digest(self) -> str:
        """Return one sha256 over the checksums of all files: the identity of the data."""
        sums = sorted([*(s.sha256 for s in self.stored.values()), *self._pointer_sums.values()])
        return hashlib.sha256("".join(sums).encode()).hexdigest()

    def _map(self, name: str, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        if name not in self._maps:
            path = self.folder / f"{name}.bin"
            expected = int(np.prod(shape)) * np.dtype(dtype).itemsize
            size = path.stat().st_size if path.is_file() else -1
            if size != expected:
                what = (
                    "file is missing" if size < 0 else f"file has {size} bytes, the manifest says {expected}"
                )
                raise DataError(what, source=path, remedy="rebuild the data set")
            empty = expected == 0
            self._maps[name] = (
                np.empty(shape, dtype) if empty else np.memmap(path, dtype=dtype, mode="r", shape=shape)
            )
        return self._maps[name]


def _stored_field(entry: Mapping[str, Any]) -> StoredField:
    spec = Field(
        Level(entry["level"]),
        entry["dtype"],
        tuple(entry["shape"]),
        entry["unit"],
        Representation(entry["representation"]),
    )
    return StoredField(spec, entry["num_rows"], entry["sha256"])


def write_store(
    folder: str | PathLike[str],
    records: Iterable[Mapping[str, np.ndarray]],
    fields: Mapping[str, Field],
    attributes: Mapping[str, Any],
) -> Store:
    """Write all records and open the result; see `StoreWriter`."""
    with StoreWriter(folder, fields, attributes) as writer:
        for record in records:
            writer.append(record)
    return Store(folder)

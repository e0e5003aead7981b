"""A store that lies in memory: for small data sets, and for records that were never written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from geograph.datasets.edges import row_pointer
from geograph.datasets.store import Store, StoredField
from geograph.errors import DataError, ShapeError
from geograph.fields import Field, Level

_PLACE = Path("memory")


class MemoryStore(Store):
    """A store whose arrays lie in memory; it serves what one on disk serves, with the same digest.

    `MemoryStore.read(store)` copies one from disk, `MemoryStore.from_records` takes records.

    Parameters
    ----------
    arrays
        Rows of each field, all records one after another.
    pointers
        CSR pointer of each level that has rows (`node`, `edge`, `face`).
    fields
        Contract of each field; a -1 in a shape is replaced by what the rows have.
    attributes
        Facts about the whole data set, `edges` ("complete" or "stored") among them.
    num_records
        Number of records.
    folder
        Where the data come from, for messages.
    """

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray],
        pointers: Mapping[str, np.ndarray],
        fields: Mapping[str, Field],
        attributes: Mapping[str, Any],
        num_records: int,
        folder: Path = _PLACE,
    ) -> None:
        self.folder, self.num_records, self.attributes = folder, num_records, dict(attributes)
        self.stored = {
            name: StoredField(
                Field(spec.level, spec.dtype, arrays[name].shape[1:], spec.unit, spec.representation),
                len(arrays[name]),
                _sha256(arrays[name]),
            )
            for name, spec in fields.items()
        }
        self._pointer_sums = {level: _sha256(pointer) for level, pointer in pointers.items()}
        named = {f"{level}_ptr": pointer for level, pointer in pointers.items()}
        self._maps = {**arrays, **named}

    @classmethod
    def read(cls, store: Store) -> MemoryStore:
        """Copy a store into memory."""
        fields = {name: stored.field for name, stored in store.stored.items()}
        levels = {spec.level for spec in fields.values()} - {Level.GRAPH}
        return cls(
            {name: np.array(store.field(name)) for name in fields},
            {level.value: np.array(store.pointer(level)) for level in levels},
            fields,
            store.attributes,
            len(store),
            store.folder,
        )

    @classmethod
    def from_records(
        cls,
        records: Iterable[Mapping[str, np.ndarray]],
        fields: Mapping[str, Field],
        attributes: Mapping[str, Any],
    ) -> MemoryStore:
        """Gather records, each with one array for every field (`edge_index` as [2, E]).

        Raises
        ------
        DataError
            If there is no record.
        ShapeError
            If a field is missing or unknown, its rows have another shape than declared, or two fields of one
            level differ in length.
        """
        kept = list(records)
        if not kept:
            raise DataError("no records given", source=_PLACE, remedy="check where they come from")
        for record in kept:
            if set(record) != set(fields):
                raise ShapeError(f"record has fields {sorted(record)}, the store has {sorted(fields)}")
        arrays: dict[str, np.ndarray] = {}
        pointers: dict[str, np.ndarray] = {}
        for name, spec in fields.items():
            rows = [_rows(record[name], name, spec) for record in kept]
            arrays[name] = np.concatenate(rows).astype(spec.dtype, copy=False)
            if spec.level is not Level.GRAPH:
                pointer = row_pointer(np.array([len(part) for part in rows]))
                known = pointers.setdefault(spec.level.value, pointer)
                if not np.array_equal(known, pointer):
                    raise ShapeError(f"`{name}` and another {spec.level.value} field differ in length")
        return cls(arrays, pointers, fields, attributes, len(kept))

    def verify(self) -> None:
        """Compare every array with its checksum.

        Raises
        ------
        DataError
            If an array was changed since the store was made.
        """
        sums = {name: stored.sha256 for name, stored in self.stored.items()}
        sums |= {f"{level}_ptr": value for level, value in self._pointer_sums.items()}
        for name, expected in sums.items():
            if _sha256(self._maps[name]) != expected:
                raise DataError(f"`{name}` was changed in memory", source=self.folder, remedy="read it again")


def _rows(values: np.ndarray, name: str, spec: Field) -> np.ndarray:
    rows = np.asarray(values)
    if name == "edge_index":
        rows = rows.T
    if spec.level is Level.GRAPH:
        rows = rows[None]
    got = rows.shape[1:]
    if len(got) != len(spec.shape) or any(d not in (-1, g) for d, g in zip(spec.shape, got, strict=True)):
        raise ShapeError(f"rows of `{name}` must have shape {spec.shape} (-1: any), got {got}")
    return rows


def _sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()

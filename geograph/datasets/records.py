"""Keep records on disk between the stage that makes them and the stage that turns them into graphs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from geograph.datasets.store import Store, StoreWriter
from geograph.errors import DataError
from geograph.fields import Field, Level, Representation
from geograph.records import Jet, Mesh, Molecule, ParticleSystem, Record, SphereMap

_TEXT = "text.json"
_NODE, _GRAPH = Level.NODE, Level.GRAPH
_LABEL = Field(_GRAPH, "int64", (), "1")

_SCHEMAS: dict[type, dict[str, Field]] = {
    Molecule: {
        "z": Field(_NODE, "int64", (), "1"),
        "pos": Field(_NODE, "float64", (3,), "angstrom", Representation.POSITION),
        "properties": Field(_GRAPH, "float64", (-1,), "named in the attributes"),
        "is_periodic": Field(_GRAPH, "bool", (), "1"),
    },
    Jet: {
        "p4": Field(_NODE, "float32", (4,), "GeV", Representation.FOUR_VECTOR),
        "label": _LABEL,
        "has_beam_frame": Field(_GRAPH, "bool", (), "1"),
    },
    Mesh: {
        "vertices": Field(_NODE, "float64", (3,), "per source", Representation.POSITION),
        "faces": Field(Level.FACE, "int32", (3,), "1", Representation.INDEX),
        "label": _LABEL,
    },
    ParticleSystem: {
        "pos": Field(_NODE, "float64", (3,), "1", Representation.POSITION),
        "vel": Field(_NODE, "float64", (3,), "1", Representation.VECTOR),
        "charge": Field(_NODE, "float64", (), "1"),
        "pos_target": Field(_NODE, "float64", (3,), "1", Representation.POSITION),
    },
    SphereMap: {
        "harmonic": Field(_NODE, "float32", (-1,), "per source", Representation.HARMONIC),  # row: channel
        "label": _LABEL,
    },
}
_KINDS = {kind.__name__: kind for kind in _SCHEMAS}


def _encode(record: Record, names: list[str]) -> dict[str, np.ndarray]:
    schema = _SCHEMAS[type(record)]
    values: dict[str, Any] = {name: getattr(record, name) for name in schema}
    if isinstance(record, Molecule):
        missing = [name for name in names if name not in record.properties]
        if missing or len(record.properties) != len(names):
            raise DataError(
                f"properties {sorted(record.properties)} differ from those of the first record {names}",
                record=record.id,
                remedy="give every record the same properties",
            )
        values["properties"] = [record.properties[name] for name in names]
    elif isinstance(record, ParticleSystem) and record.pos_target is None:
        raise DataError("no target positions", record=record.id)
    elif "label" in schema and values["label"] is None:
        values["label"] = -1
    return {name: np.asarray(value) for name, value in values.items()}


def write_records(
    folder: str | PathLike[str], records: Iterable[Record], attributes: Mapping[str, Any]
) -> Store:
    """Write records of one kind, in one pass.

    Parameters
    ----------
    folder
        Folder to create.
    records
        Records of one kind; molecules must share their property names.
    attributes
        JSON-able facts about the data set (name, source, class names, ...).

    Raises
    ------
    DataError
        If there are no records, kinds are mixed, or properties differ.
    """
    folder = Path(folder)
    iterator = iter(records)
    first = next(iterator, None)
    if first is None:
        raise DataError("the data source gave no records", source=folder, remedy="check its path and filters")
    names = sorted(first.properties) if isinstance(first, Molecule) else []
    facts = {**attributes, "kind": type(first).__name__, "property_names": names}
    ids: list[str] = []
    smiles: list[str] = []
    with StoreWriter(folder, _SCHEMAS[type(first)], facts) as writer:
        for record in (first, *iterator):
            if type(record) is not type(first):
                raise DataError(f"{type(record).__name__} among {type(first).__name__}s", record=record.id)
            writer.append(_encode(record, names))
            ids.append(record.id)
            smiles.append(record.smiles if isinstance(record, Molecule) else "")
    text = {"id": ids, "smiles": smiles}
    (folder / _TEXT).write_text(json.dumps(text) + "\n", encoding="utf-8")
    return Store(folder)


def _molecule(values: dict[str, np.ndarray], store: Store, record_id: str, smiles: str) -> Molecule:
    names = store.attributes["property_names"]
    properties = dict(zip(names, values["properties"].tolist(), strict=True))
    return Molecule(
        np.array(values["z"]),
        np.array(values["pos"]),
        properties,
        record_id,
        smiles,
        bool(values["is_periodic"]),
    )


def _jet(values: dict[str, np.ndarray], store: Store, record_id: str, _: str) -> Jet:
    p4 = np.asarray(values["p4"], dtype=np.float64)
    return Jet(p4, _label(values), record_id, bool(values["has_beam_frame"]))


def _mesh(values: dict[str, np.ndarray], store: Store, record_id: str, _: str) -> Mesh:
    return Mesh(
        np.array(values["vertices"]), np.asarray(values["faces"], np.int64), _label(values), record_id
    )


def _system(values: dict[str, np.ndarray], store: Store, record_id: str, _: str) -> ParticleSystem:
    return ParticleSystem(
        pos=np.array(values["pos"]),
        vel=np.array(values["vel"]),
        charge=np.array(values["charge"]),
        pos_target=np.array(values["pos_target"]),
        id=record_id,
    )


def _sphere_map(values: dict[str, np.ndarray], store: Store, record_id: str, _: str) -> SphereMap:
    return SphereMap(np.array(values["harmonic"]), _label(values), record_id)


def _label(values: dict[str, np.ndarray]) -> int | None:
    label = int(values["label"])
    return None if label < 0 else label


_DECODERS: dict[str, Callable[[dict[str, np.ndarray], Store, str, str], Record]] = {
    "Molecule": _molecule,
    "Jet": _jet,
    "Mesh": _mesh,
    "ParticleSystem": _system,
    "SphereMap": _sphere_map,
}


def read_text(folder: str | PathLike[str]) -> dict[str, list[str]]:
    """Return the identifiers (`id`) and SMILES (`smiles`) of all records of a store."""
    path = Path(folder) / _TEXT
    if not path.is_file():
        raise DataError("no identifiers beside the records", source=path, remedy="rebuild the data set")
    return json.loads(path.read_text(encoding="utf-8"))


def read_records(folder: str | PathLike[str], start: int = 0, stop: int | None = None) -> Iterator[Record]:
    """Yield the records `start` to `stop` of a store in order; each is checked again on construction."""
    store = Store(folder)
    text = read_text(folder)
    decode = _DECODERS[store.attributes["kind"]]
    for index in range(start, len(store) if stop is None else min(stop, len(store))):
        try:
            yield decode(store.record(index), store, text["id"][index], text["smiles"][index])
        except DataError as error:
            raise error.at(source=folder, record=index) from error

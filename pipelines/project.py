"""Stage project: records to functions on spheres, one store for each projection.

Reads `data/raw/RECORDS`, writes `data/processed/NAME` and `metrics/project/NAME.json`, and pictures of the
first records to the tracking server.
"""

from __future__ import annotations

import csv
import itertools
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from geograph.algebra.harmonics import bandlimit_of
from geograph.datasets.records import read_records, read_text
from geograph.datasets.store import Store, StoreWriter
from geograph.errors import DataError
from geograph.fields import FIELDS, Field, Level
from geograph.parallel import stream_chunks
from pipelines.figures_projected import projected_figure
from pipelines.figures_sphere import projection_figure
from pipelines.params import Params
from pipelines.params_projections import Projection
from pipelines.projections import Projector, open_projection
from pipelines.stage import main, stage, write_metrics

_CHUNK = 250
_NUM_DRAWN = 4
_REJECTS = "rejected.csv"

Projected = tuple[Mapping[str, np.ndarray] | None, str]


def _project_range(folder: str, make: Projector, start: int, stop: int) -> list[Projected]:
    """Project some records; one that cannot be projected becomes None and the reason."""
    made: list[Projected] = []
    for index, record in enumerate(read_records(folder, start, stop), start=start):
        try:
            made.append((make(record), ""))
        except DataError as error:
            made.append((None, str(error.at(source=folder, record=f"{index} ({record.id})"))))
    return made


def _all(folder: Path, make: Projector, num_records: int, num_workers: int) -> Iterator[Projected]:
    jobs = [
        (str(folder), make, start, min(start + _CHUNK, num_records))
        for start in range(0, num_records, _CHUNK)
    ]
    for chunk in stream_chunks(_project_range, jobs, num_workers=num_workers, description="projections"):
        yield from chunk


def _schema(made: Mapping[str, np.ndarray], unit: str) -> dict[str, Field]:
    fields = {name: FIELDS[name] for name in made if name != "y"}
    fields["harmonic"] = replace(FIELDS["harmonic"], shape=made["harmonic"].shape[1:])
    if "y" in made:
        is_label = np.issubdtype(made["y"].dtype, np.integer)
        shape = () if is_label else made["y"].shape
        fields["y"] = Field(Level.GRAPH, "int64" if is_label else "float64", shape, unit)
    return fields


def project(
    raw: Path,
    folder: Path,
    make: Projector,
    attributes: Mapping[str, Any],
    *,
    num_workers: int,
    max_rejected: int = 0,
) -> tuple[Store, list[str]]:
    """Project every record of a store, in chunks over processes.

    The numbering of the records is kept, so that the split of the data set applies: in the place of a record
    that cannot be projected stand zeros, and the manifest lists it under `rejected`.

    Returns
    -------
    tuple
        The new store, and the reason for each rejected record.

    Raises
    ------
    DataError
        If more than `max_rejected` records cannot be projected, with the last reason.
    """
    records = Store(raw)
    rejected: dict[int, str] = {}
    found = _counted(_all(raw, make, len(records), num_workers), raw, rejected, max_rejected)
    head = list(_up_to_first(found))
    if not head or head[-1] is None:
        raise DataError("no record can be projected", source=raw, remedy=next(iter(rejected.values()), None))
    template = head[-1]
    facts = {**records.attributes, **attributes, "edges": "none", "records_sha256": records.digest()}
    with StoreWriter(folder, _schema(template, _unit(attributes)), facts) as writer:
        for made in itertools.chain(head, found):
            writer.append(_zeros(template) if made is None else made)
        writer.attributes["rejected"] = sorted(rejected)
    return Store(folder), list(rejected.values())


def _counted(
    results: Iterator[Projected], raw: Path, rejected: dict[int, str], max_rejected: int
) -> Iterator[Mapping[str, np.ndarray] | None]:
    """Note the rejected records by their number, and refuse more than are tolerated.

    Rejected are also functions with other channels or degrees than the first one has.
    """
    shape: tuple[int, ...] | None = None
    for index, (projected, reason) in enumerate(results):
        made = projected
        if made is not None:
            shape = shape or made["harmonic"].shape[1:]
            if made["harmonic"].shape[1:] != shape:
                reason = _other_shape(made["harmonic"].shape[1:], shape, raw, index)
                made = None
        if made is None:
            rejected[index] = reason
        if len(rejected) > max_rejected:
            raise DataError(
                f"{len(rejected)} records cannot be projected, max_rejected allows {max_rejected}; the last "
                f"one: {reason.rstrip('.')}",
                remedy="repair the records or raise max_rejected",
            )
        yield made


def _other_shape(found: tuple[int, ...], first: tuple[int, ...], raw: Path, index: int) -> str:
    text = "{} channels up to degree {}"
    sizes = [text.format(shape[0], bandlimit_of(shape[1]) - 1) for shape in (found, first)]
    error = DataError(f"it has {sizes[0]}, the first one has {sizes[1]}", remedy="leave one of the kinds out")
    return str(error.at(source=raw, record=str(index)))


def _up_to_first(
    found: Iterator[Mapping[str, np.ndarray] | None],
) -> Iterator[Mapping[str, np.ndarray] | None]:
    for made in found:
        yield made
        if made is not None:
            return


def _unit(attributes: Mapping[str, Any]) -> str:
    return ", ".join(attributes.get("targets", [])) or "class"


def _zeros(template: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One sphere that is zero everywhere, in the place of a rejected record."""
    nodes = {name: np.zeros_like(value[:1]) for name, value in template.items() if name != "y"}
    return nodes | ({"y": np.zeros_like(template["y"])} if "y" in template else {})


def _figures(store: Store, num_rejected: int, seconds: float) -> dict[str, float]:
    nodes = np.diff(store.pointer(Level.NODE))
    _, num_channels, num_coefficients = store.field("harmonic").shape
    return {
        "num_graphs": len(store),
        "num_rejected": num_rejected,
        "spheres_mean": round(float(nodes.mean()), 3),
        "num_channels": num_channels,
        "bandlimit": bandlimit_of(num_coefficients),
        "wall_s": round(seconds, 2),
    }


def _draw(store: Store, records: str, name: str, projection: Projection, tracker: Any) -> None:
    """Log a picture of the first records."""
    ids = read_text(Path("data/raw") / records)["id"]
    pointer = np.asarray(store.pointer(Level.NODE))
    rejected = set(store.attributes["rejected"])
    chosen = [index for index in range(min(len(store), 10 * _NUM_DRAWN)) if index not in rejected]
    field = store.field("harmonic")
    maps = [np.array(field[pointer[index]]) for index in chosen[:_NUM_DRAWN]]
    titles = [ids[index] for index in chosen[:_NUM_DRAWN]]
    channels = getattr(projection, "channels", None) or getattr(projection, "elements", None)
    tracker.log_figure(projection_figure(maps, titles=titles, channels=channels), f"{name}.png")
    for index in chosen[:1]:
        record = next(iter(read_records(Path("data/raw") / records, index, index + 1)))
        tracker.log_figure(projected_figure(record, maps[0], title=ids[index]), f"{name}-panel.png")


def run(params: Params, name: str) -> None:
    """Make the functions on spheres of projection `name`."""
    projection, records = params.projections[name], params.records_of(name)
    raw, folder = Path("data/raw") / records, Path("data/processed") / name
    shutil.rmtree(folder, ignore_errors=True)
    rule = projection.model_dump(mode="json")
    with stage("project", name, params, settings={"projection": rule}, experiment="data") as tracker:
        start = time.perf_counter()
        make, facts = open_projection(projection, str(raw))
        attributes = {"name": name, "records": records, "targets": rule.get("targets", []), "graph": {}}
        attributes |= {"projection": rule | facts}
        store, reasons = project(
            raw,
            folder,
            make,
            attributes,
            num_workers=params.parallel.num_workers,
            max_rejected=projection.max_rejected,
        )
        with (folder / _REJECTS).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["reason"], *([reason] for reason in reasons)])
        metrics = _figures(store, len(reasons), time.perf_counter() - start)
        write_metrics(f"metrics/project/{name}.json", metrics)
        tracker.log_metrics(metrics)
        tracker.set_tags({"data.sha256": store.digest()})
        _draw(store, records, name, projection, tracker)
        size = f"{metrics['num_channels']} channels up to degree {metrics['bandlimit'] - 1}"
        print(f"{name}: {len(store)} records, {len(reasons)} rejected, {size}")


if __name__ == "__main__":
    main(run)

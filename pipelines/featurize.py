"""Stage featurize: records to graphs, one store for each data set.

Reads `data/raw/NAME`, writes `data/processed/NAME` and `metrics/featurize/NAME.json`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from geograph.datasets.records import read_records
from geograph.datasets.store import Store, StoreWriter
from geograph.errors import ConfigError, DataError
from geograph.featurize.jet import jet_graph
from geograph.featurize.mesh import mesh_graph
from geograph.featurize.molecule import molecule_graph
from geograph.featurize.nbody import nbody_graph
from geograph.fields import FIELDS, Field, Level
from geograph.parallel import run_chunks
from geograph.records import Record
from pipelines.params import Params
from pipelines.params_data import Dataset, MapData
from pipelines.stage import main, stage, write_metrics

Featurizer = Callable[[Any], Mapping[str, np.ndarray]]
_CHUNK = 2000


def rule_of(dataset: Dataset, mode: str = "python") -> dict[str, Any]:
    """Return the rule for edges and targets of a data set.

    Raises
    ------
    ConfigError
        If its records make no graphs.
    """
    if isinstance(dataset, MapData):
        raise ConfigError("maps make no graphs; name what becomes of them under `projections`")
    return dataset.graph.model_dump(mode=mode)


def featurizer(dataset: Dataset) -> Featurizer:
    """Choose the featurizer of a data set's domain, with its options."""
    options = rule_of(dataset)
    table: dict[str, Featurizer] = {
        "molecules": partial(molecule_graph, **options),
        "jets": partial(jet_graph, **options),
        "meshes": partial(mesh_graph, **options),
        "nbody": nbody_graph,
    }
    return table[dataset.domain]


def _featurize_range(folder: str, make: Featurizer, start: int, stop: int) -> list[Mapping[str, np.ndarray]]:
    graphs = []
    for index, record in enumerate(read_records(folder, start, stop), start=start):
        graphs.append(_featurize_one(folder, make, index, record))
    return graphs


def _featurize_one(folder: str, make: Featurizer, index: int, record: Record) -> Mapping[str, np.ndarray]:
    try:
        return make(record)
    except DataError as error:
        raise error.at(source=folder, record=f"{index} ({record.id})") from error


def _schema(graph: Mapping[str, np.ndarray], targets: list[str]) -> dict[str, Field]:
    fields = {name: FIELDS[name] for name in graph if name != "y"}
    if "y" in graph:
        is_label = np.issubdtype(graph["y"].dtype, np.integer)
        unit = "class" if is_label else ", ".join(targets)
        shape = () if is_label else (len(targets),)
        fields["y"] = Field(Level.GRAPH, "int64" if is_label else "float64", shape, unit)
    return fields


def featurize(raw: Path, folder: Path, make: Featurizer, graph: Mapping[str, Any], num_workers: int) -> Store:
    """Turn every record of a store into a graph, in chunks over processes.

    `graph` is the rule that `make` follows: edges, targets, ... It goes into the manifest, and from there
    into checkpoints, so that new records can be treated alike.
    """
    targets = list(graph.get("targets", []))
    records = Store(raw)
    jobs = [
        (str(raw), make, start, min(start + _CHUNK, len(records))) for start in range(0, len(records), _CHUNK)
    ]
    graphs = _chained(jobs, num_workers)
    first = next(graphs)
    attributes = records.attributes | {
        "targets": targets,
        "graph": {key: value for key, value in graph.items() if key != "targets" and value is not None},
        "edges": "stored" if "edge_index" in first else "complete",
        "records_sha256": records.digest(),
    }
    with StoreWriter(folder, _schema(first, targets), attributes) as writer:
        writer.append(first)
        for graph in graphs:
            writer.append(graph)
    return Store(folder)


def _chained(jobs: list[tuple[Any, ...]], num_workers: int) -> Iterator[Mapping[str, np.ndarray]]:
    for chunk in run_chunks(_featurize_range, jobs, num_workers=num_workers, description="graphs"):
        yield from chunk


def run(params: Params, name: str) -> None:
    """Make the graphs of data set `name`."""
    dataset = params.data[name]
    raw, folder = Path("data/raw") / name, Path("data/processed") / name
    shutil.rmtree(folder, ignore_errors=True)
    rule = rule_of(dataset, "json")
    settings = {"graph": rule}
    with stage("featurize", name, params, settings=settings, experiment="data") as tracker:
        start = time.perf_counter()
        store = featurize(raw, folder, featurizer(dataset), rule, params.parallel.num_workers)
        nodes = np.diff(store.pointer(Level.NODE))
        edges = np.diff(store.pointer(Level.EDGE)) if "edge_index" in store else nodes * (nodes - 1)
        metrics = {
            "num_graphs": len(store),
            "nodes_mean": round(float(nodes.mean()), 3),
            "nodes_max": int(nodes.max()),
            "edges_mean": round(float(edges.mean()), 3),
            "wall_s": round(time.perf_counter() - start, 2),
        }
        write_metrics(f"metrics/featurize/{name}.json", metrics)
        tracker.log_metrics(metrics)
        tracker.set_tags({"data.sha256": store.digest()})
        size = f"{metrics['nodes_mean']} nodes and {metrics['edges_mean']} edges each"
        print(f"{name}: {len(store)} graphs, {size}")


if __name__ == "__main__":
    main(run)

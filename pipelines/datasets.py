"""What training and evaluation need of a data set: its loaders, statistics and identity."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geograph.datasets.edges import ragged_rows
from geograph.datasets.loader import GraphLoader
from geograph.datasets.splits import PARTS, Split, read_split
from geograph.datasets.store import Store
from geograph.errors import ConfigError
from geograph.fields import Level
from pipelines.params import Run
from pipelines.quantities import split_unit


@dataclass(frozen=True)
class GraphData:
    """A processed data set, its split, and the columns of `y` that a run learns."""

    name: str
    store: Store
    split: Split
    y_columns: list[int] | None

    def loader(
        self,
        part: str,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        max_edges: int | None = None,
        balance_edges: bool = False,
    ) -> GraphLoader:
        """Return the loader of one part."""
        return GraphLoader(
            self.store,
            getattr(self.split, part),
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            y_columns=self.y_columns,
            max_edges=max_edges,
            balance_edges=balance_edges,
        )

    def describe(self) -> dict[str, Any]:
        """Identity of the data, for checkpoints and the tracking server."""
        sizes = {f"num_{part}": len(getattr(self.split, part)) for part in PARTS}
        identity = {"name": self.name, "sha256": self.store.digest(), "split": self.split.name}
        return {**identity, **sizes, "graph": self.store.attributes.get("graph", {})}

    def node_values(self, part: str, field: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Values of a node field over one part, and the graph (0, 1, ...) of each row."""
        records = getattr(self.split, part)
        pointer = np.asarray(self.store.pointer(Level.NODE))
        counts = pointer[records + 1] - pointer[records]
        rows = ragged_rows(pointer[records], counts)
        values = torch.from_numpy(np.asarray(self.store.field(field)[rows]))
        return values, torch.from_numpy(np.repeat(np.arange(len(records)), counts))

    def labels(self, part: str) -> torch.Tensor:
        """`y` of one part, restricted to the columns of the run."""
        values = torch.from_numpy(np.asarray(self.store.field("y")[getattr(self.split, part)]))
        return values if self.y_columns is None else values[:, self.y_columns]


def open_data(run: Run) -> GraphData:
    """Open the processed data set of a run.

    Raises
    ------
    ConfigError
        If the data set was made without the target of the run.
    """
    folder = Path("data/processed") / run.dataset
    store = Store(folder)
    split = read_split(Path("data/raw") / f"{run.dataset}-split.json", len(store))
    columns = None
    if run.task.targets:
        stored = store.attributes["targets"]
        missing = [target for target in run.task.targets if target not in stored]
        if missing:
            raise ConfigError(
                f"data set {run.dataset} has the targets {stored}, not {missing[0]!r}; "
                f"add it to data.{run.dataset}.graph.targets."
            )
        columns = [stored.index(target) for target in run.task.targets]
    return GraphData(run.dataset, store, split, columns)


def train_statistics(run: Run, data: GraphData) -> dict[str, Any]:
    """Statistics of the train part that the task needs; nothing else may look at the data."""
    kind = run.task.kind
    if kind == "regression":
        from geograph.tasks.regression import fit_statistics

        names, units = zip(*(split_unit(target) for target in run.task.targets), strict=True)
        z, graph = data.node_values("train", "z") if run.task.composition_baseline else (None, None)
        return fit_statistics(data.labels("train"), names=names, units=units, z=z, batch=graph)
    if kind == "classification":
        names = data.store.attributes["class_names"]
        counts = torch.bincount(data.labels("train"), minlength=len(names))
        return {"class_names": names, "class_counts": counts.tolist()}
    if kind == "trajectory":
        from geograph.tasks.trajectory import fit_linear_time

        values = {name: data.node_values("train", name)[0] for name in ("pos", "vel", "pos_target")}
        return {"linear_time": fit_linear_time(**values)}
    from geograph.diffusion.condition import fit_properties
    from geograph.tasks.generation import fit_statistics as fit_generation

    z, graph = data.node_values("train", "z")
    statistics = fit_generation(z, graph)
    if run.task.targets:
        statistics |= fit_properties(run.task.targets, data.labels("train"), torch.bincount(graph))
    return statistics


def model_params(run: Run, data: GraphData) -> dict[str, Any]:
    """Parameters of the model, with those that the data decide filled in."""
    params = run.model.params
    if run.task.kind == "classification":
        params.setdefault("num_outputs", len(data.store.attributes["class_names"]))
    elif run.task.kind == "regression":
        params.setdefault("num_outputs", len(run.task.targets))
    return params

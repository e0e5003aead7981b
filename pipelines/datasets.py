"""What training and evaluation need of a data set: its loaders, statistics and identity."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from geograph.algebra.harmonics import bandlimit_of
from geograph.datasets.edges import ragged_rows
from geograph.datasets.loader import GraphLoader
from geograph.datasets.splits import PARTS, Split, read_split
from geograph.datasets.store import Store
from geograph.errors import ConfigError, DataError
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
    records: str = ""  # name of the records, `molecules` for the projection `molecules-sphere`

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
    store = Store(Path("data/processed") / run.dataset)
    records = store.attributes.get("records", run.dataset)
    split = read_split(Path("data/raw") / f"{records}-split.json", len(store))
    split = without(split, store.attributes.get("rejected", []))
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
    return GraphData(run.dataset, store, split, columns, records)


#: Coefficients below this fraction of the largest of their channel are rounding errors of float32.
_RESOLVED = 1e-6
#: Of the variance of the main combination of channels: what varies less counts as if it varied so much.
_INDEPENDENT = 1e-5


def without(split: Split, rejected: list[int]) -> Split:
    """Leave out the records that could not be projected."""
    if not rejected:
        return split
    parts = {part: np.setdiff1d(getattr(split, part), rejected, assume_unique=True) for part in PARTS}
    return Split(f"{split.name}, {len(rejected)} rejected", **parts)


def train_statistics(run: Run, data: GraphData) -> dict[str, Any]:
    """Statistics of the train part that the task needs; nothing else may look at the data."""
    kind = run.task.kind
    if kind == "regression":
        from geograph.tasks.regression import fit_statistics

        names, units = zip(*(split_unit(target) for target in run.task.targets), strict=True)
        labels, baseline = data.labels("train"), run.task.composition_baseline
        if not baseline:
            return fit_statistics(labels, names=names, units=units)
        z, graph = data.node_values("train", "z")
        fitted = "mlp" if baseline == "mlp" else "linear"
        return fit_statistics(labels, names=names, units=units, z=z, batch=graph, composition=fitted)
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
    if "harmonic" in data.store:
        params = {**sphere_params(data, run.input_scale), **params}
    return params


def sphere_params(
    data: GraphData, scale_of: Literal["degree", "channel", "covariance"] = "degree"
) -> dict[str, Any]:
    """Channels and band-limit of a projection, and the scale of its coefficients on the train part.

    The mean is that of the constant function in each channel. The scale is the root mean square of the
    coefficients of a `degree` or of a whole `channel` around it, or a square root of the `covariance` of the
    channels in each degree: none of them changes under rotations.

    Raises
    ------
    DataError
        If the train part is empty.
    """
    field = data.store.field("harmonic")
    _, num_channels, num_coefficients = field.shape
    pointer = np.asarray(data.store.pointer(Level.NODE))
    starts, stops = pointer[data.split.train], pointer[data.split.train + 1]
    rows = ragged_rows(starts, stops - starts)
    if not len(rows):
        raise DataError("no record of the training part could be projected", source=data.name)
    chunks = np.array_split(rows, max(1, rows.size * num_coefficients * num_channels // 2**25))
    constant, squares = np.zeros(num_channels), np.zeros((num_channels, num_coefficients))
    for chunk in chunks:
        values = np.asarray(field[chunk], dtype=np.float64)
        constant += values[:, :, 0].sum(axis=0)
        squares += np.square(values).sum(axis=0)
    mean = constant / len(rows)
    squares = squares / len(rows)
    squares[:, 0] = np.maximum(squares[:, 0] - mean**2, 0)
    bandlimit = bandlimit_of(num_coefficients)
    starts = np.zeros(1, np.int64) if scale_of == "channel" else np.arange(bandlimit) ** 2
    sizes = np.diff([*starts, num_coefficients])
    scale = np.sqrt(np.add.reduceat(squares, starts, axis=1) / sizes)
    # What does not vary, or by no more than the rounding of float32, stays as small as it is.
    size, largest = np.abs(mean)[:, None], scale.max(axis=1, keepdims=True)
    floor = _RESOLVED * size + _RESOLVED * largest
    largest = np.where(largest > _RESOLVED * size, largest, size)
    scale = np.where(scale > floor, scale, largest)
    scale = np.where(scale > 1e-30, scale, 1.0)
    if scale_of == "covariance":
        correlation = np.zeros((bandlimit, num_channels, num_channels))
        for chunk in chunks:
            correlation += _products(np.asarray(field[chunk], dtype=np.float64), mean, scale)
        input_scale = _root(correlation / len(rows), scale).tolist()
    else:
        input_scale = scale.ravel().tolist()
    return {
        "num_channels": num_channels,
        "bandlimit": bandlimit,
        "input_mean": mean.tolist(),
        "input_scale": input_scale,
    }


def _products(values: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Sum over spheres of products of two channels [degrees, C, C], with the mean over orders."""
    wide = values.transpose(1, 2, 0)
    wide[:, 0] -= mean[:, None]
    products = []
    for degree, each in enumerate(scale.T):
        flat = wide[:, degree**2 : (degree + 1) ** 2].reshape(len(mean), -1) / each[:, None]
        products.append(flat @ flat.T / (2 * degree + 1))
    return np.stack(products)


def _root(correlation: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Square root of the covariance of each degree: its channels' scales times the root of the correlation.

    Combinations of channels that hardly vary are not blown up to the size of the others.
    """
    values, vectors = np.linalg.eigh(correlation)
    largest = np.maximum(values[:, -1:], 1.0)  # below 1 in empty degrees only
    roots = np.sqrt(np.maximum(values, _INDEPENDENT * largest))
    return scale.T[:, :, None] * np.einsum("lij,lj,lkj->lik", vectors, roots, vectors)

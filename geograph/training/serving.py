"""Checkpoints as MLflow models: prediction from a table with one graph in each row.

Columns are the node fields of the model (`z` and `pos`; `p4`; `pos`, `vel` and `charge`; `pos`, `normal` and
`area`), each cell a list with one entry for each node. A column `edge_index` (two lists, sources and targets)
gives the edges; without it every graph is fully connected. A generation task takes `num` and `seed` instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from geograph import models
from geograph.errors import ConfigError
from geograph.tasks import Task
from geograph.training.checkpoint import load_checkpoint

if TYPE_CHECKING:
    import pandas as pd

#: Dtype and number of columns (0 for a plain list) of each node field.
FIELDS: dict[str, tuple[torch.dtype, int]] = {
    "z": (torch.int64, 0),
    "pos": (torch.float32, 3),
    "vel": (torch.float32, 3),
    "charge": (torch.float32, 0),
    "p4": (torch.float32, 4),
    "is_beam": (torch.int64, 0),
    "normal": (torch.float32, 3),
    "area": (torch.float32, 0),
}
OPTIONAL = ("is_beam",)


def node_fields(task: Task) -> tuple[str, ...]:
    """Columns that a task's model reads.

    Raises
    ------
    ConfigError
        If its input is not a table of graphs.
    """
    spec = models.MODELS[task.settings["model"]]
    resolve = getattr(models, "model_spec", None)
    if resolve is not None:
        spec = resolve(task.settings["model"], task.settings["model_params"])
    if not set(spec.fields) <= FIELDS.keys():
        raise ConfigError(
            f"the model {spec.name} reads {', '.join(spec.fields)} and cannot predict from a table of "
            "graphs; store its checkpoint as an artifact."
        )
    return spec.fields


def _complete(size: int) -> Tensor:
    target, source = (~torch.eye(size, dtype=torch.bool)).nonzero(as_tuple=True)
    return torch.stack([source, target])


def _edges(given: Sequence[Any] | None, sizes: list[int]) -> Tensor:
    blocks = [_complete(size) for size in sizes]
    if given is not None:
        blocks = [
            torch.tensor([list(row) for row in edges], dtype=torch.int64).view(2, -1) for edges in given
        ]
        blocks = [block[:, torch.argsort(block[1], stable=True)] for block in blocks]
    starts = [0]
    for size in sizes:
        starts.append(starts[-1] + size)
    moved = [block + start for block, start in zip(blocks, starts, strict=False)]
    return torch.cat(moved, dim=1) if moved else torch.zeros(2, 0, dtype=torch.int64)


def batch_from_table(columns: dict[str, Sequence[Any]], fields: Sequence[str]) -> Data:
    """Build a batch from columns with one graph in each row.

    Raises
    ------
    ConfigError
        If a column is missing or the columns of a row differ in length.
    """
    missing = [name for name in fields if name not in columns and name not in OPTIONAL]
    if missing:
        raise ConfigError(
            f"the table must have the column `{missing[0]}`, got {', '.join(map(str, columns))}."
        )
    sizes = [len(cell) for cell in columns[fields[0]]]
    data = Data()
    for name in fields:
        dtype, width = FIELDS[name]
        cells = columns.get(name, [[0] * size for size in sizes])
        for row, (cell, size) in enumerate(zip(cells, sizes, strict=True)):
            if len(cell) != size:
                raise ConfigError(
                    f"row {row}: `{name}` must have {size} entries like `{fields[0]}`, got {len(cell)}."
                )
        values = [list(entry) if width else entry for cell in cells for entry in cell]
        tensor = torch.tensor(values, dtype=dtype)
        data[name] = tensor.view(-1, width) if width else tensor.view(-1)
    counts = torch.tensor(sizes, dtype=torch.int64)
    data.edge_index = _edges(columns.get("edge_index"), sizes)
    data.num_nodes = int(counts.sum())
    data.num_graphs = len(sizes)
    data.ptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    data.batch = torch.repeat_interleave(torch.arange(len(sizes)), counts)
    per_node = torch.bincount(data.edge_index[1], minlength=data.num_nodes)
    data.edge_ptr = torch.cat([per_node.new_zeros(1), per_node.cumsum(0)])
    data.record_index = torch.arange(len(sizes))
    return data


def rows_from_batch(batch: Data, fields: Sequence[str], num_rows: int = 1) -> list[dict[str, Any]]:
    """Write the first graphs of a batch as rows of a table, one graph in each."""
    ends = batch.ptr.tolist()
    rows = []
    for start, end in list(zip(ends, ends[1:], strict=False))[:num_rows]:
        row = {name: batch[name][start:end].tolist() for name in fields}
        inside = (batch.edge_index[1] >= start) & (batch.edge_index[1] < end)
        row["edge_index"] = (batch.edge_index[:, inside] - start).tolist()
        rows.append(row)
    return rows


class GraphPredictor:
    """What MLflow calls: a task that predicts from a table.

    Parameters
    ----------
    task
        In evaluation mode.
    """

    def __init__(self, task: Task) -> None:
        self.task, self.fields = task, node_fields(task)

    @torch.no_grad()
    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Predict for each row; the column `prediction` holds a list of values, or of positions."""
        import pandas as pd

        columns = {name: model_input[name].tolist() for name in model_input.columns}
        batch = self.task.prepared(batch_from_table(columns, self.fields))
        output = self.task.predict(batch).double()
        if models.MODELS[self.task.settings["model"]].output == "node_position":
            sizes = (batch.ptr[1:] - batch.ptr[:-1]).tolist()
            return pd.DataFrame({"prediction": [part.tolist() for part in output.split(sizes)]})
        return pd.DataFrame({"prediction": output.tolist()})


class MoleculeGenerator:
    """What MLflow calls: a generation task that answers each row (`num`, `seed`) with molecules.

    Parameters
    ----------
    task
        In evaluation mode, with a method `sample`.
    """

    def __init__(self, task: Task) -> None:
        self.task: Any = task

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Sample; one row for each molecule with its atomic numbers `z` and positions `pos` in angstrom."""
        import pandas as pd

        rows: list[dict[str, Any]] = []
        for num, seed in zip(model_input["num"], model_input["seed"], strict=True):
            molecules = self.task.sample(int(num), int(seed)).molecules
            rows += [{"seed": int(seed), "z": m.z.tolist(), "pos": m.pos.tolist()} for m in molecules]
        return pd.DataFrame(rows, columns=["seed", "z", "pos"])


def predictor(task: Task) -> GraphPredictor | MoleculeGenerator:
    """Return what answers a table for this kind of task.

    Raises
    ------
    ConfigError
        If the model's input is not a table of graphs.
    """
    return MoleculeGenerator(task) if task.kind == "generation" else GraphPredictor(task)


def _load_pyfunc(path: str) -> GraphPredictor | MoleculeGenerator:
    """Load the model; MLflow finds this function by its name."""
    return predictor(load_checkpoint(path).task)

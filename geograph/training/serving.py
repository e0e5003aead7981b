"""Checkpoints as MLflow models: prediction from a table with one graph in each row.

Columns are the node fields of the model (`z` and `pos`; `p4`; `pos`, `vel` and `charge`; `pos`, `normal` and
`area`; `harmonic`), each cell a list with one entry for each node, or the JSON text of such a list as in a
CSV file. A molecule may also stand as text in a column `molblock`, `xyz` or `smiles`, see `serving_cells`. A
column `edge_index` (two lists, sources and targets) gives the edges; without it they are made by the rule
that the checkpoint names in the description of its data, or else all nodes of a graph are joined.

A property model answers with one column for each target, named with its unit (`energy_ev`); other models
with a column `prediction`. A generation task takes `num` and `seed` instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from geograph import models
from geograph.errors import ConfigError
from geograph.tasks import Task
from geograph.training.checkpoint import load_checkpoint
from geograph.training.serving_cells import DEFAULT_SEED, is_missing, molecule_columns, parsed_list

if TYPE_CHECKING:
    import pandas as pd

#: Dtype and number of columns (0 for a plain list, -1 for an array of channels and coefficients) of each node
#: field.
FIELDS: dict[str, tuple[torch.dtype, int]] = {
    "z": (torch.int64, 0),
    "pos": (torch.float32, 3),
    "vel": (torch.float32, 3),
    "charge": (torch.float32, 0),
    "p4": (torch.float32, 4),
    "is_beam": (torch.int64, 0),
    "normal": (torch.float32, 3),
    "area": (torch.float32, 0),
    "harmonic": (torch.float32, -1),
}
OPTIONAL = ("is_beam",)
#: Fields of the models that take molecules.
MOLECULE = ("z", "pos")


def node_fields(task: Task) -> tuple[str, ...]:
    """Columns that a task's model reads.

    Raises
    ------
    ConfigError
        If its input is not a table of graphs.
    """
    spec = models.model_spec(task.settings["model"], task.settings["model_params"])
    if not set(spec.fields) <= FIELDS.keys():
        raise ConfigError(
            f"the model {spec.name} reads {', '.join(spec.fields)} and cannot predict from a table of "
            "graphs; store its checkpoint as an artifact."
        )
    return spec.fields


def target_names(task: Task) -> list[str] | None:
    """Names of the columns that a property model answers with; None for other models."""
    return list(getattr(task, "suffixes", [])) if task.kind == "regression" else None


def _complete(size: int) -> Tensor:
    target, source = (~torch.eye(size, dtype=torch.bool)).nonzero(as_tuple=True)
    return torch.stack([source, target])


def _within(pos: Tensor, radius: float) -> Tensor:
    edges = _complete(len(pos))
    difference = pos[edges[1]].double() - pos[edges[0]].double()
    return edges[:, difference.square().sum(dim=1) <= radius**2]


def _made_edges(data: Data, sizes: list[int], graph: Mapping[str, Any]) -> list[Tensor]:
    rule = graph.get("edges", "complete")
    if rule == "complete":
        return [_complete(size) for size in sizes]
    if rule == "radius" and graph.get("radius_angstrom") is not None and "pos" in data:
        return [_within(pos, float(graph["radius_angstrom"])) for pos in data.pos.split(sizes)]
    raise ConfigError(
        f"the table must have the column `edge_index`: the model was trained on {rule!r} edges, which are "
        "not made here."
    )


def _given_edges(cells: Sequence[Any], sizes: list[int]) -> list[Tensor]:
    blocks = []
    for row, (cell, size) in enumerate(zip(cells, sizes, strict=True)):
        ends = parsed_list(cell, row, "edge_index")
        whole = [isinstance(end, list | tuple) and all(isinstance(node, int) for node in end) for end in ends]
        if len(ends) != 2 or not all(whole) or len(ends[0]) != len(ends[1]):
            raise ConfigError(f"row {row}: `edge_index` must be two lists of node numbers, equally long.")
        block = torch.tensor([list(end) for end in ends], dtype=torch.int64).view(2, -1)
        if block.numel() and not 0 <= int(block.min()) <= int(block.max()) < size:
            raise ConfigError(f"row {row}: `edge_index` must name nodes from 0 to {size - 1}.")
        blocks.append(block[:, torch.argsort(block[1], stable=True)])
    return blocks


def _joined(blocks: list[Tensor], sizes: list[int]) -> Tensor:
    starts = [0]
    for size in sizes:
        starts.append(starts[-1] + size)
    moved = [block + start for block, start in zip(blocks, starts, strict=False)]
    return torch.cat(moved, dim=1) if moved else torch.zeros(2, 0, dtype=torch.int64)


def batch_from_table(
    columns: Mapping[str, Sequence[Any]],
    fields: Sequence[str],
    *,
    graph: Mapping[str, Any] | None = None,
    seed: int = DEFAULT_SEED,
) -> Data:
    """Build a batch from columns with one graph in each row.

    Parameters
    ----------
    columns
        Cells by column.
    fields
        Node fields of the model.
    graph
        How edges are made where the table has none: `edges` ("complete" or "radius") and `radius_angstrom`.
    seed
        Of the embedding of SMILES.

    Raises
    ------
    ConfigError
        If a column is missing, a cell cannot be read, or the columns of a row differ in length.
    """
    columns = dict(columns)
    if tuple(fields) == MOLECULE:
        columns |= molecule_columns(columns, seed)
    missing = [name for name in fields if name not in columns and name not in OPTIONAL]
    if missing:
        raise ConfigError(
            f"the table must have the column `{missing[0]}`, got {', '.join(map(str, columns))}."
        )
    data, sizes = _node_values(columns, fields)
    given = columns.get("edge_index", [])
    has_edges = [not is_missing(cell) for cell in given]
    if any(has_edges) and not all(has_edges):
        raise ConfigError(
            f"row {has_edges.index(False)}: `edge_index` is empty; give it for all rows or none."
        )
    blocks = _given_edges(given, sizes) if any(has_edges) else _made_edges(data, sizes, graph or {})
    return _with_pointers(data, sizes, _joined(blocks, sizes))


def _node_values(columns: Mapping[str, Sequence[Any]], fields: Sequence[str]) -> tuple[Data, list[int]]:
    """Concatenate the cells of each field; the lengths of the first field are those of the graphs."""
    data, sizes = Data(), [len(cell) for cell in _lists(columns[fields[0]], fields[0])]
    for name in fields:
        dtype, width = FIELDS[name]
        cells = _lists(columns[name], name) if name in columns else [[0] * size for size in sizes]
        for row, (cell, size) in enumerate(zip(cells, sizes, strict=True)):
            if len(cell) != size:
                raise ConfigError(
                    f"row {row}: `{name}` must have {size} entries like `{fields[0]}`, got {len(cell)}."
                )
        if width < 0:
            data[name] = _arrays(cells, name, dtype)
            continue
        _check_entries(cells, name, width)
        tensor = torch.tensor([entry for cell in cells for entry in cell], dtype=dtype)
        data[name] = tensor.view(-1, width) if width else tensor.view(-1)
    return data, sizes


def _arrays(cells: list[list[Any]], name: str, dtype: torch.dtype) -> Tensor:
    try:
        tensor = torch.tensor([entry for cell in cells for entry in cell], dtype=dtype)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"`{name}` must hold arrays of one shape ({error}).") from error
    if tensor.ndim != 3:
        raise ConfigError(
            f"`{name}` must hold channels of coefficients for each sphere, got {tensor.ndim - 1} axes."
        )
    return tensor


def _check_entries(cells: list[list[Any]], name: str, width: int) -> None:
    for row, cell in enumerate(cells):
        for entry in cell:
            numbers = entry if width and isinstance(entry, list | tuple) else [entry]
            if len(numbers) != max(width, 1) or not all(isinstance(x, int | float) for x in numbers):
                shape = f"lists of {width} numbers" if width else "numbers"
                raise ConfigError(f"row {row}: `{name}` must hold {shape}, got {entry!r:.60}.")


def _lists(cells: Sequence[Any], name: str) -> list[list[Any]]:
    return [parsed_list(cell, row, name) for row, cell in enumerate(cells)]


def _with_pointers(data: Data, sizes: list[int], edge_index: Tensor) -> Data:
    counts = torch.tensor(sizes, dtype=torch.int64)
    data.edge_index = edge_index
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
    graph
        Rule for edges, as for `batch_from_table`; complete graphs by default.
    """

    def __init__(self, task: Task, graph: Mapping[str, Any] | None = None) -> None:
        self.task, self.fields, self.graph = task, node_fields(task), dict(graph or {})

    @torch.no_grad()
    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Predict for each row; one column for each target, or `prediction` with a list of values each."""
        import pandas as pd

        columns = {str(name): model_input[name].tolist() for name in model_input.columns}
        seed = int((params or {}).get("seed", DEFAULT_SEED))
        batch = self.task.prepared(batch_from_table(columns, self.fields, graph=self.graph, seed=seed))
        output = self.task.predict(batch).double()
        names = target_names(self.task)
        if names is not None:
            return pd.DataFrame(output.numpy(), columns=names)
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


def predictor(task: Task, graph: Mapping[str, Any] | None = None) -> GraphPredictor | MoleculeGenerator:
    """Return what answers a table for this kind of task.

    Raises
    ------
    ConfigError
        If the model's input is not a table of graphs.
    """
    return MoleculeGenerator(task) if task.kind == "generation" else GraphPredictor(task, graph)


def _load_pyfunc(path: str) -> GraphPredictor | MoleculeGenerator:
    """Load the model; MLflow finds this function by its name."""
    loaded = load_checkpoint(path)
    return predictor(loaded.task, loaded.data.get("graph"))

"""A checkpoint as an MLflow model with signature and requirements, without a pickle."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch_geometric.data import Data

import geograph
from geograph import models
from geograph.tasks import Task
from geograph.training.checkpoint import load_checkpoint
from geograph.training.serving import (
    FIELDS,
    MOLECULE,
    OPTIONAL,
    node_fields,
    rows_from_batch,
    target_names,
)
from geograph.training.serving_cells import DEFAULT_SEED, TEXT_COLUMNS

_PACKAGES = ("torch", "torch-geometric", "lightning", "numpy", "scipy", "jaxtyping", "pandas", "rich")


def _column(name: str) -> Any:
    from mlflow.types import ColSpec, DataType
    from mlflow.types.schema import Array

    dtype, width = FIELDS[name]
    inner: Any = Array(DataType.double if dtype.is_floating_point else DataType.long)
    return ColSpec(Array(inner) if width else inner, name)


def _input_names(task: Task) -> dict[str, bool]:
    """Columns of a task's table, and whether each must be there."""
    fields = node_fields(task)
    if fields == MOLECULE:
        return dict.fromkeys([*fields, *TEXT_COLUMNS, "edge_index"], False)
    return {name: name not in OPTIONAL for name in fields} | {"edge_index": False}


def signature_of(task: Task) -> Any:
    """MLflow signature of a task's table: the columns it needs and what comes out.

    Cells of graphs are declared as strings, which MLflow passes on as they are: JSON text from a CSV file,
    lists from JSON. A model of molecules needs none of its columns in particular, see `serving_cells`.

    Raises
    ------
    ConfigError
        If the model's input is not a table of graphs.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array

    if task.kind == "generation":
        numbers: list[Any] = [ColSpec(DataType.long, name) for name in ("num", "seed")]
        outputs = [ColSpec(DataType.long, "seed"), _column("z"), _column("pos")]
        return ModelSignature(inputs=Schema(numbers), outputs=Schema(outputs))
    names = _input_names(task)
    inputs = Schema([ColSpec(DataType.string, name, required=needed) for name, needed in names.items()])
    targets = target_names(task)
    if targets is not None:
        answer = Schema([ColSpec(DataType.double, name) for name in targets])
    else:
        positions = models.MODELS[task.settings["model"]].output == "node_position"
        values: Any = Array(DataType.double)
        answer = Schema([ColSpec(Array(values) if positions else values, "prediction")])
    if node_fields(task) != MOLECULE:
        return ModelSignature(inputs=inputs, outputs=answer)
    seed = ParamSchema([ParamSpec("seed", DataType.long, DEFAULT_SEED)])
    return ModelSignature(inputs=inputs, outputs=answer, params=seed)


def input_example(task: Task, batch: Data) -> list[dict[str, Any]]:
    """Return one row of a task's table."""
    if task.kind == "generation":
        return [{"num": 1, "seed": 0}]
    return rows_from_batch(batch, node_fields(task))


def requirements(task: Task) -> list[str]:
    """Pinned packages that the model needs; geograph itself travels with the model."""
    reads_molecules = task.kind != "generation" and node_fields(task) == MOLECULE
    names = (*_PACKAGES, "rdkit") if reads_molecules else _PACKAGES
    return [f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in names]


@contextlib.contextmanager
def _active(uri: str, run_id: str) -> Iterator[None]:
    """Make a run the active one, and leave MLflow's global settings as they were."""
    import mlflow

    tracking, registry = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    try:
        with mlflow.start_run(run_id=run_id):
            yield
    finally:
        mlflow.set_tracking_uri(tracking)
        mlflow.set_registry_uri(registry)


def pyfunc_arguments(task: Task, checkpoint: Path, example: Data) -> dict[str, Any]:
    """Arguments of `mlflow.pyfunc.log_model` and `save_model` that describe a checkpoint."""
    return {
        "loader_module": "geograph.training.serving",
        "data_path": str(checkpoint),
        "code_paths": [str(Path(geograph.__file__).parent)],
        "signature": signature_of(task),
        "input_example": input_example(task, example),
        "pip_requirements": requirements(task),
    }


def log_pyfunc(
    uri: str, run_id: str, checkpoint: Path, name: str, registered_name: str | None, example: Data
) -> tuple[str, str | None]:
    """Store a checkpoint as a pyfunc model of a run; return its URI and its registered version."""
    import mlflow.pyfunc

    arguments = pyfunc_arguments(load_checkpoint(checkpoint).task, checkpoint, example)
    with _active(uri, run_id):
        info = mlflow.pyfunc.log_model(name=name, registered_model_name=registered_name, **arguments)
    version = info.registered_model_version
    return str(info.model_uri), None if version is None else str(version)

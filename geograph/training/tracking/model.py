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
from geograph.training.serving import FIELDS, OPTIONAL, node_fields, rows_from_batch

_PACKAGES = ("torch", "torch-geometric", "lightning", "numpy", "scipy", "jaxtyping", "pandas", "rich")


def _column(name: str) -> Any:
    from mlflow.types import ColSpec, DataType
    from mlflow.types.schema import Array

    dtype, width = FIELDS[name]
    inner: Any = Array(DataType.double if dtype.is_floating_point else DataType.long)
    return ColSpec(Array(inner) if width else inner, name, required=name not in OPTIONAL)


def signature_of(task: Task) -> Any:
    """MLflow signature of a task's table: the columns it needs and what comes out.

    Raises
    ------
    ConfigError
        If the model's input is not a table of graphs.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

    if task.kind == "generation":
        numbers: list[Any] = [ColSpec(DataType.long, name) for name in ("num", "seed")]
        outputs = [ColSpec(DataType.long, "seed"), _column("z"), _column("pos")]
        return ModelSignature(inputs=Schema(numbers), outputs=Schema(outputs))
    edges = ColSpec(Array(Array(DataType.long)), "edge_index", required=False)
    positions = models.MODELS[task.settings["model"]].output == "node_position"
    values: Any = Array(DataType.double)
    output = ColSpec(Array(values) if positions else values, "prediction")
    return ModelSignature(inputs=Schema([*map(_column, node_fields(task)), edges]), outputs=Schema([output]))


def input_example(task: Task, batch: Data) -> list[dict[str, Any]]:
    """Return one row of a task's table."""
    if task.kind == "generation":
        return [{"num": 1, "seed": 0}]
    return rows_from_batch(batch, node_fields(task))


def requirements() -> list[str]:
    """Pinned packages that the model needs; geograph itself travels with the model."""
    return [f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in _PACKAGES]


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


def log_pyfunc(
    uri: str, run_id: str, checkpoint: Path, name: str, registered_name: str | None, example: Data
) -> tuple[str, str | None]:
    """Store a checkpoint as a pyfunc model of a run; return its URI and its registered version."""
    import mlflow.pyfunc

    task = load_checkpoint(checkpoint).task
    with _active(uri, run_id):
        info = mlflow.pyfunc.log_model(
            name=name,
            loader_module="geograph.training.serving",
            data_path=str(checkpoint),
            code_paths=[str(Path(geograph.__file__).parent)],
            signature=signature_of(task),
            input_example=input_example(task, example),
            pip_requirements=requirements(),
            registered_model_name=registered_name,
        )
    version = info.registered_model_version
    return str(info.model_uri), None if version is None else str(version)

"""`geograph validate`: check a parameter file before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geograph.errors import ConfigError
from pipelines.params import Params, Run, load_params


def load_checked(path: Path) -> Params:
    """Read a parameter file and check all of it, the parameters of every model included.

    Raises
    ------
    ConfigError
        With the dotted path of every bad key and what was expected there.
    """
    params = load_params(path)
    for name, run in params.runs.items():
        _check_model(f"{path}: runs.{name}.model", run)
    return params


def _check_model(where: str, run: Run) -> None:
    """Build the model without memory, so that a wrong name or value is found before anything runs."""
    import torch

    from geograph.models import build_model, model_spec

    try:
        spec = model_spec(run.model.name, run.model.params)
        outputs = {"regression": "graph", "classification": "graph", "trajectory": "node_position"}
        wanted = outputs.get(run.task.kind, "noise")
        if spec.output != wanted:
            raise ConfigError(
                f"{run.model.name} predicts {spec.output}, a {run.task.kind} task needs {wanted}"
            )
        filled = {"num_features": 6} if spec.output == "noise" else {}
        with torch.device("meta"):
            build_model(run.model.name, **filled, **run.model.params)
    except (ConfigError, TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from error


def validate(
    params: Annotated[Path, typer.Argument(help="Parameter file.")] = Path("params.yaml"),
) -> None:
    """Check every parameter of the pipeline, the models included."""
    checked = load_checked(params)
    print(f"{params}: valid; {len(checked.data)} data sets, {len(checked.runs)} runs")
    for name, run in checked.runs.items():
        what = f"{run.task.kind} with {run.model.name} on {run.dataset}"
        print(f"  {name}: {what}, {run.training.max_epochs} epochs")

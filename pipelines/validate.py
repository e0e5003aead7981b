"""`geograph validate`: check a parameter file before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.params import load_params


def validate(
    params: Annotated[Path, typer.Argument(help="Parameter file.")] = Path("params.yaml"),
) -> None:
    """Check every parameter of the pipeline, the models included."""
    checked = load_params(params)
    print(f"{params}: valid; {len(checked.data)} data sets, {len(checked.runs)} runs")
    for name, run in checked.runs.items():
        what = f"{run.task.kind} with {run.model.name} on {run.dataset}"
        print(f"  {name}: {what}, {run.training.max_epochs} epochs")

"""`geograph validate`: check a parameter file before anything runs."""

from __future__ import annotations

import contextlib
import hashlib
import os
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from geograph.errors import BackendError, ConfigError
from pipelines.closure import REPOSITORY, digest
from pipelines.params import Params, Run, load_params
from pipelines.params_projections import Projection


def load_checked(path: Path) -> Params:
    """Read a parameter file and check all of it, the parameters of every model included.

    Raises
    ------
    ConfigError
        With the dotted path of every bad key and what was expected there.
    """
    params = load_params(path)
    check_models(path, params)
    return params


def load_known(path: Path) -> Params:
    """Read a parameter file as `load_checked`, but check models only once for the same parameters and code.

    All of the schema is checked each time. Building every model takes seconds, most of them for the import of
    PyTorch, which half of the stages do not need; the first stage that meets a file does it and leaves a mark
    in the folder `.dvc/tmp`.

    Raises
    ------
    ConfigError
        With the dotted path of every bad key and what was expected there.
    """
    params = load_params(path)
    mark = _mark(path)
    if not mark.exists():
        check_models(path, params)
        if mark.parents[2].is_dir():
            with contextlib.suppress(OSError):  # where it cannot be kept, the next stage checks again
                mark.parent.mkdir(parents=True, exist_ok=True)
                mark.touch()
    return params


def _mark(path: Path) -> Path:
    """File whose existence says that these parameters are valid for this code and this PyTorch."""
    files = [
        str(file.relative_to(REPOSITORY))
        for package in ("geograph", "pipelines")
        for file in (REPOSITORY / package).rglob("*.py")
    ]
    facts = (digest(files), version("torch"), path.read_text(encoding="utf-8"))
    root = Path(os.environ.get("DVC_ROOT", REPOSITORY))
    return root / ".dvc" / "tmp" / "valid" / hashlib.sha256("\n".join(facts).encode()).hexdigest()


def check_models(path: Path, params: Params) -> None:
    """Check the models of all runs, and the backend of the kernels where one is named.

    Raises
    ------
    ConfigError
        With the dotted path of the first bad key.
    """
    from geograph.kernels import selected

    try:
        if params.kernels.backend != "auto":
            selected(params.kernels.backend)
    except BackendError as error:
        raise ConfigError(f"{path}: kernels.backend: {error}") from error
    for name, run in params.runs.items():
        _check_model(f"{path}: runs.{name}.model", run, params.projections.get(run.dataset))


def _check_model(where: str, run: Run, projection: Projection | None) -> None:
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
        if ("harmonic" in spec.fields) != (projection is not None):
            kind = "functions on spheres" if "harmonic" in spec.fields else "graphs"
            raise ConfigError(f"{run.model.name} takes {kind}, and {run.dataset} holds others")
        filled = {"num_features": 6} if spec.output == "noise" else {}
        if projection is not None:
            filled = {"num_channels": 1, "bandlimit": projection.bandlimit_out, "num_outputs": 1}
        with torch.device("cpu" if projection is not None else "meta"):
            build_model(run.model.name, **filled, **run.model.params)
    except (ConfigError, TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from error


def validate(
    params: Annotated[Path, typer.Argument(help="Parameter file.")] = Path("params.yaml"),
) -> None:
    """Check every parameter of the pipeline, the models included."""
    checked = load_checked(params)
    print(
        f"{params}: valid; {len(checked.data)} data sets, {len(checked.projections)} projections, "
        f"{len(checked.runs)} runs"
    )
    for name, run in checked.runs.items():
        what = f"{run.task.kind} with {run.model.name} on {run.dataset}"
        print(f"  {name}: {what}, {run.training.max_epochs} epochs")

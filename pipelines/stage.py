"""What every stage shares: its command line, its MLflow run, its metrics file."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from geograph.errors import GeographError
from geograph.training.provenance import md5_of, run_tags
from geograph.training.tracking import Tracker, default_uri
from pipelines import USUAL_THRESHOLD
from pipelines.closure import REPOSITORY, closure, digest, model_choice, projection_choice, source_choice
from pipelines.params import Params, Run
from pipelines.validate import load_known

#: Stages that use this file compute with a backend of the kernels, and name it.
_KERNELS = "geograph/kernels/dispatch.py"


def main(run: Callable[[Params, str], None]) -> None:
    """Command line of a stage: `python -m pipelines.STAGE NAME [--params FILE]`."""

    def command(name: str, params: Path = Path("params.yaml")) -> None:
        """Run one item of the stage."""
        try:
            run(load_known(params), name)
        except GeographError as error:
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(1) from error
        except KeyError as error:
            if error.args != (name,):
                raise
            print(f"error: {params} has no entry {name!r} for this stage", file=sys.stderr)
            raise typer.Exit(1) from error

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    _settle()
    try:
        app()
    finally:
        # At its end the interpreter visits every object that is not frozen, for seconds. Triton must be
        # visited: else it prints all that it holds as leaked.
        (gc.unfreeze if "triton" in sys.modules else gc.freeze)()


def _settle() -> None:
    """Let the garbage collector pass over what the imports made, and work as usual on all that follows."""
    gc.freeze()
    gc.set_threshold(*USUAL_THRESHOLD)


def task_name(params: Params, run: Run) -> str:
    """Name of what is learned on which records; MLflow experiments and comparison tables are called so.

    Graphs and projections of one data set stand in one table.
    """
    return f"{params.records_of(run.dataset)}-{run.task.kind}"


def stage_files(stage: str, params: Params, name: str) -> list[str]:
    """Source files that one item of a stage uses."""
    if stage == "prepare":
        return closure("pipelines.prepare", source_choice(params.data[name].domain))
    if stage == "project":
        return closure("pipelines.project", projection_choice(params.projections[name].kind))
    if stage in ("train", "evaluate", "sample"):
        run = params.runs[name]
        return closure(f"pipelines.{stage}", model_choice(run.model.name, run.task.kind))
    if stage == "steer":
        runs = (params.runs[name], params.runs[params.steer[name].judge])
        choices = (model_choice(run.model.name, run.task.kind) for run in runs)
        return sorted({file for choice in choices for file in closure("pipelines.steer", choice)})
    return closure(f"pipelines.{stage}", ())


def code_digest(params: Params, name: str, stage: str = "train") -> str:
    """Return the sha256 of the source files of one item of a stage."""
    return digest(stage_files(stage, params, name))


def write_metrics(path: str | Path, metrics: Mapping[str, Any]) -> None:
    """Write metrics as flat JSON, which DVC compares."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


def tracking_uri(params: Params) -> str:
    """Address of the tracking server: params, environment, or the database in the root of the repository."""
    root = Path(os.environ.get("DVC_ROOT", REPOSITORY)).resolve()
    return params.tracking.uri or default_uri(root)


@contextlib.contextmanager
def stage(
    stage_name: str,
    name: str,
    params: Params,
    settings: Mapping[str, Any],
    experiment: str,
    *,
    data: Mapping[str, Any] | None = None,
    keep: Path | None = None,
) -> Iterator[Tracker]:
    """Open the MLflow run of one item of a stage.

    Parameters
    ----------
    stage_name, name
        Stage and item.
    params
        All parameters.
    settings
        Those of this item, which are logged flattened.
    experiment
        MLflow experiment.
    data
        Description of the input data with its sha256, logged as an input of the run.
    keep
        Folder where the id of the run is kept, so that an interrupted stage goes on in the same run.
    """
    marker = Path("metrics") / "runs" / f"{stage_name}-{name}.json"
    start = time.perf_counter()
    if not params.tracking.enabled:
        yield Tracker("")
        write_metrics(marker, _record("", experiment, start))
        return
    files = stage_files(stage_name, params, name)
    tags = run_tags(REPOSITORY) | {f"dep.{file}": md5_of(REPOSITORY / file) for file in files}
    tags |= {
        "geograph.stage": stage_name,
        "geograph.item": name,
        "data.sha256": str((data or {}).get("sha256", "")),
    }
    if _KERNELS in files:
        from geograph.kernels import selected

        tags["kernels"] = selected(params.kernels.backend)
    uri = tracking_uri(params)
    inputs = [(data["name"], data["sha256"], f"data/processed/{data['name']}")] if data else []
    with Tracker.start(
        uri,
        experiment,
        run_name=f"{stage_name}@{name}",
        tags=tags,
        params={"kernels": params.kernels.model_dump(), **settings},
        run_file=None if keep is None else keep / "mlflow_run.json",
        inputs=inputs,
    ) as tracker:
        yield tracker
        write_metrics(marker, _record(tracker.run_id, experiment, start))


def _record(run_id: str, experiment: str, start: float) -> dict[str, Any]:
    """Return what is kept of a stage beside its metrics: its MLflow run, and how long it took."""
    return {
        "run_id": run_id or None,
        "experiment": experiment,
        "wall_s": round(time.perf_counter() - start, 1),
    }

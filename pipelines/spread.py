"""Mean and spread of repeated runs: `python -m pipelines.spread FOLDER_OF_THE_EXPERIMENT`.

Runs that differ in nothing but seeds and the fold that is held out are repetitions of each other. For each
metric the mean over them is printed, the standard deviation (with n - 1), and the smallest and the largest
value.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from os.path import commonprefix
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from geograph.errors import ConfigError, GeographError
from pipelines.params import Params, load_params

#: What an evaluation measures besides how good a model is.
_COSTS = ("loss", "num_test", "num_train", "num_parameters", "peak_mb", "ms_per_item", "equivariance_error")


@dataclass(frozen=True)
class Spread:
    """One metric of repeated runs."""

    runs: tuple[str, ...]
    metric: str
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the runs."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """Standard deviation with n - 1; None for a single run."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


def _key(params: Params, name: str) -> str:
    """Everything that makes a run, but seeds and the fold that is held out."""
    run = params.runs[name]
    records = params.data[params.records_of(run.dataset)]
    projection = params.projections.get(run.dataset)
    varying = {"split": {"test_fold", "seed"}}
    parts = [run.model_dump_json(exclude={"dataset", "seed"}), records.model_dump_json(exclude=varying)]
    return "\n".join([*parts, projection.model_dump_json() if projection else "graphs"])


def collapse(names: Sequence[str]) -> str:
    """Return names that share their beginning and end as one: `fold0-a`, `fold1-a` as `fold*-a`."""
    first = commonprefix(list(names))
    rests = [name[len(first) :][::-1] for name in names]
    last = commonprefix(rests)[::-1]
    return names[0] if len(names) == 1 else f"{first}*{last}"


def read_spreads(folder: Path) -> list[Spread]:
    """Read the metrics of an experiment.

    Parameters
    ----------
    folder
        Holds `params.yaml` and `metrics/evaluate`.

    Returns
    -------
    list
        One entry for each metric of each set of repeated runs, in the order of the file. Runs without metrics
        are left out.

    Raises
    ------
    ConfigError
        If no run was evaluated.
    """
    params = load_params(folder / "params.yaml")
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in params.runs:
        path = folder / "metrics" / "evaluate" / f"{name}.json"
        if path.is_file():
            metrics = json.loads(path.read_text(encoding="utf-8"))
            found.setdefault(_key(params, name), {})[name] = metrics
    if not found:
        raise ConfigError(f"{folder}: no run there was evaluated; run its dvc.yaml first.")
    return [
        Spread(tuple(runs), metric, tuple(metrics[metric] for metrics in runs.values()))
        for runs in found.values()
        for metric in next(iter(runs.values()))
        if metric not in _COSTS and all(metric in metrics for metrics in runs.values())
    ]


def draw(spreads: Sequence[Spread]) -> Table:
    """Lay the spreads out."""
    table = Table()
    for column in ("runs", "number", "metric", "mean", "deviation", "smallest", "largest"):
        table.add_column(column, overflow="fold")
    for spread in spreads:
        deviation = "–" if spread.deviation is None else f"{spread.deviation:.4g}"
        numbers = (f"{value:.4g}" for value in (min(spread.values), max(spread.values)))
        table.add_row(
            collapse(spread.runs),
            str(len(spread.values)),
            spread.metric,
            f"{spread.mean:.4g}",
            deviation,
            *numbers,
        )
    return table


def main(folder: Annotated[Path, typer.Argument(help="Experiment that was run.")]) -> None:
    """Print mean and spread of runs that differ in seeds and test fold alone."""
    try:
        Console(width=None if sys.stdout.isatty() else 120).print(draw(read_spreads(folder)))
    except GeographError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    typer.run(main)

"""Time and memory of the models in every kernel backend, beside how others run them; sampling; the loader.

`python -m pipelines.bench` writes `metrics/bench.json`, a list of rows with the keys `bench_rows.KEYS`, and
`metrics/bench-machine.json`. `--quick` takes small batches, `--only` one case (with `--join`, the file keeps
its other cases: what the clock left out can be added so), and `--table` prints the last figures as Markdown.
Every subject runs in a process of its own and they take turns: see `bench_turns`. What stands beside the
backends is told in `bench_peers`, the fraction of the roofline in `bench_roofline`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from geograph.errors import ConfigError
from geograph.kernels import backends
from pipelines.bench_cases import CASES, Case
from pipelines.bench_machine import machine
from pipelines.bench_peers import PRODUCTS, REFERENCE, jobs_of, late_jobs_of
from pipelines.bench_process import Apart, Channel, Job
from pipelines.bench_rows import Row, complete, ratio, row_of
from pipelines.bench_sampling import SAMPLINGS, Sampling, sampling_jobs, sampling_rows
from pipelines.bench_scaling import SERIES, Series, bench_scaling
from pipelines.bench_sht import NAME as TRANSFORMS
from pipelines.bench_sht import bench_sht
from pipelines.bench_tables import markdown, print_tables
from pipelines.bench_turns import Deadline, Result, measure

#: Seconds after which nothing but the backends of the cases is started, and none gets more than it needs.
_TIME_S, _QUICK_TIME_S = 555.0, 60.0
#: Seconds that the rounds of one subject may take if they are more than the fewest.
_SHARE_S, _QUICK_SHARE_S = 4.0, 0.3
#: Seconds of one scaling series, and those that are left for the long cases and the late peers.
_SERIES_S, _LATE_S = 75.0, 150.0
#: Seconds of the spherical transforms.
_TRANSFORMS_S = 110.0
#: Seconds that peers must leave for each case that is still to come, and for the rest.
_RESERVE_S, _QUICK_RESERVE_S = 45.0, 3.0
_NUM_LOADED, _NUM_QUICK_LOADED, _LOADER_EPOCHS = 10_000, 500, 5


def case_rows(case: Case, results: dict[str, Result], device: str) -> list[Row]:
    """Compare the measurements of a case with each other.

    Parameters
    ----------
    case
        Model and batch.
    results
        Measurement of each subject; those that others are compared with may be missing.
    device
        `cpu` or `cuda`.
    """
    nothing = Result(next(iter(results.values())).job)
    first, floor, padded = (results.get(name, nothing) for name in (REFERENCE, PRODUCTS, "padded"))
    num_graphs = nothing.job.num_graphs
    return [
        row_of(
            case.name,
            name,
            device,
            forward_s=found.forward_s,
            step_s=found.step_s,
            peak_mb=found.peak_mb,
            speedup_forward=ratio(first.forward_s, found.forward_s),
            speedup_step=ratio(first.step_s, found.step_s),
            memory_ratio=ratio(found.peak_mb, first.peak_mb),
            roofline_fraction=ratio(floor.step_s, found.step_s),
            roofline_forward=ratio(floor.forward_s, found.forward_s),
            speedup_padded=ratio(padded.step_s, found.step_s),
            graphs_per_s=ratio(num_graphs, found.step_s),
            edges=case.num_edges(num_graphs),
            hidden=case.params.get("num_hidden"),
            batch=num_graphs,
            rounds=len(found.times),
            error=found.error,
        )
        for name, found in results.items()
    ]


@dataclass
class Bench:
    """One run of the benchmark.

    Attributes
    ----------
    device
        `cpu` or `cuda`.
    is_quick
        Take small batches, few rounds, fewer peers and less time.
    note
        Called with what is being done, and with `done=1` at the end of a part.
    open_channel
        Brings a subject to life.
    """

    device: str
    is_quick: bool
    note: Callable[..., None]
    open_channel: Callable[[Job], Channel] = Apart
    rows: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Look up the backends and start the clock."""
        self.names = [status.name for status in backends() if status.is_available]
        self.deadline = Deadline(_QUICK_TIME_S if self.is_quick else _TIME_S)
        self._results: dict[str, dict[str, Result]] = {}

    def _measure(self, jobs: list[Job]) -> dict[str, Result]:
        share_s = _QUICK_SHARE_S if self.is_quick else _SHARE_S
        return measure(
            jobs, share_s=share_s, deadline=self.deadline, open_channel=self.open_channel, note=self.note
        )

    def case(self, case: Case, reserve_s: float = 0.0) -> None:
        """Measure a case in all backends and beside the peers that take turns with them.

        Parameters
        ----------
        case
            Model and batch.
        reserve_s
            Seconds that must be left for a peer to be started.
        """
        jobs = jobs_of(case, self.names, self.device, quick=self.is_quick, reserve_s=reserve_s)
        self._results[case.name] = self._measure(jobs)
        self.rows += case_rows(case, self._results[case.name], self.device)
        self.note(case.name, done=1)

    def late(self, case: Case) -> None:
        """Measure the peers of a case that are slow to start, against a reference measured beside them."""
        limit_s = max(self.deadline.left(), 1.0)
        found = self._measure(late_jobs_of(case, self.device, quick=self.is_quick, limit_s=limit_s))
        for row in case_rows(case, self._results[case.name] | found, self.device) if found else []:
            if row["backend"] in found and row["backend"] != REFERENCE:
                place = max(n for n, other in enumerate(self.rows) if other["case"] == case.name)
                self.rows.insert(place + 1, row)
        self.note(f"{case.name}, late peers", done=1)

    def sampling(self, sampling: Sampling) -> None:
        """Measure how many molecules are generated in a second."""
        results = self._measure(sampling_jobs(sampling, self.names, self.device, quick=self.is_quick))
        self.rows += sampling_rows(sampling, results, self.device)
        self.note(sampling.name, done=1)

    def series(self, series: Series) -> None:
        """Measure how the backends scale."""
        late_s = 0.0 if self.is_quick else _LATE_S
        self.rows += bench_scaling(
            series,
            self.names,
            self.device,
            quick=self.is_quick,
            deadline=Deadline(min(max(self.deadline.left() - late_s, 0.0), _SERIES_S)),
            open_channel=self.open_channel,
            note=self.note,
        )
        self.note(series.name, done=1)

    def transforms(self) -> None:
        """Measure how the spherical transforms scale."""
        self.rows += bench_sht(
            self.device,
            quick=self.is_quick,
            deadline=Deadline(_QUICK_TIME_S if self.is_quick else _TRANSFORMS_S),
            open_channel=self.open_channel,
            note=self.note,
        )
        self.note(TRANSFORMS, done=1)

    def loader(self) -> None:
        """Time the loader beside PyTorch Geometric's."""
        from pipelines.bench_loader import bench_loader

        self.note("loader")
        count = _NUM_QUICK_LOADED if self.is_quick else _NUM_LOADED
        self.rows += [complete(row) for row in bench_loader(count, _LOADER_EPOCHS)]
        self.note("loader", done=1)


def chosen(only: str | None) -> tuple[list[Case], list[Sampling], list[Series]]:
    """Return cases, samplings and series whose name contains a text; all of them without one.

    Raises
    ------
    ConfigError
        If there is none.
    """
    text = (only or "").lower()
    cases = [case for case in CASES if text in case.name.lower()]
    samplings = [row for row in SAMPLINGS if text in row.name]
    series = [row for row in SERIES if text in row.name]
    if not cases and not samplings and not series and text not in "loader" and text not in TRANSFORMS:
        known = ", ".join([*(row.name for row in (*CASES, *SAMPLINGS, *SERIES)), "loader", TRANSFORMS])
        raise ConfigError(f"`--only` must be part of one of {known}, got {only!r}.")
    return cases, samplings, series


def run(bench: Bench, only: str | None) -> None:
    """Run what was chosen."""
    cases, samplings, series = chosen(only)
    reserve_s = _QUICK_RESERVE_S if bench.is_quick else _RESERVE_S
    # What is quick comes first, what takes minutes (`is_long`) or is slow to start last: the clock then takes
    # the least.
    if (only or "").lower() in "loader":
        bench.loader()
    short = [case for case in cases if not case.is_long]
    for number, case in enumerate(short):
        bench.case(case, reserve_s * (len(cases) - number - 1 + len(samplings) + len(series)))
    for sampling in samplings:
        bench.sampling(sampling)
    for line in series:
        bench.series(line)
    if (only or "").lower() in TRANSFORMS:
        bench.transforms()
    for case in (case for case in cases if case.is_long):
        bench.case(case)
    for case in sorted(cases, key=lambda case: case.model != "egnn"):
        bench.late(case)


def machine_file(out: Path) -> Path:
    """Return the path of the facts about the machine that belong to a file of rows."""
    return out.with_name(f"{out.stem}-machine.json")


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Small batches, about a minute.")] = False,
    only: Annotated[str | None, typer.Option(help="Run what has this text in its name.")] = None,
    table: Annotated[
        bool, typer.Option("--table", help="Measure nothing, print the file as Markdown.")
    ] = False,
    join: Annotated[
        bool, typer.Option("--join", help="Keep the rows of cases in the file that are not measured now.")
    ] = False,
    out: Annotated[Path, typer.Option(help="JSON file to write (or to read).")] = Path("metrics/bench.json"),
) -> None:
    """Time the models and kernels on this machine."""
    if table:
        rows, facts = (json.loads(path.read_text(encoding="utf-8")) for path in (out, machine_file(out)))
        print(markdown([complete(row) for row in rows], facts), end="")
        return
    # Threads that wait shall sleep: the subjects wait for their turns.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    cases, samplings, series = chosen(only)
    bars = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*bars, console=Console(stderr=True)) as progress:
        bar = progress.add_task("machine", total=2 * len(cases) + len(samplings) + len(series) + 3)

        def note(text: str, done: int = 0) -> None:
            progress.update(bar, description=text, advance=done)

        facts = machine(device)
        note("machine", done=1)
        bench = Bench(device, quick, note)
        run(bench, only)
    if join and out.is_file():
        bench.rows = joined(json.loads(out.read_text(encoding="utf-8")), bench.rows)
    write(out, bench.rows, facts)
    print_tables(bench.rows, facts, Console(width=None if sys.stdout.isatty() else 180))
    print(f"written to {out} and {machine_file(out)}")


def joined(old: list[Row], new: list[Row]) -> list[Row]:
    """Take each case whole from one run, the new one if it is there: its rows stand beside each other."""
    measured = {row["case"] for row in new}
    rows = [complete(row) for row in old if row["case"] not in measured] + new
    places = {case: place for place, case in enumerate(dict.fromkeys(row["case"] for row in old + new))}
    return sorted(rows, key=lambda row: places[row["case"]])


def write(out: Path, rows: list[Row], facts: dict[str, Any]) -> None:
    """Write facts and rows: models, sampling, scaling, transforms, loader."""
    kinds = ("loader", "sht", "scaling", "sampling")
    rows.sort(key=lambda row: tuple(row["case"].startswith(kind) for kind in kinds))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    machine_file(out).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)

"""Time and memory of the models in every kernel backend, and the speed of the loader.

`python -m pipelines.bench` (`--quick` for small batches) writes `metrics/bench.json`, a list of rows with the
keys `KEYS`. Speed-ups and the memory ratio are against the backend `reference` of the same case (for the
loader: against PyTorch Geometric); a memory ratio below 1 is a saving. `roofline_fraction` is not measured
yet and therefore null.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from geograph.datasets.loader import GraphLoader, complete_graph_edges
from geograph.datasets.store import write_store
from geograph.fields import FIELDS
from geograph.kernels import backends
from pipelines.bench_cases import CASES, Case, molecule_sizes, peak_of_step, time_case

KEYS = (
    "case", "backend", "device", "forward_s", "step_s", "peak_mb", "speedup_forward", "speedup_step",
    "memory_ratio", "roofline_fraction", "graphs_per_s",
)  # fmt: skip
_BUDGET_S, _QUICK_BUDGET_S = 40.0, 3.0
_NUM_LOADED, _NUM_QUICK_LOADED, _LOADER_BATCH, _LOADER_EPOCHS = 5000, 500, 64, 5

Row = dict[str, Any]


def row_of(case: str, backend: str, device: str, **figures: float | None) -> Row:
    """Make a row; what was not measured is None."""
    row = {"case": case, "backend": backend, "device": device, **figures}
    return {key: row.get(key) for key in KEYS}


def bench_case(
    case: Case,
    names: list[str],
    *,
    quick: bool,
    device: str,
    peak: Callable[..., float] = peak_of_step,
    note: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """Measure one case in all backends.

    Parameters
    ----------
    case
        Model and batch.
    names
        Backends; the first one is what the others are compared with.
    quick
        Take the small batch and little time.
    device
        `cpu` or `cuda`.
    peak
        Measures the memory of one training step, with the arguments of `peak_of_step`.
    note
        Called with what is being done.
    """
    num_graphs = case.num_quick if quick else case.num_graphs
    memory = {}
    for name in names:
        note(f"{case.name}: memory, {name}")
        memory[name] = peak(case, name, num_graphs, device)
    budget = _QUICK_BUDGET_S if quick else _BUDGET_S
    timed = time_case(
        case, names, num_graphs, device, budget, lambda done: note(f"{case.name}: time, round {done}")
    )
    forward, step, held = *timed[names[0]], memory[names[0]]
    return [
        row_of(
            case.name,
            name,
            device,
            forward_s=timed[name][0],
            step_s=timed[name][1],
            peak_mb=memory[name],
            speedup_forward=forward / timed[name][0],
            speedup_step=step / timed[name][1],
            memory_ratio=memory[name] / held if held else None,
            graphs_per_s=num_graphs / timed[name][1],
        )
        for name in names
    ]


def fresh_process(function: Callable[..., float]) -> Callable[..., float]:
    """Let a function run in a process of its own, forked from one that has only imported the libraries."""
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    context.set_forkserver_preload(["pipelines.bench_cases"])

    def call(*arguments: Any) -> float:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(function, *arguments).result()

    return call


# The loader -------------------------------------------------------------------------------------------------


def random_molecules(count: int) -> list[dict[str, np.ndarray]]:
    """Molecules as the stage featurize would store them."""
    rng = np.random.default_rng(0)
    return [
        {
            "z": rng.choice([1, 6, 7, 8, 9], size),
            "pos": rng.standard_normal((size, 3)).astype(np.float32),
        }
        for size in molecule_sizes(count, rng)
    ]


def _seconds(loader: Iterable[Data], epoch: int) -> float:
    if isinstance(loader, GraphLoader):
        loader.set_epoch(epoch)
    start = time.perf_counter()
    for _ in loader:
        pass
    return time.perf_counter() - start


def bench_loader(count: int, epochs: int = _LOADER_EPOCHS) -> list[Row]:
    """Graphs per second of `GraphLoader` and of PyTorch Geometric's loader, on the same shuffled molecules.

    PyTorch Geometric gets a list of objects in memory whose edges are made beforehand; ours reads a
    memory-mapped store and makes the edges of every batch. The two take turns.
    """
    molecules = random_molecules(count)
    listed = []
    for molecule in molecules:
        edges, _ = complete_graph_edges(np.array([len(molecule["z"])]))
        tensors = {name: torch.from_numpy(values) for name, values in molecule.items()}
        listed.append(Data(edge_index=torch.from_numpy(edges), **tensors))
    with tempfile.TemporaryDirectory() as folder:
        store = write_store(
            Path(folder) / "store",
            molecules,
            {name: FIELDS[name] for name in ("z", "pos")},
            {"edges": "complete"},
        )
        loaders: dict[str, Iterable[Data]] = {
            "torch_geometric": DataLoader(listed, batch_size=_LOADER_BATCH, shuffle=True),
            "geograph": GraphLoader(store, range(count), batch_size=_LOADER_BATCH, shuffle=True),
        }
        times: dict[str, list[float]] = {name: [] for name in loaders}
        for epoch in range(epochs):
            for name, loader in loaders.items():
                times[name].append(_seconds(loader, epoch))
        del store, loaders
    median = {name: statistics.median(values) for name, values in times.items()}
    return [
        row_of(
            "loader",
            name,
            "cpu",
            forward_s=seconds / -(-count // _LOADER_BATCH),
            speedup_forward=median["torch_geometric"] / seconds,
            graphs_per_s=count / seconds,
        )
        for name, seconds in median.items()
    ]


# Command line -----------------------------------------------------------------------------------------------


_COLUMNS = {
    "forward_s": ("forward ms", 1000.0),
    "step_s": ("step ms", 1000.0),
    "peak_mb": ("peak MB", 1.0),
    "speedup_forward": ("speed-up forward", 1.0),
    "speedup_step": ("speed-up step", 1.0),
    "memory_ratio": ("memory ratio", 1.0),
    "graphs_per_s": ("graphs/s", 1.0),
}


def table_of(rows: list[Row]) -> Table:
    """Lay the rows out for the terminal."""
    table = Table("case", "backend", "device", title="time and memory", title_justify="left")
    for head, _ in _COLUMNS.values():
        table.add_column(head, justify="right")
    for row in rows:
        cells = [_short(row[key], factor) for key, (_, factor) in _COLUMNS.items()]
        table.add_row(row["case"], row["backend"], row["device"], *cells)
    return table


def _short(value: float | None, factor: float) -> str:
    if value is None:
        return "–"
    return f"{factor * value:,.0f}" if factor * value >= 100 else f"{factor * value:.3g}"


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Small batches, under a minute.")] = False,
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = Path("metrics/bench.json"),
) -> None:
    """Time the models and kernels on this machine."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    names = [status.name for status in backends() if status.is_available]
    rows: list[Row] = []
    bars = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*bars, console=Console(stderr=True)) as progress:
        bar = progress.add_task("start", total=len(CASES) + 1)
        peak = fresh_process(peak_of_step)
        for case in CASES:
            rows += bench_case(
                case,
                names,
                quick=quick,
                device=device,
                peak=peak,
                note=lambda text: progress.update(bar, description=text),
            )
            progress.advance(bar)
        progress.update(bar, description="loader")
        rows += bench_loader(_NUM_QUICK_LOADED if quick else _NUM_LOADED)
        progress.advance(bar)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table_of(rows))
    console.print(f"{torch.get_num_threads()} threads; fraction of the roofline: not measured yet (null)")
    console.print(f"written to {out}")


if __name__ == "__main__":
    typer.run(main)

"""What scattering costs: seconds and memory for one map, against band-limit and oversampling.

    OMP_NUM_THREADS=2 python -m pipelines.bench_scattering

Every case runs in turn, several times over, so that a busy moment of the machine falls on all; the table has
the median wall-clock and processor times. Memory is the peak of the whole process during the case.
"""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from geograph.sphere.scattering import scatter
from geograph.sphere.scattering_plan import ScatteringPlan
from pipelines.bench_rows import fit_exponent
from pipelines.cost import peak_memory_mb, reset_peak_memory
from pipelines.stage import write_metrics

#: J0 at L = 1024, as published; the outputs of other band-limits have the same share of the degrees.
_DEGREES_PER_OUTPUT = 32


@dataclass(frozen=True)
class Case:
    """One map: its band-limit, and how its moduli are sampled."""

    bandlimit: int
    oversampling: float
    dtype: torch.dtype

    @property
    def plan(self) -> ScatteringPlan:
        """Dyadic, depth 2; L = 1024 has J0 = 5 and 22 paths."""
        smallest = max(0, (self.bandlimit // _DEGREES_PER_OUTPUT).bit_length() - 1)
        return ScatteringPlan(self.bandlimit, smallest, oversampling=self.oversampling)


def measure(cases: list[Case], rounds: int) -> list[dict[str, Any]]:
    """Time every case in turn.

    Parameters
    ----------
    cases
        What to run.
    rounds
        Timed runs of each, after one that fills the caches.
    """
    maps = [
        torch.randn(case.bandlimit**2, dtype=case.dtype, generator=torch.Generator().manual_seed(0))
        for case in cases
    ]
    memory = []
    for case, harmonic in zip(cases, maps, strict=True):
        scatter(case.plan, harmonic)
        reset_peak_memory()
        scatter(case.plan, harmonic)
        memory.append(peak_memory_mb())
    wall: list[list[float]] = [[] for _ in cases]
    processor: list[list[float]] = [[] for _ in cases]
    for _ in range(rounds):
        for index, (case, harmonic) in enumerate(zip(cases, maps, strict=True)):
            start, start_processor = time.perf_counter(), time.process_time()
            scatter(case.plan, harmonic)
            wall[index].append(time.perf_counter() - start)
            processor[index].append(time.process_time() - start_processor)
    return [
        {
            "bandlimit": case.bandlimit,
            "oversampling": case.oversampling,
            "dtype": str(case.dtype).removeprefix("torch."),
            "paths": len(case.plan.list_paths()),
            "wall_s": statistics.median(wall[index]),
            "fastest_s": min(wall[index]),
            "processor_s": statistics.median(processor[index]),
            "peak_mb": memory[index],
        }
        for index, case in enumerate(cases)
    ]


def main(
    bandlimits: Annotated[str, typer.Option(help="With commas between.")] = "128,256,512,1024",
    oversamplings: Annotated[str, typer.Option(help="With commas between.")] = "1,2",
    rounds: Annotated[int, typer.Option(help="Timed runs of each case.")] = 5,
    threads: Annotated[int, typer.Option(help="Threads; 0 for all processors.")] = 0,
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = Path("metrics/bench_scattering.json"),
) -> None:
    """Measure, print and write the table."""
    threads = threads or os.cpu_count() or 1
    torch.set_num_threads(threads)
    sizes = [int(size) for size in bandlimits.split(",")]
    factors = [float(factor) for factor in oversamplings.split(",")]
    dtypes = (torch.float32, torch.float64)
    cases = [Case(size, factor, dtype) for dtype in dtypes for factor in factors for size in sizes]
    rows = measure(cases, rounds)
    table = Table(title=f"scattering of one map, {threads} threads, medians of {rounds} runs")
    for column in rows[0]:
        table.add_column(column)
    for row in rows:
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()))
    console = Console(width=110)
    console.print(table)
    for start in range(0, len(rows), len(sizes)):
        series = rows[start : start + len(sizes)]
        exponent = fit_exponent(sizes, [row["processor_s"] for row in series])
        if exponent is not None:
            name = f"{series[0]['dtype']}, oversampling {series[0]['oversampling']:g}"
            console.print(f"{name}: processor time grows as L^{exponent:.2f}")
    write_metrics(out, {"threads": threads, "rows": rows})


if __name__ == "__main__":
    typer.run(main)

"""Quality of generated molecules against the number of sampling steps, for several samplers."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from geograph.diffusion.molecules import Samples
from geograph.diffusion.samplers import build_sampler
from geograph.diffusion.time_grids import time_grid
from geograph.interop.molecule_metrics import evaluate_molecules
from geograph.tasks.generation import GenerationTask
from pipelines.figures_molecules import QUALITIES
from pipelines.params import Quality

#: Columns of the table, in this order.
COLUMNS = (
    "sampler", "num_steps", "num_molecules", "num_failed",
    *(name for key in QUALITIES for name in (key, f"{key}_low", f"{key}_high")),
    "seconds", "molecules_per_s",
)  # fmt: skip


def quality_rows(
    task: GenerationTask,
    settings: Quality,
    *,
    seed: int,
    progress: Callable[[str, int, int], None] | None = None,
    **options: Any,
) -> Iterator[dict[str, Any]]:
    """Yield one row for each sampler and number of steps: quality with its 95 % interval, and speed.

    Every cell of the table has molecules of the same seeds and sizes, so that only the sampling differs.
    Molecules that did not stay finite count as unstable and not valid.

    Parameters
    ----------
    task
        Trained generator.
    settings
        Samplers, steps and number of molecules.
    seed
        Seed of every set.
    progress
        Called with what is sampled, the evaluations done and their total.
    **options
        For `GenerationTask.sample`, without sampler and steps.

    Raises
    ------
    ConfigError
        If a sampler is unknown or a number of steps is out of range, before anything is sampled.
    """
    cells = [(sampler, steps) for sampler in settings.samplers for steps in settings.steps]
    for sampler, steps in cells:
        build_sampler(sampler)
        time_grid(task.process.num_steps, steps)
    for sampler, steps in cells:
        tick = None if progress is None else _named(progress, f"{sampler}, {steps} steps")
        start = time.perf_counter()
        samples = task.sample(
            settings.num_molecules, seed, sampler=sampler, num_steps=steps, progress=tick, **options
        )
        seconds = time.perf_counter() - start
        yield {
            "sampler": sampler,
            "num_steps": steps,
            "num_molecules": settings.num_molecules,
            "num_failed": len(samples.failures),
            **_figures(samples),
            "seconds": seconds,
            "molecules_per_s": settings.num_molecules / seconds,
        }


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows as CSV; the folder is made if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def _named(progress: Callable[[str, int, int], None], name: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(name, done, total)


def _figures(samples: Samples) -> dict[str, float]:
    """Fractions with their intervals, all scaled by what was not lost on the way."""
    found = dict.fromkeys((name for name in COLUMNS if name.startswith(tuple(QUALITIES))), 0.0)
    if not samples.molecules:
        return found
    report = evaluate_molecules(samples.molecules)
    num_lost_atoms = sum(failure.size for failure in samples.failures)
    kept = dict.fromkeys(QUALITIES, report.num_molecules / (report.num_molecules + len(samples.failures)))
    kept["atom_stability"] = report.num_atoms / (report.num_atoms + num_lost_atoms)
    for key in QUALITIES:
        values = (getattr(report, key), *report.intervals[key])
        found |= {f"{key}{end}": kept[key] * v for end, v in zip(("", "_low", "_high"), values, strict=True)}
    return found

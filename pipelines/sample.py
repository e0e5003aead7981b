"""Stage sample: molecules from a trained diffusion model, what they are worth, and how they look.

Reads `models/RUN.pt` and the training molecules (to compare with only), writes `metrics/sample/RUN.json` and
into `samples/RUN`: the molecules as `molecules.sdf` and `.extxyz`, one row for each as `molecules.csv` and
`.parquet`, all figures as `report.json`, `page.html` to look at them, `grid.png`, `distributions.png`. Where
quality against steps is asked for: `plots/quality/RUN.csv` and `samples/RUN/quality.png`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from geograph.datasets.records import read_records
from geograph.datasets.splits import read_split
from geograph.datasets.store import Store
from geograph.diffusion.molecules import Samples
from geograph.interop.molecule_metrics import evaluate_molecules, smiles_of
from geograph.interop.molecule_page import write_page
from geograph.interop.molecule_page_summary import outcome_of
from geograph.interop.molecule_report import FRACTIONS, MoleculeReport
from geograph.interop.molecule_writers import write_molecules
from geograph.kernels import use_backend
from geograph.records import Molecule
from geograph.tasks.generation import GenerationTask
from geograph.training.checkpoint import load_checkpoint
from geograph.training.tracking import Tracker
from pipelines.figures import save_figure
from pipelines.figures3d import molecule_grid
from pipelines.figures_molecules import distribution_plots, quality_plot
from pipelines.params import Params, Sampling
from pipelines.quality import COLUMNS, quality_rows, write_rows
from pipelines.stage import main, stage, task_name, write_metrics

_NUM_DRAWN = 16
#: More molecules than these are in the files and figures, but not on the page.
_MAX_ON_PAGE = 1000
_NUM_FRAMES = 20


def training_molecules(dataset: str) -> list[Molecule]:
    """Molecules of the train part of a data set."""
    folder = Path("data/raw") / dataset
    split = read_split(folder.with_name(f"{dataset}-split.json"), len(Store(folder)))
    chosen = set(split.train.tolist())
    records = enumerate(read_records(folder))
    return [cast(Molecule, record) for index, record in records if index in chosen]


class Bars:
    """Progress bars, one for each thing that is sampled, with molecules per second."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}

    def __call__(self, name: str, done: int, total: int) -> None:
        """Move the bar of `name`."""
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(name, total=total)
        self._progress.update(self._bars[name], completed=done, total=total)


def draw(task: GenerationTask, settings: Sampling, bars: Bars) -> tuple[Samples, float]:
    """Sample what is asked for, with frames of every chain, and return the seconds that it took."""
    num_steps = settings.num_steps or task.process.num_steps
    start = time.perf_counter()
    samples = task.sample(
        settings.num_molecules,
        settings.seed,
        targets=settings.targets,
        guidance=settings.guidance,
        sampler=settings.sampler,
        eta=settings.eta,
        batch_size=settings.batch_size,
        num_steps=settings.num_steps,
        frame_every=max(1, num_steps // _NUM_FRAMES) if settings.num_chains else None,
        progress=lambda done, total: bars(f"sampling {settings.num_molecules} molecules", done, total),
    )
    return samples, time.perf_counter() - start


def judge(molecules: list[Molecule], reference: list[Molecule], params: Params, name: str) -> MoleculeReport:
    """Judge samples against training molecules; novelty is against all, the rest against a part of them."""
    settings, num_workers = params.sample[name], params.parallel.num_workers
    part = reference
    if len(reference) > settings.num_reference:
        chosen = np.random.default_rng(0).choice(len(reference), settings.num_reference, replace=False)
        part = [reference[index] for index in np.sort(chosen).tolist()]
    return evaluate_molecules(
        molecules,
        reference=part,
        reference_smiles=smiles_of(reference, num_workers=num_workers),
        num_workers=num_workers,
        num_posebusters=settings.num_posebusters,
        num_strain=settings.num_strain,
    )


def flat_metrics(report: MoleculeReport) -> dict[str, float]:
    """Figures of a report as one level of numbers: intervals, ceiling and distances beside them."""
    found = {key: value for key, value in report.to_json().items() if isinstance(value, int | float)}
    for key, (low, high) in report.intervals.items():
        found |= {f"{key}_low": low, f"{key}_high": high}
    ceiling = {key: getattr(report.reference, key, None) for key in FRACTIONS}
    found |= {f"train_{key}": value for key, value in ceiling.items() if value is not None}
    return found | report.distances()


def write_samples(
    folder: Path, samples: Samples, report: MoleculeReport, *, title: str, num_chains: int
) -> None:
    """Write molecules, tables, page and figures."""
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in ("sdf", "extxyz"):
        write_molecules(folder / f"molecules.{suffix}", samples.molecules)
    for suffix in ("csv", "parquet"):
        report.write_table(folder / f"molecules.{suffix}")
    (folder / "report.json").write_text(json.dumps(report.to_json(), indent=1) + "\n", encoding="utf-8")
    shown = samples.molecules[:_MAX_ON_PAGE]
    chains = [chain if index < num_chains else [] for index, chain in enumerate(samples.frames[: len(shown)])]
    write_page(
        folder / "page.html",
        shown,
        report=replace(report, rows=report.rows[: len(shown)]),
        frames=chains or None,
        title=title,
    )
    outcomes = [outcome_of(row) for row in report.rows[:_NUM_DRAWN]]
    save_figure(molecule_grid(samples.molecules[:_NUM_DRAWN], outcomes=outcomes), folder / "grid.png")
    if report.distributions:
        save_figure(distribution_plots(report.distributions), folder / "distributions.png")


def measure_quality(
    task: GenerationTask,
    settings: Sampling,
    name: str,
    *,
    ceiling: Mapping[str, Any],
    bars: Bars,
    tracker: Tracker,
) -> None:
    """Write quality against steps as table and figure, and log it with the steps as the axis."""
    if settings.quality is None:
        return
    options = {"targets": settings.targets, "guidance": settings.guidance, "batch_size": settings.batch_size}
    rows = list(quality_rows(task, settings.quality, seed=settings.seed, progress=bars, **options))
    table = Path("plots/quality") / f"{name}.csv"
    write_rows(table, rows)
    tracker.log_artifact(table)
    save_figure(quality_plot(rows, ceiling=ceiling), Path("samples") / name / "quality.png")
    for row in rows:
        sampler = str(row["sampler"]).replace("+", "p")  # a name in MLflow has no plus
        keys = [key for key in COLUMNS[2:] if isinstance(row[key], int | float)]
        tracker.log_metrics({f"quality/{sampler}/{key}": row[key] for key in keys}, step=row["num_steps"])


def run(params: Params, name: str) -> None:
    """Sample from run `name`."""
    chosen, settings = params.runs[name], params.sample[name]
    folder = Path("samples") / name
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with (
        stage("sample", name, params, settings.model_dump(), task_name(params, chosen)) as tracker,
        use_backend(params.kernels.backend),
        Progress(*columns) as progress,
    ):
        task = cast(GenerationTask, load_checkpoint(f"models/{name}.pt", expected_kind="generation").task)
        bars = Bars(progress)
        samples, seconds = draw(task, settings, bars)
        report = judge(samples.molecules, training_molecules(chosen.dataset), params, name)
        metrics = flat_metrics(report) | {
            "num_failed": len(samples.failures),
            "ms_per_item": 1000 * seconds / settings.num_molecules,
        }
        write_metrics(f"metrics/sample/{name}.json", metrics)
        steps = settings.num_steps or task.process.num_steps
        title = f"{name}: {settings.num_molecules} molecules, {settings.sampler}, {steps} steps"
        write_samples(folder, samples, report, title=title, num_chains=settings.num_chains)
        ceiling = vars(report.reference or report)
        measure_quality(task, settings, name, ceiling=ceiling, bars=bars, tracker=tracker)
        tracker.log_metrics(metrics)
        tracker.log_artifact(folder)
        for key, value in metrics.items():
            print(f"{name}: {key} = {value:.6g}")


if __name__ == "__main__":
    main(run)

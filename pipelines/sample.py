"""Stage sample: molecules from a trained diffusion model, and what they are worth.

Reads `models/RUN.pt` and the SMILES of the training molecules (for novelty only), writes
`samples/RUN/molecules.sdf`, `.extxyz`, `molecules.csv`, `grid.png` and `metrics/sample/RUN.json`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import cast

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from geograph.datasets.records import read_records
from geograph.datasets.splits import read_split
from geograph.datasets.store import Store
from geograph.interop.molecule_files import write_molecules
from geograph.interop.molecule_metrics import evaluate_molecules, smiles_of
from geograph.kernels import use_backend
from geograph.records import Molecule
from geograph.tasks.generation import GenerationTask
from geograph.training.checkpoint import load_checkpoint
from pipelines.figures import save_figure
from pipelines.figures3d import molecule_grid
from pipelines.params import Params
from pipelines.stage import main, stage, task_name, write_metrics

_NUM_DRAWN = 16


def training_molecules(dataset: str) -> list[Molecule]:
    """Molecules of the train part of a data set."""
    folder = Path("data/raw") / dataset
    split = read_split(folder.with_name(f"{dataset}-split.json"), len(Store(folder)))
    chosen = set(split.train.tolist())
    records = enumerate(read_records(folder))
    return [cast(Molecule, record) for index, record in records if index in chosen]


def run(params: Params, name: str) -> None:
    """Sample from run `name`."""
    chosen, settings = params.runs[name], params.sample[name]
    folder = Path("samples") / name
    folder.mkdir(parents=True, exist_ok=True)
    with (
        stage("sample", name, params, settings.model_dump(), task_name(chosen)) as tracker,
        use_backend(params.kernels.backend),
    ):
        task = cast(GenerationTask, load_checkpoint(f"models/{name}.pt", expected_kind="generation").task)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        start = time.perf_counter()
        with Progress(*columns) as progress:
            bar = progress.add_task(f"sampling {settings.num_molecules} molecules", total=None)
            samples = task.sample(
                settings.num_molecules,
                settings.seed,
                batch_size=settings.batch_size,
                num_steps=settings.num_steps,
                progress=lambda done, total: progress.update(bar, completed=done, total=total),
            )
        seconds = time.perf_counter() - start
        reference = training_molecules(chosen.dataset)
        report = evaluate_molecules(samples.molecules, reference_smiles=smiles_of(reference))
        ceiling = evaluate_molecules(reference)
        metrics = {key: value for key, value in report.to_json().items() if isinstance(value, int | float)}
        stable = ("atom_stability", "molecule_stability")
        metrics |= {f"train_{key}": getattr(ceiling, key) for key in stable}
        metrics |= {
            "num_failed": len(samples.failures),
            "ms_per_item": 1000 * seconds / settings.num_molecules,
        }
        write_metrics(f"metrics/sample/{name}.json", metrics)
        for suffix in ("sdf", "extxyz"):
            write_molecules(folder / f"molecules.{suffix}", samples.molecules)
        report.write_table(folder / "molecules.csv")
        save_figure(molecule_grid(samples.molecules[:_NUM_DRAWN]), folder / "grid.png")
        tracker.log_metrics(metrics)
        tracker.log_artifact(folder)
        for key, value in metrics.items():
            print(f"{name}: {key} = {value:.6g}")


if __name__ == "__main__":
    main(run)

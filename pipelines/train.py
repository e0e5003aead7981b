"""Stage train: fit one run.

Reads `data/processed/DATASET`, writes `models/RUN.pt` (self-contained checkpoint), `models/RUN-state/` (to
resume), `metrics/train/RUN.json` and `plots/history/RUN.csv`.
"""

from __future__ import annotations

import csv
import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import lightning
import torch

from geograph.datasets.loader import GraphLoader
from geograph.kernels import use_backend
from geograph.tasks import Task, build_task
from geograph.training.checkpoint import load_checkpoint
from geograph.training.fit import FitResult, fit
from geograph.training.loaders import Prefetch
from geograph.training.tracking import CHECKPOINT_FOLDER
from pipelines.cost import num_parameters, peak_memory_mb, reset_peak_memory
from pipelines.datasets import GraphData, model_params, open_data, train_statistics
from pipelines.params import Params, Run
from pipelines.stage import code_digest, main, stage, task_name, write_metrics


def make_task(run: Run, data: GraphData, num_steps: int) -> Task:
    """Build the task of a run with seeded initial weights; `num_steps` is the length of the schedule."""
    optimizer = run.optimizer.model_dump()
    optimizer["warmup_steps"] = int(optimizer.pop("warmup_fraction") * num_steps)
    lightning.seed_everything(run.seed, verbose=False)
    task = build_task(
        run.task.kind,
        model=run.model.name,
        model_params=model_params(run, data),
        optimizer=optimizer,
        statistics=train_statistics(run, data),
        **run.task.options,
    )
    if run.rotations is not None and run.rotations.train != "none":
        from geograph.tasks.rotations import RandomRotations

        task.augmentation = RandomRotations(run.rotations.train, run.rotations.copies, seed=run.seed)
    return task


def state_folder(name: str, identity: dict[str, Any]) -> Path:
    """Folder of the resumable state; one of another configuration, or a finished one, is cleared.

    A run that was cut off goes on. A finished one is only called again when something that it depends on has
    changed (or by force), and then starts anew.
    """
    folder = Path("models") / f"{name}-state"
    marker = folder / "identity.json"
    text = json.dumps(identity, indent=2, sort_keys=True, default=str)
    if folder.exists() and (not marker.is_file() or marker.read_text(encoding="utf-8") != text):
        print(f"{name}: the kept state is finished or of another configuration, code or data; starting anew")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    marker.write_text(text, encoding="utf-8")
    return folder


def make_loaders(run: Run, data: GraphData) -> tuple[GraphLoader | Prefetch, GraphLoader]:
    """Loaders of the train and validation parts."""
    training = run.training
    train_loader = data.loader(
        "train",
        training.batch_size,
        shuffle=True,
        seed=run.seed,
        max_edges=training.max_edges,
        balance_edges=training.balance_edges,
    )
    val_loader = data.loader("val", training.batch_size, max_edges=training.max_edges)
    on_gpu = torch.cuda.is_available()
    # On a CPU a batch takes well under 2 % of a step, and the thread would compete with the model.
    depth = training.prefetch if training.prefetch is not None else 2 * on_gpu
    if depth == 0:
        return train_loader, val_loader
    return Prefetch(train_loader, depth=depth, device="cuda" if on_gpu else None), val_loader


def train(run: Run, data: GraphData, folder: Path, config: dict[str, Any], tracker: Any) -> FitResult:
    """Fit a run in a folder."""
    training = run.training
    loaders = make_loaders(run, data)
    settings = training.model_dump(exclude={"batch_size", "max_edges", "balance_edges", "prefetch"})
    settings["val_every"] = min(training.val_every, training.max_epochs)
    num_steps = min(training.max_epochs * len(loaders[0]), training.max_steps or sys.maxsize)
    return fit(
        make_task(run, data, num_steps),
        *loaders,
        out_dir=folder,
        seed=run.seed,
        tracker=tracker,
        config=config,
        data=data.describe(),
        **settings,
    )


def columns(history: list[dict[str, float]]) -> dict[str, list[float]]:
    """Turn the rows of all epochs into columns; a metric that an epoch lacks is NaN there."""
    names = dict.fromkeys(key for row in history for key in row)
    return {name: [row.get(name, math.nan) for row in history] for name in names}


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """Write the rows of all epochs as CSV; a metric that an epoch lacks stays empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns(history)))
        writer.writeheader()
        writer.writerows(history)


def run(params: Params, name: str) -> None:
    """Train run `name`."""
    chosen = params.runs[name]
    data = open_data(chosen)
    settings = chosen.model_dump(mode="json")
    identity = {"run": settings, "data": data.describe(), "code": code_digest(params, name)}
    folder = state_folder(name, identity)
    experiment = task_name(params, chosen)
    with (
        stage("train", name, params, settings, experiment, data=data.describe(), keep=folder) as tracker,
        use_backend(params.kernels.backend),
    ):
        reset_peak_memory()
        result = train(chosen, data, folder, settings, tracker)
        shutil.copyfile(result.best, Path("models") / f"{name}.pt")
        write_history(Path("plots/history") / f"{name}.csv", result.history)
        task = load_checkpoint(result.best).task
        best = min(result.history, key=lambda row: row.get("val/loss", float("inf")))
        metrics = {
            "num_train": len(data.split.train),
            "num_parameters": num_parameters(task.model),
            "num_epochs": result.epochs,
            "train_s": round(result.train_s, 2),
            "epoch_s": round(result.train_s / max(result.epochs, 1), 3),
            "peak_mb": round(peak_memory_mb(), 1),
            "best_val_loss": best.get("val/loss"),
        }
        write_metrics(f"metrics/train/{name}.json", metrics)
        tracker.log_metrics({key: value for key, value in metrics.items() if value is not None})
        tracker.log_artifact(Path("models") / f"{name}.pt", CHECKPOINT_FOLDER)
        example = next(iter(data.loader("train", 1)))
        tracker.log_model(result.best, example, registered_name=f"{experiment}-{chosen.model.name}")
        (folder / "identity.json").write_text('"finished"', encoding="utf-8")


if __name__ == "__main__":
    main(run)

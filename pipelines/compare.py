"""Stage compare: one table for each task, published figures beside ours.

Reads the metrics of all runs, writes `reports/compare.md`, `.html`, `.json` and `reports/figures`.
"""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from geograph.interop.molecule_files import read_molecule_files
from geograph.tasks.metrics import auc, confusion_matrix, roc_points
from pipelines.figures import confusion, learning_curves, parity_plot, roc_curves, save_figure
from pipelines.figures3d import molecule_grid
from pipelines.params import Params, Run
from pipelines.quantities import split_unit, unit_symbol
from pipelines.report import ReportFigure, render_html, render_markdown
from pipelines.stage import main, stage, task_name
from pipelines.tables import Row, load_published, published_table, rows_from_metrics, write_json

PUBLISHED = Path(__file__).resolve().parents[1] / "data" / "published.yaml"
_NOT_METRICS = ("loss", "num_test", "num_train", "best_val_loss", "num_unseen_sizes")
_NUM_DRAWN = 12
#: Of all that the samples are judged by (`metrics/sample`), what the table shows.
_SAMPLE_METRICS = (
    "atom_stability",
    "molecule_stability",
    "train_atom_stability",
    "train_molecule_stability",
    "valency_atom_stability",
    "valency_molecule_stability",
    "rdkit_validity",
    "perceived_validity",
    "uniqueness",
    "novelty",
    "connected",
    "bond_lengths_distance_angstrom",
    "bond_angles_distance_degree",
    "dihedral_angles_distance_degree",
    "num_failed",
)
_SAMPLE_PICTURES = {
    "samples/{name}/quality.png": "Quality of the molecules of {name} against the number of sampling steps.",
    "samples/{name}/distributions.png": "Molecules of {name} beside those of the training part.",
    "plots/steer/{name}.png": "Molecules of {name} made for a property, judged by another network.",
}


def read_json(path: Path) -> dict[str, Any]:
    """Read a metrics file; one that is not there holds nothing."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def read_history(path: Path) -> dict[str, list[float]]:
    """Read the columns of a learning curve; an empty cell is NaN."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {key: [float(row[key] or math.nan) for row in rows] for key in rows[0]}


def entry_of(params: Params, name: str, run: Run) -> dict[str, Any]:
    """Everything that was measured about a run, in the form that the comparison takes."""
    trained = read_json(Path("metrics/train") / f"{name}.json")
    measured = read_json(Path("metrics/evaluate") / f"{name}.json")
    sampled = read_json(Path("metrics/sample") / f"{name}.json")
    tracked = read_json(Path("metrics/runs") / f"train-{name}.json")
    costs = ("num_parameters", "ms_per_item", "equivariance_error", "peak_mb")
    metrics = {key: value for key, value in measured.items() if key not in (*_NOT_METRICS, *costs)}
    metrics |= {key: sampled[key] for key in _SAMPLE_METRICS if key in sampled}
    steered = read_json(Path("metrics/steer") / f"{name}.json")
    metrics |= {f"steer_{key}": value for key, value in steered.items() if key.endswith("_pearson")}
    return {
        "task": task_name(params, run),
        "run": name,
        "dataset": run.dataset,
        "model": run.model.name,
        "metrics": metrics,
        "num_train": measured.get("num_train"),
        "train_s": trained.get("train_s"),
        "mlflow_run_id": tracked.get("run_id"),
        "published": published_table(
            params.data[params.records_of(run.dataset)].domain, run.task.kind, run.dataset
        ),
        **{key: measured.get(key) for key in costs},
    }


def figures_of(params: Params, folder: Path) -> list[ReportFigure]:
    """Draw learning curves, ROC curves, confusion matrices, parity plots and sampled molecules."""
    figures: list[ReportFigure] = []
    by_task: dict[str, list[str]] = {}
    for name, run in params.runs.items():
        by_task.setdefault(task_name(params, run), []).append(name)
    for task, names in by_task.items():
        histories = {name: read_history(Path("plots/history") / f"{name}.csv") for name in names}
        path = save_figure(learning_curves(histories), folder / f"{task}-learning.png")
        figures.append(ReportFigure(task, "Validation loss against epoch.", path))
        kind = params.runs[names[0]].task.kind
        if kind == "classification":
            figures += _classification_figures(task, names, params, folder)
        elif kind == "regression":
            figures += _regression_figures(task, names, params, folder)
        elif kind == "generation":
            figures += _stability_figures(task, histories, folder)
            figures += _sample_figures(task, names, params, folder)
    return figures


def _classification_figures(task: str, names: list[str], params: Params, folder: Path) -> list[ReportFigure]:
    figures, curves = [], {}
    for name in names:
        with np.load(Path("models") / f"{name}-predictions.npz") as terms:
            logits, labels = terms["logits"].astype(float), terms["label"]
        if logits.shape[1] == 2 and len(np.unique(labels)) == 2:
            scores = logits[:, 1] - logits[:, 0]
            points = roc_points(labels, scores)
            curves[name] = (points["false_positive_rate"], points["true_positive_rate"], auc(labels, scores))
        else:
            matrix = confusion_matrix(labels, logits.argmax(1), logits.shape[1])
            drawn = confusion(matrix, _class_names(params.runs[name].dataset, logits.shape[1]))
            path = save_figure(drawn, folder / f"{name}-confusion.png")
            figures.append(ReportFigure(task, f"Confusion matrix of {name} on the test part.", path))
    if curves:
        path = save_figure(roc_curves(curves), folder / f"{task}-roc.png")
        figures.append(ReportFigure(task, "Background rejection against signal efficiency, test part.", path))
    return figures


def _class_names(dataset: str, count: int) -> list[str]:
    manifest = Path("data/processed") / dataset / "manifest.json"
    names = read_json(manifest).get("attributes", {}).get("class_names")
    return names or [str(number) for number in range(count)]


def _stability_figures(
    task: str, histories: dict[str, dict[str, list[float]]], folder: Path
) -> list[ReportFigure]:
    key = "val/atom_stability"
    if not any(key in history for history in histories.values()):
        return []
    drawn = learning_curves(histories, key=key, ylabel="fraction of stable atoms", logarithmic=False)
    path = save_figure(drawn, folder / f"{task}-stability.png")
    return [ReportFigure(task, "Stable atoms among molecules generated during the training.", path)]


def _regression_figures(task: str, names: list[str], params: Params, folder: Path) -> list[ReportFigure]:
    figures = []
    for name in names:
        with np.load(Path("models") / f"{name}-predictions.npz") as terms:
            truth, prediction = terms["target"], terms["prediction"]
        for column, target in enumerate(params.runs[name].task.targets):
            quantity, unit = split_unit(target)
            drawn = parity_plot(
                truth[:, column], prediction[:, column], quantity=quantity, unit=unit_symbol(unit)
            )
            path = save_figure(drawn, folder / f"{name}-{quantity}.png")
            figures.append(
                ReportFigure(task, f"{name}: {quantity}, predicted against true, test part.", path)
            )
    return figures


def _sample_figures(task: str, names: list[str], params: Params, folder: Path) -> list[ReportFigure]:
    figures = []
    for name in names:
        if name in params.sample:
            molecules = read_molecule_files(Path("samples") / name / "molecules.extxyz")
            path = save_figure(molecule_grid(molecules[:_NUM_DRAWN]), folder / f"{name}-molecules.png")
            figures.append(
                ReportFigure(task, f"The first {len(molecules[:_NUM_DRAWN])} molecules of {name}.", path)
            )
        for place, caption in _SAMPLE_PICTURES.items():
            path = Path(place.format(name=name))
            if path.is_file():
                copied = Path(
                    shutil.copy(path, folder / f"{name}-{path.name.replace(f'{name}.', 'steering.')}")
                )
                figures.append(ReportFigure(task, caption.format(name=name), copied))
    return figures


def champions(params: Params, rows: list[Row]) -> dict[str, str]:
    """Best run of each task by the metric that decides there: task -> run id."""
    deciding = {"regression": ("mae_", min), "classification": ("accuracy", max), "trajectory": ("mse", min)}
    best: dict[str, str] = {}
    for run in params.runs.values():
        if run.task.kind not in deciding:
            continue
        prefix, choose = deciding[run.task.kind]
        ours = [
            row
            for row in rows
            if row["task"] == task_name(params, run)
            and row["metric"].startswith(prefix)
            and row["mlflow_run_id"]
            and row["value"] is not None
        ]
        if ours:
            best[task_name(params, run)] = choose(ours, key=lambda row: row["value"])["mlflow_run_id"]
    return best


def run(params: Params, name: str) -> None:
    """Compare all runs."""
    folder = Path("reports/figures")
    shutil.rmtree(folder, ignore_errors=True)
    with stage("compare", name, params, {"runs": sorted(params.runs)}, "comparison") as tracker:
        entries = [entry_of(params, run_name, run) for run_name, run in params.runs.items()]
        rows = rows_from_metrics(entries, load_published(PUBLISHED))
        figures = figures_of(params, folder)
        write_json(rows, "reports/compare.json")
        Path("reports/compare.md").write_text(
            render_markdown(rows, figures, folder="reports"), encoding="utf-8"
        )
        Path("reports/compare.html").write_text(render_html(rows, figures), encoding="utf-8")
        for path in ("reports/compare.md", "reports/compare.html", "reports/compare.json", folder):
            tracker.log_artifact(path)
        best = champions(params, rows)
        tracker.set_tags({f"champion.{task}": run_id for task, run_id in best.items()})
        print(f"{len(rows)} rows, {len(figures)} figures: reports/compare.md, reports/compare.html")


if __name__ == "__main__":
    main(run)

"""Stage evaluate: figures of a trained run on its test part.

Reads `models/RUN.pt` and `data/processed/DATASET`, writes `metrics/evaluate/RUN.json`, the predictions as
`models/RUN-predictions.npz`, and what DVC plots as `plots/evaluate/RUN.csv`: predictions (regression), the
ROC curve (two classes), true and predicted class (more of them), or the error of each graph.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch_geometric.data import Data

from geograph.datasets.records import read_text
from geograph.kernels import use_backend
from geograph.models import model_spec
from geograph.tasks import Task
from geograph.tasks.metrics import confusion_matrix, roc_points
from geograph.tasks.symmetry import equivariance_error
from geograph.training.checkpoint import load_checkpoint
from pipelines.cost import median_time_s, num_parameters, peak_memory_mb, reset_peak_memory
from pipelines.datasets import GraphData, open_data
from pipelines.figures import confusion, parity_plot, roc_curves
from pipelines.figures3d import trajectory_plot
from pipelines.params import Params, Run
from pipelines.quantities import unit_symbol
from pipelines.stage import main, stage, task_name, write_metrics

_NUM_LARGEST = 10
_EQUIVARIANCE_GRAPHS = 8
_TEST_SEED = 1000  # added to the seed of a run: test rotations are none of those of the training
_GROUP_OF_DOMAIN = {"molecules": "E(3)", "jets": "O(1,3)", "meshes": "E(3)", "nbody": "E(3)"}
_GROUP_OF_SPHERES = "SO(3)"


class _Prediction(nn.Module):
    """What a task makes of a batch, as a module: denoised positions for generation, else the raw output."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def forward(self, batch: Data) -> Tensor:
        """Predict for a batch."""
        return self.task.predict(batch) if self.task.kind == "generation" else self.task(batch)


def cost_metrics(task: Task, run: Run, data: GraphData) -> dict[str, float]:
    """Parameters, milliseconds for each graph (one batch, median of five), and the equivariance error.

    The error is the largest relative change of the prediction under ten random elements of the group of
    the model, in the precision that it computes in; for a model that only knows permutations, of the group
    of its domain.
    """
    loader = data.loader("test", run.training.batch_size, max_edges=run.training.max_edges)
    batch = next(iter(loader))
    with torch.no_grad():
        seconds = median_time_s(lambda: task.predict(batch))
    spec = model_spec(run.model.name, run.model.params)
    few = next(iter(data.loader("test", _EQUIVARIANCE_GRAPHS)))
    if "p4" in few:
        few.p4 = few.p4.double()  # the change of frame is not part of what is measured
    generator = torch.Generator().manual_seed(run.seed)
    of_data = _GROUP_OF_SPHERES if "harmonic" in few else _GROUP_OF_DOMAIN[data.store.attributes["domain"]]
    symmetry = of_data if spec.symmetry == "S(n)" else spec.symmetry
    is_covariant = spec.output != "graph"
    error = equivariance_error(
        _Prediction(task),
        task.prepared(few),
        symmetry,
        generator,
        num_elements=10,
        output="node_position" if is_covariant else "graph",
    )
    return {
        "num_parameters": num_parameters(task.model),
        "ms_per_item": round(1000 * seconds / int(batch.num_graphs), 4),
        "equivariance_error": error,
    }


def rotated_metrics(task: Task, run: Run, data: GraphData) -> dict[str, float]:
    """Metrics of the rotated test part, one rotation for each record: `accuracy_so3` beside `accuracy`."""
    from geograph.tasks.rotations import RandomRotations

    found: dict[str, float] = {}
    for group in run.rotations.test if run.rotations is not None else []:
        rotate = RandomRotations(group, copies=1, seed=run.seed + _TEST_SEED)
        loader = data.loader("test", run.training.batch_size, max_edges=run.training.max_edges)
        values, _ = task.evaluate(rotate(batch) for batch in loader)
        found |= {f"{key}_{group}": value for key, value in values.items() if key != "loss"}
    return found


def retrieval(task: Task, domain: str, terms: dict[str, Tensor]) -> dict[str, float]:
    """Judge a classifier of shapes as a search engine too: every test shape asks for its like."""
    if domain != "meshes" or task.kind != "classification":
        return {}
    from geograph.tasks.retrieval import lists_from_scores, retrieval_metrics

    labels = terms["label"].numpy()
    lists = lists_from_scores(terms["logits"].double().numpy())
    return retrieval_metrics(lists, np.arange(len(labels)), labels)


def write_csv(path: Path, columns: dict[str, Any]) -> None:
    """Write columns of one length as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _plot_file(name: str) -> Path:
    return Path("plots/evaluate") / f"{name}.csv"


def draw(task: Task, run: Run, name: str, data: GraphData, terms: dict[str, Tensor]) -> dict[str, Figure]:
    """Draw the figures that suit the task, and write the curves that DVC plots."""
    if task.kind == "regression":
        return _draw_regression(task, name, data, terms)
    if task.kind == "classification":
        return _draw_classification(task, name, terms)
    error = "loss" if task.kind == "trajectory" else "nll_given_size"
    write_csv(_plot_file(name), {"record": data.split.test, error: terms[error].tolist()})
    if task.kind == "trajectory":
        few = next(iter(data.loader("test", 1)))
        with torch.no_grad():
            predicted = task.predict(few)
        arrays = (few.pos, few.pos_target, predicted)
        figure = trajectory_plot(*(array.numpy() for array in arrays), charge=few.charge.numpy())
        return {"trajectory.png": figure}
    return {}


def _draw_regression(task: Task, name: str, data: GraphData, terms: dict[str, Tensor]) -> dict[str, Figure]:
    ids = read_text(Path("data/raw") / data.records)["id"]
    records = data.split.test
    columns: dict[str, Any] = {"record": records, "id": [ids[record] for record in records]}
    figures = {}
    targets = zip(task.statistics["target_names"], task.statistics["target_units"], strict=True)
    for number, (quantity, unit) in enumerate(targets):
        truth, prediction = terms["target"][:, number].numpy(), terms["prediction"][:, number].numpy()
        columns |= {f"{quantity}_{unit}_true": truth, f"{quantity}_{unit}_predicted": prediction}
        figures[f"parity_{quantity}.png"] = parity_plot(
            truth, prediction, quantity=quantity, unit=unit_symbol(unit)
        )
        error = np.abs(prediction - truth)
        print(f"{name}: the {_NUM_LARGEST} largest errors of {quantity} ({unit})")
        for index in np.argsort(-error)[:_NUM_LARGEST]:
            print(f"  {columns['id'][index]:>24}  true {truth[index]:12.4f}  error {error[index]:10.4f}")
    write_csv(_plot_file(name), columns)
    return figures


def _draw_classification(task: Task, name: str, terms: dict[str, Tensor]) -> dict[str, Figure]:
    logits, labels = terms["logits"].double(), terms["label"].numpy()
    names = task.statistics["class_names"]
    matrix = confusion_matrix(labels, logits.argmax(dim=1).numpy(), len(names))
    figures = {"confusion.png": confusion(matrix, names)}
    predicted = [names[index] for index in logits.argmax(dim=1).tolist()]
    write_csv(_plot_file(name), {"actual": [names[label] for label in labels], "predicted": predicted})
    if len(names) == 2 and len(np.unique(labels)) == 2:
        scores = (logits[:, 1] - logits[:, 0]).numpy()
        points = roc_points(labels, scores)
        write_csv(_plot_file(name), points)
        area = task.metrics(terms)["auc"]
        curve = (points["false_positive_rate"], points["true_positive_rate"], area)
        figures["roc.png"] = roc_curves({name: curve})
    return figures


def run(params: Params, name: str) -> None:
    """Evaluate run `name` on its test part."""
    chosen = params.runs[name]
    data = open_data(chosen)
    settings = {"dataset": chosen.dataset, "model": {"name": chosen.model.name}, "part": "test"}
    with (
        stage("evaluate", name, params, settings, task_name(params, chosen), data=data.describe()) as tracker,
        use_backend(params.kernels.backend),
    ):
        task = load_checkpoint(f"models/{name}.pt", expected_kind=chosen.task.kind).task
        reset_peak_memory()
        loader = data.loader("test", chosen.training.batch_size, max_edges=chosen.training.max_edges)
        values, terms = task.evaluate(loader)
        metrics = {
            **values,
            "num_test": len(data.split.test),
            "num_train": len(data.split.train),
            "peak_mb": round(peak_memory_mb(), 1),
            **retrieval(task, data.store.attributes["domain"], terms),
            **rotated_metrics(task, chosen, data),
            **cost_metrics(task, chosen, data),
        }
        write_metrics(f"metrics/evaluate/{name}.json", metrics)
        arrays: dict[str, Any] = {key: value.numpy() for key, value in terms.items()}
        np.savez_compressed(f"models/{name}-predictions.npz", **arrays)
        tracker.log_metrics(metrics)
        for file, figure in draw(task, chosen, name, data, terms).items():
            tracker.log_figure(figure, file)
        for key, value in metrics.items():
            print(f"{name}: {key} = {value:.6g}")


if __name__ == "__main__":
    main(run)

"""Stage steer: molecules for chosen values of a property, judged by a model that predicts it.

Reads `models/RUN.pt` and the checkpoint of the judge, writes `metrics/steer/RUN.json`, `plots/steer/RUN.csv`
(one row for each molecule) and `plots/steer/RUN.png`. All molecules have the same number of atoms, so that a
target cannot be met by the size alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from scipy.stats import pearsonr, rankdata

from geograph.diffusion.condition import PropertyCondition
from geograph.kernels import use_backend
from geograph.records import Molecule
from geograph.tasks import Task
from geograph.tasks.generation import GenerationTask
from geograph.tasks.stability import stable_fractions
from geograph.training.checkpoint import load_checkpoint
from geograph.training.serving import batch_from_table, node_fields
from pipelines.evaluate import write_csv
from pipelines.figures import new_figure, save_figure
from pipelines.params import Params, Steering
from pipelines.quantities import split_unit, unit_symbol
from pipelines.stage import main, stage, task_name, write_metrics

_QUANTILES = (0.05, 0.95)
_LEAST = 32


def target_values(condition: PropertyCondition, name: str, size: int, num: int) -> Float[np.ndarray, " n"]:
    """Quantiles (5 to 95 %) of a property among the training molecules of one size.

    Where fewer than 32 molecules have that size, those of the nearest sizes join them.
    """
    gap = np.abs(condition.sizes - size)
    order = np.argsort(gap, kind="stable")
    values = condition.values[order[: max(_LEAST, int((gap == 0).sum()))], condition.names.index(name)]
    return np.quantile(values, np.linspace(*_QUANTILES, num))


@torch.no_grad()
def judged(judge: Task, molecules: Sequence[Molecule], target: str) -> Float[np.ndarray, " n"]:
    """Property of molecules as the judge predicts it, in its unit."""
    units = zip(judge.statistics["target_names"], judge.statistics["target_units"], strict=True)
    names = [f"{name}_{unit}" if unit else name for name, unit in units]
    columns = {"z": [m.z.tolist() for m in molecules], "pos": [m.pos.tolist() for m in molecules]}
    batch = judge.prepared(batch_from_table(columns, node_fields(judge)))
    return judge.predict(batch)[:, names.index(target)].double().numpy()


def correlation(aimed: np.ndarray, found: np.ndarray) -> float:
    """Pearson's correlation; 0 where one of the two does not vary."""
    varies = np.ptp(aimed) > 0 and np.ptp(found) > 1e-9 * np.abs(found).max()
    return float(pearsonr(aimed, found).statistic) if varies else 0.0


def figures(aimed: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """Correlations of targets and judged values, and their mean absolute difference."""
    return {
        "pearson": correlation(aimed, found),
        "spearman": correlation(rankdata(aimed), rankdata(found)),
        "mae": float(np.abs(aimed - found).mean()),
        "mae_of_the_mean": float(np.abs(aimed - aimed.mean()).mean()),
    }


def steering_plot(rows: Mapping[str, Sequence[float]], target: str) -> Figure:
    """Draw judged against wanted values, one panel for each scale of the guidance."""
    scales = sorted(set(rows["guidance"]))
    figure, axes = new_figure(3.6 * len(scales), 3.6, columns=len(scales))
    guidance, aimed, found = (np.asarray(rows[key]) for key in ("guidance", "target", "judged"))
    quantity, unit = split_unit(target)
    label = f"{quantity.replace('_', ' ')} ({unit_symbol(unit)})" if unit else quantity
    low, high = np.quantile(np.concatenate([aimed, found]), [0.005, 0.995])
    for axis, scale in zip(axes.ravel(), scales, strict=True):
        points = guidance == scale
        axis.plot([low, high], [low, high], color="0.6", linewidth=1)
        axis.scatter(aimed[points], found[points], s=9, alpha=0.5)
        value = correlation(aimed[points], found[points])
        axis.set_title(f"guidance {scale:g}: correlation {value:.2f}", fontsize=10)
        axis.set_xlabel(f"wanted {label}")
        axis.set_ylabel(f"predicted {label}")
        axis.set_ylim(low, high)
    return figure


def steer(
    task: GenerationTask, judge: Task, settings: Steering
) -> tuple[dict[str, float], Mapping[str, list[Any]]]:
    """Make and judge molecules for every target value and scale of the guidance."""
    assert task.condition is not None
    values = target_values(task.condition, settings.target, settings.size, settings.num_values)
    aims = np.repeat(values, settings.num_molecules).tolist()
    metrics: dict[str, float] = {}
    rows: dict[str, list[Any]] = {"guidance": [], "target": [], "judged": []}
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        for guidance in settings.guidance:
            bar = progress.add_task(f"{len(aims)} molecules, guidance {guidance:g}", total=None)
            samples = task.sample(
                len(aims), settings.seed, settings.size, targets={settings.target: aims}, guidance=guidance,
                num_steps=settings.num_steps, sampler=settings.sampler,
                progress=lambda done, total, bar=bar: progress.update(bar, completed=done, total=total),
            )  # fmt: skip
            aimed = np.array([m.properties[f"target_{settings.target}"] for m in samples.molecules])
            found = judged(judge, samples.molecules, settings.target)
            prefix = f"guidance_{guidance:g}_"
            own = figures(aimed, found) | stable_fractions(samples.molecules)
            metrics |= {prefix + key: value for key, value in own.items()}
            metrics[f"{prefix}num_failed"] = len(samples.failures)
            for key, column in (("guidance", [guidance] * len(aimed)), ("target", aimed), ("judged", found)):
                rows[key].extend(column)
    return metrics, rows


def run(params: Params, name: str) -> None:
    """Steer the molecules of run `name`."""
    chosen, settings = params.runs[name], params.steer[name]
    with (
        stage("steer", name, params, settings.model_dump(), task_name(params, chosen)) as tracker,
        use_backend(params.kernels.backend),
    ):
        task = cast(GenerationTask, load_checkpoint(f"models/{name}.pt", expected_kind="generation").task)
        judge = load_checkpoint(f"models/{settings.judge}.pt", expected_kind="regression").task
        metrics, rows = steer(task, judge, settings)
        write_metrics(f"metrics/steer/{name}.json", metrics)
        write_csv(Path("plots/steer") / f"{name}.csv", dict(rows))
        save_figure(steering_plot(rows, settings.target), Path("plots/steer") / f"{name}.png")
        tracker.log_metrics(metrics)
        tracker.log_artifact(Path("plots/steer") / f"{name}.png")
        for key, value in metrics.items():
            print(f"{name}: {key} = {value:.6g}")


if __name__ == "__main__":
    main(run)

"""How time and memory of the backends grow with the number of edges, the width and the size of the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from geograph.layers.egcl import EGCL
from pipelines.bench_cases import Case, Fields, molecule_sizes, molecules
from pipelines.bench_peers import in_backend
from pipelines.bench_process import Apart, Channel, Job, available_mb
from pipelines.bench_rows import Row, fit_exponent, ratio, row_of
from pipelines.bench_turns import Deadline, Result, measure

_DEGREE = 16
#: A series ends for a backend before a training step that would take longer, or more of the free memory.
_LONGEST_STEP_S = 8.0
_LARGEST_SHARE = 0.6
#: Seconds that the rounds of a backend may take at one point of a series.
_SHARE_S, _QUICK_SHARE_S = 1.0, 0.1
#: A point whose step is expected to take longer is run once.
_SLOW_STEP_S = 1.0


class EdgeLayer(nn.Module):
    """One EGNN layer on random features, positions and edges."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.layer = EGCL(hidden, hidden)
        self.embedding = nn.Parameter(torch.ones(hidden))

    def forward(self, batch: Data) -> Tensor:
        """Return the updated positions and features."""
        h = torch.sin(batch.pos[:, :1] * self.embedding)
        h, pos = self.layer(h, batch.pos, batch.edge_index, batch.edge_ptr)
        return torch.cat([h, pos], dim=1)


def one_graph(num_edges: int, rng: np.random.Generator) -> np.ndarray:
    """Size of the one graph that has so many edges, sixteen to each node."""
    return np.array([max(2, num_edges // _DEGREE)])


def scattered(sizes: np.ndarray, rng: np.random.Generator) -> Fields:
    """Random positions."""
    return {"pos": rng.standard_normal((int(sizes.sum()), 3)).astype(np.float32)}


def random_edges(sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sixteen edges from random sources to each node."""
    total = int(sizes.sum())
    target = np.repeat(np.arange(total), _DEGREE)
    source = np.random.default_rng(0).integers(total, size=total * _DEGREE)
    return np.stack([source, target]), _DEGREE * np.arange(total + 1)


@dataclass(frozen=True)
class Series:
    """Points along one axis.

    Attributes
    ----------
    name
        Name in the column `case`.
    axis
        Column that varies: `edges`, `hidden` or `batch`.
    sizes, quick_sizes
        Values along the axis, rising.
    point
        Makes the case of one value, and says its `num_graphs`.
    power
        Expected power of time and memory, for the prediction of the next point.
    """

    name: str
    axis: str
    sizes: tuple[int, ...]
    quick_sizes: tuple[int, ...]
    point: Callable[[str, int], tuple[Case, int]]
    power: float = 1.0


def _edges_point(name: str, size: int) -> tuple[Case, int]:
    return Case(name, EdgeLayer, one_graph, scattered, size, size, {"hidden": 64}, random_edges), size


def _hidden_point(name: str, size: int) -> tuple[Case, int]:
    edges = 100_000
    return Case(name, EdgeLayer, one_graph, scattered, edges, edges, {"hidden": size}, random_edges), edges


def _batch_point(name: str, size: int) -> tuple[Case, int]:
    params = {"inputs": "molecule", "num_hidden": 64, "num_layers": 4}
    return Case(name, "egnn", molecule_sizes, molecules, size, size, params), size


SERIES = (
    Series(
        "scaling-edges", "edges",
        (1_000, 10_000, 100_000, 1_000_000, 10_000_000), (1_000, 10_000, 100_000), _edges_point,
    ),
    Series("scaling-hidden", "hidden", (32, 64, 128, 256), (32, 64), _hidden_point, 1.5),
    Series("scaling-batch", "batch", (4, 16, 64, 256), (2, 8), _batch_point),
)  # fmt: skip


def bench_scaling(
    series: Series,
    names: Sequence[str],
    device: str,
    *,
    quick: bool,
    deadline: Deadline,
    open_channel: Callable[[Job], Channel] = Apart,
    note: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """Measure a series in all backends; the exponents stand in each row of a backend.

    Parameters
    ----------
    series
        Axis and points.
    names
        Backends; the first one is what the others are compared with.
    device
        `cpu` or `cuda`.
    quick
        Take few points and little time.
    deadline
        After it nothing is started.
    open_channel, note
        As for `measure`.
    """
    rows: list[Row] = []
    last: dict[str, tuple[int, Result]] = {}
    running = list(names)
    for size in series.quick_sizes if quick else series.sizes:
        case, num_graphs = series.point(series.name, size)
        jobs = []
        for name in list(running):
            job, reason = _next_job(case, name, num_graphs, device, size, series, last.get(name))
            if reason is None:
                jobs.append(job)
            else:
                rows.append(_row(series, case, name, device, size, num_graphs, error=reason))
                running.remove(name)
        share_s = _QUICK_SHARE_S if quick else _SHARE_S
        results = measure(jobs, share_s=share_s, deadline=deadline, open_channel=open_channel, note=note)
        for name, result in results.items():
            first = results.get(names[0])
            rows.append(_row(series, case, name, device, size, num_graphs, **_figures(result, first)))
            last[name] = (size, result)
            if result.error is not None:
                running.remove(name)
    for name in names:
        _add_exponents([row for row in rows if row["backend"] == name], series.axis)
    return rows


def _next_job(
    case: Case,
    name: str,
    num_graphs: int,
    device: str,
    size: int,
    series: Series,
    last: tuple[int, Result] | None,
) -> tuple[Job, str | None]:
    """Make the job of a point, with the reason not to run it after the last measured point, or None."""
    expected_s, expected_mb = 0.0, 0.0
    if last is not None:
        growth = (size / last[0]) ** series.power
        expected_s = growth * (last[1].step_s or 0.0)
        expected_mb = growth * (last[1].peak_mb or 0.0)
    minimum = 1 if expected_s > _SLOW_STEP_S else 3
    job = Job(case, name, in_backend, num_graphs, device, minimum=minimum)
    free = available_mb() if device == "cpu" else None
    if expected_s > _LONGEST_STEP_S:
        return job, f"not run: a step would take about {expected_s:.0f} s (limit {_LONGEST_STEP_S:.0f} s)"
    if free is not None and expected_mb > _LARGEST_SHARE * free:
        return job, f"not run: it would take about {expected_mb / 1e3:.0f} GB, {free / 1e3:.0f} GB are free"
    return job, None


def _figures(result: Result, first: Result | None) -> dict[str, Any]:
    compared: dict[str, float | None] = {}
    if first is not None:
        compared = {
            "speedup_forward": ratio(first.forward_s, result.forward_s),
            "speedup_step": ratio(first.step_s, result.step_s),
            "memory_ratio": ratio(result.peak_mb, first.peak_mb),
        }
    return {
        "forward_s": result.forward_s,
        "step_s": result.step_s,
        "peak_mb": result.peak_mb,
        "rounds": len(result.times),
        "error": result.error,
        **compared,
    }


def _row(
    series: Series, case: Case, name: str, device: str, size: int, num_graphs: int, **figures: Any
) -> Row:
    places: dict[str, Any] = {"hidden": case.params.get("hidden", case.params.get("num_hidden"))}
    if series.axis == "batch":
        places["batch"] = num_graphs
    else:
        places["edges"] = num_graphs // _DEGREE * _DEGREE
    return row_of(series.name, name, device, **(places | figures))


def _add_exponents(rows: list[Row], axis: str) -> None:
    """Write the exponents of one backend's rows into each of them."""
    sizes = [row[axis] for row in rows]
    for key, column in (("exponent_step", "step_s"), ("exponent_memory", "peak_mb")):
        exponent = fit_exponent(sizes, [row[column] for row in rows])
        for row in rows:
            row[key] = exponent

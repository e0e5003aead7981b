"""Series of growing size: points, exponents, and where they stop."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pipelines import bench_scaling
from pipelines.bench_process import Job, SubjectError
from pipelines.bench_scaling import SERIES, Series
from pipelines.bench_scaling import bench_scaling as run_series
from pipelines.bench_turns import Deadline

EDGES = SERIES[0]


class Fake:
    """A subject whose time and memory are linear in the number of edges."""

    def __init__(self, job: Job) -> None:
        self.job, self.is_warm = job, False

    def call(self, limit_s: float) -> Any:
        if self.job.name == "broken" and self.job.num_graphs > 1000:
            raise SubjectError("ended by SIGSEGV")
        scale = self.job.num_graphs * (1 if self.job.name == "slow" else 0.1)
        was_warm, self.is_warm = self.is_warm, True
        times = 1e-6 * scale, 3e-6 * scale
        return times if was_warm else (1e-2 * scale, times)

    def close(self) -> None:
        pass


def run(*names: str, quick: bool = False, series: Series = EDGES) -> list[dict[str, Any]]:
    return run_series(series, names, "cpu", quick=quick, deadline=Deadline(60.0), open_channel=Fake)


def test_exponents_and_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_scaling, "available_mb", lambda: None)
    rows = run("slow", "fast")
    fast = [row for row in rows if row["backend"] == "fast"]
    assert [row["edges"] for row in fast] == [992, 10_000, 100_000, 1_000_000, 10_000_000]
    assert all(row["exponent_step"] == pytest.approx(1.0, abs=1e-3) for row in fast)
    assert all(row["exponent_memory"] == pytest.approx(1.0, abs=1e-3) for row in fast)
    assert fast[0]["speedup_step"] == pytest.approx(10)
    assert fast[0]["memory_ratio"] == pytest.approx(0.1)


def test_series_stops_before_a_step_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_scaling, "available_mb", lambda: None)
    rows = run("slow", "fast")
    last = [row for row in rows if row["backend"] == "slow"][-1]
    assert last["error"] == "not run: a step would take about 30 s (limit 8 s)"
    assert last["step_s"] is None
    assert last["edges"] == 10_000_000
    reached = [row for row in rows if row["backend"] == "fast"][-1]
    assert (reached["edges"], reached["error"]) == (10_000_000, None)
    assert reached["speedup_step"] is None


def test_series_stops_before_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_scaling, "available_mb", lambda: 15_000.0)
    rows = run("slow")
    assert rows[-1]["error"] == "not run: it would take about 10 GB, 15 GB are free"
    assert rows[-1]["edges"] == 1_000_000
    assert len(rows) == 4


def test_what_crashed_is_not_run_again() -> None:
    rows = [row for row in run("fast", "broken", quick=True) if row["backend"] == "broken"]
    assert [row["error"] for row in rows] == [None, "ended by SIGSEGV"]
    assert rows[0]["exponent_step"] is None


def test_columns_of_the_axes() -> None:
    hidden, batch = SERIES[1:]
    rows = run("fast", quick=True, series=hidden)
    assert [(row["hidden"], row["edges"], row["batch"]) for row in rows] == [
        (32, 100_000, None),
        (64, 100_000, None),
    ]
    rows = run("fast", quick=True, series=batch)
    assert [(row["batch"], row["edges"], row["hidden"]) for row in rows] == [(2, None, 64), (8, None, 64)]


@pytest.mark.parametrize("series", SERIES, ids=lambda series: series.name)
def test_points_run(series: Series) -> None:
    case, num_graphs = series.point(series.name, 2 if series.axis == "batch" else 64)
    batch = case.batch(min(num_graphs, 640), "cpu")
    assert torch.equal(
        batch.edge_index[1], torch.arange(batch.num_nodes).repeat_interleave(batch.edge_ptr.diff())
    )
    out = case.build("cpu")(batch)
    out.square().mean().backward()
    assert bool(out.isfinite().all())

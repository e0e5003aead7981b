"""The benchmark on tiny cases: rows, ratios, the loader, and the command."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from geograph.models import build_model
from pipelines import bench, bench_cases
from pipelines.bench_cases import CASES, Case, particles

TINY = Case("tiny", "egnn-dynamics", particles, 6, 3, {"num_hidden": 4, "num_layers": 1})
KEYS = [
    "case", "backend", "device", "forward_s", "step_s", "peak_mb", "speedup_forward", "speedup_step",
    "memory_ratio", "roofline_fraction", "graphs_per_s",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_QUICK_BUDGET_S", 0.0)
    monkeypatch.setattr(bench, "fresh_process", lambda function: function)


def assert_sound(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert list(row) == KEYS
        figures = [value for key, value in row.items() if key not in ("case", "backend", "device")]
        assert all(value is None or (math.isfinite(value) and value >= 0) for value in figures)
        assert row["roofline_fraction"] is None


def test_case_in_every_backend() -> None:
    notes: list[str] = []
    peaks = {"reference": 10.0, "native": 4.0}
    rows = bench.bench_case(
        TINY,
        ["reference", "native"],
        quick=True,
        device="cpu",
        peak=lambda case, name, *_: peaks[name],
        note=notes.append,
    )
    assert_sound(rows)
    assert [row["backend"] for row in rows] == ["reference", "native"]
    reference, native = rows
    assert (reference["speedup_forward"], reference["speedup_step"], reference["memory_ratio"]) == (1, 1, 1)
    assert native["memory_ratio"] == 0.4
    assert native["speedup_step"] == pytest.approx(reference["step_s"] / native["step_s"])
    assert native["graphs_per_s"] == pytest.approx(3 / native["step_s"])
    assert notes == ["tiny: memory, reference", "tiny: memory, native"] + [
        f"tiny: time, round {number}" for number in (1, 2, 3)
    ]


def test_backends_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def forward(self: Any) -> None:
        from geograph.kernels import selected

        seen.append(selected())

    monkeypatch.setattr(bench_cases._Trainee, "forward", forward)
    bench_cases.time_case(TINY, ["reference", "native"], 2, "cpu", budget_s=0.0)
    assert seen == ["reference", "native"] * 4  # one to warm up, three rounds


def test_step_trains_and_forward_does_not() -> None:
    trainee = bench_cases._Trainee(TINY, 3, "cpu")
    before = [parameter.clone() for parameter in trainee.model.parameters()]
    trainee.forward()
    assert all(map(torch.equal, before, trainee.model.parameters()))
    trainee.step()
    assert not all(map(torch.equal, before, trainee.model.parameters()))


def test_peak_of_a_step_is_a_number() -> None:
    assert bench_cases.peak_of_step(TINY, "native", 6, "cpu") >= 0


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_cases_are_what_the_models_take(case: Case) -> None:
    batch = case.batch(1, "cpu")
    assert batch.edge_index.shape[1] == int(batch.edge_ptr[-1])
    assert batch.num_graphs == 1
    with torch.device("meta"):
        build_model(case.model, **case.params)
    assert torch.equal(case.batch(2, "cpu").edge_index, case.batch(2, "cpu").edge_index)


def test_sizes_are_realistic() -> None:
    sizes = bench_cases.molecule_sizes(1000, np.random.default_rng(0))
    assert 17.5 < sizes.mean() < 18.5
    assert sizes.max() <= 29
    counts = bench_cases.jets(32, np.random.default_rng(0)).ptr.diff()
    assert (int(counts.min()), int(counts.max())) == (20, 80)


def test_loader() -> None:
    rows = bench.bench_loader(20, epochs=1)
    assert_sound(rows)
    assert [(row["case"], row["backend"]) for row in rows] == [
        ("loader", "torch_geometric"),
        ("loader", "geograph"),
    ]
    assert rows[0]["speedup_forward"] == 1
    assert all(row["graphs_per_s"] > 0 and row["step_s"] is None for row in rows)


def test_command_writes_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "CASES", (TINY,))
    monkeypatch.setattr(bench, "_NUM_QUICK_LOADED", 10)
    out = tmp_path / "new" / "bench.json"
    bench.main(quick=True, out=out)
    rows = json.loads(out.read_text())
    assert_sound(rows)
    assert [row["case"] for row in rows[-3:]] == ["tiny", "loader", "loader"]
    printed = capsys.readouterr().out
    assert "roofline: not measured yet" in printed
    assert "graphs/s" in printed


def test_table_shows_what_was_not_measured() -> None:
    console = Console(width=160, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(bench.table_of([bench.row_of("loader", "geograph", "cpu", graphs_per_s=17800.0)]))
    assert "17,800" in captured.get()
    assert "–" in captured.get()

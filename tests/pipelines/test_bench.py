"""The benchmark on tiny cases: rows, comparisons, late peers, the command and the tables."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from geograph.errors import ConfigError
from geograph.kernels import BackendStatus
from geograph.models import build_model
from pipelines import bench, bench_cases, bench_loader, bench_machine, bench_peers, bench_tables
from pipelines.bench_cases import CASES, Case, five_each, particles
from pipelines.bench_peers import Peer
from pipelines.bench_process import Here, Job, SubjectError
from pipelines.bench_rows import KEYS, fit_exponent, ratio, row_of
from pipelines.bench_sampling import Sampling
from pipelines.bench_scaling import Series
from pipelines.bench_turns import Deadline, Result, measure

TINY = Case("tiny", "egnn-dynamics", five_each, particles, 6, 3, {"num_hidden": 8, "num_layers": 1})
FACTS = {
    "processor": "an abacus", "threads": 2, "torch": "2.13.0", "python": "3.11.7", "gpu": "not measured",
    "copy_gb_per_s": 12.3, "matrix_gflop_per_s_float32": 456.7,
}  # fmt: skip


class Broken:
    """A subject that cannot run."""

    def __init__(self, job: Any) -> None:
        pass

    def first(self) -> tuple[float | None, tuple[float, float]]:
        raise SubjectError("no such luck")

    def round(self) -> tuple[float, float]:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_QUICK_SHARE_S", 0.0)
    monkeypatch.setattr(bench, "CASES", (TINY,))
    rows = [
        BackendStatus("reference", True, ""),
        BackendStatus("native", True, ""),
        BackendStatus("x", False, ""),
    ]
    monkeypatch.setattr(bench, "backends", lambda: rows)
    series = Series("scaling-batch", "batch", (1, 2), (1, 2), lambda name, size: (TINY, size))
    monkeypatch.setattr(bench, "SERIES", (series,))
    monkeypatch.setattr(bench, "bench_sht", partial(bench.bench_sht, sizes=(4,)))
    small = (("num_hidden", 8), ("num_layers", 1))
    monkeypatch.setattr(bench, "SAMPLINGS", (Sampling("sampling-20", 20, 3, 1, 4, 2, small),))
    monkeypatch.setattr(bench, "Bench", partial(bench.Bench, open_channel=Here))
    monkeypatch.setattr(bench_peers, "PEERS", (Peer("padded", bench_peers.padded),))
    monkeypatch.setattr(bench_peers, "LATE_PEERS", (Peer("late", bench_peers.padded),))
    monkeypatch.setattr(bench_machine, "apart", lambda function, *arguments: {"copy_gb_per_s": 1.0})


def assert_sound(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert list(row) == list(KEYS)
        figures = [value for value in row.values() if not isinstance(value, str)]
        assert all(value is None or math.isfinite(value) for value in figures)


def run(only: str | None) -> tuple[list[dict[str, Any]], list[str]]:
    notes: list[str] = []
    made = bench.Bench("cpu", True, lambda text, done=0: notes.append(text))
    bench.run(made, only)
    assert_sound(made.rows)
    return made.rows, notes


def test_case_is_compared_with_its_reference() -> None:
    rows, notes = run("tiny")
    found = {row["backend"]: row for row in rows}
    assert list(found) == ["reference", "native", "matrix products", "padded", "late"]
    reference, native, floor = found["reference"], found["native"], found["matrix products"]
    assert (reference["speedup_forward"], reference["speedup_step"]) == (1, 1)
    assert native["speedup_step"] == pytest.approx(reference["step_s"] / native["step_s"])
    assert native["roofline_fraction"] == pytest.approx(floor["step_s"] / native["step_s"])
    assert native["roofline_forward"] == pytest.approx(floor["forward_s"] / native["forward_s"])
    assert native["speedup_padded"] == pytest.approx(found["padded"]["step_s"] / native["step_s"])
    assert native["graphs_per_s"] == pytest.approx(3 / native["step_s"])
    assert (native["edges"], native["hidden"], native["batch"], native["rounds"]) == (60, 8, 3, 3)
    assert floor["peak_mb"] is None
    assert notes.index("tiny: reference, round 2") < notes.index("tiny: native, round 2")
    assert notes.index("tiny: native, round 2") < notes.index("tiny: reference, round 3")


def test_what_cannot_run_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_peers, "PEERS", (Peer("padded", Broken),))
    monkeypatch.setattr(bench_peers, "LATE_PEERS", ())
    rows, _ = run("tiny")
    row = rows[-1]
    assert (row["backend"], row["error"], row["step_s"]) == ("padded", "no such luck", None)
    assert rows[0]["speedup_padded"] is None
    assert bench_tables.errors(rows) == ["tiny, padded: no such luck"]


@pytest.mark.parametrize(
    ("first_step_s", "first_counts", "rounds", "step_s"),
    [(9.0, True, 1, 4.0), (9.0, False, 3, 4.0), (2.0, True, 3, 4.0), (60.0, True, 1, 60.0)],
)
def test_what_is_slow_has_one_round_and_what_is_very_slow_none(
    first_step_s: float, first_counts: bool, rounds: int, step_s: float
) -> None:
    class Slow:
        is_warm = False

        def __init__(self, job: Job) -> None:
            pass

        def call(self, limit_s: float) -> Any:
            was_warm, self.is_warm = self.is_warm, True
            return (2.0, 4.0) if was_warm else (100.0, (3.0, first_step_s))

        def close(self) -> None:
            pass

    job = Job(TINY, "slow", Broken, 3, "cpu", first_counts=first_counts)
    result = measure([job], share_s=0.0, deadline=Deadline(60.0), open_channel=Slow)["slow"]
    assert (result.peak_mb, len(result.times)) == (100.0, rounds)
    assert result.step_s == step_s


def test_series_leave_time_for_the_late_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[float] = []
    monkeypatch.setattr(bench, "bench_scaling", lambda *_, deadline, **__: left.append(deadline.left()) or [])
    made = bench.Bench("cpu", False, lambda text, done=0: None)
    for seconds in (500.0, 180.0, 50.0):
        monkeypatch.setattr(made, "deadline", Deadline(seconds))
        made.series(bench.SERIES[0])
    assert left == pytest.approx([75.0, 30.0, 0.0], abs=1.0)


def test_peers_leave_time_for_what_is_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_QUICK_TIME_S", 0.0)
    made = bench.Bench("cpu", True, lambda text, done=0: None)
    monkeypatch.setattr(made, "deadline", type("Fixed", (), {"left": lambda self: 5.0})())
    made.case(TINY, reserve_s=10.0)
    errors = {row["backend"]: row["error"] for row in made.rows}
    assert errors["padded"] == "not run: the benchmark's time was up"
    assert errors["native"] is None


def test_only_refuses_what_does_not_exist() -> None:
    with pytest.raises(
        ConfigError, match="one of tiny, sampling-20, scaling-batch, loader, sht-bandlimit, got 'EDN'"
    ):
        bench.chosen("EDN")
    assert bench.chosen("scal") == ([], [], [bench.SERIES[0]])
    assert bench.chosen("sampl") == ([], [bench.SAMPLINGS[0]], [])
    assert bench.chosen("Tiny") == ([TINY], [], [])


def test_command_writes_rows_and_prints_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = {"case": "loader", "backend": "geograph", "device": "cpu", "graphs_per_s": 17800.0}
    monkeypatch.setattr(bench_loader, "bench_loader", lambda count, epochs: [loaded])
    out = tmp_path / "new" / "bench.json"
    bench.main(quick=True, out=out)
    rows = json.loads(out.read_text())
    assert_sound(rows)
    assert list(dict.fromkeys(row["case"] for row in rows)) == [
        "tiny",
        "sampling-20",
        "scaling-batch",
        "sht-bandlimit",
        "loader",
    ]
    assert json.loads((tmp_path / "new" / "bench-machine.json").read_text())["gpu"] == "not measured"
    printed = capsys.readouterr().out
    assert "GPU: not measured" in printed
    assert "scaling-batch, native: step time grows like batch^" in printed
    bench.main(table=True, out=out)
    assert "| tiny | native |" in capsys.readouterr().out
    bench.main(quick=True, only="sampling", join=True, out=out)
    again = json.loads(out.read_text())
    assert [row["case"] for row in again] == [row["case"] for row in rows]
    is_sampling = [row["case"] == "sampling-20" for row in rows]
    assert [old == new for old, new in zip(rows, again, strict=True)] == [not old for old in is_sampling]


def test_table_in_markdown() -> None:
    rows = [
        row_of("EGNN", "cpu", "cpu", forward_s=0.0123, step_s=0.5, peak_mb=1234.5, speedup_step=12.34,
               roofline_fraction=0.512),
        row_of("EGNN", "torch_compile", "cpu", error="ended by SIGSEGV"),
        row_of("scaling-edges", "cpu", "cpu", forward_s=1.0, edges=1000, exponent_step=1.016),
        row_of("scaling-edges", "cpu", "cpu", edges=10_000, exponent_step=1.016, error="not run: too slow"),
        row_of("loader", "geograph", "cpu", forward_s=0.001, graphs_per_s=17800.0),
    ]  # fmt: skip
    text = bench_tables.markdown(rows, FACTS)
    assert "| case | backend | forward ms | step ms | peak MB | step faster | of roofline, step |" in text
    assert "| EGNN | cpu | 12.3 | 500 | 1,234 | 12.3× | 51 % |" in text
    assert "| loader | geograph | 1 | 17,800 |" in text
    assert "- scaling-edges, cpu: step time grows like edges^1.02\n" in text
    assert "- EGNN, torch_compile: ended by SIGSEGV\n" in text
    assert "- scaling-edges, cpu at 10,000: not run: too slow\n" in text
    assert "an abacus, 2 threads; PyTorch 2.13.0; Python 3.11.7; copies 12 GB/s; float32 products 457" in text
    assert text.endswith("- GPU: not measured\n")


def test_table_in_the_terminal_marks_what_was_not_measured() -> None:
    console = Console(width=160)
    rows = [row_of("EGNN", "cpu", "cpu", step_s=0.5), row_of("EGNN", "other", "cpu", error="boom [x]")]
    with console.capture() as captured:
        bench_tables.print_tables(rows, FACTS, console)
    assert "–" in captured.get()
    assert "EGNN, other: boom [x]" in captured.get()


def test_exponent() -> None:
    assert fit_exponent([1e3, 1e4, 1e5], [2e3, 2e4, 2e5]) == pytest.approx(1.0)
    assert fit_exponent([32, 64, 128], [1.0, 4.0, 16.0]) == pytest.approx(2.0)
    # Fixed costs of sizes far below the largest do not count.
    assert fit_exponent([1, 1e4, 1e6], [500.0, 1.0, 100.0]) == pytest.approx(1.0)
    assert fit_exponent([10, 20], [None, 1.0]) is None
    assert fit_exponent([10, 20], [0.0, None]) is None


def test_ratio_needs_both() -> None:
    assert ratio(3.0, 1.5) == 2
    assert ratio(None, 1.0) is None
    assert ratio(1.0, 0.0) is None


def test_median_of_the_rounds() -> None:
    result = Result(bench_peers.jobs_of(TINY, ["native"], "cpu", quick=True)[0])
    assert (result.forward_s, result.step_s) == (None, None)
    result.times += [(1.0, 5.0), (3.0, 4.0), (2.0, 9.0)]
    assert (result.forward_s, result.step_s) == (2.0, 5.0)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_cases_are_what_the_models_take(case: Case) -> None:
    batch = case.batch(1, "cpu")
    assert batch.edge_index.shape[1] == int(batch.edge_ptr[-1]) == case.num_edges(1)
    assert batch.num_graphs == 1
    with torch.device("meta"):
        build_model(str(case.model), **case.params)
    assert torch.equal(case.batch(2, "cpu").edge_index, case.batch(2, "cpu").edge_index)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_padded_batch_has_all_pairs_of_the_largest_graph(case: Case) -> None:
    sizes = case.batch(3, "cpu").ptr.diff()
    batch = case.batch(3, "cpu", is_padded=True)
    largest = int(sizes.max())
    assert batch.ptr.diff().tolist() == [largest] * 3
    assert batch.edge_ptr.diff().tolist() == [largest] * (3 * largest)
    assert torch.equal(batch.edge_index[1], torch.arange(3 * largest).repeat_interleave(largest))
    assert torch.equal(batch.batch[batch.edge_index[0]], batch.batch[batch.edge_index[1]])
    assert len(torch.unique(batch.edge_index, dim=1).T) == 3 * largest**2


def test_sizes_are_realistic() -> None:
    sizes = bench_cases.molecule_sizes(1000, np.random.default_rng(0))
    assert 17.5 < sizes.mean() < 18.5
    assert sizes.max() <= 29
    counts = bench_cases.jet_sizes(32, np.random.default_rng(0))
    assert (counts.min(), counts.max()) == (20, 80)


def test_rates_and_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bench_machine._COPIED, "cpu", 1 << 16)
    monkeypatch.setitem(bench_machine._SIDE, "cpu", 16)
    rates = bench_machine.rates("cpu")
    assert set(rates) == {"copy_gb_per_s", "matrix_gflop_per_s_float32"}
    assert all(value > 0 for value in rates.values())
    assert bench_machine.processor()
    facts = bench_machine.machine("cpu")
    assert facts["gpu"] == "not measured"
    assert facts["threads"] == torch.get_num_threads()

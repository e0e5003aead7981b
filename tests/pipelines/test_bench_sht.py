"""The transforms in the benchmark: what is measured, what is left out and why, and the rows."""

from __future__ import annotations

import pytest

from pipelines import bench_sht
from pipelines.bench_process import Here, SubjectError
from pipelines.bench_rows import KEYS
from pipelines.bench_sht import PEER, PEER_FOLDER, Transforms
from pipelines.bench_tables import errors, exponents, markdown
from pipelines.bench_turns import Deadline

FACTS = {"processor": "an abacus", "threads": 2, "torch": "2", "python": "3", "gpu": "not measured"}


def _rows(**options):
    notes: list[str] = []
    rows = bench_sht.bench_sht(
        "cpu", quick=True, deadline=Deadline(60.0), open_channel=_open, note=notes.append, **options
    )
    assert all(list(row) == list(KEYS) for row in rows)
    return rows, notes


def _open(job):
    """Run here, except for the peer: its folder must not reach this process."""
    if job.name == PEER:
        raise_ = type("Absent", (), {"call": _absent, "close": lambda self: None})
        return raise_()
    return Here(job)


def _absent(self, limit_s):
    raise SubjectError("not installed: see the module")


def test_rows_have_every_figure_and_the_growth():
    rows, notes = _rows(sizes=(4, 8))
    own = [row for row in rows if row["backend"] != PEER]
    names = [name for name in bench_sht.subjects("cpu") if name != PEER]
    assert [(row["backend"], row["bandlimit"]) for row in own] == [(n, s) for s in (4, 8) for n in names]
    for row in own:
        assert row["case"] == "sht-bandlimit"
        assert all(row[key] > 0 for key in ("forward_s", "analysis_s", "backward_s"))
        assert row["exponent_step"] is not None
        assert row["step_s"] > max(row["forward_s"], row["analysis_s"])
        assert row["batch"] == 4
    assert own[0]["speedup_step"] == 1
    text = markdown(rows, FACTS)
    assert "| case | backend | L | maps | synthesis ms | analysis ms | backward ms | together ms |" in text
    assert "sht-bandlimit, gemm: step time grows like bandlimit^" in exponents(rows)[0]
    assert any("sht-bandlimit: gemm, first step" in note for note in notes)


def test_the_peer_that_is_not_there_is_one_row():
    rows, _ = _rows(sizes=(4, 8))
    (row,) = (row for row in rows if row["backend"] == PEER)
    assert (row["bandlimit"], row["step_s"]) == (4, None)
    assert errors(rows) == ["sht-bandlimit, torch-harmonics at 4: not installed: see the module"]


def test_the_peer_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setenv(PEER_FOLDER, str(tmp_path))
    with pytest.raises(SubjectError, match=f"not installed: see {PEER_FOLDER} in pipelines/bench_sht.py"):
        Transforms(bench_sht._job(4, PEER, "cpu")).first()


def test_what_would_take_too_long_or_too_much_is_not_run(monkeypatch):
    last = bench_sht._Last(64, 5.0, 1.0, start_s=5.0)
    assert bench_sht._reason(512, last, "cpu") is None
    last = bench_sht._Last(64, 8.0, 100.0, start_s=5.0)
    assert bench_sht._reason(64, last, "cpu") is None
    assert "it would take about 24 s (limit 20 s)" in bench_sht._reason(128, last, "cpu")
    monkeypatch.setattr(bench_sht, "available_mb", lambda: 1000.0)
    assert "not run: it would take about 1 GB of memory" in bench_sht._reason(
        128, bench_sht._Last(64, 0.1, 100.0, 0.0), "cpu"
    )
    monkeypatch.setattr(bench_sht, "_LONGEST_FIRST_S", -1.0)
    rows, _ = _rows(sizes=(4, 8, 16))
    assert [row["bandlimit"] for row in rows if row["backend"] == "gemm"] == [4, 8]
    assert "not run" in rows[-1]["error"]

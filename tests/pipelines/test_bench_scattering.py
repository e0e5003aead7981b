"""The cost of scattering: every case is measured, and the published size is what is timed at L = 1024."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pipelines.bench_scattering import Case, main


def test_the_published_size() -> None:
    plan = Case(1024, 2.0, torch.float32).plan
    assert (plan.smallest_scale, len(plan.list_paths()), plan.bandlimit_out) == (5, 22, 32)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, threads = tmp_path / "bench.json", torch.get_num_threads()
    main(bandlimits="8,16", oversamplings="1,2", rounds=1, threads=threads, out=out)
    rows = json.loads(out.read_text())["rows"]
    assert len(rows) == 8
    assert all(row["wall_s"] > 0 and row["peak_mb"] >= 0 for row in rows)
    assert "processor time grows as L^" in capsys.readouterr().out

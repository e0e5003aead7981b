"""Subjects in processes of their own: what they answer, and how they fail."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.bench_cases import Case, five_each, particles
from pipelines.bench_peers import in_backend
from pipelines.bench_process import Apart, Job, SubjectError, _reason, apart, available_mb

TINY = Case("tiny", "egnn-dynamics", five_each, particles, 6, 3, {"num_hidden": 4, "num_layers": 1})
JOB = Job(TINY, "reference", in_backend, 3, "cpu")
WAIT_S = 300.0


@pytest.mark.slow
def test_processes() -> None:
    assert apart(os.getpid) != os.getpid()
    channel = Apart(JOB)
    assert channel.call(WAIT_S)[0] >= 0
    assert min(channel.call(WAIT_S)) > 0
    os.kill(channel._process.pid, signal.SIGSEGV)
    with pytest.raises(SubjectError, match="^ended by SIGSEGV$"):
        channel.call(WAIT_S)
    channel.close()

    channel = Apart(JOB)
    with pytest.raises(SubjectError, match="^stopped: took longer than 0 s$"):
        channel.call(0.0)
    channel.close()

    channel = Apart(replace(JOB, name="none"))
    with pytest.raises(SubjectError, match="BackendError: `backend` must be one of auto"):
        channel.call(WAIT_S)
    channel.close()

    channel = Apart(replace(JOB, num_graphs=1 << 40))
    with pytest.raises(SubjectError, match="MemoryError"):
        channel.call(WAIT_S)
    channel.close()


def test_reason_is_the_last_error(tmp_path: Path) -> None:
    errors = tmp_path / "errors"
    assert _reason(-11, errors) == "ended by SIGSEGV"
    assert _reason(3, errors) == "ended with code 3"
    errors.write_text("Traceback:\n  torch.Broken: x\nRuntimeError: first line\n\nSet DEBUG=1 for more\n")
    assert _reason(1, errors) == "RuntimeError: first line"
    errors.write_text("terminate called\n")
    assert _reason(1, errors) == "terminate called"
    errors.write_text("ValueError: " + 500 * "x")
    assert len(_reason(1, errors)) == 160


def test_free_memory_is_known_or_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from pipelines import bench_process

    (tmp_path / "meminfo").write_text("MemTotal: 5 kB\nMemAvailable:   2000000 kB\n")
    monkeypatch.setattr(bench_process, "_MEMORY", tmp_path / "meminfo")
    assert available_mb() == pytest.approx(2048)
    monkeypatch.setattr(bench_process, "_MEMORY", tmp_path / "missing")
    assert available_mb() is None

"""Molecules per second: what is run, in which backends, and the rows."""

from __future__ import annotations

import pytest
import torch

from geograph.diffusion.molecules import Samples
from geograph.diffusion.sampling import SamplingFailure
from geograph.kernels import dispatch
from pipelines.bench_process import Here, SubjectError
from pipelines.bench_rows import KEYS
from pipelines.bench_sampling import SAMPLINGS, Chain, Sampling, sampling_jobs, sampling_rows
from pipelines.bench_tables import markdown
from pipelines.bench_turns import Deadline, Result, measure

TINY = Sampling("sampling-20", 20, 3, 1, 4, 2, (("num_hidden", 8), ("num_layers", 1)))


def test_every_step_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    job = sampling_jobs(TINY, ["reference"], "cpu", quick=False)[0]
    subject = job.make(job)
    evaluations: list[int] = []
    forward = subject.task.model.forward

    def counted(batch: object) -> torch.Tensor:
        evaluations.append(batch.num_graphs)
        return forward(batch)

    monkeypatch.setattr(subject.task.model, "forward", counted)
    per_step, whole = subject.round()
    # Twenty reverse steps and the last evaluation, all molecules together.
    assert evaluations == [4] * 21
    assert per_step == pytest.approx(whole / 21)


def test_rows() -> None:
    jobs = sampling_jobs(TINY, ["reference", "native"], "cpu", quick=True)
    assert [job.name for job in jobs] == ["reference", "native"]
    results = measure(jobs, share_s=0.0, deadline=Deadline(60.0), open_channel=Here)
    rows = sampling_rows(TINY, results, "cpu")
    assert all(list(row) == list(KEYS) for row in rows)
    for row, result in zip(rows, results.values(), strict=True):
        assert (row["case"], row["batch"], row["hidden"], row["edges"]) == ("sampling-20", 2, 8, 2 * 18 * 17)
        assert row["molecules_per_s"] == pytest.approx(2 / result.step_s)
        assert row["step_s"] is row["speedup_step"] is row["graphs_per_s"] is None
    assert rows[0]["speedup_forward"] == 1
    facts = {"processor": "an abacus", "threads": 2, "torch": "2", "python": "3", "gpu": "not measured"}
    assert "| case | backend | molecules | molecules/s | ms per step | faster |" in markdown(rows, facts)


def test_rows_without_a_reference() -> None:
    job = sampling_jobs(TINY, ["native"], "cpu", quick=True)[0]
    row = sampling_rows(TINY, {"native": Result(job, error="ended by SIGKILL")}, "cpu")[0]
    assert (row["molecules_per_s"], row["speedup_forward"], row["error"]) == (None, None, "ended by SIGKILL")


def test_only_the_reference_and_fused_backends_are_run() -> None:
    fused = next(iter(dispatch.FUSED))
    jobs = sampling_jobs(SAMPLINGS[0], ["reference", "native", "torch_scatter", fused], "cpu", quick=False)
    assert [job.name for job in jobs] == ["reference", fused]


def test_a_lost_molecule_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = Chain(sampling_jobs(TINY, ["reference"], "cpu", quick=True)[0], 3)
    lost = Samples([], [SamplingFailure(0, 7, 18, 2)], [])
    monkeypatch.setattr(subject.task, "sample", lambda *_, **__: lost)
    with pytest.raises(SubjectError, match=r"molecule 0 \(seed 7, 18 atoms\) became infinite"):
        subject.first()


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=lambda sampling: sampling.name)
def test_the_names_say_the_number_of_steps(sampling: Sampling) -> None:
    assert sampling.name == f"sampling-{sampling.num_steps}"
    with torch.device("meta"):
        chain = Chain(sampling_jobs(sampling, ["reference"], "meta", quick=False)[0], sampling.num_steps)
    assert sum(parameter.numel() for parameter in chain.task.parameters()) > 500_000

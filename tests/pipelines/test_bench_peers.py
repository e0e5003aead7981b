"""What the benchmark runs: steps that train, and peers that compute the same as the backends."""

from __future__ import annotations

import pytest
import torch

from geograph.kernels import use_backend
from pipelines import bench_peers
from pipelines.bench_cases import CASES, Case, five_each, molecule_sizes, molecules, particles
from pipelines.bench_peers import PRODUCTS, Trainee, in_backend, jobs_of, late_jobs_of
from pipelines.bench_process import Job

TINY = Case("tiny", "egnn-dynamics", five_each, particles, 6, 3, {"num_hidden": 4, "num_layers": 1})
EGNN = Case(
    "EGNN", "egnn", molecule_sizes, molecules, 4, 2, {"inputs": "molecule", "num_hidden": 16, "num_layers": 2}
)


def trainee(job: Job) -> Trainee:
    made = job.make(job)
    assert isinstance(made, Trainee)
    return made


def test_step_trains_and_forward_does_not() -> None:
    made = trainee(Job(TINY, "native", in_backend, 3, "cpu"))
    before = [parameter.clone() for parameter in made.model.parameters()]
    made.forward()
    assert all(map(torch.equal, before, made.model.parameters()))
    made.step()
    assert not all(map(torch.equal, before, made.model.parameters()))


def test_first_step_tells_memory_and_rounds_tell_times() -> None:
    made = trainee(Job(TINY, "reference", in_backend, 6, "cpu"))
    peak, times = made.first()
    assert peak >= 0
    assert min(times) > 0
    assert min(made.round()) > 0


def test_backend_is_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    from geograph.kernels import selected

    seen: list[str] = []
    for name in ("step", "forward"):
        monkeypatch.setattr(Trainee, name, lambda self: seen.append(selected()))
    made = trainee(Job(TINY, "reference", in_backend, 2, "cpu"))
    made.first()
    made.round()
    assert seen == ["reference"] * 6  # a small step and forward pass that wake the libraries, then ours


def test_pyg_computes_the_same() -> None:
    ours = trainee(Job(EGNN, "reference", in_backend, 4, "cpu"))
    theirs = trainee(Job(EGNN, "pyg_message_passing", bench_peers.with_pyg, 4, "cpu"))
    assert sum(isinstance(m, bench_peers.PygEGCL) for m in theirs.model.modules()) == 2
    gradients = []
    for made in (ours, theirs):
        model, batch = made.model.double(), made.batch.clone()
        batch.pos = batch.pos.double()
        with use_backend("reference"):
            out = model(batch)
        out.square().sum().backward()
        gradients.append([out.detach(), *(p.grad for p in model.parameters())])
    for a, b in zip(*gradients, strict=True):
        assert a is not None
        assert b is not None
        assert float((a - b).abs().max()) <= 1e-11 * float(a.abs().max())


def test_padded_batch_is_larger_and_runs() -> None:
    made = trainee(Job(EGNN, "padded", bench_peers.padded, 4, "cpu"))
    ragged = trainee(Job(EGNN, "reference", in_backend, 4, "cpu"))
    assert made.batch.edge_index.shape[1] > ragged.batch.edge_index.shape[1]
    assert made.backend == "reference"
    made.step()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_layers_to_compile(case: Case) -> None:
    with torch.device("meta"):
        model = case.build("meta")
    assert len(bench_peers._layers(model)) == case.params["num_layers"]


def test_compiled_layers_are_marked_and_the_backend_is_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    from geograph.kernels import dispatch, reference

    for name in ("selected", "implementation", "_module"):
        if hasattr(dispatch, name):
            monkeypatch.setattr(dispatch, name, getattr(dispatch, name))
    made = trainee(Job(EGNN, "torch_compile", bench_peers.compiled, 2, "cpu"))
    layers = bench_peers._layers(made.model)
    assert all(layer._compiled_call_impl is not None for layer in layers)
    assert dispatch.selected("native") == "reference"
    assert dispatch.implementation("native") is reference


def test_subjects_of_a_case() -> None:
    jobs = jobs_of(CASES[1], ["reference", "native"], "cpu", quick=False, reserve_s=7.0)
    assert [job.name for job in jobs] == ["reference", "native", PRODUCTS, "padded", "pyg_message_passing"]
    assert [job.reserve_s for job in jobs] == [0, 0, 0, 7, 7]
    assert {job.num_graphs for job in jobs} == {96}
    assert {job.num_graphs for job in jobs_of(CASES[1], ["native"], "cpu", quick=True)} == {16}
    late = late_jobs_of(CASES[1], "cpu", quick=True, limit_s=5.0)
    assert [job.name for job in late] == ["torch_compile", "reference"]
    assert late[0].first_limit_s == 5.0
    assert late_jobs_of(CASES[0], "cpu", quick=True, limit_s=5.0) == []
    assert len(late_jobs_of(CASES[0], "cpu", quick=False, limit_s=5.0)) == 2

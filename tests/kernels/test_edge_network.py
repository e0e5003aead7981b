"""The edge network: all backends agree with the specification, on any graph, with all derivatives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from kernels.edge_network_cases import FORMS, GRAPHS, make, worst
from torch import Tensor

from geograph.errors import ConfigError, ShapeError
from geograph.kernels import backends
from geograph.kernels.dispatch import FUSED
from geograph.kernels.edge_network import edge_network


@pytest.fixture(params=[name for name in FUSED if name != "triton"])
def fused(request: pytest.FixtureRequest) -> str:
    status = {row.name: row for row in backends()}[request.param]
    if not status.is_available:
        pytest.skip(f"backend {status.name}: {status.reason}")
    return request.param


@pytest.mark.parametrize("graph", [name for name in GRAPHS if name != "no edges"])
@pytest.mark.parametrize("form", FORMS)
def test_agrees_with_the_specification_in_float64(fused: str, form: str, graph: str) -> None:
    problem = make(FORMS[form], graph)
    assert worst(problem.all_results(fused), problem.all_results("reference")) < 1e-10


@pytest.mark.parametrize("form", FORMS)
def test_float32_errs_no_more_than_twice_the_specification(fused: str, form: str) -> None:
    exact = make(FORMS[form], "one huge").all_results("reference")
    problem = make(FORMS[form], "one huge", torch.float32)
    ours, theirs = (problem.all_results(backend) for backend in (fused, "reference"))

    def error(results: list[Tensor]) -> float:
        """Root mean square over all arrays of the relative error of each."""
        pairs = [(r.detach().double(), e.detach()) for r, e in zip(results, exact, strict=True)]
        return float(np.sqrt(np.mean([float(((r - e).norm() / e.norm()) ** 2) for r, e in pairs])))

    assert error(ours) <= 2 * error(theirs)


@pytest.mark.parametrize("form", FORMS)
def test_without_edges_sums_are_zero(fused: str, form: str) -> None:
    if FORMS[form].norm:
        pytest.skip("a batch norm over no edges has no moments")
    problem = make(FORMS[form], "no edges")
    results = problem.all_results(fused)
    assert all(not r.any() for r in results)
    assert [r.shape for r in results] == [r.shape for r in problem.all_results("reference")]


@pytest.mark.parametrize("form", ["egcl", "edm move", "odd widths"])
def test_first_and_second_derivatives(fused: str, form: str) -> None:
    small = replace(FORMS[form], hidden=3, messages=4, scalars=2, head=min(FORMS[form].head, 3))
    problem = make(small, "empty and isolated")
    leaves = problem.leaves()

    def run(*_: Tensor) -> tuple[Tensor, ...]:
        return tuple(problem.run(fused))

    assert torch.autograd.gradcheck(run, leaves)
    assert torch.autograd.gradgradcheck(run, leaves)


@pytest.mark.parametrize("form", ["edm message", "lgeb"])
def test_forces_from_energies(fused: str, form: str) -> None:
    problem = make(FORMS[form])

    def force_loss(backend: str) -> list[Tensor]:
        energy = problem.run(backend)[0].tanh().sum()
        (force,) = torch.autograd.grad(energy, problem.edge_attr, create_graph=True)
        loss = force.square().sum()
        return list(torch.autograd.grad(loss, problem.leaves(), allow_unused=True, materialize_grads=True))

    # The specification reduces segments by an operation without a second derivative.
    assert worst(force_loss(fused), force_loss("native")) < 1e-10


def test_evaluation_uses_the_running_moments(fused: str) -> None:
    problem = make(FORMS["lgeb"])
    norm = problem.weights.norm
    assert norm is not None
    with torch.no_grad():
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
    norm.eval()
    kept = norm.running_mean.clone()
    assert worst(problem.run(fused), problem.run("reference")) < 1e-10
    assert torch.equal(kept, norm.running_mean)


def test_other_layouts_of_memory_are_taken(fused: str) -> None:
    problem = make(FORMS["egcl"])
    wanted = problem.run("reference")
    wide = torch.stack([problem.h, problem.h], dim=2).detach()
    other = replace(
        problem.weights,
        weight=problem.weights.weight.detach().T.contiguous().T,
        pair_bias=problem.weights.pair_bias,
    )
    turned = problem.edge_index.T.contiguous().T
    found = edge_network(
        wide[:, :, 0],
        problem.edge_attr.detach().T.contiguous().T,
        other,
        turned,
        problem.edge_ptr,
        backend=fused,
    )
    assert worst([f for f in found if f is not None], wanted) < 1e-10


def test_edges_out_of_order_are_refused(fused: str) -> None:
    problem = make(FORMS["egcl"])
    problem.edge_index = problem.edge_index.flip(1)
    with pytest.raises(
        ShapeError, match="`edge_index` must be sorted by target as `edge_ptr` says.*in place 0"
    ):
        problem.run(fused)


def test_a_source_that_is_no_node_is_refused(fused: str) -> None:
    problem = make(FORMS["egcl"])
    problem.edge_index = problem.edge_index.clone()
    problem.edge_index[0, 3] = 1000
    with pytest.raises(ShapeError, match=r"nodes below 21, got the edge 1000 -> 0 in place 3"):
        problem.run(fused)


def test_a_pointer_of_other_edges_is_refused(fused: str) -> None:
    problem = make(FORMS["egcl"])
    problem.edge_ptr = problem.edge_ptr + 1
    with pytest.raises(ShapeError, match="`edge_ptr` must lead from 0 to the number of edges"):
        problem.run(fused)


def test_an_unknown_activation_is_refused() -> None:
    problem = make(replace(FORMS["egcl"], activation="gelu"))
    with pytest.raises(ConfigError, match="`activation` must be one of silu, relu, got 'gelu'"):
        problem.run("reference")


def test_the_specification_tells_networks_apart() -> None:
    """A control: another gate, order of edges or activation is seen by the comparison above."""
    problem = make(FORMS["egcl"])
    results = problem.run("reference")
    problem.form = replace(problem.form, activation="relu")
    assert worst(problem.run("reference"), results) > 1e-3

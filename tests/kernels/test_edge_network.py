"""The edge network: all backends agree with the specification, on any graph, with all derivatives."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from geograph.datasets.loader import complete_graph_edges
from geograph.errors import ConfigError, ShapeError
from geograph.kernels import backends
from geograph.kernels.dispatch import FUSED, implementation
from geograph.kernels.edge_network import EdgeNetworkWeights, edge_network

_FEATURES = 5


@pytest.fixture(params=[name for name in FUSED if name != "triton"])
def fused(request: pytest.FixtureRequest) -> str:
    status = {row.name: row for row in backends()}[request.param]
    if not status.is_available:
        pytest.skip(f"backend {status.name}: {status.reason}")
    return request.param


@dataclass(frozen=True)
class Form:
    """Sizes and parts of an edge network."""

    hidden: int = 24
    messages: int = 24
    head: int = 0
    scalars: int = 1
    gate: bool = False
    length: bool = False
    norm: bool = False
    activation: str = "silu"
    wants_sum: bool = True


FORMS = {
    "edm message": Form(gate=True, scalars=2),
    "edm move": Form(length=True, wants_sum=False, scalars=2),
    "egcl": Form(head=24, length=True, gate=True),
    "egcl last": Form(head=24, length=True, wants_sum=False),
    "lgeb": Form(
        hidden=72, messages=72, head=72, length=True, gate=True, norm=True, activation="relu", scalars=2
    ),
    "radial basis": Form(scalars=33, hidden=40, messages=40),
    "odd widths": Form(hidden=33, messages=17, head=5, scalars=12, gate=True, length=True, norm=True),
    "one": Form(hidden=1, messages=1, head=1, length=True, gate=True),
}

GRAPHS = {
    "molecules": [5, 3, 9, 4],
    "empty and isolated": [0, 1, 6, 0, 1, 0],
    "one huge": [0, 70, 2],
    "no edges": [1, 1],
}


def make_edges(name: str) -> tuple[Tensor, Tensor]:
    edge_index, edge_ptr = complete_graph_edges(np.array(GRAPHS[name]))
    return torch.from_numpy(edge_index), torch.from_numpy(edge_ptr)


@dataclass
class Problem:
    """Inputs and parameters, leaves of the graph of derivatives."""

    h: Tensor
    edge_attr: Tensor
    weights: EdgeNetworkWeights
    edge_index: Tensor
    edge_ptr: Tensor
    form: Form

    def leaves(self) -> list[Tensor]:
        values = [getattr(self.weights, field.name) for field in fields(self.weights)]
        norm = [] if self.weights.norm is None else list(self.weights.norm.parameters())
        return [self.h, self.edge_attr, *(v for v in values if isinstance(v, Tensor)), *norm]

    def run(self, backend: str) -> list[Tensor]:
        out = edge_network(
            self.h, self.edge_attr, self.weights, self.edge_index, self.edge_ptr,
            activation=self.form.activation, wants_sum=self.form.wants_sum, backend=backend,
        )  # fmt: skip
        return [part for part in out if part is not None]

    def all_results(self, backend: str) -> list[Tensor]:
        """Return outputs, gradients for fixed random cotangents, and running moments."""
        norm = self.weights.norm
        if norm is not None:
            norm.reset_running_stats()
        outputs = self.run(backend)
        generator = torch.Generator().manual_seed(7)
        loss = sum(
            (o * torch.randn(o.shape, generator=generator, dtype=torch.float64).to(o.dtype)).sum()
            for o in outputs
        )
        grads = torch.autograd.grad(loss, self.leaves(), allow_unused=True)
        moments = [] if norm is None else [norm.running_mean.clone(), norm.running_var.clone()]
        return [*outputs, *(g for g in grads if g is not None), *moments]


def make(form: Form, graph: str = "molecules", dtype: torch.dtype = torch.float64) -> Problem:
    edge_index, edge_ptr = make_edges(graph)
    generator = torch.Generator().manual_seed(3)

    def leaf(*shape: int) -> Tensor:
        value = 0.5 * torch.randn(shape, generator=generator, dtype=torch.float64)
        return value.to(dtype).requires_grad_()

    norm = nn.BatchNorm1d(form.hidden).to(dtype) if form.norm else None
    weights = EdgeNetworkWeights(
        pair_weight=leaf(form.hidden, 2 * _FEATURES + form.scalars),
        pair_bias=None if form.norm else leaf(form.hidden),
        norm=norm,
        weight=leaf(form.messages, form.hidden),
        bias=leaf(form.messages),
        gate_weight=leaf(1, form.messages) if form.gate else None,
        gate_bias=leaf(1) if form.gate else None,
        head_weight=leaf(form.head, form.messages) if form.head else None,
        head_bias=leaf(form.head) if form.head else None,
        length_weight=leaf(1, form.head or form.messages) if form.length else None,
    )
    nodes, edges = len(edge_ptr) - 1, edge_index.shape[1]
    return Problem(leaf(nodes, _FEATURES), leaf(edges, form.scalars), weights, edge_index, edge_ptr, form)


def worst(found: list[Tensor], wanted: list[Tensor]) -> float:
    assert len(found) == len(wanted)
    pairs = [
        (f.detach().double(), w.detach().double()) for f, w in zip(found, wanted, strict=True) if w.numel()
    ]
    assert all(f.shape == w.shape for f, w in pairs)
    return max(float((f - w).abs().max() / w.abs().max().clamp(min=1e-300)) for f, w in pairs)


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


@pytest.mark.parametrize("form", ["egcl", "lgeb", "radial basis"])
def test_any_number_of_threads_gives_the_same_bits(fused: str, form: str) -> None:
    shape = FORMS[form]
    problem = make(shape, "one huge", torch.float32)
    weights = problem.weights
    nodes = torch.randn(
        2, len(problem.edge_ptr) - 1, shape.hidden, generator=torch.Generator().manual_seed(1)
    )
    inputs = (
        *nodes, problem.edge_attr, weights.pair_weight[:, 2 * _FEATURES :], weights.weight, weights.bias,
        weights.gate_weight, weights.gate_bias, weights.head_weight, weights.head_bias, weights.length_weight,
    )  # fmt: skip
    flat = [None if t is None else t.detach() for t in inputs]
    flat = [t.reshape(-1) if t is not None and k in (6, 10) else t for k, t in enumerate(flat)]
    edges = (problem.edge_index[0], problem.edge_ptr)
    module = implementation(fused)

    def run(threads: int) -> list[Tensor]:
        torch.set_num_threads(threads)
        total, length = module.messages_forward(*flat, *edges, False, True)
        grads = module.messages_backward(total, length, *flat, *edges, False, True)
        moments = module.moments_forward(*flat[:4], *edges)
        back = module.moments_backward(*moments, moments[0], *flat[:4], *edges)
        return [t for t in (total, length, *grads, *moments, *back) if t is not None]

    before = torch.get_num_threads()
    try:
        first, *others = (run(threads) for threads in (1, 2, 5))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True))


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

"""Forms of the edge network and graphs on which its backends are compared."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor, nn

from geograph.datasets.loader import complete_graph_edges
from geograph.kernels.edge_network import EdgeNetworkWeights, edge_network

FEATURES = 5


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


#: Thousands of nodes whose edges come from anywhere, one of them with a tenth of the edges, some with none.
SCATTERED = "random sources"


def scattered_edges(nodes: int, mean_degree: int, hub: int) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(5)
    degree = rng.integers(2 * mean_degree + 1, size=nodes)
    degree[nodes // 3] = hub
    target = np.repeat(np.arange(nodes), degree)
    edge_index = np.stack([rng.integers(nodes, size=len(target)), target])
    return torch.from_numpy(edge_index), torch.from_numpy(np.concatenate([[0], degree.cumsum()]))


def make_edges(name: str) -> tuple[Tensor, Tensor]:
    if name == SCATTERED:
        return scattered_edges(1500, 20, 3500)
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
        pair_weight=leaf(form.hidden, 2 * FEATURES + form.scalars),
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
    return Problem(leaf(nodes, FEATURES), leaf(edges, form.scalars), weights, edge_index, edge_ptr, form)


def worst(found: list[Tensor], wanted: list[Tensor]) -> float:
    assert len(found) == len(wanted)
    pairs = [
        (f.detach().double(), w.detach().double()) for f, w in zip(found, wanted, strict=True) if w.numel()
    ]
    assert all(f.shape == w.shape for f, w in pairs)
    return max(float((f - w).abs().max() / w.abs().max().clamp(min=1e-300)) for f, w in pairs)

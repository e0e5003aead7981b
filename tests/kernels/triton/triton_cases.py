"""Graphs, inputs and the composed edge network that the kernels are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from geograph.kernels.edge_network import ACTIVATIONS

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def need_triton() -> None:
    """Skip a module where Triton is missing, or was imported before it could be told to interpret."""
    pytest.importorskip("triton", reason="the package triton is not installed")
    from geograph.kernels.triton import launch

    if DEVICE == "cpu" and not launch.INTERPRETED:
        pytest.skip(
            "triton was imported without TRITON_INTERPRET=1 before these tests", allow_module_level=True
        )


@dataclass(frozen=True)
class Case:
    """A graph by the number of edges of each target, and the widths and parts of an edge network."""

    degrees: tuple[int, ...]
    scalars: int = 1
    hidden: int = 16
    messages: int = 16
    head: int = 0
    has_gate: bool = True
    has_length: bool = True
    wants_sum: bool = True
    is_relu: bool = False


#: Degrees zero (isolated), one huge segment that crosses many tiles, no edges, no nodes; widths off the
#: powers of two; every part on and off.
CASES = {
    "all parts, isolated nodes, a huge segment": Case((3, 0, 5, 100, 0, 1), 3, 24, 20, head=12),
    "no head, ReLU": Case((3, 0, 40, 2), is_relu=True),
    "no gate, ReLU, one node": Case((70,), 0, 72, 72, head=40, has_gate=False, is_relu=True),
    "sum alone": Case((5, 4), 2, 8, 8, has_length=False),
    "length alone": Case((0, 33, 0), 2, 8, 40, head=33, wants_sum=False),
    "no edges": Case((0, 0, 0), head=4),
    "no nodes": Case((), head=4),
}


def graph(degrees: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Source and target of each edge, and the CSR pointer over targets."""
    generator = torch.Generator().manual_seed(0)
    ptr = torch.tensor((0, *degrees)).cumsum(0)
    source = torch.randint(0, max(1, len(degrees)), (int(ptr[-1]),), generator=generator)
    target = torch.repeat_interleave(torch.arange(len(degrees)), ptr.diff())
    return source.to(DEVICE), target.to(DEVICE), ptr.to(DEVICE)


def inputs(case: Case, dtype: torch.dtype = torch.float64) -> list[Tensor | None]:
    """Eleven inputs of the edge network, from `target` to `length_weight`."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        values = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return (values / shape[-1] ** 0.5).to(DEVICE, dtype)

    nodes, edges = len(case.degrees), sum(case.degrees)
    gate = (draw(case.messages), draw(1)) if case.has_gate else (None, None)
    head = (draw(case.head, case.messages), draw(case.head)) if case.head else (None, None)
    return [
        draw(nodes, case.hidden) * 4,
        draw(nodes, case.hidden) * 4,
        draw(edges, max(1, case.scalars))[:, : case.scalars],
        draw(case.hidden, max(1, case.scalars))[:, : case.scalars],
        draw(case.messages, case.hidden),
        draw(case.messages),
        *gate,
        *head,
        draw(case.head or case.messages) if case.has_length else None,
    ]


def composed(values: list[Any], case: Case) -> tuple[Tensor | None, Tensor | None]:
    """Compute sums and lengths by operations of PyTorch that keep every array."""
    t, s, e, edge_weight, weight, bias, gate_weight, gate_bias, head_weight, head_bias, length_weight = values
    source, target, ptr = graph(case.degrees)
    act, linear = ACTIVATIONS["relu" if case.is_relu else "silu"], torch.nn.functional.linear
    message = act(linear(act(t[target] + s[source] + e @ edge_weight.T), weight, bias))
    if gate_weight is not None:
        message = message * torch.sigmoid(message @ gate_weight + gate_bias)[:, None]
    total = message.new_zeros(len(ptr) - 1, message.shape[1]).index_add(0, target, message)
    if length_weight is None:
        return total, None
    hidden = message if head_weight is None else act(linear(message, head_weight, head_bias))
    return total if case.wants_sum else None, hidden @ length_weight


def leaves(values: list[Tensor | None]) -> list[Tensor | None]:
    """Make copies that autograd follows."""
    return [None if x is None else x.detach().clone().requires_grad_() for x in values]


def error(ours: Tensor, wanted: Tensor) -> float:
    """Largest difference, relative to the largest magnitude."""
    assert ours.shape == wanted.shape
    if wanted.numel() == 0:
        return 0.0
    ours, wanted = ours.detach(), wanted.detach()
    return float((ours.double() - wanted.double()).abs().max() / wanted.double().abs().max().clamp(min=1e-30))

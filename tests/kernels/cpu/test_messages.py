"""The compiled edge network: equal bits for any number of threads, and bounded memory on large graphs."""

from __future__ import annotations

import pytest
import torch
from kernels.edge_network_cases import FEATURES, FORMS, SCATTERED, Problem, make, scattered_edges, worst
from torch import Tensor

from geograph.kernels import cpu
from geograph.kernels.cpu import messages
from pipelines.cost import peak_memory_mb, reset_peak_memory


@pytest.fixture(autouse=True)
def _compiled() -> None:
    reason = cpu.unavailable()
    if reason is not None:
        pytest.skip(f"no compiled kernels: {reason}")


def flat_inputs(problem: Problem) -> list[Tensor | None]:
    """Return what the kernel takes: node parts of the first linear map at random, weights of the problem."""
    weights, nodes = problem.weights, len(problem.edge_ptr) - 1
    parts = torch.randn(2, nodes, problem.form.hidden, generator=torch.Generator().manual_seed(1))
    inputs = (
        *parts, problem.edge_attr, weights.pair_weight[:, 2 * FEATURES :], weights.weight, weights.bias,
        weights.gate_weight, weights.gate_bias, weights.head_weight, weights.head_bias, weights.length_weight,
    )  # fmt: skip
    flat = [None if t is None else t.detach() for t in inputs]
    return [t.reshape(-1) if t is not None and k in (6, 10) else t for k, t in enumerate(flat)]


@pytest.mark.parametrize("graph", ["one huge", SCATTERED])
@pytest.mark.parametrize("form", ["egcl", "lgeb", "radial basis"])
def test_any_number_of_threads_gives_the_same_bits(form: str, graph: str) -> None:
    problem = make(FORMS[form], graph, torch.float32)
    flat = flat_inputs(problem)
    edges = (problem.edge_index[0], problem.edge_ptr)

    def run(threads: int) -> list[Tensor]:
        torch.set_num_threads(threads)
        total, length = messages.messages_forward(*flat, *edges, False, True)
        grads = messages.messages_backward(total, length, *flat, *edges, False, True)
        moments = messages.moments_forward(*flat[:4], *edges)
        back = messages.moments_backward(*moments, moments[0], *flat[:4], *edges)
        return [t for t in (total, length, *grads, *moments, *back) if t is not None]

    before = torch.get_num_threads()
    try:
        first, *others = (run(threads) for threads in (1, 2, 5))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("form", ["edm move", "lgeb", "radial basis", "odd widths"])
def test_sources_all_over_a_large_graph(form: str) -> None:
    """Their gradients are summed in waves of chunks, several here."""
    problem = make(FORMS[form], SCATTERED)
    assert worst(problem.all_results("cpu"), problem.all_results("reference")) < 1e-10


def test_memory_of_the_backward_pass_is_bounded() -> None:
    """Rows for the sources of every chunk would take 160 MB, an array [edges, hidden] 20 MB."""
    width, nodes = 16, 40_000
    (source, _), ptr = scattered_edges(nodes, 8, 8)
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(nodes, width, generator=generator) for _ in range(2)]
    weights = [torch.randn(width, size, generator=generator) for size in (1, width)]
    inputs = (*parts, torch.randn(len(source), 1, generator=generator), *weights, torch.zeros(width))
    messages.messages_backward(parts[0], None, *inputs, *[None] * 5, source, ptr, False, True)
    reset_peak_memory()
    before = peak_memory_mb()
    messages.messages_backward(parts[0], None, *inputs, *[None] * 5, source, ptr, False, True)
    assert peak_memory_mb() - before < 40

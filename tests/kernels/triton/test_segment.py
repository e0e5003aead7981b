"""Segment reductions, gathered sums and pair maps against the specification."""

from __future__ import annotations

import pytest
import torch
from kernels.triton import triton_cases
from kernels.triton.triton_cases import DEVICE, error, graph
from torch import Tensor

triton_cases.need_triton()

from geograph.kernels import native, reference  # noqa: E402
from geograph.kernels import triton as backend  # noqa: E402
from geograph.kernels.triton import order, pair, segment  # noqa: E402

DEGREES = (3, 0, 40, 1, 0)
reductions = pytest.mark.parametrize("reduce", ["sum", "mean", "max"])
OPERATIONS = {
    "segment_reduce": lambda m, v, w, s, t, p, r: m.segment_reduce(v[s], p, t, r),
    "gather_scatter": lambda m, v, w, s, t, p, r: m.gather_scatter(v, w, torch.stack([s, t]), p, r),
}


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(DEVICE, dtype)


@reductions
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("features", [(), (2, 65), (0,)], ids=str)
@pytest.mark.parametrize("degrees", [DEGREES, (0, 0)], ids=str)
def test_reductions_and_gradients_equal_the_native_ones(
    reduce: str, name: str, features: tuple[int, ...], degrees: tuple[int, ...]
) -> None:
    source, target, ptr = graph(degrees)
    results = []
    for module in (native, backend):
        values = draw(len(degrees), *features).requires_grad_()
        weight = draw(len(source), seed=1).requires_grad_()
        result = OPERATIONS[name](module, values, weight, source, target, ptr, reduce)
        grads = torch.autograd.grad(
            result.sin().sum(), (values, weight), allow_unused=True, materialize_grads=True
        )
        results.append((result.detach(), *grads))
    for wanted, ours in zip(*results, strict=True):
        assert error(ours, wanted) <= 1e-12


@reductions
def test_literal_values(reduce: str) -> None:
    src = torch.tensor([[1.0, -2.0], [3.0, -4.0], [5.0, 6.0]], device=DEVICE)
    ptr = torch.tensor([0, 0, 2, 3], device=DEVICE)
    wanted = {"sum": [4.0, -6.0], "mean": [2.0, -3.0], "max": [3.0, -2.0]}[reduce]
    result = backend.segment_reduce(src, ptr, torch.tensor([1, 1, 2], device=DEVICE), reduce)
    assert result.tolist() == [[0.0, 0.0], wanted, [5.0, 6.0]]


def test_bfloat16_sums_are_taken_in_float32() -> None:
    src = torch.ones(1000, 1, dtype=torch.bfloat16, device=DEVICE)  # 256 + 1 is 256 in bfloat16
    ptr = torch.tensor([0, 1000], device=DEVICE)
    result = backend.segment_reduce(src, ptr, torch.zeros(1000, dtype=torch.int64, device=DEVICE), "sum")
    assert result.item() == 1000


@pytest.mark.parametrize("scalars", [None, 0, 3])
def test_pair_linear_and_gradients_equal_the_reference(scalars: int | None) -> None:
    source, target, ptr = graph(DEGREES)
    edge_index, results = torch.stack([source, target]), []
    for module in (reference, backend):
        h, weight = draw(len(DEGREES), 4), draw(9, 8 + (scalars or 0), seed=1)
        given = [h, weight, draw(9, seed=2)] + (
            [] if scalars is None else [draw(len(source), scalars, seed=3)]
        )
        followed = [x.requires_grad_() for x in given]
        attr = None if scalars is None else followed[3]
        result = module.pair_linear(followed[0], attr, followed[1], followed[2], edge_index)
        results.append((result.detach(), *torch.autograd.grad(result.sin().sum(), followed)))
    for wanted, ours in zip(*results, strict=True):
        assert error(ours, wanted) <= 1e-12


def test_gradients_to_second_order() -> None:
    source, target, ptr = graph((2, 0, 3))
    index, values, weight = torch.stack([source, target]), draw(3, 2), draw(5, seed=1)
    given = (values.requires_grad_(), weight.requires_grad_())

    def gathered(v: Tensor, w: Tensor) -> Tensor:
        return backend.gather_scatter(v, w, index, ptr, "mean")

    assert torch.autograd.gradcheck(gathered, given, fast_mode=True)
    assert torch.autograd.gradgradcheck(gathered, given, fast_mode=True)


def test_operators_keep_the_rules_of_torch_library() -> None:
    source, target, ptr = graph((2, 0, 3))
    src, values = draw(5, 3).requires_grad_(), draw(3, 4).requires_grad_()
    for reduce in ("sum", "max"):
        torch.library.opcheck(segment._segment_reduce, (src, ptr, target, reduce))
    torch.library.opcheck(segment.gather_sum, (values, draw(5).requires_grad_(), source, target, ptr))
    torch.library.opcheck(segment.source_edges, (source, 3))
    tensors = [x.requires_grad_() for x in (draw(3, 4), draw(3, 4), draw(5, 2), draw(4, 2))]
    torch.library.opcheck(pair.pair_sum, (*tensors, torch.stack([source, target])))


def test_source_order_sorts_each_chunk() -> None:
    source = torch.tensor([2, 0, 2, 1, 0, 2, 2], device=DEVICE)
    edges, ptr = order.source_order(source, 3, 4)
    assert edges.tolist() == [1, 3, 0, 2, 4, 5, 6]
    assert ptr.tolist() == [0, 1, 2, 4, 5, 5, 7]


def test_orders_are_kept_until_their_edges_change() -> None:
    ptr = torch.tensor([0, 2, 3], device=DEVICE)
    first = order.edge_targets(ptr, 3)
    assert order.edge_targets(ptr.view(-1), 3) is first
    ptr[1] = 1
    assert order.edge_targets(ptr, 3).tolist() == [0, 1, 1]
    for number in range(20):
        order.edge_targets(torch.tensor([0, number], device=DEVICE), number)
    assert len(order._KEPT) <= order._ENTRIES
    with torch.inference_mode():
        assert order.edge_targets(torch.tensor([0, 1, 3], device=DEVICE), 3).tolist() == [0, 1, 1]

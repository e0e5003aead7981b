"""Fused edge network against the composed one."""

from __future__ import annotations

import pytest
import torch
from kernels.triton import triton_cases
from kernels.triton.triton_cases import CASES, Case, composed, error, graph, inputs, leaves
from torch import Tensor

triton_cases.need_triton()

from geograph.errors import BackendError  # noqa: E402
from geograph.kernels import triton as backend  # noqa: E402
from geograph.kernels.triton import backward, launch, messages  # noqa: E402

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
BIG = CASES["all parts, isolated nodes, a huge segment"]


def run_forward(case: Case, values: list[Tensor | None]) -> tuple[Tensor | None, Tensor | None]:
    source, _, ptr = graph(case.degrees)
    return backend.messages_forward(*values, source, ptr, case.is_relu, case.wants_sum)


def run_backward(
    case: Case, values: list[Tensor | None], upstream: list[Tensor | None]
) -> list[Tensor | None]:
    source, _, ptr = graph(case.degrees)
    return list(backend.messages_backward(*upstream, *values, source, ptr, case.is_relu, case.wants_sum))


def gradients(case: Case, values: list[Tensor | None]) -> tuple[list[Tensor | None], list[Tensor | None]]:
    """Upstream gradients, and what autograd makes of them on the composed path."""
    followed = leaves(values)
    results = composed(followed, case)
    generator = torch.Generator().manual_seed(2)
    upstream = [
        None if x is None else torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)
        for x in results
    ]
    loss = sum((x * g).sum() for x, g in zip(results, upstream, strict=True) if x is not None)
    assert isinstance(loss, Tensor)
    wanted = [x for x in followed if x is not None]
    grads = iter(torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True))
    return upstream, [None if x is None else next(grads) for x in followed]


@every_case
def test_forward_equals_the_composed_path(case: Case) -> None:
    values = inputs(case)
    for ours, wanted in zip(run_forward(case, values), composed(values, case), strict=True):
        assert (ours is None) == (wanted is None)
        if ours is not None and wanted is not None:
            assert error(ours, wanted) <= 1e-12


@every_case
@pytest.mark.parametrize("chunk", [1 << 15, 32], ids=["one chunk", "chunks"])
def test_backward_equals_autograd_of_the_composed_path(
    case: Case, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backward, "CHUNK_EDGES", chunk)
    values = inputs(case)
    upstream, wanted = gradients(case, values)
    for ours, theirs in zip(run_backward(case, values, upstream), wanted, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            assert error(ours, theirs) <= 1e-10


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 2e-6), (torch.bfloat16, 3e-2)], ids=str)
def test_narrow_types_stay_close_to_float64(dtype: torch.dtype, bound: float) -> None:
    values = inputs(BIG, dtype)
    wide = [None if x is None else x.double() for x in values]
    upstream, wanted = gradients(BIG, wide)
    narrow = [None if x is None else x.to(dtype) for x in upstream]
    results = (*run_forward(BIG, values), *run_backward(BIG, values, narrow))
    for ours, theirs in zip(results, (*composed(wide, BIG), *wanted), strict=True):
        assert ours is not None
        assert theirs is not None
        assert ours.dtype == dtype
        assert error(ours, theirs) <= bound


def test_upstream_gradient_of_one_result_alone() -> None:
    values = inputs(BIG)
    upstream, _ = gradients(BIG, values)
    zero = [None if x is None else torch.zeros_like(x) for x in upstream]
    for first, second in (
        ([upstream[0], None], [upstream[0], zero[1]]),
        ([None, upstream[1]], [zero[0], upstream[1]]),
    ):
        for ours, theirs in zip(
            run_backward(BIG, values, first), run_backward(BIG, values, second), strict=True
        ):
            assert ours is not None
            assert theirs is not None
            assert error(ours, theirs) <= 1e-12


def test_results_are_the_same_in_every_run() -> None:
    values = inputs(BIG, torch.float32)
    upstream, _ = gradients(BIG, values)
    runs = [(*run_forward(BIG, values), *run_backward(BIG, values, upstream)) for _ in range(2)]
    for first, second in zip(*runs, strict=True):
        assert first is not None
        assert second is not None
        assert torch.equal(first, second)


def test_operators_keep_the_rules_of_torch_library() -> None:
    case = Case((2, 0, 3), head=4)
    values, (source, _, ptr) = inputs(case, torch.float32), graph(case.degrees)
    torch.library.opcheck(messages._messages, (*values, source, ptr, False, True))
    total, length = run_forward(case, values)
    torch.library.opcheck(backward._messages_backward, (total, length, *values, source, ptr, False))


def test_tensors_need_not_be_contiguous() -> None:
    case = Case((5, 4), 2, 8, 8, head=5)
    values, (source, _, ptr) = inputs(case), graph(case.degrees)
    strided = [x if x is None or x.ndim < 2 else x.t().contiguous().t() for x in values]
    doubled = torch.stack([source, source], dim=1)[:, 0]
    ours = backend.messages_forward(*strided, doubled, ptr, case.is_relu, case.wants_sum)
    for mine, theirs in zip(ours, run_forward(case, values), strict=True):
        assert torch.equal(mine, theirs)


def test_chunks_are_whole_tiles_and_few() -> None:
    for num_edges in (1, 31, 1 << 15, 10**7, 2**31 + 5):
        chunk = backward.chunk_edges(num_edges, 32)
        assert chunk % 32 == 0
        assert -(-num_edges // chunk) <= max(backward.MAX_CHUNKS, 1)
        assert chunk <= max(backward.CHUNK_EDGES, num_edges // backward.MAX_CHUNKS + 64)


def test_unsupported_tensors_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    values = inputs(Case((2,)))
    with pytest.raises(BackendError, match="float32, float64 or bfloat16 throughout, got torch.float16"):
        run_forward(Case((2,)), [None if x is None else x.half() for x in values])
    mixed = [*values[:5], values[5].float(), *values[6:]]  # type: ignore[union-attr]
    with pytest.raises(BackendError, match="throughout, got torch.float32, torch.float64"):
        run_forward(Case((2,)), mixed)
    wide = Case((2,), messages=launch.MAX_WIDTH + 1)
    with pytest.raises(BackendError, match="`weight` of at most 512 outputs, got 513"):
        run_forward(wide, inputs(wide))
    monkeypatch.setattr(launch, "INTERPRETED", False)
    with pytest.raises(BackendError, match="on a CUDA device, got one on cpu"):
        launch.check(torch.zeros(1))

"""Reduction of consecutive segments of rows, of stored rows or of weighted rows gathered on the way."""

from __future__ import annotations

from typing import Any, no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from geograph.kernels.triton import launch
from geograph.kernels.triton.order import source_order

_ROWS = 16
_OPERATIONS = {"sum": 0, "mean": 1, "max": 2}


@triton.jit
@no_type_check
def _tile(values, index, factor, row, is_row, column, shift, width,
          INDEX: tl.constexpr, FACTOR: tl.constexpr, ACC: tl.constexpr):  # fmt: skip
    """Rows to reduce: gathered by `index` where there is one, times a factor where there is one."""
    place = row
    if INDEX:
        place = tl.load(index + row, mask=is_row, other=0) - shift
    inside = is_row[:, None] & (column < width)[None, :]
    tile = tl.load(values + place[:, None] * width + column[None, :], mask=inside, other=0.0).to(ACC)
    if FACTOR:
        tile = tile * tl.load(factor + row, mask=is_row, other=0.0).to(ACC)[:, None]
    return tile


@triton.jit
@no_type_check
def _reduce(values, index, factor, ptr, result, shift, width,
            INDEX: tl.constexpr, FACTOR: tl.constexpr, OPERATION: tl.constexpr, ADD: tl.constexpr,
            ROWS: tl.constexpr, COLUMNS: tl.constexpr, ACC: tl.constexpr):  # fmt: skip
    """One segment and COLUMNS columns of it for each program; long segments take a loop."""
    segment = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    begin, end = tl.load(ptr + segment), tl.load(ptr + segment + 1)
    best = tl.full((COLUMNS,), float("-inf"), ACC)
    total = tl.zeros((COLUMNS,), ACC)
    for start in range(begin, end, ROWS):
        row = start + tl.arange(0, ROWS).to(tl.int64)
        is_row = row < end
        tile = _tile(values, index, factor, row, is_row, column, shift, width, INDEX, FACTOR, ACC)
        if OPERATION == 2:
            best = tl.maximum(best, tl.max(tl.where(is_row[:, None], tile, float("-inf")), axis=0))
        else:
            total += tl.sum(tile, axis=0)
    if OPERATION == 1:
        total = total / tl.maximum(end - begin, 1).to(ACC)
    if OPERATION == 2:
        total = tl.where(end > begin, best, 0.0)
    place = result + segment * width + column
    if ADD:
        total += tl.load(place, mask=column < width, other=0.0).to(ACC)
    tl.store(place, total.to(result.dtype.element_ty), mask=column < width)


def reduce_rows(
    values: Tensor,
    ptr: Tensor,
    *,
    index: Tensor | None = None,
    factor: Tensor | None = None,
    operation: str = "sum",
    shift: int = 0,
    out: Tensor | None = None,
) -> Tensor:
    """Reduce the rows `values[index - shift] * factor` (or `values * factor`) of each segment.

    Parameters
    ----------
    values
        Matrix [rows, width].
    ptr
        CSR pointer of the segments.
    index, factor
        Row to take and its factor, for each entry of the segments.
    operation
        "sum", "mean" or "max"; an empty segment gives zero.
    shift
        Subtracted from `index`.
    out
        Matrix [segments, width] to add the result to; a new one otherwise.
    """
    segments, width = ptr.shape[0] - 1, values.shape[1]
    result = values.new_empty(segments, width) if out is None else out
    if segments == 0 or width == 0:
        return result
    values, columns = values.contiguous(), min(128, launch.padded(width))
    constants = launch.types(values.dtype)
    grid = (segments, triton.cdiv(width, columns))
    _reduce[grid](
        values, launch.plain(index, ptr), launch.plain(factor, values), ptr.contiguous(), result, shift,
        width,
        INDEX=index is not None, FACTOR=factor is not None, OPERATION=_OPERATIONS[operation],
        ADD=out is not None, ROWS=_ROWS, COLUMNS=columns, ACC=constants["ACC"], **launch.OPTIONS,
    )  # fmt: skip
    return result


@torch.library.custom_op(
    "geograph::triton_segment_reduce",
    mutates_args=(),
    schema="(Tensor src, Tensor ptr, Tensor index, str reduce) -> Tensor",
)
def _segment_reduce(src: Tensor, ptr: Tensor, index: Tensor, reduce: str) -> Tensor:
    launch.check(src)
    return reduce_rows(src, ptr, operation=reduce)


@_segment_reduce.register_fake
def _(src: Tensor, ptr: Tensor, index: Tensor, reduce: str) -> Tensor:
    return src.new_empty(ptr.shape[0] - 1, src.shape[1])


def _keep_segments(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    src, ptr, index, ctx.reduce = inputs
    extreme = (src, output) if ctx.reduce == "max" else ()
    ctx.save_for_backward(ptr, index, *extreme)


def _segment_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    ptr, index, *extreme = ctx.saved_tensors
    if ctx.reduce == "mean":
        grad = grad / ptr.diff().clamp(min=1).to(grad.dtype)[:, None]
    spread = grad.index_select(0, index)
    if ctx.reduce == "max":  # rows that tie share the gradient
        is_best = (extreme[0] == extreme[1].index_select(0, index)).to(grad.dtype)
        spread = spread * is_best / _segment_reduce(is_best, ptr, index, "sum").index_select(0, index)
    return spread, None, None, None


_segment_reduce.register_autograd(_segment_gradient, setup_context=_keep_segments)


def segment_reduce(src: Tensor, ptr: Tensor, index: Tensor, reduce: str) -> Tensor:
    """Reduce each segment of rows; an empty segment gives zero."""
    width = src[:1].numel() if len(src) else src.new_empty(1, *src.shape[1:]).numel()
    result: Tensor = _segment_reduce(src.reshape(src.shape[0], width), ptr, index, reduce)
    return result.reshape(ptr.shape[0] - 1, *src.shape[1:])


@torch.library.custom_op(
    "geograph::triton_gather_sum",
    mutates_args=(),
    schema=("(Tensor values, Tensor edge_weight, Tensor source, Tensor target, Tensor ptr) -> Tensor"),
)
def gather_sum(values: Tensor, edge_weight: Tensor, source: Tensor, target: Tensor, ptr: Tensor) -> Tensor:
    """Sum of the rows w_e v_source(e) of each segment of edges e; `target` is the segment of each edge."""
    launch.check(values, edge_weight)
    return reduce_rows(values, ptr, index=source, factor=edge_weight)


@gather_sum.register_fake
def _(values: Tensor, edge_weight: Tensor, source: Tensor, target: Tensor, ptr: Tensor) -> Tensor:
    return values.new_empty(ptr.shape[0] - 1, values.shape[1])


def _keep_gather(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


@torch.library.custom_op(
    "geograph::triton_source_order",
    mutates_args=(),
    schema="(Tensor edge_source, SymInt num_nodes) -> (Tensor, Tensor)",
)
def source_edges(edge_source: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """Edges sorted by source, and their CSR pointer over sources."""
    edges, ptr = source_order(edge_source, num_nodes, max(1, edge_source.shape[0]))
    return edges.clone(), ptr.clone()


@source_edges.register_fake
def _(edge_source: Tensor, num_nodes: int | torch.SymInt) -> tuple[Tensor, Tensor]:
    return torch.empty_like(edge_source), edge_source.new_empty(num_nodes + 1)


def _gather_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    values, edge_weight, source, target, ptr = ctx.saved_tensors
    grad_values = grad_weight = None
    if ctx.needs_input_grad[0]:
        edges, reverse_ptr = source_edges(source, values.shape[0])
        grad_values = gather_sum(grad, edge_weight[edges], target[edges], source[edges], reverse_ptr)
    if ctx.needs_input_grad[1]:
        grad_weight = (values.index_select(0, source) * grad.index_select(0, target)).sum(dim=1)
    return grad_values, grad_weight, None, None, None


gather_sum.register_autograd(_gather_gradient, setup_context=_keep_gather)


def gather_scatter(
    values: Tensor, edge_weight: Tensor, edge_index: Tensor, ptr: Tensor, reduce: str
) -> Tensor:
    """Reduce the weighted source rows w_ij v_j onto each target i."""
    source, target = edge_index[0], edge_index[1]
    if reduce == "max":
        weight = edge_weight.view(-1, *[1] * (values.ndim - 1))
        return segment_reduce(weight * values.index_select(0, source), ptr, target, reduce)
    matrix = values.flatten(1) if values.ndim > 1 else values[:, None]
    total: Tensor = gather_sum(matrix, edge_weight, source, target, ptr)
    if reduce == "mean":
        total = total / ptr.diff().clamp(min=1).to(total.dtype)[:, None]
    return total.reshape(ptr.shape[0] - 1, *values.shape[1:])

"""Linear map of a pair of nodes and their edge: node products, gathered and added by one kernel."""

from __future__ import annotations

from typing import Any, no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from geograph.kernels.triton import launch
from geograph.kernels.triton.device import ends, pair_tile, put_rows
from geograph.kernels.triton.segment import segment_reduce, source_edges


@triton.jit
@no_type_check
def _add(target, source, edge_attr, edge_weight, edge_source, edge_target, result, num_edges,
         SCALARS: tl.constexpr, HIDDEN: tl.constexpr, BLOCK: tl.constexpr, COLUMNS: tl.constexpr,
         ACC: tl.constexpr):  # fmt: skip
    """One tile of z for each program."""
    edge = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    is_edge = edge < num_edges
    node, sender = ends(edge, is_edge, edge_source, edge_target)
    z = pair_tile(
        target, source, edge_attr, edge_weight, edge, node, sender, is_edge, column, SCALARS, HIDDEN, ACC
    )
    put_rows(result, edge, is_edge, column, z, HIDDEN)


@torch.library.custom_op(
    "geograph::triton_pair_sum",
    mutates_args=(),
    schema=(
        "(Tensor target, Tensor source, Tensor edge_attr, Tensor edge_weight, Tensor edge_index) -> Tensor"
    ),
)
def pair_sum(
    target: Tensor, source: Tensor, edge_attr: Tensor, edge_weight: Tensor, edge_index: Tensor
) -> Tensor:
    """z_ij = t_i + s_j + W_e e_ij on every edge j -> i."""
    launch.check(target, source, edge_attr, edge_weight)
    num_edges, hidden = edge_index.shape[1], target.shape[1]
    result = target.new_empty(num_edges, hidden)
    if result.numel() == 0:
        return result
    columns = min(128, launch.padded(hidden))
    block = launch.block_edges(columns, target.dtype)
    _add[(triton.cdiv(num_edges, block), triton.cdiv(hidden, columns))](
        target.contiguous(), source.contiguous(), edge_attr.contiguous(), edge_weight.contiguous(),
        edge_index[0].contiguous(), edge_index[1].contiguous(), result, num_edges,
        SCALARS=edge_attr.shape[1], HIDDEN=hidden, BLOCK=block, COLUMNS=columns,
        ACC=launch.types(target.dtype)["ACC"], **launch.OPTIONS,
    )  # fmt: skip
    return result


@pair_sum.register_fake
def _(target: Tensor, source: Tensor, edge_attr: Tensor, edge_weight: Tensor, edge_index: Tensor) -> Tensor:
    return target.new_empty(edge_index.shape[1], target.shape[1])


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    target, source, edge_attr, edge_weight, edge_index = inputs
    ctx.num_nodes = target.shape[0], source.shape[0]
    ctx.save_for_backward(edge_attr, edge_weight, edge_index)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Sum over the edges of each node, in the order of the sorted edges, whichever order they came in."""
    edge_attr, edge_weight, edge_index = ctx.saved_tensors
    sums: list[Tensor | None] = []
    for row, num_nodes, need in zip((1, 0), ctx.num_nodes, ctx.needs_input_grad, strict=False):
        if not need:
            sums.append(None)
            continue
        edges, ptr = source_edges(edge_index[row], num_nodes)
        sums.append(segment_reduce(grad.index_select(0, edges), ptr, edge_index[row][edges], "sum"))
    grad_attr = grad @ edge_weight if ctx.needs_input_grad[2] else None
    grad_weight = grad.T @ edge_attr if ctx.needs_input_grad[3] else None
    return *sums, grad_attr, grad_weight, None


pair_sum.register_autograd(_gradient, setup_context=_keep)


def pair_linear(
    h: Tensor, edge_attr: Tensor | None, weight: Tensor, bias: Tensor | None, edge_index: Tensor
) -> Tensor:
    """Linear map of [h_i, h_j, e_ij] as gathered node products plus an edge product."""
    num_features = h.shape[1]
    target = torch.nn.functional.linear(h, weight[:, :num_features], bias)
    source = torch.nn.functional.linear(h, weight[:, num_features : 2 * num_features])
    if edge_attr is None:
        edge_attr = h.new_empty(edge_index.shape[1], 0)
    result: Tensor = pair_sum(target, source, edge_attr, weight[:, 2 * num_features :], edge_index)
    return result

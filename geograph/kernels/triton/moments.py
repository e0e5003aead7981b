"""Mean and variance over the edges of the pair inputs z_ij = t_i + s_j + W_e e_ij, which are never stored.

The backward pass needs no edge-wise arrays of the hidden width either: z is linear in the nodes and the edge
scalars, so that the sums over edges of its centred values are sums of gathered node rows.
"""

from __future__ import annotations

from typing import no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from geograph.kernels.triton import launch
from geograph.kernels.triton.device import ends, pair_tile
from geograph.kernels.triton.order import edge_targets, source_order
from geograph.kernels.triton.segment import reduce_rows

_BLOCK, _COLUMNS = 64, 64
#: Programs over the edges; each gives one partial mean and sum of squares.
_PROGRAMS = 512


@triton.jit
@no_type_check
def _moments(target, source, edge_attr, edge_weight, edge_source, edge_target, means, squares, num_edges,
             tiles, SCALARS: tl.constexpr, HIDDEN: tl.constexpr, BLOCK: tl.constexpr, COLUMNS: tl.constexpr,
             ACC: tl.constexpr):  # fmt: skip
    """Mean, and sum of squared differences from it, over the consecutive tiles of a program."""
    program = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    mean, square = tl.zeros((COLUMNS,), ACC), tl.zeros((COLUMNS,), ACC)
    seen = tl.sum(tl.zeros((COLUMNS,), ACC), axis=0)
    for number in range(tiles):
        edge = (program * tiles + number) * BLOCK + tl.arange(0, BLOCK)
        is_edge = edge < num_edges
        node, sender = ends(edge, is_edge, edge_source, edge_target)
        z = pair_tile(
            target, source, edge_attr, edge_weight, edge, node, sender, is_edge, column, SCALARS, HIDDEN, ACC
        )
        count = tl.sum(is_edge.to(ACC), axis=0)
        part = tl.sum(z, axis=0) / tl.maximum(count, 1.0)
        centred = tl.where(is_edge[:, None], z - part[None, :], 0.0)
        share = count / tl.maximum(seen + count, 1.0)
        apart = part - mean
        square += tl.sum(centred * centred, axis=0) + apart * apart * seen * share
        mean += apart * share
        seen += count
    place = program * HIDDEN + column
    tl.store(means + place, mean, mask=column < HIDDEN)
    tl.store(squares + place, square, mask=column < HIDDEN)


@torch.library.custom_op(
    "geograph::triton_moments",
    mutates_args=(),
    schema=(
        "(Tensor target, Tensor source, Tensor edge_attr, Tensor edge_weight, Tensor edge_source, Tensor "
        "edge_ptr) -> (Tensor, Tensor)"
    ),
)
def moments_forward(
    target: Tensor,
    source: Tensor,
    edge_attr: Tensor,
    edge_weight: Tensor,
    edge_source: Tensor,
    edge_ptr: Tensor,
) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of z over all edges, in the type of sums; zero where there are no edges.

    Partial means are merged as in Chan et al. (1983), The American Statistician 37, 242: no cancellation.
    """
    launch.check(target, source, edge_attr, edge_weight)
    hidden, num_edges = target.shape[1], edge_source.shape[0]
    kind = launch.accumulator(target.dtype)
    if num_edges == 0 or hidden == 0:
        return target.new_zeros(hidden, dtype=kind), target.new_zeros(hidden, dtype=kind)
    all_tiles = triton.cdiv(num_edges, _BLOCK)
    tiles = triton.cdiv(all_tiles, _PROGRAMS)
    programs = triton.cdiv(all_tiles, tiles)
    means, squares = target.new_empty(2, programs, hidden, dtype=kind)
    _moments[(programs, triton.cdiv(hidden, _COLUMNS))](
        target.contiguous(), source.contiguous(), edge_attr.contiguous(), edge_weight.contiguous(),
        edge_source.contiguous(), edge_targets(edge_ptr, num_edges), means, squares, num_edges, tiles,
        SCALARS=edge_attr.shape[1], HIDDEN=hidden, BLOCK=_BLOCK, COLUMNS=_COLUMNS,
        ACC=launch.types(target.dtype)["ACC"], **launch.OPTIONS,
    )  # fmt: skip
    starts = torch.arange(programs, device=target.device) * (tiles * _BLOCK)
    share = (num_edges - starts).clamp(max=tiles * _BLOCK).to(kind)[:, None] / num_edges
    mean = (share * means).sum(0)
    return mean, squares.sum(0) / num_edges + (share * (means - mean).square()).sum(0)


@moments_forward.register_fake
def _(
    target: Tensor,
    source: Tensor,
    edge_attr: Tensor,
    edge_weight: Tensor,
    edge_source: Tensor,
    edge_ptr: Tensor,
) -> tuple[Tensor, Tensor]:
    kind = torch.float64 if target.dtype == torch.float64 else torch.float32
    return target.new_empty(target.shape[1], dtype=kind), target.new_empty(target.shape[1], dtype=kind)


@torch.library.custom_op(
    "geograph::triton_moments_backward",
    mutates_args=(),
    schema=(
        "(Tensor grad_mean, Tensor grad_var, Tensor mean, Tensor target, Tensor source, Tensor edge_attr, "
        "Tensor edge_weight, Tensor edge_source, Tensor edge_ptr) -> (Tensor, Tensor, Tensor, Tensor)"
    ),
)
def moments_backward(
    grad_mean: Tensor,
    grad_var: Tensor,
    mean: Tensor,
    target: Tensor,
    source: Tensor,
    edge_attr: Tensor,
    edge_weight: Tensor,
    edge_source: Tensor,
    edge_ptr: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of target, source, edge_attr and edge_weight from those of mean and variance.

    On an edge the gradient of z is a + b (z - mean) with a = grad_mean / E and b = 2 grad_var / E.
    """
    given = (target, source, edge_attr, edge_weight)
    launch.check(*given)
    if edge_source.shape[0] == 0:
        return tuple(torch.zeros_like(tensor) for tensor in given)  # type: ignore[return-value]
    num_edges, kind = edge_source.shape[0], launch.accumulator(target.dtype)
    t, s, e, w = (tensor.to(kind) for tensor in given)
    a, b, t = grad_mean.to(kind) / num_edges, 2 * grad_var.to(kind) / num_edges, t - mean.to(kind)
    edge_target = edge_targets(edge_ptr, num_edges)
    edges, source_ptr = source_order(edge_source, source.shape[0], num_edges)
    # Sums over the edges of each target, then of each source, of the other node's row and of the scalars.
    to_target = reduce_rows(s, edge_ptr, index=edge_source.contiguous())
    to_source = reduce_rows(t, source_ptr, index=edge_target[edges])
    target_attr = reduce_rows(e, edge_ptr)
    source_attr = reduce_rows(e, source_ptr, index=edges)
    target_degree, source_degree = edge_ptr.diff()[:, None], source_ptr.diff()[:, None]
    grad_target = target_degree * (a + b * t) + b * (to_target + target_attr @ w.T)
    grad_source = source_degree * (a + b * s) + b * (to_source + source_attr @ w.T)
    scaled = b[:, None] * w
    grad_attr = (t @ scaled).index_select(0, edge_target) + (s @ scaled).index_select(0, edge_source)
    grad_attr += e @ (w.T @ scaled) + a @ w
    products = t.T @ target_attr + s.T @ source_attr + w @ (e.T @ e)
    grad_weight = a[:, None] * target_attr.sum(0) + b[:, None] * products
    results = (grad_target, grad_source, grad_attr, grad_weight)
    return tuple(grad.to(target.dtype) for grad in results)  # type: ignore[return-value]


@moments_backward.register_fake
def _(
    grad_mean: Tensor,
    grad_var: Tensor,
    mean: Tensor,
    target: Tensor,
    source: Tensor,
    edge_attr: Tensor,
    edge_weight: Tensor,
    edge_source: Tensor,
    edge_ptr: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    given = (target, source, edge_attr, edge_weight)
    return tuple(torch.empty_like(x, memory_format=torch.contiguous_format) for x in given)  # type: ignore[return-value]

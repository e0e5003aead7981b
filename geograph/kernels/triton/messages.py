"""Edge network, forward: tiles of edges go through both layers in registers, and only sums are stored.

A program owns BLOCK consecutive edges. As these are sorted by target, the sums of its segments are one
product with the matrix that tells which edges share their target. A segment inside the tile is complete; the
pieces of one that the tile's borders cut go to a side array of two rows per tile, and a second kernel adds
them.
"""

from __future__ import annotations

from typing import no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from geograph.kernels.triton import launch
from geograph.kernels.triton.device import activate, block_t, ends, linear_tile, put_rows, sigmoid, vector
from geograph.kernels.triton.order import edge_targets

_ROWS = 16


@triton.jit
@no_type_check
def gate_tile(message, gate_weight, gate_bias, column, MESSAGES: tl.constexpr, ACC: tl.constexpr):
    """Value of the gate on each edge of a tile."""
    logit = tl.sum(message * vector(gate_weight, column, MESSAGES, ACC)[None, :], axis=1)
    return sigmoid(logit + tl.load(gate_bias).to(ACC))


@triton.jit
@no_type_check
def _length(message, head_weight, head_bias, length_weight, column,
            MESSAGES: tl.constexpr, HEAD: tl.constexpr, RELU: tl.constexpr, STEP: tl.constexpr,
            BLOCK: tl.constexpr, ACC: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr):  # fmt: skip
    """Length on each edge of a tile: u . m, or u . act(U m + d) a few rows of U at a time."""
    if HEAD == 0:
        length = tl.sum(message * vector(length_weight, column, MESSAGES, ACC)[None, :], axis=1)
    else:
        length = tl.zeros((BLOCK,), ACC)
        for start in range(0, HEAD, STEP):
            row = start + tl.arange(0, STEP)
            factor = block_t(head_weight, row, column, HEAD, MESSAGES, DOT)
            hidden = tl.dot(message.to(DOT), factor, input_precision=PRECISION, out_dtype=ACC)
            hidden = activate(hidden + vector(head_bias, row, HEAD, ACC)[None, :], RELU)
            length += tl.sum(hidden * vector(length_weight, row, HEAD, ACC)[None, :], axis=1)
    return length


@triton.jit
@no_type_check
def _put_sums(message, edge, node, is_edge, column, edge_target, edge_ptr, total, cut, tile, num_edges,
              MESSAGES: tl.constexpr, BLOCK: tl.constexpr, ACC: tl.constexpr,
              PRECISION: tl.constexpr):  # fmt: skip
    """Store the sum of each segment of a tile: at its node if the tile holds all of it, else aside."""
    message = tl.where(is_edge[:, None], message, 0.0)
    is_same = (node[:, None] == node[None, :]).to(ACC)
    sums = tl.dot(is_same, message, input_precision=PRECISION, out_dtype=ACC)
    first = tile * BLOCK
    following = tl.load(edge_target + edge + 1, mask=edge + 1 < num_edges, other=-1)
    is_last = is_edge & ((following != node) | (edge == first + BLOCK - 1))
    begin = tl.load(edge_ptr + node, mask=is_edge, other=0)
    end = tl.load(edge_ptr + node + 1, mask=is_edge, other=0)
    is_whole = (begin >= first) & (end <= first + BLOCK)
    put_rows(total, node, is_last & is_whole, column, sums, MESSAGES)
    put_rows(cut, 2 * tile + (begin >= first).to(tl.int64), is_last & (is_whole == 0), column, sums, MESSAGES)


@triton.jit
@no_type_check
def _forward(target, source, edge_attr, edge_weight, weight, bias, gate_weight, gate_bias, head_weight,
             head_bias, length_weight, edge_source, edge_target, edge_ptr, total, cut, length, num_edges,
             SCALARS: tl.constexpr, HIDDEN: tl.constexpr, MESSAGES: tl.constexpr, HEAD: tl.constexpr,
             RELU: tl.constexpr, SUM: tl.constexpr, GATE: tl.constexpr, LENGTH: tl.constexpr,
             STEP: tl.constexpr, BLOCK: tl.constexpr, WIDTH: tl.constexpr,
             ACC: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr):  # fmt: skip
    """Messages of one tile of edges, their sums and lengths."""
    tile = tl.program_id(0).to(tl.int64)
    edge = tile * BLOCK + tl.arange(0, BLOCK)
    column = tl.arange(0, WIDTH)
    is_edge = edge < num_edges
    node, sender = ends(edge, is_edge, edge_source, edge_target)
    y = linear_tile(
        target, source, edge_attr, edge_weight, weight, bias, edge, node, sender, is_edge, column,
        SCALARS, HIDDEN, MESSAGES, RELU, STEP, BLOCK, WIDTH, ACC, DOT, PRECISION,
    )  # fmt: skip
    message = activate(y, RELU)
    if GATE:
        message = message * gate_tile(message, gate_weight, gate_bias, column, MESSAGES, ACC)[:, None]
    if LENGTH:
        value = _length(
            message, head_weight, head_bias, length_weight, column,
            MESSAGES, HEAD, RELU, STEP, BLOCK, ACC, DOT, PRECISION,
        )  # fmt: skip
        tl.store(length + edge, value.to(length.dtype.element_ty), mask=is_edge)
    if SUM:
        _put_sums(
            message, edge, node, is_edge, column, edge_target, edge_ptr, total, cut, tile, num_edges,
            MESSAGES, BLOCK, ACC, PRECISION,
        )  # fmt: skip


@triton.jit
@no_type_check
def _join(total, cut, edge_ptr, MESSAGES: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr,
          COLUMNS: tl.constexpr, ACC: tl.constexpr):  # fmt: skip
    """Add the pieces of a segment that several tiles share; an empty segment is zero."""
    node = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    begin, end = tl.load(edge_ptr + node), tl.load(edge_ptr + node + 1)
    first = begin // BLOCK
    tiles = tl.maximum(end - 1, begin) // BLOCK - first + 1
    if (tiles > 1) | (begin == end):
        value = tl.zeros((COLUMNS,), ACC)
        if tiles > 1:
            for start in range(0, tiles, ROWS):
                row = start + tl.arange(0, ROWS).to(tl.int64)
                slot = 2 * (first + row) + (row == 0).to(tl.int64)
                inside = (row < tiles)[:, None] & (column < MESSAGES)[None, :]
                pieces = tl.load(cut + slot[:, None] * MESSAGES + column[None, :], mask=inside, other=0.0)
                value += tl.sum(pieces, axis=0)
        place = total + node * MESSAGES + column
        tl.store(place, value.to(total.dtype.element_ty), mask=column < MESSAGES)


@torch.library.custom_op(
    "geograph::triton_messages",
    mutates_args=(),
    schema=(
        "(Tensor target, Tensor source, Tensor edge_attr, Tensor edge_weight, Tensor weight, Tensor bias, "
        "Tensor? gate_weight, Tensor? gate_bias, Tensor? head_weight, Tensor? head_bias, Tensor? "
        "length_weight, Tensor edge_source, Tensor edge_ptr, bool relu, bool wants_sum) -> (Tensor, Tensor)"
    ),
)
def _messages(
    target: Tensor, source: Tensor, edge_attr: Tensor, edge_weight: Tensor, weight: Tensor, bias: Tensor,
    gate_weight: Tensor | None, gate_bias: Tensor | None, head_weight: Tensor | None,
    head_bias: Tensor | None, length_weight: Tensor | None, edge_source: Tensor, edge_ptr: Tensor,
    relu: bool, wants_sum: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Run `messages_forward`; what was not asked for is an empty tensor."""
    parts = (gate_weight, gate_bias, head_weight, head_bias, length_weight)
    launch.check(target, source, edge_attr, edge_weight, weight, bias, *parts)
    (messages, hidden), num_edges = weight.shape, edge_source.shape[0]
    head = 0 if head_weight is None else head_weight.shape[0]
    launch.check_width(weight=messages)
    total = target.new_empty(target.shape[0] if wants_sum else 0, messages)
    length = target.new_empty(num_edges if length_weight is not None else 0)
    if num_edges == 0:
        return total.zero_(), length
    constants, width = launch.types(target.dtype), launch.padded(messages)
    block, tile = launch.block_edges(width, target.dtype), launch.step(width, target.dtype)
    tiles, edge_ptr = triton.cdiv(num_edges, block), edge_ptr.contiguous()
    cut = total.new_empty(2 * tiles if wants_sum else 0, messages, dtype=launch.accumulator(total.dtype))
    inputs = (target, source, edge_attr, edge_weight, weight, bias, *parts)
    _forward[(tiles,)](
        *(launch.plain(x, weight) for x in inputs), edge_source.contiguous(),
        edge_targets(edge_ptr, num_edges), edge_ptr, total, cut, length, num_edges,
        SCALARS=edge_attr.shape[1], HIDDEN=hidden, MESSAGES=messages, HEAD=head, RELU=relu, SUM=wants_sum,
        GATE=gate_weight is not None, LENGTH=length_weight is not None, STEP=tile, BLOCK=block, WIDTH=width,
        num_warps=8, **constants,
    )  # fmt: skip
    if total.numel():
        columns = min(128, width)
        _join[(total.shape[0], triton.cdiv(messages, columns))](
            total, cut, edge_ptr, messages, block, _ROWS, columns, constants["ACC"], **launch.OPTIONS
        )
    return total, length


@_messages.register_fake
def _(
    target: Tensor, source: Tensor, edge_attr: Tensor, edge_weight: Tensor, weight: Tensor, bias: Tensor,
    gate_weight: Tensor | None, gate_bias: Tensor | None, head_weight: Tensor | None,
    head_bias: Tensor | None, length_weight: Tensor | None, edge_source: Tensor, edge_ptr: Tensor,
    relu: bool, wants_sum: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    total = target.new_empty(target.shape[0] if wants_sum else 0, weight.shape[0])
    return total, target.new_empty(edge_source.shape[0] if length_weight is not None else 0)


def messages_forward(
    target: Tensor, source: Tensor, edge_attr: Tensor, edge_weight: Tensor, weight: Tensor, bias: Tensor,
    gate_weight: Tensor | None, gate_bias: Tensor | None, head_weight: Tensor | None,
    head_bias: Tensor | None, length_weight: Tensor | None, edge_source: Tensor, edge_ptr: Tensor,
    relu: bool, wants_sum: bool,
) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
    """Compute the summed messages of each target and the length of each edge, without an autograd formula.

    With z = target_i + source_j + edge_weight e_ij: m = act(weight act(z) + bias), times
    sigmoid(gate_weight . m + gate_bias); l = length_weight . act(head_weight m + head_bias), without a head
    length_weight . m. The edges are sorted by target.
    """
    total, length = _messages(
        target, source, edge_attr, edge_weight, weight, bias, gate_weight, gate_bias, head_weight, head_bias,
        length_weight, edge_source, edge_ptr, relu, wants_sum,
    )  # fmt: skip
    return total if wants_sum else None, length if length_weight is not None else None

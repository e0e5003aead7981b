"""Kernel of the backward pass of the edge network: gradients on one tile of edges."""

from __future__ import annotations

from typing import no_type_check

import triton
import triton.language as tl

from geograph.kernels.triton.device import (
    activate,
    block,
    block_t,
    ends,
    linear_tile,
    pair_tile,
    put_rows,
    rows,
    slope,
    vector,
)
from geograph.kernels.triton.messages import gate_tile


@triton.jit
@no_type_check
def _put_sum(array, tile, column, values, WIDTH: tl.constexpr):
    """Store the sum over the edges of a tile in its row of an array [tiles, WIDTH]."""
    tl.store(array + tile * WIDTH + column, tl.sum(values, axis=0), mask=column < WIDTH)


@triton.jit
@no_type_check
def _through_length(message, grad_message, grad_length, head_weight, head_bias, length_weight, place, is_edge,
                    column, tile, stored, grad_head, head_sum, length_sum,
                    MESSAGES: tl.constexpr, HEAD: tl.constexpr, RELU: tl.constexpr, STEP: tl.constexpr,
                    ACC: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr):  # fmt: skip
    """Add the gradient that comes to the messages through the lengths."""
    if HEAD == 0:
        factor = vector(length_weight, column, MESSAGES, ACC)
        _put_sum(length_sum, tile, column, grad_length[:, None] * message, MESSAGES)
        grad_message += grad_length[:, None] * factor[None, :]
    else:
        put_rows(stored, place, is_edge, column, message, MESSAGES)
        for start in range(0, HEAD, STEP):
            row = start + tl.arange(0, STEP)
            factor = block_t(head_weight, row, column, HEAD, MESSAGES, DOT)
            linear = tl.dot(message.to(DOT), factor, input_precision=PRECISION, out_dtype=ACC)
            linear += vector(head_bias, row, HEAD, ACC)[None, :]
            _put_sum(length_sum, tile, row, grad_length[:, None] * activate(linear, RELU), HEAD)
            grad = grad_length[:, None] * vector(length_weight, row, HEAD, ACC)[None, :]
            grad = grad * slope(linear, RELU)
            _put_sum(head_sum, tile, row, grad, HEAD)
            put_rows(grad_head, place, is_edge, row, grad, HEAD)
            factor = block(head_weight, row, column, HEAD, MESSAGES, DOT)
            grad_message = tl.dot(
                grad.to(DOT), factor, grad_message, input_precision=PRECISION, out_dtype=ACC
            )
    return grad_message


@triton.jit
@no_type_check
def _through_gate(message, gate, grad_message, gate_weight, column, tile, gate_sum, gate_bias_sum,
                  MESSAGES: tl.constexpr, ACC: tl.constexpr):  # fmt: skip
    """Gradient of the messages before the gate."""
    grad_gate = tl.sum(grad_message * message, axis=1) * gate * (1.0 - gate)
    _put_sum(gate_sum, tile, column, grad_gate[:, None] * message, MESSAGES)
    tl.store(gate_bias_sum + tile, tl.sum(grad_gate, axis=0))
    factor = vector(gate_weight, column, MESSAGES, ACC)
    return grad_message * gate[:, None] + grad_gate[:, None] * factor[None, :]


@triton.jit
@no_type_check
def _through_pair(grad_linear, target, source, edge_attr, edge_weight, weight, edge, node, sender, is_edge,
                  column, place, activated, grad_pair,
                  SCALARS: tl.constexpr, HIDDEN: tl.constexpr, MESSAGES: tl.constexpr, RELU: tl.constexpr,
                  STEP: tl.constexpr, ACC: tl.constexpr, DOT: tl.constexpr,
                  PRECISION: tl.constexpr):  # fmt: skip
    """Store act(z) and the gradient of z, a few columns at a time."""
    for start in range(0, HIDDEN, STEP):
        h = start + tl.arange(0, STEP)
        z = pair_tile(
            target, source, edge_attr, edge_weight, edge, node, sender, is_edge, h, SCALARS, HIDDEN, ACC
        )
        factor = block(weight, column, h, MESSAGES, HIDDEN, DOT)
        grad = tl.dot(grad_linear.to(DOT), factor, input_precision=PRECISION, out_dtype=ACC)
        put_rows(activated, place, is_edge, h, activate(z, RELU), HIDDEN)
        put_rows(grad_pair, place, is_edge, h, grad * slope(z, RELU), HIDDEN)


@triton.jit
@no_type_check
def backward(target, source, edge_attr, edge_weight, weight, bias, gate_weight, gate_bias, head_weight,
             head_bias, length_weight, grad_total, grad_length, edge_source, edge_target, activated,
             grad_pair, grad_linear, stored, grad_head, bias_sum, gate_sum, gate_bias_sum, head_sum,
             length_sum, first, stop,
             SCALARS: tl.constexpr, HIDDEN: tl.constexpr, MESSAGES: tl.constexpr, HEAD: tl.constexpr,
             RELU: tl.constexpr, SUM: tl.constexpr, GATE: tl.constexpr, LENGTH: tl.constexpr,
             STEP: tl.constexpr, BLOCK: tl.constexpr, WIDTH: tl.constexpr,
             ACC: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr):  # fmt: skip
    """Recompute one tile of the edges first to stop - 1 and write what the reductions need."""
    tile = tl.program_id(0).to(tl.int64)
    place = tile * BLOCK + tl.arange(0, BLOCK)
    column = tl.arange(0, WIDTH)
    edge = first + place
    is_edge = edge < stop
    node, sender = ends(edge, is_edge, edge_source, edge_target)
    y = linear_tile(
        target, source, edge_attr, edge_weight, weight, bias, edge, node, sender, is_edge, column,
        SCALARS, HIDDEN, MESSAGES, RELU, STEP, BLOCK, WIDTH, ACC, DOT, PRECISION,
    )  # fmt: skip
    message = activate(y, RELU)
    gated = message
    grad = tl.zeros((BLOCK, WIDTH), ACC)
    if SUM:
        grad += rows(grad_total, node, is_edge, column, MESSAGES, ACC)
    if GATE:
        gate = gate_tile(message, gate_weight, gate_bias, column, MESSAGES, ACC)
        gated = message * gate[:, None]
    if LENGTH:
        along = tl.load(grad_length + edge, mask=is_edge, other=0.0).to(ACC)
        grad = _through_length(
            gated, grad, along, head_weight, head_bias, length_weight, place, is_edge, column, tile,
            stored, grad_head, head_sum, length_sum, MESSAGES, HEAD, RELU, STEP, ACC, DOT, PRECISION,
        )  # fmt: skip
    if GATE:
        grad = _through_gate(
            message, gate, grad, gate_weight, column, tile, gate_sum, gate_bias_sum, MESSAGES, ACC
        )
    grad = grad * slope(y, RELU)
    _put_sum(bias_sum, tile, column, grad, MESSAGES)
    put_rows(grad_linear, place, is_edge, column, grad, MESSAGES)
    _through_pair(
        grad, target, source, edge_attr, edge_weight, weight, edge, node, sender, is_edge, column, place,
        activated, grad_pair, SCALARS, HIDDEN, MESSAGES, RELU, STEP, ACC, DOT, PRECISION,
    )  # fmt: skip

"""Edge network, backward: recomputed tile by tile, in chunks of edges whose scratch arrays stay small.

For each chunk one kernel recomputes the messages and writes what the gradients of the weights need; matrix
products of the library and segment sums then reduce it. The scratch arrays have as many rows as a chunk: a
fixed number, or a small part of the edges of a large graph. A chunk adds to the sums after the one before it,
and the source-side sum takes the edges of a chunk in the order of their sources: there are no atomics.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import triton
from torch import Tensor

from geograph.kernels.triton import launch
from geograph.kernels.triton.backward_tile import backward
from geograph.kernels.triton.order import edge_targets, source_order
from geograph.kernels.triton.segment import reduce_rows

#: Rows of the scratch arrays: they stay in the L2 cache of a large GPU.
CHUNK_EDGES = 1 << 15
#: Largest number of chunks: more edges make larger ones.
MAX_CHUNKS = 32


def chunk_edges(num_edges: int, block: int) -> int:
    """Edges of one chunk, a whole number of tiles."""
    wanted = max(CHUNK_EDGES, triton.cdiv(num_edges, MAX_CHUNKS))
    return min(triton.cdiv(wanted, block), max(1, triton.cdiv(num_edges, block))) * block


@dataclass(frozen=True)
class _Inputs:
    """Inputs of `messages_forward`, contiguous."""

    target: Tensor
    source: Tensor
    edge_attr: Tensor
    edge_weight: Tensor
    weight: Tensor
    bias: Tensor
    gate_weight: Tensor | None
    gate_bias: Tensor | None
    head_weight: Tensor | None
    head_bias: Tensor | None
    length_weight: Tensor | None

    def values(self) -> list[Tensor | None]:
        return list(vars(self).values())

    @property
    def head(self) -> int:
        return 0 if self.head_weight is None else self.head_weight.shape[0]


class _Scratch:
    """Arrays of one chunk: what the kernel writes and the reductions read."""

    def __init__(self, x: _Inputs, rows: int, block: int) -> None:
        (messages, hidden), head = x.weight.shape, x.head
        like, tiles = x.target, rows // block
        self.activated = like.new_empty(rows, hidden)
        self.grad_pair = like.new_empty(rows, hidden)
        self.grad_linear = like.new_empty(rows, messages)
        self.message = like.new_empty(rows if head else 0, messages)
        self.grad_head = like.new_empty(rows if head else 0, head)
        kind = launch.accumulator(like.dtype)
        gate = 0 if x.gate_weight is None else messages
        length = 0 if x.length_weight is None else x.length_weight.numel()
        #: Sums over the edges of a tile: bias, gate weight and bias, head bias, length weight.
        self.sums = [
            like.new_empty(tiles, n, dtype=kind) for n in (messages, gate, min(gate, 1), head, length)
        ]


def _sums(x: _Inputs) -> list[Tensor]:
    """Zeros for the gradient of each input, in the type of sums; empty for a part that is left out."""
    kind = launch.accumulator(x.target.dtype)
    return [
        x.target.new_empty(0, dtype=kind) if tensor is None else torch.zeros_like(tensor, dtype=kind)
        for tensor in x.values()
    ]


def _add_chunk(x: _Inputs, scratch: _Scratch, grads: list[Tensor], start: int, stop: int, block: int) -> None:
    """Add the contributions of the edges start to stop - 1 to the gradients of weights and edge inputs."""
    rows, tiles = stop - start, triton.cdiv(stop - start, block)
    grad_pair, attr = scratch.grad_pair[:rows], x.edge_attr[start:stop]
    grads[2][start:stop] = grad_pair @ x.edge_weight
    grads[3] += grad_pair.T @ attr
    grads[4] += scratch.grad_linear[:rows].T @ scratch.activated[:rows]
    bias, gate_weight, gate_bias, head_bias, length_weight = (part[:tiles].sum(0) for part in scratch.sums)
    grads[5] += bias
    if x.gate_weight is not None:
        grads[6] += gate_weight.view_as(grads[6])
        grads[7] += gate_bias.view_as(grads[7])
    if x.head_weight is not None:
        grads[8] += scratch.grad_head[:rows].T @ scratch.message[:rows]
        grads[9] += head_bias
    if x.length_weight is not None:
        grads[10] += length_weight.view_as(grads[10])


def _run(
    x: _Inputs, grad_total: Tensor | None, grad_length: Tensor | None, edge_source: Tensor, edge_ptr: Tensor,
    relu: bool,
) -> list[Tensor]:  # fmt: skip
    """Gradients of all inputs in the type of sums."""
    grads, num_edges = _sums(x), edge_source.shape[0]
    if num_edges == 0:
        return grads
    if grad_length is None:
        x = replace(x, head_weight=None, head_bias=None, length_weight=None)
    (messages, hidden), dtype = x.weight.shape, x.target.dtype
    width = launch.padded(messages)
    block, step = launch.block_edges(width, dtype), launch.step(width, dtype)
    chunk, num_sources = chunk_edges(num_edges, block), x.source.shape[0]
    edge_target = edge_targets(edge_ptr, num_edges)
    edges, source_ptr = source_order(edge_source, num_sources, chunk)
    scratch = _Scratch(x, chunk, block)
    for number, start in enumerate(range(0, num_edges, chunk)):
        stop = min(start + chunk, num_edges)
        backward[(triton.cdiv(stop - start, block),)](
            *(launch.plain(t, x.weight) for t in (*x.values(), grad_total, grad_length)),
            edge_source, edge_target, scratch.activated, scratch.grad_pair, scratch.grad_linear,
            scratch.message, scratch.grad_head, *scratch.sums, start, stop,
            SCALARS=x.edge_attr.shape[1], HIDDEN=hidden, MESSAGES=messages, HEAD=x.head, RELU=relu,
            SUM=grad_total is not None, GATE=x.gate_weight is not None, LENGTH=grad_length is not None,
            STEP=step, BLOCK=block, WIDTH=width, num_warps=8, **launch.types(dtype),
        )  # fmt: skip
        _add_chunk(x, scratch, grads, start, stop, block)
        targets = edge_ptr.clamp(start, stop) - start
        reduce_rows(scratch.grad_pair, targets, out=grads[0])
        sources = source_ptr[number * num_sources : (number + 1) * num_sources + 1]
        reduce_rows(scratch.grad_pair, sources, index=edges, shift=start, out=grads[1])
    return grads


@torch.library.custom_op(
    "geograph::triton_messages_backward",
    mutates_args=(),
    schema=(
        "(Tensor? grad_total, Tensor? grad_length, Tensor target, Tensor source, Tensor edge_attr, Tensor "
        "edge_weight, Tensor weight, Tensor bias, Tensor? gate_weight, Tensor? gate_bias, Tensor? "
        "head_weight, Tensor? head_bias, Tensor? length_weight, Tensor edge_source, Tensor edge_ptr, bool "
        "relu) -> Tensor[]"
    ),
)
def _messages_backward(
    grad_total: Tensor | None, grad_length: Tensor | None,
    target: Tensor, source: Tensor, edge_attr: Tensor, edge_weight: Tensor, weight: Tensor, bias: Tensor,
    gate_weight: Tensor | None, gate_bias: Tensor | None, head_weight: Tensor | None,
    head_bias: Tensor | None, length_weight: Tensor | None, edge_source: Tensor, edge_ptr: Tensor, relu: bool,
) -> list[Tensor]:  # fmt: skip
    """Run `messages_backward`; the gradient of a part that is left out is an empty tensor."""
    given = (
        target, source, edge_attr, edge_weight, weight, bias, gate_weight, gate_bias, head_weight, head_bias,
        length_weight,
    )  # fmt: skip
    launch.check(target, *given, grad_total, grad_length)
    launch.check_width(weight=weight.shape[0])
    x = _Inputs(*(None if tensor is None else tensor.contiguous() for tensor in given))  # type: ignore[arg-type]
    grads = _run(x, grad_total, grad_length, edge_source.contiguous(), edge_ptr.contiguous(), relu)
    return [grad.to(target.dtype) for grad in grads]


@_messages_backward.register_fake
def _(
    grad_total: Tensor | None, grad_length: Tensor | None,
    target: Tensor, source: Tensor, edge_attr: Tensor, edge_weight: Tensor, weight: Tensor, bias: Tensor,
    gate_weight: Tensor | None, gate_bias: Tensor | None, head_weight: Tensor | None,
    head_bias: Tensor | None, length_weight: Tensor | None, edge_source: Tensor, edge_ptr: Tensor, relu: bool,
) -> list[Tensor]:  # fmt: skip
    given = (
        target, source, edge_attr, edge_weight, weight, bias, gate_weight, gate_bias, head_weight, head_bias,
        length_weight,
    )  # fmt: skip
    return [target.new_empty(0 if tensor is None else tensor.shape) for tensor in given]


def messages_backward(
    grad_total: Tensor | None, grad_length: Tensor | None,
    target: Tensor, source: Tensor, edge_attr: Tensor, edge_weight: Tensor, weight: Tensor, bias: Tensor,
    gate_weight: Tensor | None, gate_bias: Tensor | None, head_weight: Tensor | None,
    head_bias: Tensor | None, length_weight: Tensor | None, edge_source: Tensor, edge_ptr: Tensor,
    relu: bool, wants_sum: bool,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """Gradients of the eleven tensors from `target` to `length_weight`; None for a part that is left out."""
    parts = (gate_weight, gate_bias, head_weight, head_bias, length_weight)
    grads = _messages_backward(
        grad_total if wants_sum else None, grad_length if length_weight is not None else None,
        target, source, edge_attr, edge_weight, weight, bias, *parts, edge_source, edge_ptr, relu,
    )  # fmt: skip
    given = [True] * 6 + [part is not None for part in parts]
    return tuple(grad if is_given else None for grad, is_given in zip(grads, given, strict=True))

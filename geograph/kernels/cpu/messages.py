"""Calls of the C++ edge network: tensors in, tensors out, no autograd.

Rows of node arrays are padded to whole vectors of the machine on the way in and cut on the way out.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from geograph.errors import ShapeError
from geograph.kernels.cpu.build import load

_SUFFIX = {torch.float32: "f32", torch.float64: "f64"}

_INPUTS = (
    "target", "source", "edge_attr", "edge_weight", "weight", "bias", "gate_weight", "gate_bias",
    "head_weight", "head_bias", "length_weight",
)  # fmt: skip
_NUM = len(_INPUTS)


class _Shape(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in ("nodes", "edges", "hidden", "scalars", "messages", "head")]


class _Args(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in (*_INPUTS, "edge_source", "ptr")]


class _Grads(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("total", "length", *(f"grad_{n}" for n in _INPUTS))]


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


class _Call:
    """The arguments of one call, kept alive while it runs."""

    def __init__(self, tensors: tuple[Tensor | None, ...], edge_source: Tensor, ptr: Tensor) -> None:
        target, _, edge_attr, _, weight, _, _, _, head_weight, *_ = tensors
        assert target is not None
        assert edge_attr is not None
        self.dtype, self.threads = target.dtype, torch.get_num_threads()
        self.lanes = load().gg_vector_bytes() // target.element_size()
        hidden = target.shape[1]
        messages = 0 if weight is None else weight.shape[0]
        head = 0 if head_weight is None else head_weight.shape[0]
        self.shape = _Shape(target.shape[0], edge_source.shape[0], hidden, edge_attr.shape[1], messages, head)
        self.kept = [
            None if t is None else (self.pad(t) if k < 2 else t.contiguous()) for k, t in enumerate(tensors)
        ]
        self.index = edge_source.contiguous(), ptr.contiguous()
        self.args = _Args(*map(_address, (*self.kept, *self.index)))

    def pad(self, rows: Tensor) -> Tensor:
        """Fill rows up to whole vectors with zeros."""
        extra = -rows.shape[-1] % self.lanes
        return torch.nn.functional.pad(rows, (0, extra)) if extra else rows.contiguous()

    def zeros(self, like: Tensor, *, padded: bool = True) -> Tensor:
        """Array for a result with padded rows."""
        width = like.shape[-1] + (-like.shape[-1] % self.lanes if padded else 0)
        return torch.zeros((*like.shape[:-1], width), dtype=self.dtype)

    def run(self, name: str, *arguments: Any) -> None:
        """Call a function of the library."""
        function = getattr(load(), f"gg_{name}_{_SUFFIX[self.dtype]}")
        given = [
            ctypes.c_void_p(a.data_ptr()) if isinstance(a, Tensor) else None if a is None else a
            for a in arguments
        ]
        function(ctypes.byref(self.shape), ctypes.byref(self.args), *given, ctypes.c_int(self.threads))


def check_edges(edge_index: Tensor, edge_ptr: Tensor, num_nodes: int) -> None:
    """Refuse edges that are not sorted by target, or that name nodes that are not there.

    Raises
    ------
    ShapeError
        With the first such edge.
    """
    edges = edge_index.shape[1]
    if edge_ptr.shape[0] != num_nodes + 1 or int(edge_ptr[0]) != 0 or int(edge_ptr[-1]) != edges:
        raise ShapeError(
            f"`edge_ptr` must lead from 0 to the number of edges {edges} in {num_nodes + 1} entries, got "
            f"{edge_ptr.shape[0]} entries from {int(edge_ptr[0])} to {int(edge_ptr[-1])}."
        )
    source, target, ptr = (t.contiguous() for t in (edge_index[0], edge_index[1], edge_ptr))
    function = load().gg_first_bad_edge
    function.restype = ctypes.c_long
    bad = function(*(ctypes.c_void_p(t.data_ptr()) for t in (source, target, ptr)), ctypes.c_long(num_nodes))
    if bad >= 0:
        raise ShapeError(
            f"`edge_index` must be sorted by target as `edge_ptr` says and name nodes below {num_nodes}, got "
            f"the edge {int(source[bad])} -> {int(target[bad])} in place {bad}."
        )


def messages_forward(
    *inputs: Any,
) -> tuple[Tensor | None, Tensor | None]:
    """Sum of the messages of each node, and length on each edge.

    Parameters
    ----------
    *inputs
        target, source [nodes, hidden], edge_attr [edges, scalars], edge_weight [hidden, scalars], weight
        [messages, hidden], bias, gate_weight, gate_bias, head_weight [head, messages], head_bias,
        length_weight (None for parts that are left out); edge_source and edge_ptr, the source of each edge
        and the CSR pointer over targets; whether the activation is ReLU in place of SiLU, and whether the
        sum is wanted.
    """
    tensors, (edge_source, edge_ptr, relu, wants_sum) = inputs[:_NUM], inputs[_NUM:]
    target, weight = tensors[0], tensors[4]
    assert target is not None
    assert weight is not None
    call = _Call(tensors, edge_source, edge_ptr)
    total = call.zeros(target.new_empty(target.shape[0], weight.shape[0])) if wants_sum else None
    length = None if tensors[10] is None else torch.empty(edge_source.shape[0], dtype=target.dtype)
    call.run("messages_forward", total, length, ctypes.c_int(relu))
    return (None if total is None else total[:, : weight.shape[0]]), length


def messages_backward(
    grad_total: Tensor | None, grad_length: Tensor | None, *inputs: Any
) -> tuple[Tensor | None, ...]:
    """Gradients of all tensors of `messages_forward`, from a forward pass that is run again tile by tile."""
    tensors, (edge_source, edge_ptr, relu, _) = inputs[:_NUM], inputs[_NUM:]
    call = _Call(tensors, edge_source, edge_ptr)
    # Weight gradients are made in rows of the machine's vectors: [messages, hidden], transposed for the edge.
    shapes = {3: (tensors[2].shape[1], tensors[0].shape[1])}
    grads: list[Tensor | None] = []
    for number, tensor in enumerate(tensors):
        if tensor is None:
            grads.append(None)
            continue
        like = tensor if number not in shapes else tensor.new_empty(shapes[number])
        grads.append(call.zeros(like.reshape(1) if not like.ndim else like, padded=number not in (2, 7)))
    given = None if grad_total is None else call.pad(grad_total)
    lengths = None if grad_length is None else grad_length.contiguous()
    record = _Grads(*map(_address, (given, lengths, *grads)))
    call.run("messages_backward", ctypes.byref(record), ctypes.c_int(relu))
    return _trimmed(grads, tensors)


def _trimmed(grads: list[Tensor | None], tensors: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    result: list[Tensor | None] = []
    for number, (grad, tensor) in enumerate(zip(grads, tensors, strict=True)):
        if grad is None or tensor is None:
            result.append(None)
        elif number == 3:
            result.append(grad[:, : tensor.shape[0]].T)
        else:
            result.append(grad[..., : tensor.shape[-1]])
    return tuple(result)


def moments_forward(
    target: Tensor,
    source: Tensor,
    edge_attr: Tensor,
    edge_weight: Tensor,
    edge_source: Tensor,
    edge_ptr: Tensor,
) -> tuple[Tensor, Tensor]:
    """Mean and biased variance [hidden] of z = target_i + source_j + W_e e_ij over the edges.

    Raises
    ------
    ShapeError
        If there are no edges.
    """
    if not edge_source.shape[0]:
        raise ShapeError("`edge_index` must hold at least one edge to have moments, got none.")
    call = _Call((target, source, edge_attr, edge_weight, *[None] * 7), edge_source, edge_ptr)
    mean, var = call.zeros(target[0]), call.zeros(target[0])
    call.run("moments_forward", mean, var)
    return mean[: target.shape[1]], var[: target.shape[1]]


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
    """Gradients of target, source, edge_attr and edge_weight."""
    tensors = (target, source, edge_attr, edge_weight, *[None] * 7)
    call = _Call(tensors, edge_source, edge_ptr)
    shapes = (target, source, edge_attr, target.new_empty(edge_attr.shape[1], target.shape[1]))
    grads: list[Tensor | None] = [call.zeros(like, padded=k != 2) for k, like in enumerate(shapes)]
    record = _Grads(None, None, *map(_address, (*grads, *[None] * 7)))
    given = tuple(map(call.pad, (grad_mean, grad_var, mean)))
    call.run("moments_backward", *given, ctypes.byref(record))
    trimmed = _trimmed([*grads, *[None] * 7], tensors)
    return trimmed[0], trimmed[1], trimmed[2], trimmed[3]  # type: ignore[return-value]

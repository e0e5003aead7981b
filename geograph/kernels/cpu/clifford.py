"""Calls of the C++ Clifford kernels: tensors in, tensors out, no autograd.

Multivectors are [items, channels, blades] here and [items, blades, channels] in memory there; a tensor that
already lies so, as every result does, is not copied.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from geograph.algebra.clifford import CliffordAlgebra
from geograph.kernels.cpu.build import load

Edges: TypeAlias = tuple[Tensor, Tensor]

_SUFFIX = {torch.float32: "f32", torch.float64: "f64"}


@functools.cache
def _tables(metric: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Integers and reals of an algebra, in the order that the C interface expects."""
    algebra = CliffordAlgebra(metric)
    with torch.inference_mode(False):
        integers = [torch.tensor(t).flatten() for t in (algebra.grades, algebra.right, algebra.path_index)]
        reals = [torch.tensor(t).flatten() for t in (algebra.signs, algebra.squares)]
        return torch.cat(integers).long(), torch.cat(reals).double()


def _call(
    name: str,
    algebra: CliffordAlgebra,
    sizes: Sequence[int],
    inputs: Sequence[Tensor | None],
    outputs: Sequence[Tensor | None],
    edges: tuple[Tensor, ...] = (),
) -> None:
    """Call a function of the library; every tensor must be contiguous."""
    dtype = next(tensor.dtype for tensor in inputs if tensor is not None)
    integers, reals = _tables(tuple(algebra.metric))
    numbers = (torch.get_num_threads(), algebra.num_blades, algebra.num_grades, len(algebra.paths), *sizes)
    function = getattr(load(), f"clifford_{name}_{_SUFFIX[dtype]}")
    function(
        (ctypes.c_int64 * len(numbers))(*numbers),
        ctypes.c_void_p(integers.data_ptr()),
        ctypes.c_void_p(reals.data_ptr()),
        *(
            (ctypes.c_void_p * len(group))(*(None if t is None else t.data_ptr() for t in group))
            for group in (inputs, outputs)
        ),
        *(ctypes.c_void_p(tensor.data_ptr()) for tensor in edges),
    )


def _by_blade(x: Tensor) -> Tensor:
    """Return [items, blades, channels] without gaps."""
    return x.transpose(1, 2).contiguous()


def _dense(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def product_forward(left: Tensor, right: Tensor, weight: Tensor, algebra: CliffordAlgebra) -> Tensor:
    """Weighted geometric product; see `geograph.kernels.geometric_product`."""
    items, channels, blades = left.shape
    out = left.new_empty(items, blades, weight.shape[0])
    inputs = (_by_blade(left), _by_blade(right), weight.contiguous())
    _call("product_forward", algebra, (items, channels, len(weight), weight.ndim == 3), inputs, (out,))
    return out.transpose(1, 2)


def product_backward(
    grad: Tensor, left: Tensor, right: Tensor, weight: Tensor, algebra: CliffordAlgebra
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `left`, `right` and `weight`."""
    items, channels, blades = left.shape
    grads = left.new_empty(items, blades, channels), left.new_empty(items, blades, channels)
    grad_weight = torch.empty(weight.shape, dtype=weight.dtype)
    inputs = (*map(_by_blade, (grad, left, right)), weight.contiguous())
    sizes = (items, channels, len(weight), weight.ndim == 3)
    _call("product_backward", algebra, sizes, inputs, (*grads, grad_weight))
    return grads[0].transpose(1, 2), grads[1].transpose(1, 2), grad_weight


def _block_sizes(x: Tensor, weights: Sequence[Tensor | None]) -> tuple[int, ...]:
    right, path = weights[4], weights[8]
    assert right is not None
    assert path is not None
    return x.shape[0], x.shape[1], right.shape[0], path.shape[0], path.ndim == 3


def block_forward(x: Tensor, weights: Sequence[Tensor | None], algebra: CliffordAlgebra) -> Tensor:
    """Run one block; the weights in the order of `geograph.kernels.clifford.BlockWeights`."""
    sizes = _block_sizes(x, weights)
    out = x.new_empty(x.shape[0], x.shape[2], sizes[3])
    _call("block_forward", algebra, sizes, (_by_blade(x), *map(_dense, weights)), (out,))
    return out.transpose(1, 2)


def block_backward(
    grad: Tensor, x: Tensor, weights: Sequence[Tensor | None], algebra: CliffordAlgebra
) -> tuple[Tensor | None, ...]:
    """Gradients of `x` and of every weight (None for those left out)."""
    grad_x = x.new_empty(x.shape[0], x.shape[2], x.shape[1])
    grads = [None if w is None else torch.empty(w.shape, dtype=w.dtype) for w in weights]
    inputs = (_by_blade(x), *map(_dense, weights), _by_blade(grad))
    _call("block_backward", algebra, _block_sizes(x, weights), inputs, (grad_x, *grads))
    return grad_x.transpose(1, 2), *grads


def message_forward(
    inputs: Sequence[Tensor], edges: Edges, algebra: CliffordAlgebra
) -> tuple[Tensor, Tensor]:
    """Return messages [edges, channels, blades] and scalars [edges, hidden].

    Parameters
    ----------
    inputs
        See `geograph.kernels.clifford_messages`: node features, target and source parts, constants, scale of
        the norm, scalar target and source parts, weights of the invariants.
    edges
        Sources and CSR pointer over targets, both without gaps.
    algebra
        The algebra of the features.
    """
    given = _message_inputs(inputs, algebra)
    values = inputs[1].new_empty(edges[0].shape[0], *inputs[1].shape[1:])
    scalars = values.new_empty(len(values), inputs[5].shape[1])
    _call("message_forward", algebra, _message_sizes(inputs), given, (values, scalars), edges)
    return values, scalars


def message_backward(
    grads: tuple[Tensor, Tensor], inputs: Sequence[Tensor], edges: Edges, algebra: CliffordAlgebra
) -> tuple[Tensor, ...]:
    """Gradients of the inputs of `message_forward`."""
    given = _message_inputs(inputs, algebra)
    node, target, source, _, layer, scalar_target, scalar_source, weight = (
        torch.empty(t.shape, dtype=t.dtype) for t in inputs
    )
    constants = torch.empty_like(given[3])
    results = (node, target, source, constants, None, layer, scalar_target, scalar_source, weight)
    given = (*given, *(grad.contiguous() for grad in grads))
    _call("message_backward", algebra, _message_sizes(inputs), given, results, edges)
    outputs = inputs[3].shape[2]
    return node, target, source, constants[..., :outputs], layer, scalar_target, scalar_source, weight


def _message_sizes(inputs: Sequence[Tensor]) -> tuple[int, ...]:
    node, target, scalar = inputs[0], inputs[1], inputs[5]
    return node.shape[0], node.shape[1], target.shape[1], scalar.shape[1]


def _message_inputs(inputs: Sequence[Tensor], algebra: CliffordAlgebra) -> tuple[Tensor, ...]:
    """Return inputs without gaps, and the constants in both layouts with whole vectors as rows."""
    node, target, source, constants, *rest = inputs
    lanes = load().clifford_vector_bytes() // node.element_size()
    both = (constants, constants.permute(2, 1, 0))
    wide = (torch.nn.functional.pad(c, (0, -c.shape[2] % lanes)) for c in both)
    return tuple(tensor.contiguous() for tensor in (node, target, source, *wide, *rest))


def gate_forward(
    inputs: Sequence[Tensor], edges: Edges, is_mean: bool, algebra: CliffordAlgebra
) -> tuple[Tensor, Tensor]:
    """Return sums or means of gated messages and of their scalars over each target.

    Parameters
    ----------
    inputs
        Scalars [edges, hidden], messages [edges, channels, blades], scale and shift of the scalars, and the
        weight and bias of three linear maps.
    edges
        Sources and CSR pointer over targets, both without gaps.
    is_mean
        Whether to divide by the number of edges.
    algebra
        The algebra of the features.
    """
    scalars, values = inputs[:2]
    nodes = edges[1].shape[0] - 1
    received = values.new_empty(nodes, *values.shape[1:]), scalars.new_empty(nodes, scalars.shape[1])
    given = tuple(tensor.contiguous() for tensor in inputs)
    _call("gate_forward", algebra, _gate_sizes(inputs, nodes, is_mean), given, received, edges)
    return received


def gate_backward(
    grads: tuple[Tensor, Tensor],
    inputs: Sequence[Tensor],
    edges: Edges,
    is_mean: bool,
    algebra: CliffordAlgebra,
) -> tuple[Tensor, ...]:
    """Gradients of the inputs of `gate_forward`."""
    given = tuple(tensor.contiguous() for tensor in (*inputs, *grads))
    results = tuple(torch.empty(tensor.shape, dtype=tensor.dtype) for tensor in inputs)
    sizes = _gate_sizes(inputs, edges[1].shape[0] - 1, is_mean)
    _call("gate_backward", algebra, sizes, given, results, edges)
    return results


def _gate_sizes(inputs: Sequence[Tensor], nodes: int, is_mean: bool) -> tuple[int, ...]:
    return nodes, inputs[1].shape[1], inputs[0].shape[1], int(is_mean)

"""Autograd of the fused messages of the Clifford network of jets, on the kernels of the backend `cpu`.

The block's quadratic form is cut into node parts and the constants of the bilinear part by differentiable
operations on the weights, which are small. Two operators over the edges remain; between them stand only the
messages m and the scalars z, whose moments the batch norm needs. Second derivatives go through composed
operations.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geograph.algebra.clifford import CliffordAlgebra
from geograph.kernels import dispatch
from geograph.kernels.clifford import BlockWeights, invariants, layer_norm, product_block
from geograph.kernels.clifford_messages import MessageWeights
from geograph.kernels.derivatives import composed_gradients


def fused_messages(
    h: Tensor,
    x: Tensor,
    vectors: Tensor,
    weights: MessageWeights,
    edge_index: Tensor,
    edge_ptr: Tensor,
    algebra: CliffordAlgebra,
    reduce: str,
) -> tuple[Tensor, Tensor]:
    """Run `geograph.kernels.clifford_messages.clifford_messages` with the C++ kernels."""
    from geograph.kernels.cpu.messages import check_edges

    assert weights.gate is not None
    check_edges(edge_index, edge_ptr, x.shape[0])
    edges = edge_index.contiguous(), edge_ptr.contiguous()
    hidden, block = h.shape[1], weights.block
    scalar, w_i, w_j, w_difference = weights.scalar.split(
        [weights.scalar.shape[1] - 3 * hidden, hidden, hidden, hidden], dim=1
    )
    values, z = _Message.apply(
        algebra,
        *edges,
        torch.cat([x, vectors], dim=1),
        *_node_parts(x, vectors, block, algebra),
        bilinear_constants(block, x.shape[1], vectors.shape[1], algebra),
        block.layer,
        nn.functional.linear(h, w_i + w_difference),
        nn.functional.linear(h, w_j - w_difference),
        scalar,
    )
    scale, shift = batch_norm_factors(weights.norm, z)
    result: tuple[Tensor, Tensor] = _Gate.apply(
        algebra,
        *edges,
        reduce == "mean",
        z,
        values,
        scale,
        shift,
        weights.map,
        weights.map_bias,
        *weights.gate,
    )
    return result


def batch_norm_factors(norm: nn.BatchNorm1d, z: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and shift that a batch norm applies to z; in training its running moments follow."""
    count = z.shape[0]
    if norm.training or norm.running_mean is None or norm.running_var is None:
        variance, mean = torch.var_mean(z, dim=0, correction=0)
        if norm.training and norm.running_mean is not None and norm.running_var is not None:
            with torch.no_grad():
                assert norm.num_batches_tracked is not None
                norm.num_batches_tracked += 1
                share = norm.momentum if norm.momentum is not None else 1 / float(norm.num_batches_tracked)
                norm.running_mean.lerp_(mean, share)
                norm.running_var.lerp_(variance * (count / max(count - 1, 1)), share)
    else:
        mean, variance = norm.running_mean, norm.running_var
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    return scale, norm.bias - mean * scale


def _node_parts(
    x: Tensor, vectors: Tensor, block: BlockWeights, algebra: CliffordAlgebra
) -> tuple[Tensor, Tensor]:
    """Parts c and d of the messages that depend on one node."""
    n, k = x.shape[1], vectors.shape[1]
    number = torch.arange(3 * n + 3 * k).split([n, n, n, k, k, k])
    sides = (
        (torch.cat([x, x, vectors, vectors], 1), [0, 2, 3, 4], block.left_bias),
        (torch.cat([x, -x, -vectors, vectors], 1), [1, 2, 3, 5], None),
    )
    parts = []
    for inputs, places, bias in sides:
        index = torch.cat([number[place] for place in places])
        weights = BlockWeights(
            right=block.right[index][:, index],
            left=block.left[:, index],
            path=block.path[:, index],
            left_bias=bias,
        )
        parts.append(product_block(inputs, weights, algebra, backend="cpu"))
    return parts[0], parts[1]


@functools.cache
def _sides(n: int, k: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Signs with which u_i and u_j = [x, p] enter the channels of c_ij, each [channels, n + k]."""
    with torch.inference_mode(False):
        x, p = (torch.eye(n + k, dtype=dtype).split([n, k])[side] for side in (0, 1))
        no_x, no_p = torch.zeros_like(x), torch.zeros_like(p)
        return torch.cat([x, no_x, x, p, p, no_p]), torch.cat([no_x, x, -x, -p, no_p, p])


@functools.cache
def _selections(metric: tuple[float, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Signs [path, (source blade, out blade)] for the source as right and as left factor."""
    algebra = CliffordAlgebra(metric)
    blades = algebra.num_blades
    result = torch.zeros(2, len(algebra.paths), blades, blades, dtype=torch.float64)
    for source in range(blades):
        for out in range(blades):
            target = int(algebra.right[source, out])
            for side, left in enumerate((target, source)):
                result[side, int(algebra.path_index[left, out]), source, out] = float(
                    algebra.signs[left, out]
                )
    with torch.inference_mode(False):
        pair = result.to(dtype).flatten(2)
        return pair[0].clone(), pair[1].clone()


def bilinear_constants(
    block: BlockWeights, n: int, k: int, algebra: CliffordAlgebra
) -> Float[Tensor, "rows sources columns"]:
    """Constants of M: rows (source channel, blade), target channels, columns (output channel, blade).

    M(u)[(b, k), (m, j)] is the sum over a of u[a, blade of e_k e_j] times the constant.
    """
    of_target, of_source = _sides(n, k, block.path.dtype)
    as_right, as_left = _selections(tuple(algebra.metric), block.path.dtype)
    grade = torch.tensor([right for _, _, right in algebra.paths])
    right = block.right[:, :, grade]  # the grade of the right factor of each path
    right_of_source = torch.einsum("ncp,cb->nbp", right, of_source)
    right_of_target = torch.einsum("ncp,ca->nap", right, of_target)
    # In two steps each, so that nothing larger than [out, in, in, path] is made on the way.
    first = torch.einsum("mnbp,na->mabp", block.path[:, :, None] * right_of_source, of_target)
    second = torch.einsum("mnap,nb->mabp", block.path[:, :, None] * right_of_target, of_source)
    total = first @ as_right + second @ as_left
    blades = algebra.num_blades
    outputs, sources = block.path.shape[0], n + k
    constants = total.view(outputs, sources, sources, blades, blades) / 2**0.5
    return constants.permute(2, 3, 1, 0, 4).reshape(sources * blades, sources, outputs * blades)


def _composed_message(
    edge_index: Tensor,
    algebra: CliffordAlgebra,
    node: Tensor,
    of_target: Tensor,
    of_source: Tensor,
    constants: Tensor,
    layer: Tensor,
    scalar_target: Tensor,
    scalar_source: Tensor,
    weight: Tensor,
) -> tuple[Tensor, Tensor]:
    """`_Message` in PyTorch operations, for second derivatives."""
    source, target = edge_index[0], edge_index[1]
    blades, sources = algebra.num_blades, node.shape[1]
    table = constants.view(sources, blades, sources, -1, blades)
    partner = algebra.constant("right", node)
    matrix = torch.einsum("iakj,bkamj->ibkmj", node[..., partner], table)
    y = torch.einsum("ebkmj,ebk->emj", matrix[target], node[source]) + of_target[target] + of_source[source]
    values = layer_norm(y, layer, algebra)
    flat = invariants(values, algebra).flatten(1)
    return values, scalar_target[target] + scalar_source[source] + nn.functional.linear(flat, weight)


class _Message(torch.autograd.Function):
    """The messages m and the scalars z."""

    @staticmethod
    def forward(
        ctx: Any, algebra: CliffordAlgebra, edge_index: Tensor, edge_ptr: Tensor, *inputs: Tensor
    ) -> tuple[Tensor, Tensor]:
        from geograph.kernels.cpu import clifford

        ctx.save_for_backward(edge_index, edge_ptr, *inputs)
        ctx.algebra = algebra
        return clifford.message_forward(inputs, (edge_index[0], edge_ptr), algebra)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        from geograph.kernels.cpu import clifford

        edge_index, edge_ptr, *inputs = ctx.saved_tensors
        if torch.is_grad_enabled():
            composed = functools.partial(_composed_message, edge_index, ctx.algebra)
            return None, None, None, *composed_gradients(composed, inputs, ctx.needs_input_grad[3:], grads)
        result = clifford.message_backward(
            (grads[0], grads[1]), inputs, (edge_index[0], edge_ptr), ctx.algebra
        )
        return None, None, None, *result


def _composed_gate(
    edge_index: Tensor,
    edge_ptr: Tensor,
    is_mean: bool,
    algebra: CliffordAlgebra,
    z: Tensor,
    values: Tensor,
    scale: Tensor,
    shift: Tensor,
    *maps: Tensor,
) -> tuple[Tensor, Tensor]:
    """`_Gate` in PyTorch operations, for second derivatives."""
    weight, bias, inner, inner_bias, outer, outer_bias = maps
    linear, relu = nn.functional.linear, nn.functional.relu
    m_h = relu(linear(relu(z * scale + shift), weight, bias))
    gates = torch.sigmoid(linear(relu(linear(m_h, inner, inner_bias)), outer, outer_bias))
    gated = values * algebra.spread(gates.view(*values.shape[:2], algebra.num_grades))
    reduce = "mean" if is_mean else "sum"
    return (
        dispatch.segment_reduce(gated, edge_ptr, reduce, index=edge_index[1], backend="native"),
        dispatch.segment_reduce(m_h, edge_ptr, reduce, index=edge_index[1], backend="native"),
    )


class _Gate(torch.autograd.Function):
    """What the nodes receive, from messages and scalars."""

    @staticmethod
    def forward(
        ctx: Any,
        algebra: CliffordAlgebra,
        edge_index: Tensor,
        edge_ptr: Tensor,
        is_mean: bool,
        *inputs: Tensor,
    ) -> tuple[Tensor, Tensor]:
        from geograph.kernels.cpu import clifford

        ctx.save_for_backward(edge_index, edge_ptr, *inputs)
        ctx.algebra, ctx.is_mean = algebra, is_mean
        return clifford.gate_forward(inputs, (edge_index[0], edge_ptr), is_mean, algebra)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        from geograph.kernels.cpu import clifford

        edge_index, edge_ptr, *inputs = ctx.saved_tensors
        if torch.is_grad_enabled():
            composed = functools.partial(_composed_gate, edge_index, edge_ptr, ctx.is_mean, ctx.algebra)
            needed = ctx.needs_input_grad[4:]
            return None, None, None, None, *composed_gradients(composed, inputs, needed, grads)
        edges = (edge_index[0], edge_ptr)
        result = clifford.gate_backward((grads[0], grads[1]), inputs, edges, ctx.is_mean, ctx.algebra)
        return None, None, None, None, *result

"""Autograd of the fused edge network, common to the backends that have one.

The first linear map splits into node parts, W [h_i, h_j, e] = W_1 h_i + W_2 h_j + W_3 e, of which the first
two are products over nodes and left to PyTorch. A batch norm over the edges is affine once its moments are
known, so it is folded into the three parts; its moments are a pass over z that stores nothing.

Only the inputs are kept for the backward pass, which runs the forward again tile by tile. A second derivative
(forces from energies) goes through the composed operations instead: it is rare, and a fused one would have to
keep what the first saves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from geograph.kernels import edge_network as specification
from geograph.kernels.cpu.messages import check_edges
from geograph.kernels.edge_network import EdgeNetworkWeights


def edge_network(
    module: ModuleType,
    h: Tensor,
    edge_attr: Tensor,
    weights: EdgeNetworkWeights,
    edge_index: Tensor,
    edge_ptr: Tensor,
    *,
    activation: str,
    wants_sum: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """Run `geograph.kernels.edge_network.edge_network` with the primitives of a fused backend."""
    if h.device.type == "cpu":  # elsewhere the check would wait for the device
        check_edges(edge_index, edge_ptr, h.shape[0])
    features = h.shape[1]
    linear = nn.functional.linear
    target = linear(h, weights.pair_weight[:, :features], weights.pair_bias)
    source = linear(h, weights.pair_weight[:, features : 2 * features])
    edge_weight = weights.pair_weight[:, 2 * features :]
    edges = (edge_index[0], edge_ptr)
    if weights.norm is not None:
        target, source, edge_weight = _normalized(
            module, weights.norm, target, source, edge_attr, edge_weight, *edges
        )
    inputs = (
        target, source, edge_attr, edge_weight, weights.weight, weights.bias, weights.gate_weight,
        weights.gate_bias, weights.head_weight, weights.head_bias, weights.length_weight,
    )  # fmt: skip
    total, length = _Messages.apply(module, activation, wants_sum, edge_index, edge_ptr, *inputs)
    return total, None if length is None else length[:, None]


def _normalized(
    module: ModuleType,
    norm: nn.BatchNorm1d,
    target: Tensor,
    source: Tensor,
    edge_attr: Tensor,
    edge_weight: Tensor,
    edge_source: Tensor,
    edge_ptr: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Fold the batch norm into the parts of z; in training its running moments follow, as PyTorch's do."""
    count = edge_source.shape[0]
    if norm.training and count > 1:
        mean, var = _Moments.apply(module, target, source, edge_attr, edge_weight, edge_source, edge_ptr)
        _follow(norm, mean.detach(), var.detach() * (count / (count - 1)))
    else:
        mean, var = norm.running_mean, norm.running_var
    scale = norm.weight * torch.rsqrt(var + norm.eps)
    return (target - mean) * scale + norm.bias, source * scale, edge_weight * scale[:, None]


@torch.no_grad()
def _follow(norm: nn.BatchNorm1d, mean: Tensor, var: Tensor) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    share = norm.momentum if norm.momentum is not None else 1.0 / float(norm.num_batches_tracked)
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), share)
    norm.running_var.lerp_(var.to(norm.running_var.dtype), share)


def _again(
    needs: Any, inputs: Any, function: Callable[..., Any], grads: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """Differentiate composed operations, so that the result can be differentiated again.

    The inputs stand in as views of themselves: where one of them was computed from another, the derivative
    must not go through that history, which autograd follows by itself.
    """
    views = [None if t is None else t.view_as(t) for t in inputs]
    wanted = [view for view, need in zip(views, needs, strict=True) if need and view is not None]
    pairs = zip(function(*views), grads, strict=True)
    outputs, cotangents = zip(*((o, g) for o, g in pairs if o is not None and g is not None), strict=True)
    found = iter(torch.autograd.grad(outputs, wanted, cotangents, create_graph=True, allow_unused=True))
    return [
        next(found) if need and view is not None else None for view, need in zip(views, needs, strict=True)
    ]


class _Messages(torch.autograd.Function):
    """Messages and lengths of a fused backend."""

    @staticmethod
    def forward(
        ctx: Any,
        module: ModuleType,
        activation: str,
        wants_sum: bool,
        edge_index: Tensor,
        edge_ptr: Tensor,
        *inputs: Tensor | None,
    ) -> tuple[Tensor | None, Tensor | None]:
        ctx.module, ctx.activation, ctx.wants_sum = module, activation, wants_sum
        ctx.save_for_backward(edge_index, edge_ptr, *inputs)
        result: tuple[Tensor | None, Tensor | None] = module.messages_forward(
            *_flat(inputs), edge_index[0], edge_ptr, activation == "relu", wants_sum
        )
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        edge_index, edge_ptr, *inputs = ctx.saved_tensors
        if torch.is_grad_enabled():
            again = _again(
                ctx.needs_input_grad[-len(inputs) :],
                inputs,
                lambda *views: _composed(ctx, edge_index, edge_ptr, views),
                grads,
            )
            return None, None, None, None, None, *again
        found = ctx.module.messages_backward(
            *grads, *_flat(inputs), edge_index[0], edge_ptr, ctx.activation == "relu", ctx.wants_sum
        )
        shaped = [
            None if grad is None or tensor is None else grad.reshape(tensor.shape)
            for grad, tensor in zip(found, inputs, strict=True)
        ]
        return None, None, None, None, None, *shaped


def _flat(inputs: Any) -> list[Tensor | None]:
    """Return the inputs with the [1, n] rows of gate and length as [n]."""
    return [t if t is None or number not in (6, 10) else t.reshape(-1) for number, t in enumerate(inputs)]


def _composed(
    ctx: Any, edge_index: Tensor, edge_ptr: Tensor, inputs: Any
) -> tuple[Tensor | None, Tensor | None]:
    from geograph.kernels.native import segment_reduce

    target, source, edge_attr, edge_weight, weight, bias, *rest = inputs
    weights = EdgeNetworkWeights(edge_weight, None, weight, bias, None, *rest)
    pair = _pair(target, source, edge_attr, edge_weight, edge_index)
    message, length = specification.messages(pair, weights, ctx.activation)
    total = segment_reduce(message, edge_ptr, edge_index[1], "sum") if ctx.wants_sum else None
    return total, None if length is None else length[:, 0]


def _pair(
    target: Tensor, source: Tensor, edge_attr: Tensor, edge_weight: Tensor, edge_index: Tensor
) -> Tensor:
    pair = target.index_select(0, edge_index[1]) + source.index_select(0, edge_index[0])
    return pair + edge_attr @ edge_weight.T


class _Moments(torch.autograd.Function):
    """Mean and biased variance of z over the edges."""

    @staticmethod
    def forward(ctx: Any, module: ModuleType, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        *parts, edge_source, edge_ptr = inputs
        mean, var = module.moments_forward(*parts, edge_source, edge_ptr)
        ctx.module = module
        ctx.save_for_backward(*inputs, mean)
        return mean, var

    @staticmethod
    def backward(ctx: Any, grad_mean: Tensor, grad_var: Tensor) -> tuple[Tensor | None, ...]:
        *parts, edge_source, edge_ptr, mean = ctx.saved_tensors
        if torch.is_grad_enabled():
            index = torch.stack([edge_source, _targets(edge_ptr, edge_source.shape[0])])

            def both(*views: Tensor) -> tuple[Tensor, Tensor]:
                pair = _pair(views[0], views[1], views[2], views[3], index)
                return pair.mean(0), pair.var(0, unbiased=False)

            again = _again(ctx.needs_input_grad[1:5], parts, both, (grad_mean, grad_var))
            return None, *again, None, None
        grads = ctx.module.moments_backward(grad_mean, grad_var, mean, *parts, edge_source, edge_ptr)
        return None, *grads, None, None


def _targets(edge_ptr: Tensor, count: int) -> Tensor:
    nodes = torch.arange(edge_ptr.shape[0] - 1, device=edge_ptr.device)
    return torch.repeat_interleave(nodes, edge_ptr.diff(), output_size=count)

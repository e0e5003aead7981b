"""The kernels in PyTorch operations that avoid the per-edge concatenation; default on every device.

A linear map of a pair splits into W [h_i, h_j, e] = W_1 h_i + W_2 h_j + W_3 e, so the node products cost N
rows instead of E, and no [E, 2F + K] array is made. Values equal those of `reference` up to rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor


def unavailable() -> str | None:
    """Reason why this backend cannot run here, or None."""
    return None


def segment_reduce(src: Tensor, ptr: Tensor, index: Tensor, reduce: str) -> Tensor:
    """Reduce each segment of rows; an empty segment gives zero."""
    shape = (ptr.shape[0] - 1, *src.shape[1:])
    if reduce == "max":
        rows = index.view(-1, *[1] * (src.ndim - 1)).expand_as(src)
        return src.new_zeros(shape).scatter_reduce(0, rows, src, "amax", include_self=False)
    total = src.new_zeros(shape).index_add(0, index, src)
    if reduce == "sum":
        return total
    count = ptr.diff().clamp(min=1).to(total.dtype)
    return total / count.view(-1, *[1] * (src.ndim - 1))


def pair_linear(
    h: Tensor, edge_attr: Tensor | None, weight: Tensor, bias: Tensor | None, edge_index: Tensor
) -> Tensor:
    """Linear map of [h_i, h_j, e_ij] as gathered node products plus an edge product."""
    num_features = h.shape[1]
    of_target = torch.nn.functional.linear(h, weight[:, :num_features], bias)
    of_source = torch.nn.functional.linear(h, weight[:, num_features : 2 * num_features])
    pair = of_target.index_select(0, edge_index[1]) + of_source.index_select(0, edge_index[0])
    if edge_attr is None:
        return pair
    return torch.addmm(pair, edge_attr, weight[:, 2 * num_features :].T)


def gather_scatter(
    values: Tensor, edge_weight: Tensor, edge_index: Tensor, ptr: Tensor, reduce: str
) -> Tensor:
    """Reduce the weighted source rows w_ij v_j onto each target i."""
    weight = edge_weight.view(-1, *[1] * (values.ndim - 1))
    return segment_reduce(weight * values.index_select(0, edge_index[0]), ptr, edge_index[1], reduce)

"""Specification of the graph kernels in plain PyTorch: slow, memory hungry, and by definition right.

Conventions: edges are sorted by target, ``edge_index[0]`` is the source j and ``edge_index[1]`` the target i;
``ptr`` [N + 1] is the CSR pointer of the segments, so that segment n is rows ptr[n] to ptr[n + 1].
"""

from __future__ import annotations

import torch
from torch import Tensor


def unavailable() -> str | None:
    """Reason why this backend cannot run here, or None."""
    return None


def segment_reduce(src: Tensor, ptr: Tensor, index: Tensor, reduce: str) -> Tensor:
    """Reduce each segment of rows; an empty segment gives zero."""
    result = torch.segment_reduce(src, reduce, offsets=ptr, axis=0, initial=_INITIAL[reduce])
    if reduce == "max":
        is_empty = (ptr.diff() == 0).view(-1, *[1] * (src.ndim - 1))
        return torch.where(is_empty, torch.zeros_like(result), result)
    return result


_INITIAL = {"sum": 0.0, "mean": 0.0, "max": -torch.inf}


def pair_linear(
    h: Tensor, edge_attr: Tensor | None, weight: Tensor, bias: Tensor | None, edge_index: Tensor
) -> Tensor:
    """Linear map of the concatenation [h_i, h_j, e_ij], i the target and j the source of each edge."""
    source, target = edge_index[0], edge_index[1]
    parts = [h[target], h[source]]
    if edge_attr is not None:
        parts.append(edge_attr)
    return torch.nn.functional.linear(torch.cat(parts, dim=1), weight, bias)


def gather_scatter(
    values: Tensor, edge_weight: Tensor, edge_index: Tensor, ptr: Tensor, reduce: str
) -> Tensor:
    """Reduce the weighted source rows w_ij v_j onto each target i."""
    weight = edge_weight.view(-1, *[1] * (values.ndim - 1))
    return segment_reduce(weight * values[edge_index[0]], ptr, edge_index[1], reduce)

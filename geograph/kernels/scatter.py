"""Segment reductions by torch_scatter's CSR kernels; everything else is the native form."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from torch import Tensor

from geograph.errors import MissingExtraError
from geograph.kernels.native import pair_linear

__all__ = ["gather_scatter", "pair_linear", "segment_reduce", "unavailable"]


def unavailable() -> str | None:
    """Reason why this backend cannot run here, or None."""
    if find_spec("torch_scatter") is None:
        return "the package `torch_scatter` is not installed; `pip install 'geograph[scatter]'` adds it"
    try:
        import_module("torch_scatter")
    except (ImportError, OSError) as error:  # OSError: built for another version of PyTorch
        return f"the package `torch_scatter` cannot be imported ({error})"
    return None


def segment_reduce(src: Tensor, ptr: Tensor, index: Tensor, reduce: str) -> Tensor:
    """Reduce each segment of rows; an empty segment gives zero."""
    if find_spec("torch_scatter") is None:
        raise MissingExtraError("the backend torch_scatter", "torch_scatter", "scatter")
    result: Tensor = import_module("torch_scatter").segment_csr(src, ptr, reduce=reduce)
    return result


def gather_scatter(
    values: Tensor, edge_weight: Tensor, edge_index: Tensor, ptr: Tensor, reduce: str
) -> Tensor:
    """Reduce the weighted source rows w_ij v_j onto each target i."""
    weight = edge_weight.view(-1, *[1] * (values.ndim - 1))
    return segment_reduce(weight * values.index_select(0, edge_index[0]), ptr, edge_index[1], reduce)

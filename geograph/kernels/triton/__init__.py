"""Fused kernels for CUDA in the Triton language, registered as `torch.library` operators.

Importing this package needs no Triton: the kernels are compiled from the modules below at their first use.
With TRITON_INTERPRET=1 in the environment they run, slowly, on the CPU: that is how they are tested without a
GPU. Every sum is taken in a fixed order, without atomics, so that results are the same in every run.
"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

#: Environment variable that makes Triton run its kernels in Python on the CPU.
INTERPRET = "TRITON_INTERPRET"
_ON = ("1", "true", "yes", "on", "y")


def unavailable() -> str | None:
    """Reason why this backend cannot run here, or None."""
    if find_spec("triton") is None:
        return "the package triton is not installed; install it with `pip install triton`"
    if torch.cuda.is_available() or os.environ.get(INTERPRET, "").lower() in _ON:
        return None
    return f"there is no CUDA device; for tests, {INTERPRET}=1 runs the kernels in Python on the CPU"


def segment_reduce(src: Tensor, ptr: Tensor, index: Tensor, reduce: str) -> Tensor:
    """Reduce each segment of rows; an empty segment gives zero."""
    result: Tensor = _module("segment").segment_reduce(src, ptr, index, reduce)
    return result


def gather_scatter(
    values: Tensor, edge_weight: Tensor, edge_index: Tensor, ptr: Tensor, reduce: str
) -> Tensor:
    """Reduce the weighted source rows w_ij v_j onto each target i, without storing them for sum and mean."""
    result: Tensor = _module("segment").gather_scatter(values, edge_weight, edge_index, ptr, reduce)
    return result


def pair_linear(
    h: Tensor, edge_attr: Tensor | None, weight: Tensor, bias: Tensor | None, edge_index: Tensor
) -> Tensor:
    """Linear map of [h_i, h_j, e_ij] as node products that one kernel gathers and adds."""
    result: Tensor = _module("pair").pair_linear(h, edge_attr, weight, bias, edge_index)
    return result


def messages_forward(*inputs: Any) -> tuple[Tensor | None, Tensor | None]:
    """Compute summed messages and lengths; see `geograph.kernels.triton.messages.messages_forward`."""
    result: tuple[Tensor | None, Tensor | None] = _module("messages").messages_forward(*inputs)
    return result


def messages_backward(*inputs: Any) -> tuple[Tensor | None, ...]:
    """Gradients of `messages_forward`; see `geograph.kernels.triton.backward.messages_backward`."""
    result: tuple[Tensor | None, ...] = _module("backward").messages_backward(*inputs)
    return result


def moments_forward(*inputs: Any) -> tuple[Tensor, Tensor]:
    """Mean and variance of z; see `geograph.kernels.triton.moments.moments_forward`."""
    result: tuple[Tensor, Tensor] = _module("moments").moments_forward(*inputs)
    return result


def moments_backward(*inputs: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of `moments_forward`; see `geograph.kernels.triton.moments.moments_backward`."""
    result: tuple[Tensor, Tensor, Tensor, Tensor] = _module("moments").moments_backward(*inputs)
    return result


def _module(name: str) -> Any:
    return import_module(f"{__name__}.{name}")

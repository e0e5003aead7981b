"""Second derivatives of fused operators, through differentiable operations that say the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def composed_gradients(
    function: Callable[..., Any],
    inputs: Sequence[Tensor | None],
    needed: Sequence[bool],
    grads: Tensor | Sequence[Tensor],
) -> tuple[Tensor | None, ...]:
    """Gradients of ``function(*inputs)`` with a graph of their own; None for inputs that need none.

    Parameters
    ----------
    function
        Differentiable form of the operator.
    inputs
        Its tensors, or None for those left out.
    needed
        Which of them need a gradient.
    grads
        Gradients of the outputs.
    """
    # Views, because one input may have been computed from another: its gradient must not flow into the other.
    own = [None if tensor is None else tensor.view_as(tensor) for tensor in inputs]
    wanted = [tensor for tensor, need in zip(own, needed, strict=True) if need and tensor is not None]
    found = iter(
        torch.autograd.grad(function(*own), wanted, grads, create_graph=True, materialize_grads=True)
    )
    return tuple(
        next(found) if need and tensor is not None else None for tensor, need in zip(own, needed, strict=True)
    )

r"""Geometric products from the sparse Cayley table, channel by channel or fully connected.

With the weights spread over the pairs of blades, ``mix``, and the right blade p(i, j) of each pair (left i,
out j), the products are

.. math:: z_{boj} = \sum_{n,i} \mathrm{mix}_{j,(n,i),o}\, x_{b(n,i)}\, y_{b(n,p(i,j))}, \qquad
          z_{bnj} = \sum_i \mathrm{mix}_{nij}\, x_{bni}\, y_{bn,p(i,j)} .

The first is one matrix product for each output blade, of pairs made in registers. Picking is its own inverse,
p(p(i, j), j) = i, so the gradient of y is that of x with the factors exchanged and the rows of mix picked.

References
----------
Ruhe et al. (2023), arXiv:2305.11141, section 4, Eqs. (11) to (13).
"""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor

from geograph.algebra.clifford import CliffordAlgebra
from geograph.kernels.triton import launch
from geograph.kernels.triton.clifford_kernels import dense, dense_factor, dense_mix, single, single_mix

_ITEMS, _STEP, _OUTPUTS = 32, 32, 64
#: Parts of the items that have their own partial gradient of the weights.
_PARTS = 64


def geometric_product(left: Tensor, right: Tensor, weight: Tensor, algebra: CliffordAlgebra) -> Tensor:
    """Weighted geometric product of factors [items, channels, blades].

    Parameters
    ----------
    left, right
        Factors.
    weight
        [channels, paths], or fully connected [out channels, channels, paths].
    algebra
        Algebra of both factors, of dimension 5 at most.
    """
    mix = weight[..., algebra.constant("path_index", weight)] * algebra.constant("signs", weight)
    if weight.ndim == 3:
        mix = mix.permute(3, 1, 2, 0)
    result: Tensor = sparse_product(left, right, mix, algebra.constant("right", weight))
    return result


def _plain_gradients(
    left: Tensor, right: Tensor, mix: Tensor, partner: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `sparse_product_backward` in differentiable operations."""
    picked = right[..., partner]
    swap = partner.expand(*left.shape, -1)
    if mix.ndim == 3:
        spread = grad[:, :, None, :] * mix
        grad_mix = torch.einsum("bni,bnij,bnj->nij", left, picked, grad)
    else:
        spread = torch.einsum("boj,jnio->bnij", grad, mix)
        grad_mix = torch.einsum("bni,bnij,boj->jnio", left, picked, grad)
    grad_right = (spread * left[..., None]).gather(2, swap).sum(-1)
    return (spread * picked).sum(-1), grad_right, grad_mix


def _constants(left: Tensor) -> dict[str, Any]:
    items, channels, blades = left.shape
    return {"CHANNELS": channels, "BLADES": blades, "ITEMS": _ITEMS, **launch.types(left.dtype)}


def _items(left: Tensor) -> int:
    """Items of one tile of a single channel, whose tiles are [items, blades]."""
    return max(16, 1024 // launch.padded(left.shape[2]))


@torch.library.custom_op(
    "geograph::triton_clifford",
    mutates_args=(),
    schema="(Tensor left, Tensor right, Tensor mix, Tensor partner) -> Tensor",
)
def sparse_product(left: Tensor, right: Tensor, mix: Tensor, partner: Tensor) -> Tensor:
    """Products of `left` and `right`; `mix` is [channels, i, j] or [j, channels, i, out channels]."""
    launch.check(left, right, mix)
    items, channels, blades = left.shape
    outputs = channels if mix.ndim == 3 else mix.shape[3]
    result = left.new_empty(items, outputs, blades)
    if result.numel() == 0 or channels == 0:
        return result.zero_()
    tensors = [x.contiguous() for x in (left, right, mix, partner)]
    constants = _constants(left)
    if mix.ndim == 3:
        constants["ITEMS"] = size = _items(left)
        single[(triton.cdiv(items, size), channels)](
            *tensors, result, items, PICK=False, WIDTH=launch.padded(blades), **constants
        )
        return result
    columns = min(_OUTPUTS, launch.padded(outputs))
    dense[(triton.cdiv(items, _ITEMS), triton.cdiv(outputs, columns), blades)](
        *tensors, result, items, OUTPUTS=outputs, COLUMNS=columns, STEP=_STEP, **constants
    )
    return result


@sparse_product.register_fake
def _(left: Tensor, right: Tensor, mix: Tensor, partner: Tensor) -> Tensor:
    return left.new_empty(left.shape[0], left.shape[1] if mix.ndim == 3 else mix.shape[3], left.shape[2])


@torch.library.custom_op(
    "geograph::triton_clifford_backward",
    mutates_args=(),
    schema=(
        "(Tensor left, Tensor right, Tensor mix, Tensor partner, Tensor grad) -> (Tensor, Tensor, Tensor)"
    ),
)
def sparse_product_backward(
    left: Tensor, right: Tensor, mix: Tensor, partner: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of left, right and mix."""
    launch.check(left, right, mix, grad)
    results = tuple(torch.zeros(x.shape, dtype=x.dtype, device=x.device) for x in (left, right, mix))
    if left.numel() and mix.numel():
        x, y, weights, picks, g = (t.contiguous() for t in (left, right, mix, partner, grad))
        run = _single_gradients if mix.ndim == 3 else _dense_gradients
        results = run(x, y, weights, picks, g)
    return results[0], results[1], results[2]


@sparse_product_backward.register_fake
def _(
    left: Tensor, right: Tensor, mix: Tensor, partner: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    results = [x.new_empty(x.shape) for x in (left, right, mix)]
    return results[0], results[1], results[2]


def _parts(items: int, size: int) -> tuple[int, int]:
    """Return the number of parts of the items, and of tiles in each."""
    tiles = triton.cdiv(items, size)
    each = triton.cdiv(tiles, _PARTS)
    return triton.cdiv(tiles, each), each


def _single_gradients(
    left: Tensor, right: Tensor, mix: Tensor, partner: Tensor, grad: Tensor
) -> tuple[Tensor, ...]:
    items, channels, blades = left.shape
    constants, width = _constants(left), launch.padded(blades)
    constants["ITEMS"] = size = _items(left)
    # Tiles [items, left, out] of the weights' gradient.
    few = max(1, 4096 // (width * width))
    parts, each = _parts(items, few)
    grads = torch.empty_like(left), torch.empty_like(right)
    grid = (triton.cdiv(items, size), channels)
    swapped = mix.gather(1, partner.expand(channels, -1, -1))
    for result, other, factor in zip(grads, (right, left), (mix, swapped), strict=True):
        single[grid](grad, other, factor, partner, result, items, PICK=True, WIDTH=width, **constants)
    partial = left.new_empty(parts, *mix.shape, dtype=launch.accumulator(left.dtype))
    constants["ITEMS"] = few
    single_mix[(parts, channels)](left, right, grad, partner, partial, items, each, WIDTH=width, **constants)
    return *grads, partial.sum(0).to(mix.dtype)


def _dense_gradients(
    left: Tensor, right: Tensor, mix: Tensor, partner: Tensor, grad: Tensor
) -> tuple[Tensor, ...]:
    items, channels, blades = left.shape
    outputs, constants = mix.shape[3], _constants(left)
    columns = min(_OUTPUTS, launch.padded(outputs))
    constants |= {"OUTPUTS": outputs, "COLUMNS": columns, "STEP": _STEP}
    blocks = triton.cdiv(channels * blades, _STEP)
    grads = torch.empty_like(left), torch.empty_like(right)
    for result, other, pick in ((grads[0], right, False), (grads[1], left, True)):
        dense_factor[(triton.cdiv(items, _ITEMS), blocks)](
            other, mix, grad, partner, result, items, PICK=pick, **constants
        )
    parts, each = _parts(items, _ITEMS)
    partial = left.new_empty(parts, *mix.shape, dtype=launch.accumulator(left.dtype))
    dense_mix[(parts, blocks * triton.cdiv(outputs, columns), blades)](
        left, right, grad, partner, partial, items, each, **constants
    )
    return *grads, partial.sum(0).to(mix.dtype)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *sparse_product_backward(*ctx.saved_tensors, grad), None


def _second(ctx: Any, *directions: Tensor) -> tuple[Tensor | None, ...]:
    """Vector-Jacobian product of the gradients, through plain operations."""
    left, right, mix, partner, grad = ctx.saved_tensors
    wants_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # Aliases: one of the tensors may itself have been computed from another.
        given = [
            x.view_as(x) if x.requires_grad else x.detach().requires_grad_() for x in (left, right, mix, grad)
        ]
        firsts = _plain_gradients(given[0], given[1], given[2], partner, given[3])
    seconds = torch.autograd.grad(firsts, given, directions, create_graph=wants_graph)
    return seconds[0], seconds[1], seconds[2], None, seconds[3]


sparse_product.register_autograd(_gradient, setup_context=_keep)
sparse_product_backward.register_autograd(_second, setup_context=_keep)

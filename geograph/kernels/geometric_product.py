r"""Geometric products with a learned weight for each path of grades.

For left and right factors of n channels the element-wise product is

.. math:: z_n^{(j)} = \sum_{i,k} w_{n,ijk} \langle x_n^{(i)} y_n^{(k)} \rangle_j

and the fully connected one sums over the n input channels with weights :math:`w_{mn,ijk}`; (i, j, k) runs
over the paths of the algebra. `reference` contracts the dense Cayley table: it is the specification.
`native` uses that every pair (left blade, output blade) has one right blade, so 4^n of the 8^n entries
(256 of 4096 for Cl(1, 3)), and recomputes the products in the backward pass instead of keeping them;
`cpu` does the same in C++, on tiles whose lanes are channels.

References
----------
Ruhe et al. (2023), arXiv:2305.11141, section 4, Eqs. (11) to (13).
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from geograph.algebra.clifford import CliffordAlgebra
from geograph.errors import BackendError, ShapeError
from geograph.kernels import dispatch
from geograph.kernels.derivatives import composed_gradients

#: Elements of one block of blade products on a CPU: what stays in a second-level cache.
_CPU_BLOCK = 1 << 16
#: The same elsewhere: a bound on memory only.
_DEVICE_BLOCK = 1 << 27


def geometric_product(
    left: Float[Tensor, "items channels blades"],
    right: Float[Tensor, "items channels blades"],
    weight: Float[Tensor, "*out channels paths"],
    algebra: CliffordAlgebra,
    *,
    backend: str | None = None,
) -> Float[Tensor, "items out_channels blades"]:
    """Weighted geometric product, channel by channel or fully connected, with the selected backend.

    Equivariant under the Clifford group (versors act on both factors and on the result alike).

    Parameters
    ----------
    left, right
        Factors.
    weight
        Weight of each path, [channels, paths] or [out channels, channels, paths]; paths in the order of
        `algebra.paths`.
    algebra
        The algebra that both factors belong to.
    backend
        Name of a backend for this call.

    Raises
    ------
    ShapeError
        If the shapes do not belong together or to the algebra.
    BackendError
        If the selected backend does not exist for this operation.
    """
    want = (left.shape[1], len(algebra.paths))
    if left.shape != right.shape or left.shape[-1] != algebra.num_blades:
        raise ShapeError(
            f"`left` and `right` must both have shape (items, channels, {algebra.num_blades}), "
            f"got {tuple(left.shape)} and {tuple(right.shape)}."
        )
    if weight.ndim not in (2, 3) or tuple(weight.shape[-2:]) != want:
        raise ShapeError(
            f"`weight` must end in (channels, paths) = {want} after at most one axis of output channels, "
            f"got shape {tuple(weight.shape)}."
        )
    name = dispatch.selected(backend, left)
    if name not in BACKENDS:
        raise BackendError(
            f"The kernel backend {name!r} has no geometric product; choose one of {', '.join(BACKENDS)}."
        )
    return BACKENDS[name](left, right, weight, algebra)


def reference(
    left: Float[Tensor, "items channels blades"],
    right: Float[Tensor, "items channels blades"],
    weight: Float[Tensor, "*out channels paths"],
    algebra: CliffordAlgebra,
) -> Float[Tensor, "items out_channels blades"]:
    """Contract the dense Cayley table with the weights: the specification."""
    pairs = (left[..., :, None] * right[..., None, :]).flatten(-2)
    number = torch.tensor(algebra.path_mask).to(weight.device)
    blocks = weight.new_zeros(*weight.shape[:-1], *number.shape)
    blocks[..., number] = weight
    grade = algebra.constant("grades", weight)
    dense = blocks[..., grade[:, None, None], grade[:, None], grade] * algebra.constant("cayley", weight)
    dense = dense.transpose(-1, -2).flatten(-3, -2)  # [..., (left, right), out]
    if weight.ndim == 2:
        return torch.einsum("bnp,npj->bnj", pairs, dense)
    return torch.einsum("bnp,mnpj->bmj", pairs, dense)


def native(
    left: Float[Tensor, "items channels blades"],
    right: Float[Tensor, "items channels blades"],
    weight: Float[Tensor, "*out channels paths"],
    algebra: CliffordAlgebra,
) -> Float[Tensor, "items out_channels blades"]:
    """Sum the non-zero products only, block by block; see the module's note."""
    factors = weight[..., algebra.constant("path_index", weight)] * algebra.constant("signs", weight)
    blades = algebra.num_blades
    if weight.ndim == 2:  # one group for each channel, one output each
        mix = factors.permute(2, 0, 1).unsqueeze(2)
    else:  # one group of all channels
        mix = factors.permute(3, 0, 1, 2).reshape(blades, 1, weight.shape[0], -1)
    product: Tensor = _SparseProduct.apply(left, right, mix, algebra.constant("right", weight))
    return product


def cpu(
    left: Float[Tensor, "items channels blades"],
    right: Float[Tensor, "items channels blades"],
    weight: Float[Tensor, "*out channels paths"],
    algebra: CliffordAlgebra,
) -> Float[Tensor, "items out_channels blades"]:
    """Run the C++ kernels, on float32 and float64; other and mixed types take the native form."""
    types = {left.dtype, right.dtype, weight.dtype}
    if len(types) > 1 or not types <= {torch.float32, torch.float64}:
        return native(left, right, weight, algebra)
    product: Tensor = _CompiledProduct.apply(left, right, weight, algebra)
    return product


def triton(
    left: Float[Tensor, "items channels blades"],
    right: Float[Tensor, "items channels blades"],
    weight: Float[Tensor, "*out channels paths"],
    algebra: CliffordAlgebra,
) -> Float[Tensor, "items out_channels blades"]:
    """Run the Triton kernels, which import Triton."""
    from geograph.kernels.triton.clifford import geometric_product as kernel

    product: Tensor = kernel(left, right, weight, algebra)
    return product


#: Implementations by backend name. torch_scatter reduces segments, so it takes the native form here.
BACKENDS = {"reference": reference, "native": native, "torch_scatter": native, "triton": triton, "cpu": cpu}


class _CompiledProduct(torch.autograd.Function):
    """The product of the backend `cpu`; a second derivative goes through the native form."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, weight: Tensor, algebra: CliffordAlgebra) -> Tensor:
        from geograph.kernels.cpu import clifford

        ctx.save_for_backward(left, right, weight)
        ctx.algebra = algebra
        return clifford.product_forward(left, right, weight, algebra)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        from geograph.kernels.cpu import clifford

        inputs: tuple[Tensor, Tensor, Tensor] = ctx.saved_tensors
        if torch.is_grad_enabled():
            plain = functools.partial(native, algebra=ctx.algebra)
            return *composed_gradients(plain, inputs, ctx.needs_input_grad[:3], grad), None
        return *clifford.product_backward(grad, *inputs, algebra=ctx.algebra), None


def _plain(left: Tensor, right: Tensor, mix: Tensor, partner: Tensor) -> Tensor:
    """Compute `_SparseProduct` in differentiable operations that keep every product."""
    pairs = left[..., :, None] * right[..., partner]  # [items, channels, left blade, out blade]
    blades, groups, _, inputs = mix.shape
    pairs = pairs.reshape(len(left), groups, inputs, blades)
    return torch.einsum("bgij,jgoi->bgoj", pairs, mix).flatten(1, 2)


def _columns(x: Tensor) -> Tensor:
    """[items, channels, blades] as contiguous [channels, blades, items]."""
    return x.reshape(len(x), -1).t().contiguous().view(*x.shape[1:], len(x))


def _rows(x: Tensor) -> Tensor:
    """Undo `_columns`, as a view."""
    return x.permute(2, 0, 1)


def _block_size(x: Tensor) -> int:
    """Return how many items to treat at once."""
    limit = _CPU_BLOCK if x.device.type == "cpu" else _DEVICE_BLOCK
    return max(1, limit // max(1, x.shape[1] * x.shape[2]))


class _SparseProduct(torch.autograd.Function):
    """Sum over left blades and channels of mix[j, g, o, (n, i)] * left[n, i] * right[n, partner[i, j]]."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, mix: Tensor, partner: Tensor) -> Tensor:
        ctx.save_for_backward(left, right, mix, partner)
        blades, groups, outputs, inputs = mix.shape
        mix, picks = mix.contiguous(), partner.t().contiguous()
        result = left.new_empty(len(left), groups * outputs, blades)
        step = _block_size(left)
        for start in range(0, len(left), step):
            x, y = _columns(left[start : start + step]), _columns(right[start : start + step])
            count = x.shape[-1]
            block = x.new_empty(blades, groups, outputs, count)
            for j in range(blades):
                pairs = y.index_select(1, picks[j]).mul_(x)
                torch.bmm(mix[j], pairs.view(groups, inputs, count), out=block[j])
            result[start : start + step] = block.view(blades, -1, count).permute(2, 1, 0)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        left, right, mix, partner = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            plain = functools.partial(_plain, partner=partner)
            return *composed_gradients(plain, (left, right, mix), ctx.needs_input_grad[:3], grad), None
        return *_first_derivatives(left, right, mix, partner, grad), None


def _first_derivatives(
    left: Tensor, right: Tensor, mix: Tensor, partner: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of `_SparseProduct`, from products recomputed block by block."""
    blades, groups, outputs, inputs = mix.shape
    mix, picks = mix.contiguous(), partner.t().contiguous()
    grad_left, grad_right, grad_mix = torch.empty_like(left), torch.empty_like(right), torch.zeros_like(mix)
    step = _block_size(left)
    for start in range(0, len(left), step):
        part = slice(start, start + step)
        x, y = _columns(left[part]), _columns(right[part])
        count = x.shape[-1]
        g = grad[part].permute(2, 1, 0).reshape(blades, groups, outputs, count)
        grad_x, grad_y = torch.zeros_like(x), torch.zeros_like(y)
        for j in range(blades):
            picked = y.index_select(1, picks[j])
            pairs = (picked * x).view(groups, inputs, count)
            grad_mix[j].baddbmm_(g[j], pairs.transpose(1, 2))
            row, column = mix[j].transpose(1, 2), g[j]
            spread = (row * column if outputs == 1 else torch.bmm(row, column)).view_as(x)
            grad_x.addcmul_(spread, picked)
            # Picking is its own inverse: partner[partner[i, j], j] = i.
            grad_y.add_(spread.mul_(x).index_select(1, picks[j]))
        grad_left[part], grad_right[part] = _rows(grad_x), _rows(grad_y)
    return grad_left, grad_right, grad_mix

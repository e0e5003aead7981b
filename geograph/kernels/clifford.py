r"""Grade-wise maps of multivectors [items, channels, blades], and one block of a Clifford network of them.

The functions here are the specification, in PyTorch operations. With the backend `cpu`, `product_block` runs
as one operator that keeps nothing but its input for the backward pass and recomputes the rest tile by tile.

References
----------
Ruhe et al. (2023), arXiv:2305.11141, section 4 and appendix.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from geograph.algebra.clifford import CliffordAlgebra
from geograph.kernels import dispatch
from geograph.kernels.derivatives import composed_gradients
from geograph.kernels.geometric_product import geometric_product

_NORM_EPSILON = 1e-16
_DIVISION_EPSILON = 1e-6


@dataclass(frozen=True)
class BlockWeights:
    r"""Parameters of a block; those that are None are left out.

    Attributes
    ----------
    first, first_bias
        Linear map of the input [channels, inputs, grades], and its bias [channels].
    gate_a, gate_b
        Scale and shift of the gate that follows it [channels, grades].
    right
        Linear map R [channels, channels, grades] of the right factor of the product.
    norm
        Parameter of the grade normalisation of R x [channels, grades].
    left, left_bias
        Linear map L [outputs, channels, grades] that is added to the product, and its bias.
    path
        Weights of the product, [channels, paths] or [outputs, channels, paths].
    layer
        Scale of the norm over the channels [outputs].
    """

    right: Tensor
    left: Tensor
    path: Tensor
    first: Tensor | None = None
    first_bias: Tensor | None = None
    gate_a: Tensor | None = None
    gate_b: Tensor | None = None
    norm: Tensor | None = None
    left_bias: Tensor | None = None
    layer: Tensor | None = None

    def ordered(self) -> tuple[Tensor | None, ...]:
        """All of them in the order of the computation."""
        return (
            self.first, self.first_bias, self.gate_a, self.gate_b, self.right, self.norm, self.left,
            self.left_bias, self.path, self.layer,
        )  # fmt: skip


def smooth_norm(quadratic: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    r"""Square root of a quadratic form's absolute value, :math:`(q^2 + 10^{-16})^{1/4}`.

    Differentiable at null elements, where an indefinite form vanishes; there it is 1e-4.
    """
    return (quadratic * quadratic + _NORM_EPSILON).pow(0.25)


def invariants(x: Float[Tensor, "*batch blades"], algebra: CliffordAlgebra) -> Float[Tensor, "*batch grades"]:
    """Scalar part and the quadratic form of every higher grade; invariant under the Clifford group."""
    return torch.cat([x[..., :1], algebra.quadratic(x)[..., 1:]], dim=-1)


def grade_linear(
    x: Float[Tensor, "items channels blades"],
    weight: Float[Tensor, "out channels grades"],
    bias: Float[Tensor, " out"] | None,
    algebra: CliffordAlgebra,
) -> Float[Tensor, "items out blades"]:
    """Linear map of the channels for each grade, and a bias on the scalar part."""
    # One matrix product for each blade: faster than einsum on [items, channels, blades].
    y = torch.bmm(x.permute(2, 0, 1).contiguous(), algebra.spread(weight).permute(2, 1, 0)).permute(1, 2, 0)
    return y if bias is None else y + algebra.embed(bias[:, None], 0)


def grade_normalization(
    x: Float[Tensor, "items channels blades"], a: Float[Tensor, "channels grades"], algebra: CliffordAlgebra
) -> Float[Tensor, "items channels blades"]:
    """Divide each grade by an interpolation of 1 and its norm."""
    norms = smooth_norm(algebra.quadratic(x))
    divisor = torch.sigmoid(a) * (norms - 1) + 1
    return x / algebra.spread(divisor + _DIVISION_EPSILON)


def grade_gate(
    x: Float[Tensor, "items channels blades"],
    a: Float[Tensor, "channels grades"],
    b: Float[Tensor, "channels grades"],
    algebra: CliffordAlgebra,
) -> Float[Tensor, "items channels blades"]:
    """Gate each grade by its invariant."""
    return x * algebra.spread(torch.sigmoid(a * invariants(x, algebra) + b))


def layer_norm(
    x: Float[Tensor, "items channels blades"], a: Float[Tensor, " channels"], algebra: CliffordAlgebra
) -> Float[Tensor, "items channels blades"]:
    """Divide by the mean norm of the channels, and scale each of them."""
    norm = smooth_norm(algebra.quadratic(x).sum(dim=-1)).mean(dim=-1)
    return x * (a / (norm[:, None] + _DIVISION_EPSILON))[..., None]


def product_block(
    x: Float[Tensor, "items inputs blades"],
    weights: BlockWeights,
    algebra: CliffordAlgebra,
    *,
    backend: str | None = None,
) -> Float[Tensor, "items outputs blades"]:
    r"""One block: [map and gate], then :math:`(L x + \mathrm{product}(x, [N] R x)) / \sqrt{2}`, [norm].

    Equivariant under the Clifford group. What is in brackets depends on the weights.

    Parameters
    ----------
    x
        Input.
    weights
        Parameters.
    algebra
        The algebra of the features.
    backend
        Name of a backend for this call.
    """
    name = dispatch.selected(backend, x)
    values = weights.ordered()
    if name == "cpu" and is_uniform(x, *values):
        result: Tensor = _Block.apply(algebra, x, *values)
        return result
    return composed_block(x, weights, algebra, backend=name)


def is_uniform(*tensors: Tensor | None) -> bool:
    """Whether all are of one type that the C++ kernels have, and autocast is off."""
    types = {tensor.dtype for tensor in tensors if tensor is not None}
    return (
        len(types) == 1 and types <= {torch.float32, torch.float64} and not torch.is_autocast_enabled("cpu")
    )


def composed_block(x: Tensor, weights: BlockWeights, algebra: CliffordAlgebra, *, backend: str) -> Tensor:
    """`product_block` of PyTorch operations around the geometric product of a backend."""
    w = weights
    if w.first is not None:
        assert w.gate_a is not None
        assert w.gate_b is not None
        x = grade_gate(grade_linear(x, w.first, w.first_bias, algebra), w.gate_a, w.gate_b, algebra)
    right = grade_linear(x, w.right, None, algebra)
    if w.norm is not None:
        right = grade_normalization(right, w.norm, algebra)
    product = geometric_product(x, right, w.path, algebra, backend=backend)
    y = (grade_linear(x, w.left, w.left_bias, algebra) + product) / 2**0.5
    return y if w.layer is None else layer_norm(y, w.layer, algebra)


class _Block(torch.autograd.Function):
    """The fused block of the backend `cpu`."""

    @staticmethod
    def forward(ctx: Any, algebra: CliffordAlgebra, x: Tensor, *weights: Tensor | None) -> Tensor:
        ctx.algebra = algebra
        ctx.save_for_backward(x, *weights)
        return _kernels().block_forward(x, weights, algebra)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, *weights = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            composed = functools.partial(_composed_from, ctx.algebra)
            return None, *composed_gradients(composed, (x, *weights), ctx.needs_input_grad[1:], grad)
        return None, *_kernels().block_backward(grad, x, weights, ctx.algebra)


def _composed_from(algebra: CliffordAlgebra, x: Tensor, *values: Tensor | None) -> Tensor:
    """`composed_block` from the weights in order."""
    first, first_bias, gate_a, gate_b, right, norm, left, left_bias, path, layer = values
    assert right is not None
    assert left is not None
    assert path is not None
    weights = BlockWeights(right, left, path, first, first_bias, gate_a, gate_b, norm, left_bias, layer)
    return composed_block(x, weights, algebra, backend="native")


def _kernels() -> Any:
    """Import the C++ kernels, only where they run."""
    from geograph.kernels.cpu import clifford

    return clifford

"""Products of the fragments of a signal: the nonlinearity that rotations commute with exactly.

See `geograph.layers.product_plan` for the operation. The columns are worked through in blocks that stay in
the cache; the products themselves, which are many times larger than input and output, are never stored, but
made again for the gradients. On a CPU this is done in C++ (`geograph.kernels.cpu.fragment_products`) where
the kernels work, and anywhere else in PyTorch, here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from geograph.algebra.mixing_sets import Pairs
from geograph.errors import ShapeError
from geograph.kernels.cpu.fragment_products import (
    FragmentTables,
    fragment_products_backward,
    fragment_products_forward,
    fragment_tables,
)
from geograph.kernels.dispatch import selected
from geograph.layers.fragment_norm import RunningScale
from geograph.layers.product_plan import PairTables, ProductPlan, class_width, product_plan

#: Class of the right factor, for each class of the product and of the left factor.
_XOR = [product ^ left for product in range(4) for left in range(4)]


class _Factors:
    """Sorted components of one block of columns: left factors [4, w, t, n], right factors [4, 4, w, t, n]."""

    def __init__(self, x: Tensor, plan: ProductPlan, rows: list[Tensor], xor: Tensor) -> None:
        columns = x.shape[1]
        self.left = [
            x.index_select(0, index).view(4, class_width(degree), -1, columns)
            for degree, index in enumerate(rows)
        ]
        self.right = [part.index_select(0, xor).unflatten(0, (4, 4)) for part in self.left]

    def outer(self, pair: PairTables) -> Tensor:
        """Products [4, 4 w1 w2, t1 t2 n] of all components of a pair of degrees."""
        left, right = self.left[pair.l1], self.right[pair.l2]
        every = left[None, :, :, None, :, None] * right[:, :, None, :, None]
        return every.view(4, pair.coupling.shape[2], -1)

    def outer_gradients(self, pair: PairTables, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients by the left and the right factors from those by the products."""
        left, right = self.left[pair.l1], self.right[pair.l2]
        gradient = gradient.view(4, 4, left.shape[1], right.shape[2], left.shape[2], right.shape[3], -1)
        by_left = (gradient * right[:, :, None, :, None]).sum(0)
        by_right = gradient * left[None, :, :, None, :, None]
        # One axis at a time, the largest first: sums over several axes at once leave the fast path.
        by_left = (
            by_left.flatten(0, 1).flatten(2).sum(1).view(left[..., 0].numel(), right.shape[3], -1).sum(1)
        )
        by_right = by_right.flatten(0, 1).flatten(2).sum(1).view(right[..., 0, 0].numel(), left.shape[2], -1)
        return by_left.view(left.shape), by_right.sum(1).view(right.shape)


def _mixed(weights: Tensor, products: Tensor) -> Tensor:
    """Weights [B, T, P] times products [B, P, n]."""
    return weights * products if weights.shape[2] == 1 else torch.bmm(weights, products)


class _FragmentProducts(torch.autograd.Function):
    """Mixed products of all fragments, and the sum of squares of each product."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, plan: ProductPlan, has_squares: bool
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x, weight)
        ctx.plan, ctx.is_native = plan, selected(tensor=x) == "cpu"
        if ctx.is_native:
            result, squares = fragment_products_forward(_native(plan), x, weight, has_squares)
            ctx.mark_non_differentiable(squares)
            return result, squares
        pairs, rows, xor, weights = _tables(plan, x, weight)
        squares = x.new_zeros(plan.first_product[-1])
        result = x.new_empty((plan.rows_out[-1], x.shape[1]))
        gather = plan.gather_out.to(x.device)
        for start in range(0, x.shape[1], plan.block(x.device)):
            block = slice(start, start + plan.block(x.device))
            factors = _Factors(x[:, block], plan, rows, xor)
            columns = factors.left[0].shape[-1]
            total = x.new_zeros((4 * plan.num_places, plan.width_out, columns))
            for pair, each in zip(pairs, weights, strict=True):
                products = torch.bmm(pair.coupling, factors.outer(pair)).view(len(pair.rows), -1, columns)
                total.index_add_(0, pair.rows, _mixed(each, products))
                if has_squares:
                    norms = torch.linalg.vector_norm(products, dim=2).square()
                    squares.index_add_(0, pair.products.flatten(), norms.view(4, -1).sum(0))
            result[:, block] = total.view(-1, columns).index_select(0, gather)
        ctx.mark_non_differentiable(squares)
        return result, squares

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        plan = ctx.plan
        if ctx.is_native:
            return *fragment_products_backward(_native(plan), x, weight, gradient), None, None
        pairs, rows, xor, weights = _tables(plan, x, weight)
        by_x, by_weight = torch.empty_like(x), weight.new_zeros(len(weight) + 1)
        gather = plan.gather_out.to(x.device)
        for start in range(0, x.shape[1], plan.block(x.device)):
            block = slice(start, start + plan.block(x.device))
            factors = _Factors(x[:, block], plan, rows, xor)
            columns = factors.left[0].shape[-1]
            total = x.new_zeros((4 * plan.num_places * plan.width_out, columns))
            total.index_copy_(0, gather, gradient[:, block])
            total = total.view(-1, plan.width_out, columns)
            lefts = [torch.zeros_like(part) for part in factors.left]
            rights = [torch.zeros_like(part) for part in factors.right]
            for pair, each in zip(pairs, weights, strict=True):
                above = total.index_select(0, pair.rows)
                outer = factors.outer(pair)
                products = torch.bmm(pair.coupling, outer).view(len(pair.rows), -1, columns)
                _add_weight_gradient(by_weight, pair, torch.bmm(above, products.mT))
                below = _mixed(each.mT, above).view(4, pair.coupling.shape[1], -1)
                left, right = factors.outer_gradients(pair, torch.bmm(pair.coupling.mT, below))
                lefts[pair.l1] += left
                rights[pair.l2] += right
            by_x[:, block] = _unsorted(x[:, block], lefts, rights, rows, xor)
        return by_x, by_weight[:-1], None, None


def _native(plan: ProductPlan) -> FragmentTables:
    return fragment_tables(plan.tau_in, plan.tau_out, plan.pairs)


def _tables(
    plan: ProductPlan, x: Tensor, weight: Tensor
) -> tuple[list[PairTables], list[Tensor], Tensor, list[Tensor]]:
    """Pairs, rows of each degree, classes of the right factors, and weights [4 R, T, t1 t2] of each pair."""
    pairs = plan.on(x.device, x.dtype)
    padded = torch.cat([weight, weight.new_zeros(1)])
    weights = [padded[pair.weights].repeat(4, 1, 1) for pair in pairs]
    rows = [index.to(x.device) for index in plan.sorted_in]
    return pairs, rows, torch.tensor(_XOR, device=x.device), weights


def _add_weight_gradient(by_weight: Tensor, pair: PairTables, gradient: Tensor) -> None:
    places = pair.weights.shape
    by_weight.index_add_(0, pair.weights.flatten(), gradient.view(4, *places).sum(0).flatten())


def _unsorted(
    x: Tensor, lefts: list[Tensor], rights: list[Tensor], rows: list[Tensor], xor: Tensor
) -> Tensor:
    """Gradient by the input from those by the sorted factors; empty places hold zeros."""
    by_x = torch.zeros_like(x)
    for left, right, index in zip(lefts, rights, rows, strict=True):
        left.index_add_(0, xor, right.flatten(0, 1))
        by_x.index_add_(0, index, left.flatten(0, 2))
    return by_x


class TensorProduct(nn.Module):
    """Mixed products of all fragments of a signal with each other.

    Equivariant under rotations; every column (channel, sphere) is treated alike. Each product is divided by
    its root mean square over everything seen in training (see `RunningScale`), since products of products
    grow doubly exponentially with depth; then all products of a degree are mixed by one matrix.

    Parameters
    ----------
    tau_in, tau_out
        Fragments of each degree.
    pairs
        Pairs of degrees for each degree of the result (see `geograph.algebra.mixing_sets.mixing_set`).
    has_norm
        Whether to divide by the running root mean square.

    Raises
    ------
    ConfigError
        If a degree of the result that should have fragments has no products.
    MissingExtraError
        If e3nn is not installed.

    References
    ----------
    Kondor, Lin and Trivedi (2018), arXiv:1806.09231, section 4; Cobb et al. (2021), arXiv:2010.11661,
    section 2.
    """

    def __init__(
        self,
        tau_in: Sequence[int],
        tau_out: Sequence[int],
        pairs: Sequence[Pairs],
        *,
        has_norm: bool = True,
    ) -> None:
        super().__init__()
        self._key = (tuple(tau_in), tuple(tau_out), tuple(tuple(each) for each in pairs))
        plan = self.plan
        self.weight = nn.Parameter(torch.empty(plan.num_weights))
        self.scale = RunningScale(plan.first_product[-1]) if has_norm else None
        fan_in = torch.tensor(plan.num_products).repeat_interleave(torch.tensor(plan.num_products))
        spread = fan_in[plan.product_of_weight].double().rsqrt()
        with torch.no_grad():
            self.weight.copy_(torch.randn(plan.num_weights, dtype=torch.float64) * spread)

    @property
    def plan(self) -> ProductPlan:
        """Tables of the operation."""
        return product_plan(*self._key)

    def _weight(self) -> Tensor:
        """Weights of the products as they are: divided by the running scale, nothing where they vanish."""
        plan = self.plan
        if self.scale is None:
            return self.weight
        inverse = self.scale.inverse() * plan.is_alive.to(self.weight.device)
        return self.weight * inverse.to(self.weight.dtype)[plan.product_of_weight.to(self.weight.device)]

    def forward(self, x: Float[Tensor, "rows ..."]) -> Float[Tensor, "mixed ..."]:
        """Multiply and mix.

        Raises
        ------
        ShapeError
            If the rows are not those of the input type.
        """
        plan = self.plan
        if x.shape[0] != plan.rows_in[-1]:
            raise ShapeError(f"`x` must have {plan.rows_in[-1]} rows for its type, got {x.shape[0]}.")
        # Mixed precision stops here: sums of many products of both signs cancel.
        with torch.autocast(x.device.type, enabled=False):
            return self._products(x.to(self.weight.dtype))

    def _products(self, x: Tensor) -> Tensor:
        plan = self.plan
        flat = x.reshape(x.shape[0], x[0].numel())
        is_learning = self.training and self.scale is not None and flat.shape[1] > 0
        if self.scale is not None and is_learning and not self.scale.is_set:
            with torch.no_grad():
                nothing = torch.zeros_like(self.weight)
                self._update(_FragmentProducts.apply(flat, nothing, plan, True)[1], flat)
        result, squares = _FragmentProducts.apply(flat, self._weight(), plan, is_learning)
        if is_learning:
            self._update(squares, flat)
        return result.reshape(result.shape[0], *x.shape[1:])

    def _update(self, squares: Tensor, flat: Tensor) -> None:
        """Feed the running scale with the mean square of a component of each product."""
        assert self.scale is not None
        plan = self.plan
        components = torch.arange(len(plan.num_products)) * 2 + 1
        sizes = components.repeat_interleave(torch.tensor(plan.num_products)).to(squares)
        self.scale.update(squares.detach() / (sizes * flat.shape[1]))

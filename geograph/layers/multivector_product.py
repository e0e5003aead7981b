r"""Steerable geometric-product layers: second-order layers whose grade paths have learned weights.

References
----------
Ruhe et al. (2023), arXiv:2305.11141, section 4, Eqs. (11) to (13).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geograph.algebra.clifford import CliffordAlgebra
from geograph.errors import ConfigError
from geograph.kernels import clifford as _kernels
from geograph.kernels.clifford import BlockWeights
from geograph.layers.multivector import GradeNormalization, MVLayerNorm, MVLinear, MVSiLU

ProductKind: TypeAlias = Literal["fully_connected", "elementwise"]
PRODUCT_KINDS: tuple[str, ...] = ("fully_connected", "elementwise")


class SteerableGeometricProduct(nn.Module):
    r"""Channel-wise product of the features with a linear map of themselves, plus a linear term.

    :math:`y_n = (L x + \sum_{ijk} w_{n,ijk} \langle x_n^{(i)} (N R x)_n^{(k)} \rangle_j) / \sqrt{2}` with N
    the grade normalisation. Path weights start normal with standard deviation :math:`1/\sqrt{d + 1}`.

    Parameters
    ----------
    algebra
        Algebra of the features.
    features
        Number of channels.
    normalization_init
        Start value of the grade normalisation; None leaves it out.
    """

    def __init__(
        self, algebra: CliffordAlgebra, features: int, *, normalization_init: float | None = 0.0
    ) -> None:
        super().__init__()
        self.algebra = algebra
        self.weight = nn.Parameter(torch.randn(features, len(algebra.paths)) / algebra.num_grades**0.5)
        self.linear_left = MVLinear(algebra, features, features)
        self.linear_right = MVLinear(algebra, features, features, has_bias=False)
        self.normalization = _normalization(algebra, features, normalization_init)

    def forward(self, x: Float[Tensor, "items channels blades"]) -> Float[Tensor, "items channels blades"]:
        """Apply the layer."""
        return _kernels.product_block(x, product_weights(self), self.algebra)


class FullyConnectedSteerableGeometricProduct(nn.Module):
    r"""As `SteerableGeometricProduct`, with path weights from every input to every output channel.

    Path weights :math:`w_{mn,ijk}` start normal with standard deviation :math:`1/\sqrt{n (d + 1)}`.

    Parameters
    ----------
    algebra
        Algebra of the features.
    in_features, out_features
        Numbers of channels.
    normalization_init
        Start value of the grade normalisation; None leaves it out.
    """

    def __init__(
        self,
        algebra: CliffordAlgebra,
        in_features: int,
        out_features: int,
        *,
        normalization_init: float | None = None,
    ) -> None:
        super().__init__()
        self.algebra = algebra
        scale = (in_features * algebra.num_grades) ** -0.5
        self.weight = nn.Parameter(scale * torch.randn(out_features, in_features, len(algebra.paths)))
        self.linear_left = MVLinear(algebra, in_features, out_features)
        self.linear_right = MVLinear(algebra, in_features, in_features, has_bias=False)
        self.normalization = _normalization(algebra, in_features, normalization_init)

    def forward(self, x: Float[Tensor, "items channels blades"]) -> Float[Tensor, "items out blades"]:
        """Apply the layer."""
        return _kernels.product_block(x, product_weights(self), self.algebra)


def _normalization(algebra: CliffordAlgebra, features: int, init: float | None) -> nn.Module:
    return nn.Identity() if init is None else GradeNormalization(algebra, features, init)


def product_weights(
    layer: SteerableGeometricProduct | FullyConnectedSteerableGeometricProduct,
) -> BlockWeights:
    """Parameters of a product layer, in the form that the kernels take."""
    return BlockWeights(
        right=layer.linear_right.weight,
        left=layer.linear_left.weight,
        path=layer.weight,
        norm=getattr(layer.normalization, "a", None),
        left_bias=layer.linear_left.bias,
    )


class ProductBlock(nn.Sequential):
    """One nonlinear block, run by the kernel backends; see `product_block`."""

    @property
    def weights(self) -> BlockWeights:
        """All parameters."""
        product, layer = self[-2], self[-1]
        assert isinstance(product, SteerableGeometricProduct | FullyConnectedSteerableGeometricProduct)
        assert isinstance(layer, MVLayerNorm)
        weights = replace(product_weights(product), layer=layer.a)
        if len(self) == 2:
            return weights
        linear, gate = self[0], self[1]
        assert isinstance(linear, MVLinear)
        assert isinstance(gate, MVSiLU)
        return replace(weights, first=linear.weight, first_bias=linear.bias, gate_a=gate.a, gate_b=gate.b)

    def forward(self, x: Float[Tensor, "items channels blades"]) -> Float[Tensor, "items out blades"]:
        """Apply the block."""
        layer = self[-1]
        assert isinstance(layer, MVLayerNorm)
        return _kernels.product_block(x, self.weights, layer.algebra)


def product_block(
    algebra: CliffordAlgebra,
    in_features: int,
    out_features: int,
    *,
    kind: ProductKind = "elementwise",
    normalization_init: float | None = 0.0,
) -> ProductBlock:
    """One nonlinear block from `in_features` to `out_features` multivector channels.

    Parameters
    ----------
    algebra
        Algebra of the features.
    in_features, out_features
        Numbers of channels.
    kind
        "elementwise": linear, gate, element-wise product, layer norm;
        "fully_connected": fully connected product, layer norm.
    normalization_init
        Start value of the products' grade normalisation; None leaves it out.

    Raises
    ------
    ConfigError
        If `kind` is neither of the two.
    """
    if kind == "fully_connected":
        return ProductBlock(
            FullyConnectedSteerableGeometricProduct(
                algebra, in_features, out_features, normalization_init=normalization_init
            ),
            MVLayerNorm(algebra, out_features),
        )
    if kind != "elementwise":
        raise ConfigError(f"`product` must be one of {', '.join(PRODUCT_KINDS)}, got {kind!r}.")
    return ProductBlock(
        MVLinear(algebra, in_features, out_features),
        MVSiLU(algebra, out_features),
        SteerableGeometricProduct(algebra, out_features, normalization_init=normalization_init),
        MVLayerNorm(algebra, out_features),
    )


def clifford_mlp(
    algebra: CliffordAlgebra,
    in_features: int,
    hidden_features: int,
    out_features: int,
    *,
    num_blocks: int = 2,
    kind: ProductKind = "elementwise",
    normalization_init: float | None = 0.0,
) -> nn.Sequential:
    """Chain of `num_blocks` product blocks.

    Parameters
    ----------
    algebra
        Algebra of the features.
    in_features, hidden_features, out_features
        Numbers of channels.
    num_blocks
        Length of the chain.
    kind
        Kind of every product; see `product_block`.
    normalization_init
        Start value of the products' grade normalisation; None leaves it out.
    """
    sizes = [in_features, *[hidden_features] * (num_blocks - 1), out_features]
    return nn.Sequential(
        *(
            product_block(algebra, a, b, kind=kind, normalization_init=normalization_init)
            for a, b in zip(sizes[:-1], sizes[1:], strict=True)
        )
    )

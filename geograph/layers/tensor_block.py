"""Clebsch-Gordan products as a block between layers of other kinds: equivariant without a grid."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geograph.algebra.mixing_sets import Mixing, mixing_set
from geograph.errors import ConfigError
from geograph.layers.spherical_norm import SphericalBatchNorm
from geograph.layers.tensor_product import TensorProduct
from geograph.layers.zonal import anchor_interpolation, mix_degrees


class TensorBlock(nn.Module):
    """Products of each channel with itself, then a mixture of the channels and products, and batch norm.

    The products of a channel are mixed to a few functions by weights that all channels share; these and the
    channels themselves are mixed by one matrix for each degree.

    Parameters
    ----------
    num_channels, input_bandlimit
        Of the input.
    num_outputs, bandlimit
        Of the output; its band-limit is at most that of the input.
    num_products
        Functions that are kept of the products of each channel.
    mixing
        Pairs of degrees that are multiplied, see `geograph.algebra.mixing_sets.mixing_set`.
    num_anchors
        Degrees at which the mixing matrices are parameters, see `anchor_interpolation`.

    Attributes
    ----------
    num_outputs, bandlimit
        Of the output.

    Raises
    ------
    ConfigError
        If the output has more degrees than the input, or a number is not positive.
    MissingExtraError
        If e3nn is not installed.

    References
    ----------
    Cobb et al. (2021), arXiv:2010.11661, section 3: channel-wise products, and the idea of the constrained
    convolution.
    """

    interpolation: Tensor

    def __init__(
        self,
        num_channels: int,
        input_bandlimit: int,
        num_outputs: int,
        bandlimit: int,
        *,
        num_products: int = 2,
        mixing: Mixing = "mst",
        num_anchors: int = 8,
    ) -> None:
        super().__init__()
        if bandlimit > input_bandlimit or num_products < 1:
            raise ConfigError(
                f"`bandlimit` of a tensor block must be at most {input_bandlimit} and `num_products` at "
                f"least 1, got {bandlimit} and {num_products}."
            )
        self.num_outputs, self.bandlimit, self.num_products = num_outputs, bandlimit, num_products
        self.product = TensorProduct(
            (1,) * input_bandlimit,
            (num_products,) * bandlimit,
            mixing_set(mixing, input_bandlimit, bandlimit),
        )
        self.register_buffer("interpolation", anchor_interpolation(num_anchors, bandlimit), persistent=False)
        inputs = (1 + num_products) * num_channels
        self.anchors = nn.Parameter(torch.empty(self.interpolation.shape[1], num_outputs, inputs))
        nn.init.normal_(self.anchors, std=inputs**-0.5)
        self.norm = SphericalBatchNorm(num_outputs)

    def forward(
        self, harmonic: Float[Tensor, "spheres channels coefficients"]
    ) -> Float[Tensor, "spheres outputs truncated"]:
        """Apply the block.

        Raises
        ------
        ShapeError
            If the input has other channels or another band-limit.
        """
        products = self.product(harmonic.permute(2, 1, 0).contiguous())
        # Rows of degree l are [2 l + 1, products]: the products move to the channels.
        count, channels, spheres = self.num_products, harmonic.shape[1], len(harmonic)
        products = products.view(self.bandlimit**2, count, channels, spheres).permute(3, 1, 2, 0)
        kept = harmonic[..., : self.bandlimit**2]
        weight = torch.tensordot(self.interpolation.to(self.anchors.dtype), self.anchors, dims=1)
        output: Tensor = self.norm(mix_degrees(torch.cat([kept, products.flatten(1, 2)], dim=1), weight))
        return output

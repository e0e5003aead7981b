"""A layer of efficient generalized spherical networks: products within each channel, then a convolution."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from geograph.algebra.mixing_sets import mixing_set
from geograph.layers.harmonic_linear import ConstrainedLinear, HarmonicLinear
from geograph.layers.tensor_product import TensorProduct


class GeneralizedLayer(nn.Module):
    """Channel-wise tensor products, constrained convolution, residual: exactly equivariant.

    Products are taken within each channel, so that their number grows with the channels and not with their
    square. The constrained convolution has three factors: a projection of the products of each degree, shared
    by the channels, back to the type of the output; a mixing of the fragments of each channel; and a mixing
    of the channels. The residual is a generalized convolution of the input.

    Parameters
    ----------
    tau_in, tau_out
        Fragments of each degree.
    num_inputs, num_outputs
        Channels.
    mixing
        Which pairs of degrees are multiplied (see `geograph.algebra.mixing_sets.mixing_set`).
    has_residual
        Whether the input is added, convolved; degrees that the input lacks get nothing.

    References
    ----------
    Cobb et al. (2021), arXiv:2010.11661, section 3.
    """

    def __init__(
        self,
        tau_in: Sequence[int],
        tau_out: Sequence[int],
        num_inputs: int,
        num_outputs: int,
        *,
        mixing: str = "mst",
        has_residual: bool = True,
    ) -> None:
        super().__init__()
        self.product = TensorProduct(tau_in, tau_out, mixing_set(mixing, len(tau_in), len(tau_out)))
        self.mix = ConstrainedLinear(tau_out, tau_out, num_inputs, num_outputs)
        self.residual = (
            HarmonicLinear(tau_in, tau_out[: len(tau_in)], num_inputs, num_outputs, has_bias=False)
            if has_residual
            else None
        )

    def forward(
        self, x: Float[Tensor, "rows channels spheres"]
    ) -> Float[Tensor, "mixed out_channels spheres"]:
        """Apply the layer to signals in the rows of `geograph.layers.product_plan`."""
        y: Tensor = self.mix(self.product(x))
        if self.residual is None:
            return y
        kept = self.residual(x)
        if len(kept) < len(y):
            kept = nn.functional.pad(kept, (0, 0, 0, 0, 0, len(y) - len(kept)))
        return y + kept

r"""Convolution with zonal filters in the spectrum: one matrix of channels for each degree.

A filter h that depends on the colatitude alone has the coefficients h_l0, and
(f * h)_lm = 2 pi sqrt(4 pi / (2 l + 1)) f_lm h_l0: the orders m are never mixed, so that the layer commutes
with rotations exactly, and the real coefficients can be used as they are.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geograph.algebra.harmonics import bandlimit_of
from geograph.errors import ConfigError, ShapeError
from geograph.layers.sampled_nonlinearity import SampledNonlinearity
from geograph.layers.spherical_norm import SphericalBatchNorm


def anchor_interpolation(num_anchors: int, bandlimit: int) -> Float[Tensor, "bandlimit anchors"]:
    """Matrix that interpolates a spectrum linearly from its values at evenly spaced degrees 0 ... L - 1.

    Few anchors give a smooth spectrum, which is a localised filter. Where there are more anchors than
    degrees, each degree has its own.

    Raises
    ------
    ConfigError
        If the number of anchors or the band-limit is not positive.
    """
    if num_anchors < 1 or bandlimit < 1:
        raise ConfigError(
            f"`num_anchors` and `bandlimit` must be at least 1, got {num_anchors} and {bandlimit}."
        )
    count = min(num_anchors, bandlimit)
    if count == 1:
        return torch.ones(bandlimit, 1, dtype=torch.float64)
    place = torch.arange(bandlimit, dtype=torch.float64) * (count - 1) / (bandlimit - 1)
    distance = (place[:, None] - torch.arange(count, dtype=torch.float64)).abs()
    return (1.0 - distance).clamp(min=0.0)


def mix_degrees(
    harmonic: Float[Tensor, "spheres channels coefficients"],
    weight: Float[Tensor, "bandlimit outputs inputs"],
) -> Float[Tensor, "spheres outputs truncated"]:
    """Mix the channels by one matrix for each degree; degrees beyond those of the weight are dropped.

    Equivariant: rotations act on the last axis, the matrices on the one before.

    Raises
    ------
    ShapeError
        If the weight has more degrees than the input, or other channels.
    """
    spheres, channels, coefficients = harmonic.shape
    bandlimit, outputs, _ = weight.shape
    if weight.shape[2] != channels or bandlimit > bandlimit_of(coefficients):
        raise ShapeError(
            f"`weight` must have {channels} input channels and at most {bandlimit_of(coefficients)} degrees, "
            f"got {weight.shape[2]} and {bandlimit}."
        )
    kept = harmonic[..., : bandlimit * bandlimit].permute(2, 0, 1).reshape(-1, channels)
    # Coefficient by coefficient the rows of one degree stand together: one matrix product for each degree.
    rows = kept.split([spheres * (2 * degree + 1) for degree in range(bandlimit)])
    mixed = torch.cat([part @ matrix.T for part, matrix in zip(rows, weight.unbind(), strict=True)])
    return mixed.reshape(bandlimit * bandlimit, spheres, outputs).permute(1, 2, 0)


class ZonalConvolution(nn.Module):
    """Convolution of every input channel with a learned zonal filter for every output channel; equivariant.

    Parameters
    ----------
    num_channels, num_outputs
        Channels in and out.
    bandlimit
        Of the output; at most that of the input, so that a smaller one is spectral pooling.
    num_anchors
        Degrees at which the spectrum of a filter is a parameter; linear in between.

    References
    ----------
    Driscoll and Healy (1994), Theorem 1; Esteves et al. (2018), arXiv:1711.06721, Eq. (7) and section 4.1.
    """

    interpolation: Tensor

    def __init__(self, num_channels: int, num_outputs: int, bandlimit: int, num_anchors: int = 8) -> None:
        super().__init__()
        table = anchor_interpolation(num_anchors, bandlimit)
        degree = torch.arange(bandlimit, dtype=torch.float64)
        factor = 2.0 * math.pi * (4.0 * math.pi / (2.0 * degree + 1.0)).sqrt()
        self.register_buffer("interpolation", factor[:, None] * table, persistent=False)
        count = table.shape[1]
        self.anchors = nn.Parameter(torch.empty(count, num_outputs, num_channels))
        nn.init.normal_(self.anchors, std=2.0 / (2.0 * math.pi * math.sqrt(max(count / 2, 1) * num_channels)))

    def forward(
        self, harmonic: Float[Tensor, "spheres channels coefficients"]
    ) -> Float[Tensor, "spheres outputs truncated"]:
        """Convolve.

        Raises
        ------
        ShapeError
            If the input has a smaller band-limit or other channels.
        """
        weight = torch.tensordot(self.interpolation.to(self.anchors.dtype), self.anchors, dims=1)
        return mix_degrees(harmonic, weight)


class ZonalBlock(nn.Module):
    """Zonal convolution, batch norm, nonlinearity on samples.

    Parameters
    ----------
    num_channels, num_outputs, bandlimit, num_anchors
        See `ZonalConvolution`.
    activation, oversampling
        See `SampledNonlinearity`.

    Attributes
    ----------
    num_outputs, bandlimit
        Of the output.
    """

    def __init__(
        self,
        num_channels: int,
        num_outputs: int,
        bandlimit: int,
        *,
        num_anchors: int = 8,
        activation: str = "prelu",
        oversampling: float = 1.0,
    ) -> None:
        super().__init__()
        self.num_outputs, self.bandlimit = num_outputs, bandlimit
        self.convolution = ZonalConvolution(num_channels, num_outputs, bandlimit, num_anchors)
        self.norm = SphericalBatchNorm(num_outputs)
        self.nonlinearity = SampledNonlinearity(bandlimit, activation, num_outputs, oversampling=oversampling)

    def forward(
        self, harmonic: Float[Tensor, "spheres channels coefficients"]
    ) -> Float[Tensor, "spheres outputs truncated"]:
        """Apply the block."""
        output: Tensor = self.nonlinearity(self.norm(self.convolution(harmonic)))
        return output

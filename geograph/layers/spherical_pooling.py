r"""Pooling on the sphere: to fewer degrees, over cells of a grid, and over the whole sphere.

Dropping degrees commutes with rotations exactly; means over cells do so as far as the grid resolves the
function. The mean over the whole sphere, a_00 / sqrt(4 pi), and the norm of each degree are invariant.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geograph.algebra.harmonics import bandlimit_of, degrees
from geograph.errors import ConfigError
from geograph.layers.sampled_nonlinearity import ACTIVATIONS, full_precision
from geograph.sphere.grids import make_grid
from geograph.sphere.sht import analysis, synthesis

#: What `GlobalPooling` can compute.
READOUTS = ("mean", "power")

_SQRT_SPHERE = math.sqrt(4.0 * math.pi)
#: Added to the squared norm of a degree, so that the root has a gradient where a function vanishes.
_EPS = 1e-6


class SpectralPooling(nn.Module):
    """Keep the degrees below a band-limit: exact, and the cheapest way down.

    References
    ----------
    Esteves et al. (2018), arXiv:1711.06721, section 4.3.
    """

    def __init__(self, bandlimit: int) -> None:
        super().__init__()
        if bandlimit < 1:
            raise ConfigError(f"`bandlimit` must be at least 1, got {bandlimit}.")
        self.bandlimit = bandlimit

    def forward(
        self, harmonic: Float[Tensor, "spheres channels coefficients"]
    ) -> Float[Tensor, "spheres channels truncated"]:
        """Truncate.

        Raises
        ------
        ConfigError
            If there are fewer degrees than are to be kept.
        """
        found = bandlimit_of(harmonic.shape[-1])
        if found < self.bandlimit:
            raise ConfigError(f"`bandlimit` of a pooling must be at most {found}, got {self.bandlimit}.")
        return harmonic[..., : self.bandlimit**2]


class AreaPooling(nn.Module):
    """Mean over cells of two rings and two meridians, weighted by their areas; halves the band-limit.

    On the equiangular grid theta = pi (2 k + 1) / 4 L the centres of such cells are the grid of L / 2. Along
    a ring a cell is two pixels wide and centred on a meridian of the coarse grid (the rule of the trapezium
    over three samples), so that nothing is turned about the axis.

    Parameters
    ----------
    bandlimit
        Of the input; even. That of the output is half of it.
    activation
        A key of `geograph.layers.sampled_nonlinearity.ACTIVATIONS`, applied to the samples before the mean;
        None for none.
    num_channels
        For activations that have a parameter for each channel.

    References
    ----------
    Esteves et al. (2018), arXiv:1711.06721, section 4.3: weighted average pooling.
    """

    area: Tensor

    def __init__(self, bandlimit: int, activation: str | None = None, num_channels: int = 1) -> None:
        super().__init__()
        if bandlimit < 2 or bandlimit % 2:
            raise ConfigError(f"`bandlimit` must be even and at least 2 for area pooling, got {bandlimit}.")
        if activation is not None and activation not in ACTIVATIONS:
            raise ConfigError(f"`activation` must be one of {', '.join(ACTIVATIONS)}, got {activation!r}.")
        self.activation = None if activation is None else ACTIVATIONS[activation](num_channels)
        self.bandlimit = bandlimit // 2
        self.fine, self.coarse = make_grid("soft", bandlimit), make_grid("soft", bandlimit // 2)
        edge = torch.cos(torch.arange(2 * bandlimit + 1, dtype=torch.float64) * math.pi / (2 * bandlimit))
        self.register_buffer("area", edge[:-1] - edge[1:], persistent=False)

    def forward(
        self, harmonic: Float[Tensor, "spheres channels coefficients"]
    ) -> Float[Tensor, "spheres channels pooled"]:
        """Pool."""
        values = synthesis(full_precision(harmonic), self.fine)
        values = values if self.activation is None else full_precision(self.activation(values))
        along = values[..., ::2] / 2 + (values[..., 1::2] + values[..., 1::2].roll(1, -1)) / 4
        area = self.area.to(values.dtype)
        weighted = (along * area[:, None]).unflatten(-2, (-1, 2)).sum(dim=-2)
        return analysis(weighted / area.unflatten(0, (-1, 2)).sum(-1)[:, None], self.coarse, self.bandlimit)


class GlobalPooling(nn.Module):
    """Functions on a sphere -> invariants of each channel.

    Parameters
    ----------
    num_channels, bandlimit
        Of the input.
    kind
        `mean`: the mean over the sphere. `power`: also the root mean square over the sphere of the part of
        each degree from 1 on, the root of the power spectrum.

    Attributes
    ----------
    num_features
        Numbers for each sphere.

    Raises
    ------
    ConfigError
        If the kind is unknown.

    References
    ----------
    Esteves et al. (2018), arXiv:1711.06721, section 4.3 (`mean`); Kazhdan et al. (2003), section 3 (`power`).
    """

    degree: Tensor

    def __init__(self, num_channels: int, bandlimit: int, kind: str = "mean") -> None:
        super().__init__()
        if kind not in READOUTS:
            raise ConfigError(f"`readout` must be one of {', '.join(READOUTS)}, got {kind!r}.")
        self.kind, self.bandlimit = kind, bandlimit
        self.num_features = num_channels * (bandlimit if kind == "power" else 1)
        self.register_buffer("degree", degrees(bandlimit)[1:] - 1, persistent=False)

    def forward(
        self, harmonic: Float[Tensor, "spheres channels coefficients"]
    ) -> Float[Tensor, "spheres features"]:
        """Reduce to invariants."""
        mean = harmonic[..., 0] / _SQRT_SPHERE
        if self.kind == "mean" or self.bandlimit == 1:
            return mean
        squares = harmonic[..., 1:].square() / (4.0 * math.pi)
        power = squares.new_zeros((*squares.shape[:-1], self.bandlimit - 1))
        power = power.index_add(-1, self.degree, squares)
        root = (power + _EPS).sqrt() - math.sqrt(_EPS)
        return torch.cat([mean[..., None], root], dim=-1).flatten(1)

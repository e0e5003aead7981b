"""Efficient generalized spherical CNNs: exactly equivariant at the cost of sampled ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geograph.algebra.harmonics import bandlimit_of
from geograph.errors import ConfigError, ShapeError
from geograph.layers.fragment_norm import FragmentNorm
from geograph.layers.generalized_layer import GeneralizedLayer
from geograph.layers.harmonic_linear import HarmonicLinear, fragment_type, harmonic_to_rows
from geograph.layers.invariant_norm import InvariantNorm
from geograph.models.sphere_graph import InputScales, SphereGraph, SphericalTrunk


class EfficientSphericalTrunk(SphericalTrunk):
    """A generalized convolution, then layers of channel-wise products; degree 0 of all of them is the output.

    Exactly invariant under rotations.

    Parameters
    ----------
    num_channels, bandlimit
        Of the input.
    channels
        Channels of the first convolution and of each layer after it: one number more than layers.
    bandlimits
        Band-limits of the same. None keeps that of the input, but for the last layer, of which only degree 0
        is read.
    max_fragments
        Fragments of each degree in a channel, at most 2 l + 1: 1 for functions on the sphere. Products cost
        its square.
    mixing
        Which pairs of degrees are multiplied: full (cost L^5 for a channel), mst (L^4) or rmst (L^3 log L).
    has_residual
        Whether each layer adds its input, convolved.
    has_input_norm
        Whether each degree of each channel of the input is divided by its running root mean square. High
        degrees of a smooth function are small numbers that otherwise never count.

    Raises
    ------
    ConfigError
        If a number is out of range, the lists do not match, or `mixing` is unknown.
    MissingExtraError
        If e3nn is not installed.

    Notes
    -----
    The paper's fragments and weights are complex; here both are real, which keeps real functions real. Its
    architectures are described in part only, so sizes are parameters and none is claimed to be published.

    References
    ----------
    Cobb et al. (2021), arXiv:2010.11661, sections 2 and 3.
    """

    def __init__(
        self,
        num_channels: int,
        bandlimit: int,
        *,
        channels: Sequence[int] = (16, 16, 32),
        bandlimits: Sequence[int] | None = None,
        max_fragments: int = 1,
        mixing: str = "mst",
        has_residual: bool = True,
        has_input_norm: bool = True,
    ) -> None:
        super().__init__()
        self.num_channels, self.bandlimit = num_channels, bandlimit
        limits = _bandlimits(bandlimit, bandlimits, channels)
        types = [fragment_type(limit, max_fragments) for limit in limits]
        first = (1,) * bandlimit
        self.norm = FragmentNorm(first, num_channels) if has_input_norm else None
        self.lift = HarmonicLinear(first, types[0], num_channels, channels[0])
        self.layers = nn.ModuleList(
            GeneralizedLayer(
                types[index],
                types[index + 1],
                channels[index],
                channels[index + 1],
                mixing=mixing,
                has_residual=has_residual,
            )
            for index in range(len(channels) - 1)
        )
        self.num_features = num_channels + sum(channels)
        self.readout = InvariantNorm(self.num_features)

    def forward(
        self, harmonic: Float[Tensor, "spheres channels coefficients"]
    ) -> Float[Tensor, "spheres features"]:
        """Reduce to invariants.

        Raises
        ------
        ShapeError
            If the channels or the band-limit are not those that the trunk was made for.
        """
        if (harmonic.shape[1], bandlimit_of(harmonic.shape[2])) != (self.num_channels, self.bandlimit):
            raise ShapeError(
                f"`harmonic` must have {self.num_channels} channels and band-limit {self.bandlimit}, "
                f"got {tuple(harmonic.shape)}."
            )
        x = harmonic_to_rows(harmonic)
        if self.norm is not None:
            x = self.norm(x)
        invariants = [x[0]]
        x = self.lift(x)
        invariants.append(x[0])
        for layer in self.layers:
            x = layer(x)
            invariants.append(x[0])
        output: Tensor = self.readout(torch.cat(invariants).T)
        return output


def _bandlimits(bandlimit: int, bandlimits: Sequence[int] | None, channels: Sequence[int]) -> list[int]:
    """Band-limit after the first convolution and after each layer."""
    if not channels or min(channels) < 1:
        raise ConfigError(f"`channels` must list at least one positive number, got {list(channels)}.")
    if bandlimits is None:
        return [bandlimit] * (len(channels) - 1) + [1 if len(channels) > 1 else bandlimit]
    limits = list(bandlimits)
    if len(limits) != len(channels) or limits[0] > bandlimit or min(limits) < 1:
        raise ConfigError(
            f"`bandlimits` must be {len(channels)} positive numbers like `channels`, the first at most "
            f"{bandlimit}, got {limits}."
        )
    return limits


class EfficientSphericalGraph(SphereGraph):
    """`EfficientSphericalTrunk` on every sphere and the head of `SphereGraph`; their parameters together."""

    def __init__(
        self,
        *,
        num_channels: int,
        bandlimit: int,
        num_outputs: int,
        channels: Sequence[int] = (16, 16, 32),
        bandlimits: Sequence[int] | None = None,
        max_fragments: int = 1,
        mixing: str = "mst",
        has_residual: bool = True,
        has_input_norm: bool = True,
        head: Literal["sphere", "atoms"] = "sphere",
        num_hidden: Sequence[int] | None = None,
        dropout: float = 0.0,
        elements: Sequence[int] | None = None,
        input_mean: Sequence[float] | None = None,
        input_scale: InputScales | None = None,
    ) -> None:
        trunk = EfficientSphericalTrunk(
            num_channels,
            bandlimit,
            channels=channels,
            bandlimits=bandlimits,
            max_fragments=max_fragments,
            mixing=mixing,
            has_residual=has_residual,
            has_input_norm=has_input_norm,
        )
        super().__init__(
            trunk,
            num_outputs=num_outputs,
            head=head,
            num_hidden=num_hidden,
            dropout=dropout,
            elements=elements,
            input_mean=input_mean,
            input_scale=input_scale,
        )

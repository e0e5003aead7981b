"""Clebsch-Gordan networks: a spherical network that never leaves the spectrum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geograph.algebra.harmonics import bandlimit_of, num_harmonics
from geograph.algebra.mixing_sets import mixing_set
from geograph.errors import ConfigError, ShapeError
from geograph.layers.fragment_norm import FragmentNorm
from geograph.layers.invariant_norm import InvariantNorm
from geograph.layers.tensor_product import TensorProduct
from geograph.models.sphere_graph import InputScales, SphereGraph, SphericalTrunk


def decreasing_type(bandlimit: int, num_fragments: int) -> tuple[int, ...]:
    """Type tau_l = ceil(n / sqrt(2 l + 1)) of the published network for digits, where n is 12.

    Raises
    ------
    ConfigError
        If `num_fragments` is below 1.
    """
    if num_fragments < 1:
        raise ConfigError(f"`num_fragments` must be at least 1, got {num_fragments}.")
    return tuple(math.ceil(num_fragments / math.sqrt(2 * degree + 1)) for degree in range(bandlimit))


class ClebschGordanTrunk(SphericalTrunk):
    """Layers of Clebsch-Gordan products and mixing; the fragments of degree 0 of all of them are the output.

    Exactly invariant under rotations. In each layer all fragments are multiplied with each other, each
    product is divided by its running root mean square, and the products of a degree are mixed by one matrix.
    The channels of the input are fragments like others.

    Parameters
    ----------
    num_channels, bandlimit
        Of the input.
    num_fragments
        n of `decreasing_type`, the fragments of each degree after every layer.
    num_layers
        Number of layers.
    max_degrees
        Band-limit of the network; the input is cut to it. None for that of the input.
    mixing
        Which pairs of degrees are multiplied; the paper has all, `full`.
    has_input_norm
        Whether each fragment of the input is divided by its running root mean square.

    Raises
    ------
    ConfigError
        If a number is out of range or `mixing` is unknown.
    MissingExtraError
        If e3nn is not installed.

    Notes
    -----
    The paper's fragments and weights are complex. Here both are real, which keeps real functions real and
    halves the weights: 125,735 in the five layers of the network for digits (band-limit 11, n = 12), of which
    the published 285,772 parameters contain twice as many.

    References
    ----------
    Kondor, Lin and Trivedi (2018), arXiv:1806.09231, sections 4 and 5.
    """

    def __init__(
        self,
        num_channels: int,
        bandlimit: int,
        *,
        num_fragments: int = 12,
        num_layers: int = 5,
        max_degrees: int | None = None,
        mixing: str = "full",
        has_input_norm: bool = True,
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise ConfigError(f"`num_layers` must be at least 1, got {num_layers}.")
        if max_degrees is not None and not 1 <= max_degrees <= bandlimit:
            raise ConfigError(f"`max_degrees` must be from 1 to {bandlimit}, got {max_degrees}.")
        self.num_channels, self.bandlimit = num_channels, bandlimit
        degrees = max_degrees or bandlimit
        self.num_rows = num_channels * num_harmonics(degrees)
        first, tau = (num_channels,) * degrees, decreasing_type(degrees, num_fragments)
        self.norm = FragmentNorm(first) if has_input_norm else None
        self.layers = nn.ModuleList(
            TensorProduct(
                first if index == 0 else tau,
                tau if index < num_layers - 1 else tau[:1] + (0,) * (degrees - 1),
                mixing_set(mixing, degrees, degrees),
            )
            for index in range(num_layers)
        )
        self.num_invariants = [num_channels, *[tau[0]] * num_layers]
        self.num_features = sum(self.num_invariants)
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
        spheres, channels, coefficients = harmonic.shape
        if (channels, bandlimit_of(coefficients)) != (self.num_channels, self.bandlimit):
            raise ShapeError(
                f"`harmonic` must have {self.num_channels} channels and band-limit {self.bandlimit}, "
                f"got {tuple(harmonic.shape)}."
            )
        x = harmonic.permute(2, 1, 0).reshape(-1, spheres)[: self.num_rows]
        if self.norm is not None:
            x = self.norm(x)
        invariants = [x[: self.num_invariants[0]]]
        for layer, count in zip(self.layers, self.num_invariants[1:], strict=True):
            x = layer(x)
            invariants.append(x[:count])
        output: Tensor = self.readout(torch.cat(invariants).T)
        return output


class ClebschGordanNetGraph(SphereGraph):
    """`ClebschGordanTrunk` on every sphere and the head of `SphereGraph`; their parameters together."""

    def __init__(
        self,
        *,
        num_channels: int,
        bandlimit: int,
        num_outputs: int,
        num_fragments: int = 12,
        num_layers: int = 5,
        max_degrees: int | None = None,
        mixing: str = "full",
        has_input_norm: bool = True,
        head: Literal["sphere", "atoms"] = "sphere",
        num_hidden: Sequence[int] | None = None,
        dropout: float = 0.0,
        elements: Sequence[int] | None = None,
        input_mean: Sequence[float] | None = None,
        input_scale: InputScales | None = None,
    ) -> None:
        trunk = ClebschGordanTrunk(
            num_channels,
            bandlimit,
            num_fragments=num_fragments,
            num_layers=num_layers,
            max_degrees=max_degrees,
            mixing=mixing,
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

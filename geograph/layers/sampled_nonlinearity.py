"""Nonlinearities on samples: from the spectrum to a grid, a function of the values, and back.

Point-wise functions commute with rotations of the sphere, but what they give is not band-limited: the way
back from the grid folds the degrees beyond its own into those that are kept. The error falls as the grid is
made finer (`oversampling`); for a polynomial of degree p it is zero from oversampling (p + 1) / 2 on.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geograph.algebra.harmonics import bandlimit_of
from geograph.algebra.tables import cached_tables
from geograph.errors import ConfigError
from geograph.sphere.grids import Grid, GridKind, make_grid
from geograph.sphere.sht import analysis, synthesis


class Quadratic(nn.Module):
    """x + x^2 / 2: the one activation here whose transform is exact, from oversampling 1.5 on."""

    def forward(self, values: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Apply the polynomial."""
        return values + 0.5 * values * values


#: Activations by name; each is made for a number of channels.
ACTIVATIONS: dict[str, Callable[[int], nn.Module]] = {
    "relu": lambda _: nn.ReLU(),
    "prelu": lambda channels: nn.PReLU(channels),
    "silu": lambda _: nn.SiLU(),
    "tanh": lambda _: nn.Tanh(),
    "quadratic": lambda _: Quadratic(),
}


@cached_tables(maxsize=64)
def oversampled_grid(bandlimit: int, oversampling: float, kind: GridKind = "gl") -> Grid:
    """Grid on which functions of a band-limit are sampled, finer by a factor.

    Raises
    ------
    ConfigError
        If the factor is below 1, or the kind of grid is unknown.
    """
    if not (math.isfinite(oversampling) and oversampling >= 1.0):
        raise ConfigError(f"`oversampling` must be a number of at least 1, got {oversampling}.")
    return make_grid(kind, math.ceil(oversampling * bandlimit - 1e-9))


def full_precision(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """At least float32, which the transforms need, whatever mixed precision made of it."""
    return x if x.dtype == torch.float64 else x.float()


class SampledNonlinearity(nn.Module):
    """Activation of the samples of each channel.

    Parameters
    ----------
    bandlimit
        Of the input.
    activation
        A key of `ACTIVATIONS`.
    num_channels
        For activations that have a parameter for each channel.
    output_bandlimit
        Of the output; None for that of the input.
    oversampling
        Band-limit of the grid over that of the input.
    grid
        Kind of grid, see `geograph.sphere.grids`.

    Raises
    ------
    ConfigError
        If the activation or the grid is unknown, the factor is below 1, or the output asks for more degrees
        than the grid resolves.
    """

    def __init__(
        self,
        bandlimit: int,
        activation: str = "relu",
        num_channels: int = 1,
        *,
        output_bandlimit: int | None = None,
        oversampling: float = 1.0,
        grid: GridKind = "gl",
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ConfigError(f"`activation` must be one of {', '.join(ACTIVATIONS)}, got {activation!r}.")
        self.grid = oversampled_grid(bandlimit, oversampling, grid)
        self.bandlimit, self.output_bandlimit = bandlimit, output_bandlimit or bandlimit
        if self.output_bandlimit > self.grid.bandlimit:
            raise ConfigError(
                f"`output_bandlimit` must be at most {self.grid.bandlimit}, that of the grid, "
                f"got {self.output_bandlimit}; raise `oversampling`."
            )
        self.activation = ACTIVATIONS[activation](num_channels)

    def forward(
        self, harmonic: Float[Tensor, "spheres channels coefficients"]
    ) -> Float[Tensor, "spheres channels truncated"]:
        """Apply the activation.

        Raises
        ------
        ConfigError
            If the input has another band-limit.
        """
        if bandlimit_of(harmonic.shape[-1]) != self.bandlimit:
            raise ConfigError(
                f"`harmonic` must have band-limit {self.bandlimit}, got {bandlimit_of(harmonic.shape[-1])}."
            )
        values = self.activation(synthesis(full_precision(harmonic), self.grid))
        return analysis(full_precision(values), self.grid, self.output_bandlimit)

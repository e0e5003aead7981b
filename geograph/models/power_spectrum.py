"""Classifier that sees nothing of a map but its power spectra: the check that two classes do not leak there.

Of the scattering coefficients of a map it sees the spectrum of each path, which does hold higher moments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geograph.algebra.harmonics import power_spectrum
from geograph.errors import ConfigError
from geograph.models.sphere_graph import InputScales, SphereGraph, SphericalTrunk


class RunningStandardization(nn.Module):
    """(x - mean) / deviation with the moments of all rows that were seen in training.

    For inputs that no parameter changes, so that these moments converge; unlike batch norm, it needs no batch
    of more than one row and is the same function in training and evaluation.

    Parameters
    ----------
    num_features
        Columns.
    """

    count: Tensor
    mean: Tensor
    squares: Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("squares", torch.zeros(num_features))

    @torch.no_grad()
    def _update(self, x: Tensor) -> None:
        """Join two sets of rows: Chan, Golub and LeVeque (1983)."""
        rows, mean = len(x), x.mean(dim=0)
        total = self.count + rows
        shift = mean - self.mean
        self.squares += (x - mean).square().sum(dim=0) + shift.square() * self.count * rows / total
        self.mean += shift * rows / total
        self.count.copy_(total)

    def forward(self, x: Float[Tensor, "rows features"]) -> Float[Tensor, "rows features"]:
        """Standardise; columns that never vary become 0. Before any training, the input comes back."""
        if self.training and len(x):
            self._update(x)
        if self.count < 2:
            return x - self.mean
        deviation = (self.squares / (self.count - 1)).sqrt()
        # Constant columns keep a little scatter from rounding, which must not be blown up.
        varies = deviation > 1e-5 * (1.0 + self.mean.abs())
        return torch.where(varies, (x - self.mean) / torch.where(varies, deviation, 1.0), 0.0)


class PowerSpectrumTrunk(SphericalTrunk):
    """log(C_l + floor) of every channel, standardised over the training data. Invariant under rotations.

    Parameters
    ----------
    num_channels, bandlimit
        Of the input.
    floor
        Powers far below it count as nothing; in units of the square of the input.

    Raises
    ------
    ConfigError
        If the floor is not positive, or there are no channels or degrees.
    """

    def __init__(self, num_channels: int, bandlimit: int, *, floor: float = 1e-9) -> None:
        super().__init__()
        if min(num_channels, bandlimit) < 1:
            raise ConfigError(
                f"`num_channels` and `bandlimit` must be at least 1, got {num_channels} and {bandlimit}."
            )
        if not floor > 0:
            raise ConfigError(f"`floor` must be positive, got {floor}.")
        self.num_channels, self.bandlimit, self.floor = num_channels, bandlimit, floor
        self.num_features = num_channels * bandlimit
        self.standardize = RunningStandardization(self.num_features)

    def forward(
        self, harmonic: Float[Tensor, "spheres channels coefficients"]
    ) -> Float[Tensor, "spheres features"]:
        """Compute the invariants of each sphere."""
        logarithm = torch.log(power_spectrum(harmonic) + self.floor)
        features: Tensor = self.standardize(logarithm.flatten(1))
        return features


class PowerSpectrumGraph(SphereGraph):
    """An MLP on the logarithms of the power spectra of every channel.

    Parameters
    ----------
    num_channels, bandlimit, floor
        See `PowerSpectrumTrunk`.
    num_outputs, head, num_hidden, dropout, elements, input_mean, input_scale
        See `SphereGraph`.

    Raises
    ------
    ConfigError
        If a parameter is out of range.
    """

    def __init__(
        self,
        *,
        num_channels: int,
        bandlimit: int,
        num_outputs: int,
        floor: float = 1e-9,
        head: Literal["sphere", "atoms"] = "sphere",
        num_hidden: Sequence[int] | None = None,
        dropout: float = 0.0,
        elements: Sequence[int] | None = None,
        input_mean: Sequence[float] | None = None,
        input_scale: InputScales | None = None,
    ) -> None:
        super().__init__(
            PowerSpectrumTrunk(num_channels, bandlimit, floor=floor),
            num_outputs=num_outputs,
            head=head,
            num_hidden=num_hidden,
            dropout=dropout,
            elements=elements,
            input_mean=input_mean,
            input_scale=input_scale,
        )

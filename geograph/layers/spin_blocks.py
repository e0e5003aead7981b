"""Blocks of spin-weighted networks: convolution, batch norm and a nonlinearity, plain and residual."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geograph.errors import ConfigError
from geograph.layers.spherical_norm import SphericalBatchNorm
from geograph.layers.spin_weighted import MagnitudeActivation, PhaseCollapse, SpinConvolution

#: Nonlinearities by name.
NONLINEARITIES = ("phase-collapse", "squared-collapse", "magnitude")


def spin_nonlinearity(
    kind: str,
    num_channels: int,
    bandlimit: int,
    spins: Sequence[int],
    *,
    oversampling: float = 1.0,
    is_spin_dropped: bool = False,
) -> nn.Module:
    """Return the nonlinearity of that name.

    Parameters
    ----------
    kind
        `phase-collapse` (2023), the same with the square of the modulus, whose transform is exact from
        oversampling 1.5 on, or `magnitude` (2020).
    num_channels, bandlimit, spins, oversampling, is_spin_dropped
        See `PhaseCollapse`; `magnitude` always keeps all spins.

    Raises
    ------
    ConfigError
        If the name is unknown.
    """
    if kind not in NONLINEARITIES:
        raise ConfigError(f"`nonlinearity` must be one of {', '.join(NONLINEARITIES)}, got {kind!r}.")
    if kind == "magnitude":
        return MagnitudeActivation(num_channels, bandlimit, spins, oversampling=oversampling)
    return PhaseCollapse(
        num_channels,
        bandlimit,
        spins,
        oversampling=oversampling,
        is_squared=kind == "squared-collapse",
        is_spin_dropped=is_spin_dropped,
    )


class SpinBlock(nn.Module):
    """Convolution, batch norm, nonlinearity.

    Parameters
    ----------
    num_channels, num_outputs, bandlimit, spins_in, spins_out, num_anchors
        See `SpinConvolution`.
    nonlinearity, oversampling, is_spin_dropped
        See `spin_nonlinearity`.
    """

    def __init__(
        self,
        num_channels: int,
        num_outputs: int,
        bandlimit: int,
        spins_in: Sequence[int] | None = (0, 1),
        spins_out: Sequence[int] = (0, 1),
        *,
        num_anchors: int = 8,
        nonlinearity: str = "phase-collapse",
        oversampling: float = 1.0,
        is_spin_dropped: bool = False,
    ) -> None:
        super().__init__()
        self.convolution = SpinConvolution(
            num_channels, num_outputs, bandlimit, spins_in, spins_out, num_anchors
        )
        self.norm = SphericalBatchNorm(num_outputs, 2, len(spins_out))
        self.nonlinearity = spin_nonlinearity(
            nonlinearity,
            num_outputs,
            bandlimit,
            spins_out,
            oversampling=oversampling,
            is_spin_dropped=is_spin_dropped,
        )

    def forward(
        self, parts: Float[Tensor, "spheres *rows coefficients"]
    ) -> Float[Tensor, "spheres spins 2 outputs truncated"]:
        """Apply the block."""
        output: Tensor = self.nonlinearity(self.norm(self.convolution(parts)))
        return output


class SpinResidualBlock(nn.Module):
    """A `SpinBlock`, a convolution and a batch norm that starts at zero; plus the input; nonlinearity.

    The input is truncated to the band-limit of the output and, where the channels change, mixed by one
    matrix for all degrees.

    Parameters
    ----------
    num_channels, num_outputs, bandlimit, spins, num_anchors, nonlinearity, oversampling, is_spin_dropped
        See `SpinBlock`.

    References
    ----------
    Esteves et al. (2023), arXiv:2306.05420: the residual block in the spectrum.
    """

    def __init__(
        self,
        num_channels: int,
        num_outputs: int,
        bandlimit: int,
        spins: Sequence[int] = (0, 1),
        *,
        num_anchors: int = 8,
        nonlinearity: str = "phase-collapse",
        oversampling: float = 1.0,
        is_spin_dropped: bool = False,
    ) -> None:
        super().__init__()
        self.bandlimit = bandlimit
        self.first = SpinBlock(
            num_channels,
            num_outputs,
            bandlimit,
            spins,
            spins,
            num_anchors=num_anchors,
            nonlinearity=nonlinearity,
            oversampling=oversampling,
        )
        self.second = SpinConvolution(num_outputs, num_outputs, bandlimit, spins, spins, num_anchors)
        self.norm = SphericalBatchNorm(num_outputs, 2, len(spins))
        nn.init.zeros_(self.norm.weight)
        self.shortcut: SpinConvolution | None = None
        if num_channels != num_outputs:
            self.shortcut = SpinConvolution(num_channels, num_outputs, bandlimit, spins, spins, num_anchors=1)
        self.nonlinearity = spin_nonlinearity(
            nonlinearity,
            num_outputs,
            bandlimit,
            spins,
            oversampling=oversampling,
            is_spin_dropped=is_spin_dropped,
        )

    def forward(
        self, parts: Float[Tensor, "spheres spins 2 channels coefficients"]
    ) -> Float[Tensor, "spheres spins_out 2 outputs truncated"]:
        """Apply the block."""
        change = self.norm(self.second(self.first(parts)))
        kept = parts[..., : self.bandlimit**2] if self.shortcut is None else self.shortcut(parts)
        output: Tensor = self.nonlinearity(kept + change)
        return output


class SpinScalarBlock(nn.Module):
    """Real functions -> spins -> real functions: a `SpinBlock` between layers that know no spin.

    Parameters
    ----------
    num_channels
        Real channels in.
    num_outputs
        Real channels out; even, because they are the two parts of complex ones.
    bandlimit, spins, num_anchors, nonlinearity, oversampling
        See `SpinBlock`.

    Attributes
    ----------
    num_outputs, bandlimit
        Of the output.

    Raises
    ------
    ConfigError
        If the number of outputs is odd.
    """

    def __init__(
        self,
        num_channels: int,
        num_outputs: int,
        bandlimit: int,
        *,
        spins: Sequence[int] = (0, 1),
        num_anchors: int = 8,
        nonlinearity: str = "phase-collapse",
        oversampling: float = 1.0,
    ) -> None:
        super().__init__()
        if num_outputs < 2 or num_outputs % 2:
            raise ConfigError(f"`num_outputs` of a spin block must be even and positive, got {num_outputs}.")
        self.num_outputs, self.bandlimit = num_outputs, bandlimit
        self.block = SpinBlock(
            num_channels,
            num_outputs // 2,
            bandlimit,
            None,
            spins,
            num_anchors=num_anchors,
            nonlinearity=nonlinearity,
            oversampling=oversampling,
            is_spin_dropped=True,
        )

    def forward(
        self, harmonic: Float[Tensor, "spheres channels coefficients"]
    ) -> Float[Tensor, "spheres outputs truncated"]:
        """Apply the block."""
        parts: Tensor = self.block(harmonic)
        return torch.flatten(parts[:, 0], 1, 2)

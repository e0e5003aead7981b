"""Spin-weighted spherical CNN (Esteves et al. 2020, 2023): complex features of several spins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from geograph.layers.spherical_pooling import GlobalPooling
from geograph.layers.spin_blocks import SpinBlock, SpinResidualBlock
from geograph.models.sphere_graph import InputScales, SphereGraph, SphericalTrunk
from geograph.models.zonal_cnn import block_bandlimits


class SpinTrunk(SphericalTrunk):
    """A block that lifts real functions to several spins, further blocks, and invariants of spin 0.

    Parameters
    ----------
    num_channels, bandlimit
        Of the input.
    widths
        Complex channels of each spin after each block.
    bandlimits
        Of each block; None halves where the width grows (see `block_bandlimits`).
    num_anchors
        See `SpinConvolution`: one for all blocks.
    spins
        Spins, 0 first.
    nonlinearity
        `phase-collapse` (2023), `magnitude` (2020) or `squared-collapse`; see `spin_nonlinearity`.
    is_residual
        Make the blocks after the first residual.
    oversampling
        Band-limit of the grids over that of the functions.
    readout
        See `GlobalPooling`; real and imaginary part count as channels.

    Raises
    ------
    ConfigError
        If a parameter is unknown or out of range.

    References
    ----------
    Esteves et al. (2020), arXiv:2006.10731, section 5; Esteves et al. (2023), arXiv:2306.05420. Published for
    QM9 in 2023: widths 64, 128, 128, 256, 256 over 5 to 10 input channels, band-limits 16, 8, 8, 4, 4.

    Notes
    -----
    Batch norm subtracts the mean over the batch and divides by the mean square around it, so that the spread
    of the means of the spheres counts as variance too.
    """

    def __init__(
        self,
        num_channels: int,
        bandlimit: int,
        *,
        widths: Sequence[int] = (8, 16, 32),
        bandlimits: Sequence[int] | None = None,
        num_anchors: int = 8,
        spins: Sequence[int] = (0, 1),
        nonlinearity: str = "phase-collapse",
        is_residual: bool = True,
        oversampling: float = 1.0,
        readout: str = "mean",
    ) -> None:
        super().__init__()
        self.num_channels, self.bandlimit = num_channels, bandlimit
        limits = block_bandlimits(bandlimit, widths, bandlimits)
        self.blocks = nn.ModuleList()
        for index, (width, limit) in enumerate(zip(widths, limits, strict=True)):
            channels = widths[index - 1] if index else num_channels
            options: dict[str, Any] = {
                "num_anchors": num_anchors,
                "nonlinearity": nonlinearity,
                "oversampling": oversampling,
                "is_spin_dropped": index == len(widths) - 1,
            }
            if index and is_residual:
                self.blocks.append(SpinResidualBlock(channels, width, limit, spins, **options))
            else:
                given = spins if index else None
                self.blocks.append(SpinBlock(channels, width, limit, given, spins, **options))
        self.readout = GlobalPooling(2 * widths[-1], limits[-1], readout)
        self.num_features = self.readout.num_features

    def forward(
        self, harmonic: Float[Tensor, "spheres channels coefficients"]
    ) -> Float[Tensor, "spheres features"]:
        """Reduce to invariants."""
        state = harmonic
        for block in self.blocks:
            state = block(state)
        features: Tensor = self.readout(state[:, 0].flatten(1, 2))
        return features


class SpinWeightedCNNGraph(SphereGraph):
    """`SpinTrunk` on every sphere and the head of `SphereGraph`; the parameters are those of the two."""

    def __init__(
        self,
        *,
        num_channels: int,
        bandlimit: int,
        num_outputs: int,
        widths: Sequence[int] = (8, 16, 32),
        bandlimits: Sequence[int] | None = None,
        num_anchors: int = 8,
        spins: Sequence[int] = (0, 1),
        nonlinearity: str = "phase-collapse",
        is_residual: bool = True,
        oversampling: float = 1.0,
        readout: str = "mean",
        head: Literal["sphere", "atoms"] = "sphere",
        num_hidden: Sequence[int] | None = None,
        dropout: float = 0.0,
        elements: Sequence[int] | None = None,
        input_mean: Sequence[float] | None = None,
        input_scale: InputScales | None = None,
    ) -> None:
        trunk = SpinTrunk(
            num_channels,
            bandlimit,
            widths=widths,
            bandlimits=bandlimits,
            num_anchors=num_anchors,
            spins=spins,
            nonlinearity=nonlinearity,
            is_residual=is_residual,
            oversampling=oversampling,
            readout=readout,
        )
        super().__init__(
            trunk, num_outputs=num_outputs, head=head, num_hidden=num_hidden, dropout=dropout,
            elements=elements, input_mean=input_mean, input_scale=input_scale,
        )  # fmt: skip

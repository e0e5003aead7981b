"""Spherical CNN with zonal filters (Esteves et al. 2018): invariant as far as its samples resolve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geograph.errors import ConfigError
from geograph.layers.spherical_pooling import AreaPooling, GlobalPooling
from geograph.layers.zonal import ZonalBlock
from geograph.models.sphere_graph import InputScales, SphereGraph, SphericalTrunk


def block_bandlimits(
    bandlimit: int, widths: Sequence[int], bandlimits: Sequence[int] | None = None
) -> tuple[int, ...]:
    """Band-limit of the output of each block.

    Parameters
    ----------
    bandlimit
        Of the input of the network.
    widths
        Channels of each block.
    bandlimits
        As the caller wants them; None halves the band-limit, down to 2, at every block that is wider than the
        one before it.

    Raises
    ------
    ConfigError
        If there are no blocks, a width is below 1, the lengths differ, or a band-limit rises or is below 1.
    """
    if not widths or min(widths) < 1:
        raise ConfigError(f"`widths` must be positive, one for each block, got {list(widths)}.")
    if bandlimits is None:
        current, chosen = bandlimit, []
        for index, width in enumerate(widths):
            if index and width > widths[index - 1]:
                current = max(min(current, 2), current // 2)
            chosen.append(current)
        return tuple(chosen)
    steps = (bandlimit, *bandlimits)
    falls = all(after <= before for before, after in zip(steps, steps[1:], strict=False))
    if len(bandlimits) != len(widths) or not falls or min(steps) < 1:
        raise ConfigError(
            f"`bandlimits` must be {len(widths)} numbers that do not rise, none above {bandlimit}, "
            f"got {list(bandlimits)}."
        )
    return tuple(bandlimits)


class ZonalTrunk(SphericalTrunk):
    """Blocks of zonal convolution, batch norm and activation; then invariants of the last one.

    With several branches each has its own channels of the input and its own blocks; where the band-limit
    falls, the first one also receives the channels of the others.

    Parameters
    ----------
    num_channels, bandlimit
        Of the input.
    widths
        Channels of each block. Published: 16, 16, 32, 32, 64, 64, 128, 128.
    bandlimits
        Of each block; see `block_bandlimits`. None gives the published ones.
    num_anchors, activation, oversampling
        See `ZonalBlock`.
    pooling
        Where the band-limit falls: `spectral` computes only the degrees that are kept; `area` takes means
        over cells, which halve it, before the convolution.
    readout
        See `GlobalPooling`.
    branches
        Input channels of each branch; None is one branch with all.

    Raises
    ------
    ConfigError
        If a parameter is unknown or out of range.

    References
    ----------
    Esteves et al. (2018), arXiv:1711.06721, sections 4.4 and 5.

    Notes
    -----
    The invariants of every branch reach the head, in place of the auxiliary loss of the second branch.
    """

    def __init__(
        self,
        num_channels: int,
        bandlimit: int,
        *,
        widths: Sequence[int] = (16, 32, 64),
        bandlimits: Sequence[int] | None = None,
        num_anchors: int = 8,
        activation: str = "prelu",
        oversampling: float = 1.0,
        pooling: str = "spectral",
        readout: str = "mean",
        branches: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        self.num_channels, self.bandlimit = num_channels, bandlimit
        limits = block_bandlimits(bandlimit, widths, bandlimits)
        self.branches = _checked_branches(branches, num_channels)
        self.falls = [index > 0 and limits[index] < limits[index - 1] for index in range(len(limits))]
        options: dict[str, Any] = {
            "num_anchors": num_anchors,
            "activation": activation,
            "oversampling": oversampling,
        }
        rows = (
            nn.ModuleList(
                ZonalBlock(inputs, width, limit, **options) for inputs in self._inputs(index, widths)
            )
            for index, (width, limit) in enumerate(zip(widths, limits, strict=True))
        )
        self.blocks = nn.ModuleList(rows)
        self.pools = _pools(pooling, limits)
        self.readout = GlobalPooling(len(self.branches) * widths[-1], limits[-1], readout)
        self.num_features = self.readout.num_features

    def _inputs(self, index: int, widths: Sequence[int]) -> list[int]:
        """Input channels of the block of each branch."""
        if index == 0:
            return [len(channels) for channels in self.branches]
        inputs = [widths[index - 1]] * len(self.branches)
        if self.falls[index]:
            inputs[0] *= len(self.branches)
        return inputs

    def forward(
        self, harmonic: Float[Tensor, "spheres channels coefficients"]
    ) -> Float[Tensor, "spheres features"]:
        """Reduce to invariants."""
        states = [harmonic[:, channels] for channels in self.branches]
        for index in range(len(self.blocks)):
            row: nn.ModuleList = self.blocks[index]  # type: ignore[assignment]
            if str(index) in self.pools:
                states = [self.pools[str(index)](state) for state in states]
            if self.falls[index] and len(states) > 1:
                states[0] = torch.cat(states, dim=1)
            states = [row[number](state) for number, state in enumerate(states)]
        features: Tensor = self.readout(torch.cat(states, dim=1))
        return features


def _pools(pooling: str, limits: Sequence[int]) -> nn.ModuleDict:
    """Pooling before each block whose band-limit falls, by the number of the block."""
    if pooling not in ("spectral", "area"):
        raise ConfigError(f"`pooling` must be spectral or area, got {pooling!r}.")
    pools = nn.ModuleDict()
    for index in range(1, len(limits)):
        before, after = limits[index - 1], limits[index]
        if pooling == "area" and after < before:
            if 2 * after != before:
                raise ConfigError(
                    f"`bandlimits` may only halve with `pooling` area, got {before} before {after}."
                )
            pools[str(index)] = AreaPooling(before)
    return pools


def _checked_branches(branches: Sequence[Sequence[int]] | None, num_channels: int) -> list[list[int]]:
    if branches is None:
        return [list(range(num_channels))]
    known = set(range(num_channels))
    if not branches or not all(len(branch) > 0 and set(branch) <= known for branch in branches):
        raise ConfigError(
            f"`branches` must be lists of channels 0 to {num_channels - 1}, none empty, got "
            f"{[list(branch) for branch in branches]}."
        )
    return [list(branch) for branch in branches]


class ZonalCNNGraph(SphereGraph):
    """`ZonalTrunk` on every sphere and the head of `SphereGraph`; the parameters are those of the two."""

    def __init__(
        self,
        *,
        num_channels: int,
        bandlimit: int,
        num_outputs: int,
        widths: Sequence[int] = (16, 32, 64),
        bandlimits: Sequence[int] | None = None,
        num_anchors: int = 8,
        activation: str = "prelu",
        oversampling: float = 1.0,
        pooling: str = "spectral",
        readout: str = "mean",
        branches: Sequence[Sequence[int]] | None = None,
        head: Literal["sphere", "atoms"] = "sphere",
        num_hidden: Sequence[int] | None = None,
        dropout: float = 0.0,
        elements: Sequence[int] | None = None,
        input_mean: Sequence[float] | None = None,
        input_scale: InputScales | None = None,
    ) -> None:
        trunk = ZonalTrunk(
            num_channels,
            bandlimit,
            widths=widths,
            bandlimits=bandlimits,
            num_anchors=num_anchors,
            activation=activation,
            oversampling=oversampling,
            pooling=pooling,
            readout=readout,
            branches=branches,
        )
        super().__init__(
            trunk, num_outputs=num_outputs, head=head, num_hidden=num_hidden, dropout=dropout,
            elements=elements, input_mean=input_mean, input_scale=input_scale,
        )  # fmt: skip

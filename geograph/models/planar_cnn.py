"""Ordinary convolutions on the equiangular picture of a sphere: the baseline without rotations built in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geograph.errors import ConfigError
from geograph.models.sphere_graph import InputScales, SphereGraph, SphericalTrunk
from geograph.sphere.grids import make_grid
from geograph.sphere.sht import synthesis

#: Largest width that `width_for` tries.
_MAX_WIDTH = 4096


class _Block(nn.Module):
    """Convolution 3 x 3, batch normalisation, ReLU and a mean over 2 x 2 pixels."""

    def __init__(self, inputs: int, outputs: int, is_periodic: bool) -> None:
        super().__init__()
        self.is_periodic = is_periodic
        self.convolution = nn.Conv2d(inputs, outputs, 3, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, picture: Tensor) -> Tensor:
        if self.is_periodic:
            around = nn.functional.pad(picture, (1, 1, 0, 0), mode="circular")
            picture = nn.functional.pad(around, (0, 0, 1, 1))
        else:
            picture = nn.functional.pad(picture, (1, 1, 1, 1))
        values = self.norm(self.convolution(picture)).relu()
        return nn.functional.avg_pool2d(values, 2, ceil_mode=True)


class PlanarCNN(SphericalTrunk):
    """Convolutions on theta x phi; equivariant under no rotation (but turns by whole pixels about z).

    The features are means over the cells of a coarse grid, so that they know where on the picture things are;
    despite the name of the base class they are no invariants. Rotations must be learned from rotated data.

    Parameters
    ----------
    num_channels, bandlimit
        Of the input. The picture is the `soft` grid of that band-limit, 2 L x 2 L.
    width
        Channels of the first block; each further one has twice as many, up to four times.
    num_blocks
        Blocks, each of which halves the picture.
    cells
        Cells of latitude and longitude over which the last picture is averaged.
    is_periodic
        Whether the left edge of the picture continues the right one; poles are edges in any case.

    Raises
    ------
    ConfigError
        If a size is out of range.

    References
    ----------
    Gerken et al. (2022), arXiv:2202.03990, section 4: the comparison; Cohen et al. (2018), arXiv:1801.10130,
    section 5.2: a planar network as the baseline.
    """

    def __init__(
        self,
        num_channels: int,
        bandlimit: int,
        *,
        width: int = 16,
        num_blocks: int = 3,
        cells: Sequence[int] = (2, 4),
        is_periodic: bool = True,
    ) -> None:
        super().__init__()
        if min(num_channels, bandlimit, width, num_blocks, *cells) < 1 or len(cells) != 2:
            raise ConfigError(
                "`num_channels`, `bandlimit`, `width`, `num_blocks` and the two `cells` must be at least 1, "
                f"got {num_channels}, {bandlimit}, {width}, {num_blocks} and {list(cells)}."
            )
        if 2 * bandlimit < 2 ** (num_blocks - 1):
            raise ConfigError(
                f"`num_blocks` must leave pixels: {num_blocks} are too many for band-limit {bandlimit}."
            )
        self.num_channels, self.bandlimit = num_channels, bandlimit
        widths = [num_channels, *(width * min(2**block, 4) for block in range(num_blocks))]
        self.num_features = widths[-1] * cells[0] * cells[1]
        self.blocks = nn.Sequential(
            *(_Block(*pair, is_periodic) for pair in zip(widths[:-1], widths[1:], strict=True))
        )
        self.cells = (int(cells[0]), int(cells[1]))

    def forward(
        self, harmonic: Float[Tensor, "spheres channels coefficients"]
    ) -> Float[Tensor, "spheres features"]:
        """Draw the picture and convolve it."""
        picture = synthesis(harmonic, make_grid("soft", self.bandlimit))
        features: Tensor = nn.functional.adaptive_avg_pool2d(self.blocks(picture), self.cells)
        return features.flatten(1)


class PlanarCNNGraph(SphereGraph):
    """`PlanarCNN` on every sphere and a head for each graph.

    Parameters
    ----------
    num_channels, bandlimit, width, num_blocks, cells, is_periodic
        See `PlanarCNN`.
    num_outputs, head, num_hidden, dropout, elements, input_mean, input_scale
        See `SphereGraph`.
    num_parameters
        Budget: the width is then the largest one whose network has no more parameters, and `width` is not
        used.

    Raises
    ------
    ConfigError
        If a size is out of range or no width fits the budget.
    """

    def __init__(
        self,
        num_channels: int,
        bandlimit: int,
        *,
        num_outputs: int,
        width: int = 16,
        num_parameters: int | None = None,
        num_blocks: int = 3,
        cells: Sequence[int] = (2, 4),
        is_periodic: bool = True,
        head: Literal["sphere", "atoms"] = "sphere",
        num_hidden: Sequence[int] | None = None,
        dropout: float = 0.0,
        elements: Sequence[int] | None = None,
        input_mean: Sequence[float] | None = None,
        input_scale: InputScales | None = None,
    ) -> None:
        if num_parameters is not None:
            width = width_for(
                num_parameters,
                num_channels=num_channels,
                bandlimit=bandlimit,
                num_outputs=num_outputs,
                num_blocks=num_blocks,
                cells=cells,
                head=head,
                num_hidden=num_hidden,
                elements=elements,
            )
        trunk = PlanarCNN(
            num_channels,
            bandlimit,
            width=width,
            num_blocks=num_blocks,
            cells=cells,
            is_periodic=is_periodic,
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


def width_for(num_parameters: int, **options: object) -> int:
    """Largest width of a `PlanarCNNGraph` with those options that has no more parameters.

    Parameters
    ----------
    num_parameters
        Budget.
    **options
        Of `PlanarCNNGraph`, but `width`.

    Raises
    ------
    ConfigError
        If not even width 1 fits.
    """

    def size(width: int) -> int:
        with torch.device("meta"):
            model = PlanarCNNGraph(width=width, **options)  # type: ignore[arg-type]
        return sum(parameter.numel() for parameter in model.parameters())

    smallest = size(1)
    if smallest > num_parameters:
        raise ConfigError(
            f"`num_parameters` must be at least {smallest} for this network, got {num_parameters}; "
            "the widths `num_hidden` of the head count too."
        )
    low, high = 1, _MAX_WIDTH
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if size(middle) <= num_parameters else (low, middle - 1)
    return low

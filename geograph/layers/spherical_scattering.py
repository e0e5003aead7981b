"""Scattering on the sphere as a layer without parameters: each channel becomes many of a low band-limit."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from geograph.errors import ConfigError, ShapeError
from geograph.sphere.scattering import scatter
from geograph.sphere.scattering_plan import Paths, ScatteringPlan
from geograph.sphere.sht import Backend


class SphericalScattering(nn.Module):
    """Scattering coefficients of every channel: each path is a channel of the output.

    Equivariant under rotations up to the aliasing of the moduli, which falls with the oversampling; contracts
    distances; has no parameters.

    Parameters
    ----------
    num_channels, bandlimit
        Of the input.
    smallest_scale, dilation, depth, oversampling, max_grid_bandlimit, paths
        See `geograph.sphere.scattering_plan.ScatteringPlan`.
    backend
        See `geograph.sphere.sht`.

    Attributes
    ----------
    plan
        Its `list_paths` names the paths of a channel.
    num_outputs, bandlimit
        Of the output. Its channels run over the channels of the input and, within each, over the paths.

    Raises
    ------
    ConfigError
        If a parameter is out of range.

    References
    ----------
    McEwen, Wallis and Mavor-Parker (2022), arXiv:2102.02828.
    """

    def __init__(
        self,
        num_channels: int,
        bandlimit: int,
        *,
        smallest_scale: int,
        dilation: float = 2.0,
        depth: int = 2,
        oversampling: float = 2.0,
        max_grid_bandlimit: int | None = None,
        paths: Paths = "descending",
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        if num_channels < 1:
            raise ConfigError(f"`num_channels` must be at least 1, got {num_channels}.")
        self.plan = ScatteringPlan(
            bandlimit, smallest_scale, dilation, depth, oversampling, max_grid_bandlimit, paths
        )
        self.num_channels, self.backend = num_channels, backend
        self.num_outputs = num_channels * len(self.plan.list_paths())
        self.bandlimit = self.plan.bandlimit_out

    def forward(
        self, harmonic: Float[Tensor, "spheres channels coefficients"]
    ) -> Float[Tensor, "spheres outputs coefficients_out"]:
        """Scatter every channel.

        Raises
        ------
        ShapeError
            If the input has other channels or another band-limit than the layer was made for.
        """
        expected = (self.num_channels, self.plan.bandlimit**2)
        if tuple(harmonic.shape[1:]) != expected:
            raise ShapeError(
                f"`harmonic` must have {expected[0]} channels and {expected[1]} coefficients, got shape "
                f"{tuple(harmonic.shape)}."
            )
        return scatter(self.plan, harmonic, backend=self.backend).flatten(1, 2)

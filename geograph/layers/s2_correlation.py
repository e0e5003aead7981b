r"""Correlation of functions on the sphere with a filter in all orientations: functions on SO(3).

[psi * f](R) = int psi(R^-1 x) f(x) dx. Features stand as [coefficients, spheres, channels], with the real
coefficients of `geograph.sphere.so3_real`; then rotating f rotates the columns of every F^l.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geograph.algebra.harmonics import degrees, num_harmonics
from geograph.algebra.tables import cached_tables
from geograph.algebra.wigner import real_wigner
from geograph.errors import ConfigError, ShapeError

#: Widest colatitude of the filters near the identity, as published.
MAX_BETA = math.pi / 8
#: Variance of the uniform numbers that weights start from is a third.
UNIFORM_VARIANCE = 1 / 3


def check_sizes(num_inputs: int, num_outputs: int, bandlimit_in: int, bandlimit_out: int) -> None:
    """Check what the two correlations have in common.

    Raises
    ------
    ConfigError
        If a size is smaller than 1 or the output has degrees that the input lacks.
    """
    if min(num_inputs, num_outputs, bandlimit_out) < 1:
        raise ConfigError(
            "`num_inputs`, `num_outputs` and `bandlimit_out` must be at least 1, "
            f"got {num_inputs}, {num_outputs} and {bandlimit_out}."
        )
    if bandlimit_out > bandlimit_in:
        raise ConfigError(
            f"`bandlimit_out` must not be above `bandlimit_in`, got {bandlimit_out} and {bandlimit_in}; a "
            "correlation makes no new degrees."
        )


def rings(
    support: str, num_alpha: int, num_beta: int, max_beta: float = MAX_BETA
) -> Float[Tensor, "points 2"]:
    """Angles (beta, alpha) of the points on which a filter lives, beta ring by beta ring.

    Parameters
    ----------
    support
        `near_identity`: rings at `max_beta` and at equal parts of it; `equator`: one ring at pi / 2.
    num_alpha
        Points of each ring.
    num_beta
        Rings; 1 for `equator`.
    max_beta
        Colatitude of the widest ring near the identity in radians, at most pi / 2; pi / 8 as published.

    Raises
    ------
    ConfigError
        If the support is unknown or the numbers do not fit it.

    References
    ----------
    Cohen et al. (2018), arXiv:1801.10130, section 4.1 and the released networks.
    """
    if support not in ("near_identity", "equator"):
        raise ConfigError(f"`filters` must be near_identity or equator, got {support!r}.")
    if num_alpha < 1 or num_beta < 1 or (support == "equator" and num_beta != 1):
        raise ConfigError(
            "`num_alpha` and `num_beta` must be at least 1, and `num_beta` 1 on the equator, got "
            f"{num_alpha} and {num_beta}."
        )
    if not 0 < max_beta <= math.pi / 2:
        raise ConfigError(f"`max_beta` must be an angle up to pi / 2, got {max_beta}.")
    number = torch.arange(1, num_beta + 1, dtype=torch.float64)
    beta = max_beta * number / num_beta if support == "near_identity" else number * math.pi / 2
    alpha = 2 * math.pi * torch.arange(num_alpha, dtype=torch.float64) / num_alpha
    return torch.stack(torch.meshgrid(beta, alpha, indexing="ij"), dim=-1).reshape(-1, 2)


def rotations(
    alpha: Float[Tensor, " points"], beta: Float[Tensor, " points"], gamma: Float[Tensor, " points"]
) -> Float[Tensor, "points 3 3"]:
    """R_z(alpha) R_y(beta) R_z(gamma), angles in radians."""
    zero, one = torch.zeros_like(alpha), torch.ones_like(alpha)

    def turn(angle: Tensor, rows: tuple[int, int, int]) -> Tensor:
        flat = torch.stack([angle.cos(), -angle.sin(), zero, angle.sin(), angle.cos(), zero, zero, zero, one])
        matrix = flat.reshape(3, 3, -1).permute(2, 0, 1)
        return matrix[:, rows][:, :, rows]

    about_z, about_y = (0, 1, 2), (1, 2, 0)
    return turn(alpha, about_z) @ turn(beta, about_y) @ turn(gamma, about_z)


@cached_tables(64)
def _harmonics_at(
    bandlimit: int, points: tuple[str, int, int, float], dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Real harmonics at the points of a filter, [coefficients, points]."""
    beta, alpha = rings(*points).unbind(1)
    matrices = rotations(alpha, beta, torch.zeros_like(alpha))
    columns = [
        math.sqrt((2 * degree + 1) / (4 * math.pi)) * real_wigner(degree, matrices)[:, :, degree].mT
        for degree in range(bandlimit)
    ]
    return torch.cat(columns).to(device=device, dtype=dtype)


class S2Correlation(nn.Module):
    """Lift functions on the sphere to functions on SO(3) by correlation; exactly equivariant.

    The filter is a sum of point masses, psi = sum_p w_p delta(x, x_p), so that the output at R is
    sum_p w_p f(R x_p): a learned combination of the values around the place where R carries the pole. In
    coefficients F^l_mn = f_lm psi_ln.

    Parameters
    ----------
    num_inputs, num_outputs
        Channels.
    bandlimit_in, bandlimit_out
        Of the functions on the sphere, and of those on SO(3).
    filters
        Where the points stand, see `rings`.
    num_alpha
        Points of each ring; None for twice the band-limit of the input, as published.
    num_beta, max_beta
        Rings, see `rings`.

    Raises
    ------
    ConfigError
        If a size is out of range.

    Notes
    -----
    The released network scales the sum by grid-dependent factors; here it is scaled so that the output
    varies as much as the input when the weights are drawn, which any following normalisation makes the same.

    References
    ----------
    Cohen et al. (2018), arXiv:1801.10130, Eqs. (4) and (8).
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        bandlimit_in: int,
        bandlimit_out: int,
        *,
        filters: str = "near_identity",
        num_alpha: int | None = None,
        num_beta: int = 2,
        max_beta: float = MAX_BETA,
    ) -> None:
        super().__init__()
        check_sizes(num_inputs, num_outputs, bandlimit_in, bandlimit_out)
        self.bandlimit_in, self.bandlimit_out = bandlimit_in, bandlimit_out
        self.rings = (filters, 2 * bandlimit_in if num_alpha is None else num_alpha, num_beta, max_beta)
        num_points = len(rings(*self.rings))
        self.weight = nn.Parameter(torch.empty(num_inputs, num_outputs, num_points).uniform_(-1, 1))
        self.bias = nn.Parameter(torch.zeros(num_outputs))
        self.scale = (UNIFORM_VARIANCE * num_points * num_inputs) ** -0.5

    def filter(self) -> Float[Tensor, "coefficients inputs outputs"]:
        """Real coefficients psi_ln of the filters."""
        table = _harmonics_at(self.bandlimit_out, self.rings, self.weight.dtype, self.weight.device)
        return torch.einsum("np,cdp->ncd", table, self.scale * self.weight)

    def forward(
        self, harmonic: Float[Tensor, "spheres inputs coefficients"]
    ) -> Float[Tensor, "so3_coefficients spheres outputs"]:
        """Correlate.

        Raises
        ------
        ShapeError
            If the input has fewer degrees or other channels than the layer was made for.
        """
        num_inputs = self.weight.shape[0]
        if harmonic.shape[-1] < num_harmonics(self.bandlimit_out) or harmonic.shape[1] != num_inputs:
            raise ShapeError(
                f"`harmonic` must have {num_inputs} channels and at least "
                f"{num_harmonics(self.bandlimit_out)} coefficients, got {tuple(harmonic.shape[1:])}."
            )
        rows = harmonic.permute(2, 0, 1)
        weight = self.filter()
        counts = degrees(self.bandlimit_out).bincount().tolist()
        size = num_harmonics(self.bandlimit_out)
        parts = [
            torch.einsum("msc,ncd->mnsd", f, psi).flatten(0, 1)
            for f, psi in zip(rows[:size].split(counts), weight.split(counts), strict=True)
        ]
        return add_constant(torch.cat(parts), self.bias)


def add_constant(
    columns: Float[Tensor, "coefficients spheres channels"], constant: Float[Tensor, " channels"]
) -> Float[Tensor, "coefficients spheres channels"]:
    """Add a constant function to each channel: only the coefficient l = 0 changes."""
    return torch.cat([columns[:1] + constant, columns[1:]])

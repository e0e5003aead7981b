r"""Correlation of functions on SO(3), their normalisation, and the pointwise nonlinearity on samples.

[psi * f](R) = int psi(R^-1 Q) f(Q) dQ. Features stand as [coefficients, spheres, channels], with the real
coefficients of `geograph.sphere.so3_real`; all operations here but the nonlinearity treat the columns of F^l
alike and are exactly equivariant under F^l -> D^l F^l.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geograph.algebra.tables import cached_tables
from geograph.algebra.wigner import real_wigner
from geograph.errors import ConfigError, ShapeError
from geograph.layers.s2_correlation import (
    MAX_BETA,
    UNIFORM_VARIANCE,
    add_constant,
    check_sizes,
    rings,
    rotations,
)
from geograph.layers.sampled_nonlinearity import ACTIVATIONS, oversampled_grid
from geograph.sphere.so3 import num_so3_coefficients, so3_bandlimit_of
from geograph.sphere.so3_real import analyze_columns, synthesize_columns

#: Samples that are computed together on a CPU, so that they stay in its cache, and on a GPU; and the fewest
#: functions.
_SAMPLES = (1 << 20, 1 << 28)
_FEWEST = 16


def filter_rotations(
    support: str, num_alpha: int, num_beta: int, num_gamma: int, max_beta: float = MAX_BETA
) -> Float[Tensor, "points 3 3"]:
    """Rotations on which a filter lives: the rings of `rings`, each point with several turns gamma.

    Near the identity gamma is counted from -alpha, so that gamma = 0 leaves a small turn alone.

    Parameters
    ----------
    support, num_alpha, num_beta, max_beta
        See `geograph.layers.s2_correlation.rings`.
    num_gamma
        Turns, equal parts of a circle.

    Raises
    ------
    ConfigError
        If the support is unknown or a number is too small.
    """
    if num_gamma < 1:
        raise ConfigError(f"`num_gamma` must be at least 1, got {num_gamma}.")
    points = rings(support, num_alpha, num_beta, max_beta).repeat_interleave(num_gamma, dim=0)
    beta, alpha = points.unbind(1)
    gamma = 2 * math.pi * torch.arange(num_gamma, dtype=torch.float64) / num_gamma
    gamma = gamma.repeat(len(points) // num_gamma)
    return rotations(alpha, beta, gamma - alpha if support == "near_identity" else gamma)


@cached_tables(64)
def _wigner_at(
    bandlimit: int, points: tuple[str, int, int, int, float], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, ...]:
    """Real Wigner matrices at the points of a filter, [2 l + 1, 2 l + 1, points] for each degree."""
    matrices = filter_rotations(*points)
    return tuple(
        real_wigner(degree, matrices).permute(1, 2, 0).to(device=device, dtype=dtype)
        for degree in range(bandlimit)
    )


class SO3Correlation(nn.Module):
    """Correlate functions on SO(3) with learned filters; exactly equivariant.

    The filter is a sum of point masses, psi = sum_p w_p delta(Q, Q_p), so that the output at R is
    sum_p w_p f(R Q_p). In coefficients: F^l (sum_p w_p Delta^l(Q_p))^T, a matrix product for each degree.

    Parameters
    ----------
    num_inputs, num_outputs
        Channels.
    bandlimit_in, bandlimit_out
        Of input and output.
    filters
        `near_identity` or `equator`, see `filter_rotations`.
    num_alpha
        Points of each ring; None for twice the band-limit of the input, as published.
    num_beta, num_gamma, max_beta
        Rings, turns at each point, and the widest ring.

    Raises
    ------
    ConfigError
        If a size is out of range.

    Notes
    -----
    Scaled like `S2Correlation`. The released filters near the identity have turns gamma at both ends of
    [-2 pi, 2 pi], which are the same rotation; here they are equal parts of the circle.

    References
    ----------
    Cohen et al. (2018), arXiv:1801.10130, Eqs. (5) and (9).
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
        num_gamma: int = 2,
        max_beta: float = MAX_BETA,
    ) -> None:
        super().__init__()
        check_sizes(num_inputs, num_outputs, bandlimit_in, bandlimit_out)
        self.bandlimit_in, self.bandlimit_out = bandlimit_in, bandlimit_out
        num_alpha = 2 * bandlimit_in if num_alpha is None else num_alpha
        self.points = (filters, num_alpha, num_beta, num_gamma, max_beta)
        num_points = len(filter_rotations(*self.points))
        self.weight = nn.Parameter(torch.empty(num_inputs, num_outputs, num_points).uniform_(-1, 1))
        self.bias = nn.Parameter(torch.zeros(num_outputs))
        self.scale = (UNIFORM_VARIANCE * num_points * num_inputs) ** -0.5

    def forward(
        self, columns: Float[Tensor, "coefficients_in spheres inputs"]
    ) -> Float[Tensor, "coefficients_out spheres outputs"]:
        """Correlate.

        Raises
        ------
        ShapeError
            If the input has fewer degrees or other channels than the layer was made for.
        """
        num_inputs, num_outputs, num_points = self.weight.shape
        wanted = num_so3_coefficients(self.bandlimit_out)
        if columns.shape[0] < wanted or columns.shape[2] != num_inputs:
            raise ShapeError(
                f"`columns` must have {num_inputs} channels and at least {wanted} coefficients, got "
                f"{columns.shape[2]} and {columns.shape[0]}."
            )
        tables = _wigner_at(self.bandlimit_out, self.points, self.weight.dtype, self.weight.device)
        squares = [(2 * degree + 1) ** 2 for degree in range(self.bandlimit_out)]
        weight = (self.scale * self.weight).reshape(-1, num_points).mT
        parts = []
        for table, part in zip(tables, columns[:wanted].split(squares), strict=True):
            size = table.shape[0]
            psi = (table.reshape(-1, num_points) @ weight).view(size, size, num_inputs, num_outputs)
            block = part.view(size, size, *part.shape[1:])
            parts.append(torch.einsum("mnsc,pncd->mpsd", block, psi).flatten(0, 1))
        return add_constant(torch.cat(parts), self.bias)


def _inverse_dimensions(num_coefficients: int, like: Tensor) -> Tensor:
    """1 / (2 l + 1) for each coefficient: what it adds to the mean square."""
    size = 2 * torch.arange(so3_bandlimit_of(num_coefficients)) + 1
    return (1.0 / size).repeat_interleave(size * size).to(like)


class SO3BatchNorm(nn.Module):
    """Batch normalisation over all spheres and all of SO(3), from the coefficients; exactly equivariant.

    Mean and variance are Haar integrals, which Parseval's theorem gives without samples: the mean is F^0 and
    the mean square sum_l |F^l|^2 / (2 l + 1).

    Parameters
    ----------
    num_channels
        Channels.
    momentum
        Weight of a new batch in the running statistics.
    eps
        Added to the variance.

    Notes
    -----
    The released network averages over the points of the grid, without their quadrature weights, so that the
    poles count too much.

    References
    ----------
    Ioffe and Szegedy (2015), arXiv:1502.03167, Algorithm 1.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_channels: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.register_buffer("running_mean", torch.zeros(num_channels))
        self.register_buffer("running_var", torch.ones(num_channels))

    def forward(
        self, columns: Float[Tensor, "coefficients spheres channels"]
    ) -> Float[Tensor, "coefficients spheres channels"]:
        """Normalise by the statistics of the batch in training, else by the running ones."""
        mean, variance = self.running_mean, self.running_var
        if self.training:
            share = _inverse_dimensions(columns.shape[0], columns)
            mean = columns[0].mean(0)
            # Without the mean square of the mean: no cancellation where the mean is large.
            deviation = add_constant(columns, -mean)
            square = torch.einsum("nsc,nsc,n->c", deviation, deviation, share)
            variance = square / columns.shape[1]
            with torch.no_grad():
                self.running_mean.lerp_(mean.detach().to(self.running_mean), self.momentum)
                self.running_var.lerp_(variance.detach().to(self.running_var), self.momentum)
        gain = self.weight * (variance + self.eps).rsqrt()
        return add_constant(columns * gain, self.bias - gain * mean)


class SO3Activation(nn.Module):
    """Activation of the samples on SO(3); equivariant up to the degrees that the grid cannot tell apart.

    The ReLU of a band-limited function has all degrees. Those from 2 b - B up, on a grid of band-limit b, are
    mistaken for degrees below B: the finer the grid, the smaller the error. For a polynomial of degree p
    there is none from b = (p + 1) B / 2 on.

    Parameters
    ----------
    bandlimit
        B of the input.
    oversampling
        b / B, at least 1; 1 as published.
    bandlimit_out
        Degrees to keep, None for all of the input's; 1 leaves the integral over SO(3).
    activation
        A key of `geograph.layers.sampled_nonlinearity.ACTIVATIONS`; `prelu` has one slope for all channels.

    Raises
    ------
    ConfigError
        If the oversampling is below 1, the activation unknown, or the output has degrees that the grid lacks.
    """

    def __init__(
        self,
        bandlimit: int,
        oversampling: float = 1.0,
        bandlimit_out: int | None = None,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ConfigError(f"`activation` must be one of {', '.join(ACTIVATIONS)}, got {activation!r}.")
        self.grid_bandlimit = oversampled_grid(bandlimit, oversampling).bandlimit
        self.bandlimit_out = bandlimit if bandlimit_out is None else bandlimit_out
        if self.bandlimit_out > self.grid_bandlimit:
            raise ConfigError(
                f"`bandlimit_out` must be at most {self.grid_bandlimit}, that of the grid, "
                f"got {self.bandlimit_out}; raise `oversampling`."
            )
        self.activation = ACTIVATIONS[activation](1)

    def samples(
        self, columns: Float[Tensor, "coefficients functions"]
    ) -> Float[Tensor, "nalpha ngamma nbeta functions"]:
        """Return the samples after the activation."""
        values: Tensor = self.activation(synthesize_columns(columns, self.grid_bandlimit))
        return values

    def _parts(self, columns: Tensor) -> tuple[Tensor, ...]:
        """Functions whose samples fit the cache of a processor, or a share of the memory of a GPU."""
        room = _SAMPLES[columns.device.type == "cuda"] // (2 * self.grid_bandlimit) ** 3
        return columns.flatten(1).split(max(room, _FEWEST), dim=1)

    def forward(
        self, columns: Float[Tensor, "coefficients_in spheres channels"]
    ) -> Float[Tensor, "coefficients_out spheres channels"]:
        """Return the coefficients after the activation."""
        parts = [analyze_columns(self.samples(part), self.bandlimit_out) for part in self._parts(columns)]
        return torch.cat(parts, dim=1).unflatten(1, tuple(columns.shape[1:]))

    def largest(
        self, columns: Float[Tensor, "coefficients spheres channels"]
    ) -> Float[Tensor, "spheres channels"]:
        """Return the largest sample of each function after the activation."""
        parts = [self.samples(part).flatten(0, 2).amax(0) for part in self._parts(columns)]
        return torch.cat(parts).unflatten(0, tuple(columns.shape[1:]))

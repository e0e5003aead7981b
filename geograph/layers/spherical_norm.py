r"""Batch norm of functions on spheres, computed from their coefficients.

The mean of a function over the sphere is a_00 / sqrt(4 pi), and the mean of its square sum_lm a_lm^2 / 4 pi
(Parseval): these are the moments over batch and sphere, with every patch weighted by its area and without a
grid, so that they are invariant under rotations exactly.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geograph.errors import ShapeError

_SPHERE = 4.0 * math.pi


class SphericalBatchNorm(nn.Module):
    """Normalise each channel to mean 0 and mean square 1 over batch and sphere, then scale and shift it.

    Equivariant: a channel is multiplied by one number, and only the coefficient l = 0 is shifted. In training
    the moments are those of the batch; in evaluation the running ones, so that a sphere does not depend on
    its neighbours. The two parts (real and imaginary) of a complex channel share mean square and scale, and
    functions of spin s != 0, which have no degree 0, have neither mean nor shift.

    Parameters
    ----------
    num_channels
        Number of channels of each spin.
    num_parts
        Real functions that make one channel: 2 for complex functions.
    num_spins
        Number of spins, of which the first is 0.
    eps
        Added to the mean square.
    momentum
        Weight of a new batch in the running moments.

    References
    ----------
    Ioffe and Szegedy (2015), arXiv:1502.03167, Algorithm 1; Esteves et al. (2023), arXiv:2306.05420 (in the
    spectrum).
    """

    running_mean: Tensor
    running_square: Tensor

    def __init__(
        self,
        num_channels: int,
        num_parts: int = 1,
        num_spins: int = 1,
        *,
        eps: float = 1e-5,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        self.shape = (num_spins, num_parts, num_channels)
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(num_spins, 1, num_channels))
        self.bias = nn.Parameter(torch.zeros(num_parts, num_channels))
        self.register_buffer("running_mean", torch.zeros(num_parts, num_channels))
        self.register_buffer("running_square", torch.ones(num_spins, 1, num_channels))

    def forward(
        self, harmonic: Float[Tensor, "spheres *rows coefficients"]
    ) -> Float[Tensor, "spheres *rows coefficients"]:
        """Normalise; the rows are channels, or spins x parts x channels.

        Raises
        ------
        ShapeError
            If the number of channels is wrong.
        """
        rows = tuple(harmonic.shape[1:-1])
        if math.prod(rows) != math.prod(self.shape):
            raise ShapeError(f"`harmonic` must have {math.prod(self.shape)} channels, got {math.prod(rows)}.")
        x = harmonic.reshape(harmonic.shape[0], *self.shape, harmonic.shape[-1])
        mean, square = self._moments(x) if self.training else (self.running_mean, self.running_square)
        gain = self.weight * (square + self.eps).rsqrt()
        constant = math.sqrt(_SPHERE) * (self.bias - mean * gain[0])
        # The shift stands at l = 0 of spin 0; the coefficients of all others are shifted by nothing.
        shift = nn.functional.pad(
            constant[None, ..., None], (0, x.shape[-1] - 1, *4 * (0,), 0, len(gain) - 1)
        )
        return torch.addcmul(shift, x, gain[..., None]).reshape(harmonic.shape)

    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean of spin 0, mean square of each spin and channel around it; updates the running moments."""
        mean = x[:, 0, ..., 0].mean(dim=0) / math.sqrt(_SPHERE)
        square = (x * x).sum(dim=(2, 4)).mean(dim=0)[:, None] / _SPHERE
        offset = nn.functional.pad((mean * mean).sum(dim=0)[None, None], (0, 0, 0, 0, 0, len(square) - 1))
        # Rounding may leave a constant channel just below zero.
        square = (square - offset).clamp(min=0.0)
        with torch.no_grad():
            self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
            self.running_square.lerp_(square.to(self.running_square), self.momentum)
        return mean, square

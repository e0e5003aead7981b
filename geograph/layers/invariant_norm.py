"""Batch norm of invariants that also works on a batch of one."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class InvariantNorm(nn.BatchNorm1d):
    """Batch norm over spheres; a single sphere, which has no spread, is normalised by the running moments.

    Parameters
    ----------
    num_features
        Number of invariants of a sphere.

    References
    ----------
    Ioffe and Szegedy (2015), arXiv:1502.03167, Algorithm 1.
    """

    def forward(self, input: Float[Tensor, "spheres features"]) -> Float[Tensor, "spheres features"]:
        """Normalise."""
        if len(input) > 1 or not self.training:
            normalised: Tensor = super().forward(input)
            return normalised
        return nn.functional.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
        )

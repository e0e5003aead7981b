r"""Terms of the variational bound, one value for each molecule, in nats.

All quantities are normalised (positions and features divided by their scale) unless said otherwise.

References
----------
Hoogeboom et al. (2022), arXiv:2203.17003, section 3.2 and appendix A, B.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from geograph.diffusion.ragged import RaggedBatch
from geograph.diffusion.schedule import alpha, sigma

#: Added to every probability mass before its logarithm, as released.
_FLOOR = 1e-10


def normal_cdf(value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Cumulative distribution function of the standard normal."""
    return 0.5 * (1.0 + torch.erf(value / math.sqrt(2.0)))


def kl_prior(
    state: Float[Tensor, "n f"], gamma_last: Float[Tensor, ""], graph: RaggedBatch
) -> Float[Tensor, " g"]:
    """KL divergence of q(x_T | x) from the standard normal prior.

    Positions count with the 3 (M - 1) dimensions of the centred subspace. References: Eq. (15) with t = T.
    """
    level, noise = alpha(gamma_last), sigma(gamma_last)
    half_mean2 = 0.5 * (level * state).square()
    per_dimension = -noise.log() + 0.5 * noise.square() - 0.5
    num_features = (graph.sizes * (state.shape[1] - 3)).to(torch.float64)
    return graph.total(half_mean2) + (num_features + graph.subspace_dim()) * per_dimension


def log_position_constant(gamma_first: Float[Tensor, ""], graph: RaggedBatch) -> Float[Tensor, " g"]:
    """Log of the normalisation of p(x | x_0) for the positions: a Gaussian of width sigma_0 / alpha_0.

    References: appendix A, the constant Z of the zeroth likelihood term.
    """
    return graph.subspace_dim() * (-0.5 * gamma_first - 0.5 * math.log(2.0 * math.pi))


def log_scale_volume(scale: float, graph: RaggedBatch) -> Float[Tensor, " g"]:
    """Change of log density when positions are divided by `scale`: the volume term of the bound."""
    return -graph.subspace_dim() * math.log(scale)


def _log_interval_mass(center: Float[Tensor, "n k"], width: Float[Tensor, "n 1"]) -> Float[Tensor, "n k"]:
    """Log of the normal's mass on [center - 1/2, center + 1/2]."""
    upper, lower = normal_cdf((center + 0.5) / width), normal_cdf((center - 0.5) / width)
    return torch.log(upper - lower + _FLOOR)


def log_categorical(
    noisy: Float[Tensor, "n k"], one_hot: Float[Tensor, "n k"], width: Float[Tensor, "n 1"]
) -> Float[Tensor, " n"]:
    """Log likelihood of a category given its noisy one-hot encoding, in the units of the encoding.

    Each category has weight P(1/2 < u < 3/2) for u normal around the noisy value; the weights are normalised.

    References: arXiv:2203.17003, Eq. (17).
    """
    weight = _log_interval_mass(noisy - 1.0, width)
    return ((weight - weight.logsumexp(dim=1, keepdim=True)) * one_hot).sum(dim=1)


def log_integer(
    noisy: Float[Tensor, "n k"], value: Float[Tensor, "n k"], width: Float[Tensor, "n 1"]
) -> Float[Tensor, " n"]:
    """Log likelihood of an integer given its noisy value: the mass of the normal within 1/2 of the integer.

    References: arXiv:2203.17003, Eq. (16).
    """
    return _log_interval_mass(value - noisy, width).sum(dim=1)

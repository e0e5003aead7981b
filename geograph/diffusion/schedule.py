r"""Noise schedules: signal level, noise level and log signal-to-noise ratio at each of T + 1 times.

Conventions: time 0 is (nearly) data, time T is noise; :math:`\alpha_t^2 + \sigma_t^2 = 1`;
:math:`\gamma_t = -\log(\alpha_t^2 / \sigma_t^2)` grows with t, so the log-SNR is :math:`-\gamma_t`.
Everything is computed and kept in float64.

References
----------
Hoogeboom et al. (2022), arXiv:2203.17003, appendix B; Nichol and Dhariwal (2021), arXiv:2102.09672, Eq. (17).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from geograph.errors import ConfigError

#: Smallest ratio of the squared signal levels of two neighbouring times.
_MIN_STEP_RATIO = 1e-3
_COSINE_OFFSET = 0.008
_MAX_BETA = 0.999


def alpha(gamma: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Signal level, the square root of sigmoid(-gamma)."""
    return torch.sigmoid(-gamma).sqrt()


def sigma(gamma: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Noise level, the square root of sigmoid(gamma)."""
    return torch.sigmoid(gamma).sqrt()


@dataclass(frozen=True)
class NoiseSchedule:
    """A discrete schedule that is not learned.

    Attributes
    ----------
    name
        Name that `build_schedule` knows.
    gamma
        Negative log-SNR at times 0 ... T.
    """

    name: str
    gamma: Float[Tensor, " num_times"]

    @property
    def num_steps(self) -> int:
        """Number of steps T."""
        return len(self.gamma) - 1

    def gamma_at(self, step: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Negative log-SNR at integer times, float64 on the device of `step`."""
        return self.gamma.to(step.device)[step]

    def alpha_at(self, step: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Signal level at integer times."""
        return alpha(self.gamma_at(step))

    def sigma_at(self, step: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Noise level at integer times."""
        return sigma(self.gamma_at(step))

    def log_snr_at(self, step: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Log signal-to-noise ratio at integer times."""
        return -self.gamma_at(step)


def transition(
    gamma_s: Float[Tensor, "*shape"], gamma_t: Float[Tensor, "*shape"]
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    r"""Signal level :math:`\alpha_{t|s}` and variance :math:`\sigma^2_{t|s}` of the step from s to t > s.

    References
    ----------
    arXiv:2203.17003, section 2.1: alpha_{t|s} = alpha_t / alpha_s,
    sigma^2_{t|s} = sigma_t^2 - alpha_{t|s}^2 sigma_s^2.
    """
    alpha_ts = torch.exp(0.5 * (logsigmoid(-gamma_t) - logsigmoid(-gamma_s)))
    variance_ts = -torch.expm1(softplus(gamma_s) - softplus(gamma_t))
    return alpha_ts, variance_ts


def build_schedule(
    name: str = "polynomial_2", num_steps: int = 1000, *, precision: float = 1e-5
) -> NoiseSchedule:
    """Make a schedule by its name.

    Parameters
    ----------
    name
        "cosine", or "polynomial_p" with a positive power p such as "polynomial_2".
    num_steps
        Number of steps T.
    precision
        Distance of the squared signal level from 1 at time 0 and from 0 at time T; polynomials only.

    Raises
    ------
    ConfigError
        If the name is unknown or a value is out of range.
    """
    if num_steps < 1:
        raise ConfigError(f"`num_steps` must be at least 1, got {num_steps}.")
    if not 0.0 < precision < 0.5:
        raise ConfigError(f"`precision` must lie between 0 and 0.5, got {precision}.")
    polynomial = re.fullmatch(r"polynomial_(\d+(?:\.\d+)?)", name)
    if name == "cosine":
        alpha2 = _cosine(num_steps)
    elif polynomial and float(polynomial[1]) > 0:
        alpha2 = _polynomial(num_steps, float(polynomial[1]), precision)
    else:
        raise ConfigError(
            f"`schedule` must be cosine or polynomial_p with p > 0, such as polynomial_2, got {name!r}."
        )
    gamma = np.log1p(-alpha2) - np.log(alpha2)
    return NoiseSchedule(name, torch.from_numpy(gamma))


def _polynomial(num_steps: int, power: float, precision: float) -> Float[np.ndarray, " num_times"]:
    alpha2 = (1.0 - np.linspace(0.0, 1.0, num_steps + 1) ** power) ** 2
    ratio = np.clip(alpha2 / np.concatenate([[1.0], alpha2[:-1]]), _MIN_STEP_RATIO, 1.0)
    return (1.0 - 2.0 * precision) * np.cumprod(ratio) + precision


def _cosine(num_steps: int) -> Float[np.ndarray, " num_times"]:
    # One more time than levels are needed, so that every level is the product of at least one step.
    time = np.linspace(0.0, 1.0, num_steps + 2)
    level = np.cos((time + _COSINE_OFFSET) / (1.0 + _COSINE_OFFSET) * np.pi / 2) ** 2
    beta = np.clip(1.0 - level[1:] / level[:-1], 0.0, _MAX_BETA)
    return np.cumprod(1.0 - beta)

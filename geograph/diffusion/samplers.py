r"""Samplers: how one reverse step is taken, given the noise that a network predicts.

Notation: :math:`x_t = \alpha_t x + \sigma_t \epsilon`, half log-SNR :math:`\lambda = \log(\alpha / \sigma)`.
A step goes from time t to s < t and covers :math:`h = \lambda_s - \lambda_t > 0`. Predicted noise
:math:`\hat\epsilon` and data :math:`\hat x = (x_t - \sigma_t \hat\epsilon) / \alpha_t` say the same.

References
----------
Hoogeboom et al. (2022), arXiv:2203.17003, algorithm 2; Song et al. (2021), arXiv:2010.02502, Eq. (12), (16);
Lu et al. (2022), arXiv:2211.01095, algorithm 2 and its counterpart for the SDE.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from geograph.diffusion.noise_source import Draw
from geograph.diffusion.schedule import NoiseSchedule, transition
from geograph.diffusion.time_grids import Level, log_snr_grid, time_grid
from geograph.errors import ConfigError


class Memory(NamedTuple):
    """What a multistep sampler keeps of its previous step: where it was, and the data predicted there."""

    level: Level
    data: Tensor


class Sampler(ABC):
    """Takes the steps of a reverse chain; it has no state of its own.

    Attributes
    ----------
    noise_scale
        Share of the spread of p(x | x_0) in the last step, 0 (its mean) to 1.
    """

    noise_scale: float = 1.0

    def times(self, schedule: NoiseSchedule, num_times: int, num_steps: int | None) -> list[int]:
        """Choose the times from `num_times` to 0; uniform in time unless the sampler says otherwise.

        Raises
        ------
        ConfigError
            If `num_steps` is not between 1 and `num_times`.
        """
        return time_grid(num_times, num_steps)

    @abstractmethod
    def advance(
        self,
        state: Float[Tensor, "n f"],
        predicted: Float[Tensor, "n f"],
        t: Level,
        s: Level,
        memory: Memory | None,
        draw: Draw,
    ) -> tuple[Tensor, Memory | None]:
        """Step from time t to s < t.

        Parameters
        ----------
        state
            State at time t.
        predicted
            Noise predicted there.
        t, s
            Noise levels.
        memory
            What the previous step returned; None at the start and after a jump.
        draw
            Source of noise.

        Returns
        -------
        State at time s, and what the next step needs of this one.
        """


@dataclass(frozen=True)
class Ancestral(Sampler):
    """The published sampler: draws from p(x_s | x_t).

    References
    ----------
    arXiv:2203.17003, Eq. (6) and (9).
    """

    def advance(
        self,
        state: Float[Tensor, "n f"],
        predicted: Float[Tensor, "n f"],
        t: Level,
        s: Level,
        memory: Memory | None,
        draw: Draw,
    ) -> tuple[Tensor, Memory | None]:
        """Step from time t to s; see `Sampler.advance`."""
        alpha_ts, variance_ts = _transition(s, t)
        mean = state / alpha_ts - variance_ts / (alpha_ts * t.sigma) * predicted
        return mean + math.sqrt(variance_ts) * s.sigma / t.sigma * draw(), None


@dataclass(frozen=True)
class DDIM(Sampler):
    """Implicit sampler: first order, with any share of the ancestral noise.

    Attributes
    ----------
    eta
        0 is deterministic, 1 has the ancestral mean and variance.

    Raises
    ------
    ConfigError
        If `eta` is out of range.

    References
    ----------
    arXiv:2010.02502, Eq. (12) and (16).
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        """Check the range."""
        if not 0.0 <= self.eta <= 1.0:
            raise ConfigError(f"`eta` must lie between 0 and 1, got {self.eta}.")

    @property
    def noise_scale(self) -> float:  # type: ignore[override]
        """Share of the spread in the last step."""
        return self.eta

    def advance(
        self,
        state: Float[Tensor, "n f"],
        predicted: Float[Tensor, "n f"],
        t: Level,
        s: Level,
        memory: Memory | None,
        draw: Draw,
    ) -> tuple[Tensor, Memory | None]:
        """Step from time t to s; see `Sampler.advance`."""
        std = self.eta * math.sqrt(_transition(s, t)[1]) * s.sigma / t.sigma
        rest = math.sqrt(s.sigma**2 - std**2)
        mean = s.alpha / t.alpha * (state - t.sigma * predicted) + rest * predicted
        return (mean + std * draw() if std else mean), None


@dataclass(frozen=True)
class DPMSolver(Sampler):
    r"""Second-order multistep solver in the predicted data, exact in the linear part.

    With h' the range of the previous step, the data are extrapolated to the middle of the step:
    :math:`D = \hat x_t + \frac{h}{2 h'} (\hat x_t - \hat x_{prev})`. The first step is of first order.

    Attributes
    ----------
    is_stochastic
        Solve the reverse SDE rather than the probability flow ODE.

    References
    ----------
    arXiv:2211.01095, algorithm 2 (2M), and its counterpart for the SDE.
    """

    is_stochastic: bool = False

    @property
    def noise_scale(self) -> float:  # type: ignore[override]
        """Share of the spread in the last step."""
        return float(self.is_stochastic)

    def times(self, schedule: NoiseSchedule, num_times: int, num_steps: int | None) -> list[int]:
        """Choose times in nearly equal steps of log-SNR; see `log_snr_grid`."""
        return log_snr_grid(schedule, num_times, num_steps)

    def advance(
        self,
        state: Float[Tensor, "n f"],
        predicted: Float[Tensor, "n f"],
        t: Level,
        s: Level,
        memory: Memory | None,
        draw: Draw,
    ) -> tuple[Tensor, Memory | None]:
        """Step from time t to s; see `Sampler.advance`."""
        data = (state - t.sigma * predicted) / t.alpha
        h = 0.5 * (t.gamma - s.gamma)
        middle = data
        if memory is not None:
            middle = data + h / (memory.level.gamma - t.gamma) * (data - memory.data)
        if not self.is_stochastic:
            return s.sigma / t.sigma * state - s.alpha * math.expm1(-h) * middle, Memory(t, data)
        lost = -math.expm1(-2 * h)
        mean = s.sigma / t.sigma * math.exp(-h) * state + s.alpha * lost * middle
        return mean + s.sigma * math.sqrt(lost) * draw(), Memory(t, data)


def _transition(s: Level, t: Level) -> tuple[float, float]:
    gammas = (torch.tensor(level.gamma, dtype=torch.float64) for level in (s, t))
    alpha_ts, variance_ts = transition(*gammas)
    return alpha_ts.item(), variance_ts.item()


#: Samplers by name.
SAMPLERS: Mapping[str, Callable[[], Sampler]] = MappingProxyType(
    {
        "ancestral": Ancestral,
        "ddim": DDIM,
        "dpm-solver++": DPMSolver,
        "sde-dpm-solver++": lambda: DPMSolver(is_stochastic=True),
    }
)


def build_sampler(name: str = "ancestral", eta: float | None = None) -> Sampler:
    """Make a sampler by its name.

    Parameters
    ----------
    name
        One of `SAMPLERS`.
    eta
        Share of the ancestral noise, for `ddim` alone; None is 0.

    Raises
    ------
    ConfigError
        If the name is unknown, or `eta` is out of range or given for another sampler.
    """
    if name not in SAMPLERS:
        raise ConfigError(f"`sampler` must be one of {', '.join(SAMPLERS)}, got {name!r}.")
    if name == "ddim":
        return DDIM(0.0 if eta is None else eta)
    if eta is not None:
        raise ConfigError(f"`eta` belongs to the sampler ddim, but `sampler` is {name}; omit it.")
    return SAMPLERS[name]()

"""Time grids of reverse chains: which of the times 0 ... T are visited, and the noise level at each."""

from __future__ import annotations

from typing import NamedTuple

import torch

from geograph.diffusion.schedule import NoiseSchedule, alpha, sigma
from geograph.errors import ConfigError


class Level(NamedTuple):
    """Noise level of one time, as plain numbers.

    Attributes
    ----------
    time
        Integer time, 0 (data) to T (noise).
    gamma
        Negative log-SNR.
    alpha, sigma
        Levels of signal and noise.
    """

    time: int
    gamma: float
    alpha: float
    sigma: float


def levels(schedule: NoiseSchedule, times: list[int]) -> list[Level]:
    """Noise level at each of some times."""
    # One by one: a long tensor takes another code path, whose last bit differs.
    gammas = zip(times, schedule.gamma[torch.tensor(times)], strict=True)
    return [Level(time, g.item(), alpha(g).item(), sigma(g).item()) for time, g in gammas]


def time_grid(num_times: int, num_steps: int | None = None) -> list[int]:
    """Return times from `num_times` down to 0 in `num_steps` nearly equal steps, both end points included.

    Raises
    ------
    ConfigError
        If `num_steps` is not between 1 and `num_times`.
    """
    steps = _checked_steps(num_times, num_steps)
    return [(num_times * (steps - k) * 2 + steps) // (2 * steps) for k in range(steps + 1)]


def log_snr_grid(schedule: NoiseSchedule, num_times: int, num_steps: int | None = None) -> list[int]:
    """Return times from `num_times` down to 0 in `num_steps` steps that cover nearly equal ranges of log-SNR.

    Neighbours are at least one time apart, and both end points are included.

    Raises
    ------
    ConfigError
        If `num_steps` is not between 1 and `num_times`.
    """
    steps = _checked_steps(num_times, num_steps)
    gamma = schedule.gamma[: num_times + 1]
    wanted = torch.linspace(gamma[-1].item(), gamma[0].item(), steps + 1, dtype=gamma.dtype)
    nearest = torch.searchsorted((gamma[1:] + gamma[:-1]) / 2, wanted).tolist()
    times = [num_times]
    for k in range(1, steps + 1):
        # Not below what the remaining steps need, nor on the time before.
        times.append(max(min(nearest[k], times[-1] - 1), steps - k))
    return times


def _checked_steps(num_times: int, num_steps: int | None) -> int:
    steps = num_times if num_steps is None else num_steps
    if not 1 <= steps <= num_times:
        raise ConfigError(f"`num_steps` must be between 1 and {num_times}, got {steps}.")
    return steps

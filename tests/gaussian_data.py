"""Data that are exactly Gaussian: their best noise prediction, and what a sampler makes of it, exactly."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from geograph.diffusion.process import DiffusionProcess
from geograph.diffusion.ragged import RaggedBatch
from geograph.diffusion.samplers import Sampler
from geograph.diffusion.sampling import sample_states
from geograph.diffusion.schedule import NoiseSchedule
from geograph.diffusion.time_grids import Level, levels


def exact_predictor(schedule: NoiseSchedule, mean: Tensor, covariance: Tensor) -> Callable:
    """Return the expected noise of Gaussian data: `mean` [atoms, width], `covariance` [atoms, atoms].

    The columns of the state are independent; the covariance works on the atoms of a molecule, and for
    positions it must map the subspace of zero centre of mass to itself.
    """
    variances, vectors = torch.linalg.eigh(covariance)

    def predict(state: Tensor, time: Tensor, graph: RaggedBatch) -> Tensor:
        step = int((time[0] * schedule.num_steps).round())
        (level,) = levels(schedule, [step])
        shape = (graph.num_graphs, *mean.shape)
        gain = level.sigma / (level.alpha**2 * variances + level.sigma**2)
        offset = state.view(shape) - level.alpha * mean
        return (vectors @ (gain[:, None] * (vectors.T @ offset))).view(state.shape)

    return predict


class UnitNoise:
    """Noise of a batch in which molecule k has 1 at the k-th draw, in one column, and 0 elsewhere."""

    def __init__(self, shape: tuple[int, int, int], direction: Tensor) -> None:
        self.shape, self.direction, self.count = shape, direction, 0

    def __call__(self) -> Tensor:
        noise = torch.zeros(self.shape, dtype=torch.float64)
        if self.count < self.shape[0]:
            noise[self.count] = self.direction
        self.count += 1
        return noise.view(-1, self.shape[2])


def pushed_moments(
    process: DiffusionProcess, sampler: Sampler, variance: float, num_steps: int, column: int = 3
) -> tuple[float, float]:
    """Factor of the data's mean, and variance, of what the sampler's own code makes of exact predictions.

    Every chain is affine in its noise: a molecule for each draw, with noise 1 there and none elsewhere, shows
    the weight of that draw in the result; a chain without noise shows what becomes of the mean.
    """
    num_draws = num_steps + 2
    width = process.width
    # Positions of two atoms, on the unit vector (1, -1) / sqrt(2) of zero centre of mass; features of one.
    direction = torch.zeros(2, width, dtype=torch.float64)
    direction[:, column] = torch.tensor([1.0, -1.0], dtype=torch.float64) / math.sqrt(2.0)
    covariance = variance * torch.eye(2, dtype=torch.float64)

    def run(mean: Tensor, source: Callable[[], Tensor], molecules: int) -> Tensor:
        states = sample_states(
            exact_predictor(process.schedule, mean, covariance),
            process,
            [2] * molecules,
            seeds=range(molecules),
            sampler=sampler,
            num_steps=num_steps,
            noise=source,
            dtype=torch.float64,
        )
        return (states.state.view(molecules, 2, width) * direction).sum((1, 2))

    shape = (num_draws, 2, width)
    weights = run(torch.zeros_like(direction), UnitNoise(shape, direction), num_draws)
    silent = run(direction, UnitNoise((1, 2, width), torch.zeros_like(direction)), 1)
    return float(silent[0]), float(weights.square().sum())


def _levels(schedule: NoiseSchedule, sampler: Sampler, num_steps: int) -> list[Level]:
    return levels(schedule, sampler.times(schedule, schedule.num_steps, num_steps))


def markov_moments(
    schedule: NoiseSchedule, sampler: Sampler, variance: float, num_steps: int, eta: float
) -> tuple[float, float]:
    """Derive the moments at time 0 of a first-order chain with a share `eta` of the ancestral noise.

    With v_t = alpha_t^2 v + sigma_t^2 the predicted data are m + alpha_t v / v_t (x_t - alpha_t m), and the
    next state is alpha_s data + sqrt(sigma_s^2 - std^2) noise: a number times x_t and a number times m.
    """
    factor, spread = 0.0, 1.0
    grid = _levels(schedule, sampler, num_steps)
    for t, s in zip(grid[:-1], grid[1:], strict=True):
        total = t.alpha**2 * variance + t.sigma**2
        ratio = t.alpha / s.alpha
        std = eta * s.sigma / t.sigma * math.sqrt(t.sigma**2 - ratio**2 * s.sigma**2)
        rest = math.sqrt(s.sigma**2 - std**2)
        slope = s.alpha * t.alpha * variance / total + rest * t.sigma / total
        shift = s.alpha * (1 - t.alpha**2 * variance / total) - rest * t.sigma * t.alpha / total
        factor, spread = slope * factor + shift, slope**2 * spread + std**2
    return factor, spread


def multistep_moments(
    schedule: NoiseSchedule, sampler: Sampler, variance: float, num_steps: int, is_stochastic: bool
) -> tuple[float, float]:
    """Derive the moments at time 0 of the second-order chain, from those of a state and the last prediction.

    The pair (x_t, predicted data of the step before) is carried on by a matrix; the noise enters x alone.
    """
    mean = torch.zeros(2, dtype=torch.float64)
    spread = torch.diag(torch.tensor([1.0, 0.0], dtype=torch.float64))
    previous = None
    grid = _levels(schedule, sampler, num_steps)
    for t, s in zip(grid[:-1], grid[1:], strict=True):
        gain = t.alpha * variance / (t.alpha**2 * variance + t.sigma**2)
        rest = 1 - gain * t.alpha
        h = math.log(s.alpha / s.sigma) - math.log(t.alpha / t.sigma)
        r = 0.0 if previous is None else h / (2 * previous)
        lost = 1 - math.exp(-2 * h)
        old, new, std = (
            (s.sigma / t.sigma * math.exp(-h), s.alpha * lost, s.sigma * math.sqrt(lost))
            if is_stochastic
            else (s.sigma / t.sigma, s.alpha * (1 - math.exp(-h)), 0.0)
        )
        matrix = torch.tensor([[old + new * (1 + r) * gain, -new * r], [gain, 0.0]], dtype=torch.float64)
        shift = torch.tensor([new * (1 + r) * rest, rest], dtype=torch.float64)
        mean = matrix @ mean + shift
        spread = matrix @ spread @ matrix.T
        spread[0, 0] += std**2
        previous = h
    return float(mean[0]), float(spread[0, 0])


def exact_moments(
    schedule: NoiseSchedule, name: str, eta: float | None, sampler: Sampler, variance: float, num_steps: int
) -> tuple[float, float]:
    """Derive the moments at time 0 for a sampler by its name."""
    if name in ("ancestral", "ddim"):
        share = 1.0 if name == "ancestral" else (eta or 0.0)
        return markov_moments(schedule, sampler, variance, num_steps, share)
    return multistep_moments(schedule, sampler, variance, num_steps, name.startswith("sde"))


def decoded_moments(
    schedule: NoiseSchedule, moments: tuple[float, float], variance: float, share: float
) -> tuple[float, float]:
    """Moments of positions after the last step, from those at time 0: predicted data, with noise if any."""
    (level,) = levels(schedule, [0])
    gain = level.alpha * variance / (level.alpha**2 * variance + level.sigma**2)
    factor = gain * moments[0] + 1 - gain * level.alpha
    return factor, gain**2 * moments[1] + (share * level.sigma / level.alpha) ** 2

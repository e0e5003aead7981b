"""Ancestral sampling of states from any noise predictor.

A molecule's random numbers come from its own seed and its state is kept in float64, so that the molecule of a
seed is the same (up to the network's rounding) whatever molecules are sampled beside it.

References
----------
Hoogeboom et al. (2022), arXiv:2203.17003, algorithm 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from geograph.diffusion.process import DiffusionProcess, NoisePredictor
from geograph.diffusion.ragged import RaggedBatch
from geograph.diffusion.sizes import NOISE_STREAM, random_stream
from geograph.errors import ConfigError


@dataclass(frozen=True)
class SamplingFailure:
    """A molecule that was dropped because its state became infinite or NaN.

    Attributes
    ----------
    index
        Position in the list of requested molecules.
    seed
        Its seed.
    size
        Its number of atoms.
    time
        Diffusion time at which it was noticed.
    """

    index: int
    seed: int
    size: int
    time: int

    def __str__(self) -> str:
        """Say what happened in words."""
        return (
            f"molecule {self.index} (seed {self.seed}, {self.size} atoms) became infinite or NaN "
            f"at diffusion time {self.time}"
        )


@dataclass(frozen=True)
class States:
    """Final states of a batch of molecules, scaled, with what happened on the way.

    Attributes
    ----------
    state
        One row for each atom; zero for molecules that failed.
    graph
        Layout of the molecules.
    failures
        Molecules that did not stay finite.
    frames
        Time and state at the recorded steps, from noise to data.
    """

    state: Float[Tensor, "n f"]
    graph: RaggedBatch
    failures: list[SamplingFailure]
    frames: list[tuple[int, Tensor]] = field(default_factory=list)


def time_grid(num_times: int, num_steps: int | None = None) -> list[int]:
    """Return times from `num_times` down to 0 in `num_steps` nearly equal steps, both end points included.

    Raises
    ------
    ConfigError
        If `num_steps` is not between 1 and `num_times`.
    """
    steps = num_times if num_steps is None else num_steps
    if not 1 <= steps <= num_times:
        raise ConfigError(f"`num_steps` must be between 1 and {num_times}, got {steps}.")
    return [(num_times * (steps - k) * 2 + steps) // (2 * steps) for k in range(steps + 1)]


class _Noise:
    """Centred standard normal noise from one stream for each molecule."""

    def __init__(self, seeds: Sequence[int], graph: RaggedBatch, width: int) -> None:
        self.graph, self.width = graph, width
        self.streams = [random_stream(seed, NOISE_STREAM) for seed in seeds]
        self.sizes: list[int] = graph.sizes.tolist()

    def draw(self) -> Float[Tensor, "n f"]:
        """Next noise of every molecule, float64 on the layout's device."""
        # A stream for each molecule is the point here, hence the loop.
        pairs = zip(self.streams, self.sizes, strict=True)
        values = np.concatenate([stream.standard_normal((size, self.width)) for stream, size in pairs])
        return self.graph.centered_positions(torch.from_numpy(values).to(self.graph.batch.device))


@torch.no_grad()
def sample_states(
    predict: NoisePredictor,
    process: DiffusionProcess,
    sizes: Sequence[int],
    *,
    seeds: Sequence[int],
    num_steps: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    frame_every: int | None = None,
    progress: Callable[[], None] | None = None,
) -> States:
    """Run the reverse chain of one batch of molecules.

    Parameters
    ----------
    predict
        Noise predictor; it receives states of type `dtype` on `device`.
    process
        The diffusion process.
    sizes
        Number of atoms of each molecule.
    seeds
        Seed of each molecule.
    num_steps
        Reverse steps; None takes every step of the schedule.
    dtype, device
        What the predictor works in. The chain itself is kept in float64.
    frame_every
        Record the state every so many steps; None records nothing.
    progress
        Called after every evaluation of the predictor, `num_steps + 1` times.

    Raises
    ------
    ConfigError
        If sizes and seeds differ in number, or the number of steps or the frame interval is out of range.
    """
    check_request(sizes, seeds, frame_every)
    graph = RaggedBatch.from_sizes(sizes, device)
    noise = _Noise(seeds, graph, process.width)
    watch = _Watch(graph, seeds)
    state = noise.draw()
    times = time_grid(process.num_steps, num_steps)
    frames: list[tuple[int, Tensor]] = []
    for number, (time_t, time_s) in enumerate(zip(times[:-1], times[1:], strict=True)):
        if frame_every and number % frame_every == 0:
            frames.append((time_t, state))
        predicted = _evaluate(predict, state, time_t, process, graph, dtype)
        step_t, step_s = _constant(time_t, graph), _constant(time_s, graph)
        mean, std = process.posterior(state, predicted, step_s, step_t, graph)
        state = watch.keep_finite(
            graph.centered_positions(mean + std[graph.batch][:, None] * noise.draw()), time_s
        )
        if progress is not None:
            progress()
    predicted = _evaluate(predict, state, 0, process, graph, dtype)
    mean, width = process.denoised(state, predicted)
    # Elements are read from the state itself; only positions take the last step.
    last = torch.cat([(mean + width * noise.draw())[:, :3], state[:, 3:]], dim=1)
    state = watch.keep_finite(graph.centered_positions(last), 0)
    if progress is not None:
        progress()
    return States(state, graph, watch.failures, [*frames, (0, state)] if frame_every else [])


class _Watch:
    """Takes molecules that are no longer finite out of a batch, and remembers them."""

    def __init__(self, graph: RaggedBatch, seeds: Sequence[int]) -> None:
        self.graph, self.seeds = graph, seeds
        self.failures: list[SamplingFailure] = []
        self.is_dead: Bool[Tensor, " g"] = torch.zeros(
            graph.num_graphs, dtype=torch.bool, device=graph.batch.device
        )

    def keep_finite(self, state: Float[Tensor, "n f"], time: int) -> Float[Tensor, "n f"]:
        """Put zeros for the molecules that failed, so that the others go on undisturbed."""
        is_bad = self.graph.total((~torch.isfinite(state)).to(state.dtype)) > 0
        for index in (is_bad & ~self.is_dead).nonzero()[:, 0].tolist():
            size = int(self.graph.sizes[index])
            self.failures.append(SamplingFailure(index, self.seeds[index], size, time))
        self.is_dead = self.is_dead | is_bad
        return torch.where(self.is_dead[self.graph.batch][:, None], 0.0, state)


def _evaluate(
    predict: NoisePredictor,
    state: Float[Tensor, "n f"],
    time: int,
    process: DiffusionProcess,
    graph: RaggedBatch,
    dtype: torch.dtype,
) -> Float[Tensor, "n f"]:
    times = torch.full((graph.num_graphs,), time / process.num_steps, dtype=dtype, device=state.device)
    return predict(state.to(dtype), times, graph).to(state.dtype)


def _constant(time: int, graph: RaggedBatch) -> Tensor:
    return torch.full((graph.num_graphs,), time, dtype=torch.int64, device=graph.batch.device)


def check_request(sizes: Sequence[int], seeds: Sequence[int], frame_every: int | None) -> None:
    """Check that each molecule has a seed and that the frame interval is in range."""
    if len(sizes) != len(seeds):
        raise ConfigError(f"`seeds` must hold one seed for each of {len(sizes)} molecules, got {len(seeds)}.")
    if frame_every is not None and frame_every < 1:
        raise ConfigError(f"`frame_every` must be at least 1, got {frame_every}.")

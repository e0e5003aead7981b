"""Reverse chain of one batch of molecules, for any noise predictor and any sampler.

A molecule's random numbers come from its own seed and its state is kept in float64, so that the molecule of a
seed is the same (up to the network's rounding) whatever molecules are sampled beside it.

References
----------
Hoogeboom et al. (2022), arXiv:2203.17003, algorithm 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geograph.diffusion.constraints import KnownPart, moves
from geograph.diffusion.noise_source import Draw, MoleculeNoise
from geograph.diffusion.process import DiffusionProcess, NoisePredictor
from geograph.diffusion.ragged import RaggedBatch
from geograph.diffusion.samplers import Ancestral, Memory, Sampler
from geograph.diffusion.schedule import transition
from geograph.diffusion.start import PartialNoise
from geograph.diffusion.time_grids import Level, levels
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


@torch.no_grad()
def sample_states(
    predict: NoisePredictor,
    process: DiffusionProcess,
    sizes: Sequence[int],
    *,
    seeds: Sequence[int],
    context: Float[Tensor, "g c"] | None = None,
    sampler: Sampler | None = None,
    num_steps: int | None = None,
    known: KnownPart | None = None,
    start: PartialNoise | None = None,
    noise: Draw | None = None,
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
    context
        Known values of each molecule for a conditional predictor.
    sampler
        How a step is taken; None is the published ancestral sampler.
    num_steps
        Reverse steps; None takes every time from the start to 0.
    known
        What is given of each molecule.
    start
        Molecules to begin with in place of pure noise.
    noise
        Source of noise; None makes one from the seeds.
    dtype, device
        What the predictor works in. The chain itself is kept in float64.
    frame_every
        Record the state every so many steps; None records nothing.
    progress
        Called after every evaluation of the predictor: one for each step, and one at time 0.

    Raises
    ------
    ConfigError
        If sizes and seeds differ in number, or the number of steps or the frame interval is out of range.
    """
    check_request(sizes, seeds, frame_every)
    sampler = Ancestral() if sampler is None else sampler
    graph = RaggedBatch.from_sizes(sizes, device, context)
    draw = MoleculeNoise(seeds, graph, process.width).draw if noise is None else noise
    first = process.num_steps if start is None else start.time
    grid = levels(process.schedule, sampler.times(process.schedule, first, num_steps))
    chain = _Chain(predict, process, graph, grid, draw, known, dtype, progress)
    state = draw()
    if start is not None:
        state = grid[0].alpha * start.state.to(state) + grid[0].sigma * state
    state = chain.with_known(state, grid[0])
    memory: Memory | None = None
    frames = {0: (grid[0].time, state)}
    for old, new in _moves(len(grid) - 1, known):
        if new > old:
            state, memory = chain.down(sampler, state, old, memory)
        else:
            state, memory = chain.up(state, old, new), None
        if frame_every and new % frame_every == 0:
            frames[new] = (grid[new].time, state)
    state = chain.last(sampler, state)
    frames.pop(len(grid) - 1, None)
    recorded = [*frames.values(), (0, state)] if frame_every else []
    return States(state, graph, chain.failures(seeds), recorded)


def _moves(num_steps: int, known: KnownPart | None) -> list[tuple[int, int]]:
    if known is None:
        return moves(num_steps)
    return moves(num_steps, known.resamplings, known.jump_length)


class _Chain:
    """Moves of one batch between the times of a grid; whatever all its steps share is made once."""

    def __init__(
        self,
        predict: NoisePredictor,
        process: DiffusionProcess,
        graph: RaggedBatch,
        grid: list[Level],
        draw: Draw,
        known: KnownPart | None,
        dtype: torch.dtype,
        progress: Callable[[], None] | None,
    ) -> None:
        self.predict, self.process, self.graph, self.grid = predict, process, graph, grid
        self.draw, self.known, self.dtype, self.progress = draw, known, dtype, progress
        device = graph.batch.device
        times = torch.tensor([level.time / process.num_steps for level in grid], dtype=dtype, device=device)
        self.times = times[:, None].expand(-1, graph.num_graphs).contiguous()
        #: Diffusion time at which a molecule was first seen not to be finite; -1 for the others.
        self.died_at: Int[Tensor, " g"] = torch.full((graph.num_graphs,), -1, device=device)

    def down(
        self, sampler: Sampler, state: Float[Tensor, "n f"], number: int, memory: Memory | None
    ) -> tuple[Tensor, Memory | None]:
        """Take the reverse step from a time of the grid to the next."""
        t, s = self.grid[number : number + 2]
        predicted = self._evaluate(state, number)
        state, memory = sampler.advance(state, predicted, t, s, memory, self.draw)
        state = self._keep_finite(self.graph.centered_positions(state), s.time)
        self._tick()
        return self.with_known(state, s), memory

    def up(self, state: Float[Tensor, "n f"], old: int, new: int) -> Float[Tensor, "n f"]:
        """Jump back towards noise, by the forward process."""
        gammas = (torch.tensor(self.grid[k].gamma, dtype=torch.float64) for k in (old, new))
        alpha_ts, variance_ts = (value.item() for value in transition(*gammas))
        return alpha_ts * state + math.sqrt(variance_ts) * self.draw()

    def last(self, sampler: Sampler, state: Float[Tensor, "n f"]) -> Float[Tensor, "n f"]:
        """Go from time 0 to the data; elements are read from the state itself, only positions move."""
        mean, width = self.process.denoised(state, self._evaluate(state, len(self.grid) - 1))
        if sampler.noise_scale > 0:
            mean = mean + sampler.noise_scale * width * self.draw()
        moved = self.graph.centered_positions(torch.cat([mean[:, :3], state[:, 3:]], dim=1))
        state = self._keep_finite(moved, 0)
        self._tick()
        return state if self.known is None else self.known.put(state, self.known.state, self.graph)

    def with_known(self, state: Float[Tensor, "n f"], level: Level) -> Float[Tensor, "n f"]:
        """Put what is known of the molecules, at the noise level of the state, into its place."""
        if self.known is None:
            return state
        noisy = level.alpha * self.known.state + level.sigma * self.draw()
        return self.known.put(state, noisy, self.graph)

    def failures(self, seeds: Sequence[int]) -> list[SamplingFailure]:
        """Molecules that failed, in the order of the batch."""
        rows = zip(seeds, self.graph.sizes.tolist(), self.died_at.tolist(), strict=True)
        return [SamplingFailure(k, *row) for k, row in enumerate(rows) if row[2] >= 0]

    def _evaluate(self, state: Float[Tensor, "n f"], number: int) -> Float[Tensor, "n f"]:
        return self.predict(state.to(self.dtype), self.times[number], self.graph).to(state.dtype)

    def _keep_finite(self, state: Float[Tensor, "n f"], time: int) -> Float[Tensor, "n f"]:
        # Zeros for the molecules that failed, so that the others go on. Nothing waits for the device.
        is_bad = self.graph.total((~torch.isfinite(state)).to(state.dtype)) > 0
        self.died_at = torch.where(is_bad & (self.died_at < 0), time, self.died_at)
        return torch.where((self.died_at >= 0)[self.graph.batch][:, None], 0.0, state)

    def _tick(self) -> None:
        if self.progress is not None:
            self.progress()


def check_request(sizes: Sequence[int], seeds: Sequence[int], frame_every: int | None) -> None:
    """Check that each molecule has a seed and that the frame interval is in range."""
    if len(sizes) != len(seeds):
        raise ConfigError(f"`seeds` must hold one seed for each of {len(sizes)} molecules, got {len(seeds)}.")
    if frame_every is not None and frame_every < 1:
        raise ConfigError(f"`frame_every` must be at least 1, got {frame_every}.")

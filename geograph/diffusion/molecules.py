"""Sampled molecules as records: states of the reverse chain, batch by batch, decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geograph.diffusion.process import DiffusionProcess, NoisePredictor
from geograph.diffusion.ragged import RaggedBatch
from geograph.diffusion.sampling import SamplingFailure, States, check_request, sample_states, time_grid
from geograph.errors import ConfigError
from geograph.records import Molecule


@dataclass(frozen=True)
class Samples:
    """Sampled molecules.

    Attributes
    ----------
    molecules
        Records in the order of the request, without those that failed; the id is ``sample-SEED``.
    failures
        What was dropped.
    frames
        For each molecule its recorded frames, the last one being the molecule itself; empty unless asked for.
    """

    molecules: list[Molecule]
    failures: list[SamplingFailure]
    frames: list[list[Molecule]]


def sample_molecules(
    predict: NoisePredictor,
    process: DiffusionProcess,
    sizes: Sequence[int],
    *,
    seeds: Sequence[int],
    atomic_numbers: Sequence[int],
    batch_size: int = 64,
    num_steps: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    frame_every: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Samples:
    """Sample molecules batch by batch and decode them.

    Parameters
    ----------
    predict, process, sizes, seeds, num_steps, dtype, device, frame_every
        As in `sample_states`.
    atomic_numbers
        Element of each type of the process.
    batch_size
        Molecules in a batch; the last one may be smaller.
    progress
        Called after every evaluation of the predictor with the evaluations done and their total.

    Raises
    ------
    ConfigError
        If a value is out of range or the numbers of sizes, seeds, or types do not match.
    """
    if batch_size < 1:
        raise ConfigError(f"`batch_size` must be at least 1, got {batch_size}.")
    if len(atomic_numbers) != process.num_types:
        raise ConfigError(
            f"`atomic_numbers` must name {process.num_types} elements, got {list(atomic_numbers)}."
        )
    check_request(sizes, seeds, frame_every)
    tick = _ticker(progress, -(-len(sizes) // batch_size) * len(time_grid(process.num_steps, num_steps)))
    samples = Samples([], [], [])
    for first in range(0, len(sizes), batch_size):
        part = slice(first, first + batch_size)
        states = sample_states(
            predict,
            process,
            sizes[part],
            seeds=seeds[part],
            num_steps=num_steps,
            dtype=dtype,
            device=device,
            frame_every=frame_every,
            progress=tick,
        )
        _collect(samples, states, process, seeds[part], atomic_numbers, first)
    return samples


def _collect(
    samples: Samples,
    states: States,
    process: DiffusionProcess,
    seeds: Sequence[int],
    atomic_numbers: Sequence[int],
    first: int,
) -> None:
    failed = {failure.index for failure in states.failures}
    moved = [
        SamplingFailure(first + failure.index, failure.seed, failure.size, failure.time)
        for failure in states.failures
    ]
    samples.failures.extend(moved)
    finals = list(_decoded(states.state, states.graph, process, seeds, atomic_numbers, failed))
    samples.molecules.extend(finals)
    if states.frames:
        chains = [
            list(_decoded(state, states.graph, process, seeds, atomic_numbers, failed))
            for _, state in states.frames
        ]
        samples.frames.extend([list(frames) for frames in zip(*chains, strict=True)])


def _decoded(
    state: Float[Tensor, "n f"],
    graph: RaggedBatch,
    process: DiffusionProcess,
    seeds: Sequence[int],
    atomic_numbers: Sequence[int],
    failed: set[int],
) -> Iterator[Molecule]:
    pos, types = process.decode(state.cpu())
    z = np.asarray(atomic_numbers, dtype=np.int64)[types.numpy()]
    cuts = graph.ptr.cpu().numpy()[1:-1]
    parts = zip(seeds, np.split(z, cuts), np.split(pos.numpy(), cuts), strict=True)
    for index, (seed, elements, positions) in enumerate(parts):
        if index not in failed:
            yield Molecule(elements, positions, id=f"sample-{seed}")


def _ticker(progress: Callable[[int, int], None] | None, total: int) -> Callable[[], None] | None:
    if progress is None:
        return None
    numbers = iter(range(1, total + 1))
    return lambda: progress(next(numbers), total)

"""Sampled molecules as records: states of the reverse chain, batch by batch, decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geograph.diffusion.batches import MAX_EDGES, plan_batches, run_batches
from geograph.diffusion.constraints import Constraints, moves
from geograph.diffusion.process import DiffusionProcess, NoisePredictor
from geograph.diffusion.ragged import RaggedBatch
from geograph.diffusion.samplers import Sampler, build_sampler
from geograph.diffusion.sampling import SamplingFailure, States, check_request, sample_states
from geograph.diffusion.start import Start
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
        Recorded frames of each molecule with the property `diffusion_time` in (0, 1], and last the molecule
        itself; empty unless asked for.
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
    context: Float[Tensor, "g c"] | None = None,
    sampler: str = "ancestral",
    eta: float | None = None,
    num_steps: int | None = None,
    constraints: Constraints | None = None,
    start: Start | None = None,
    batch_size: int = 64,
    max_edges: int = MAX_EDGES,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    frame_every: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Samples:
    """Sample molecules batch by batch and decode them.

    A molecule depends on its own seed, size and options alone. Molecules of like size share a batch; a batch
    that does not fit into memory is halved, with a warning in the log and the same molecules.

    Parameters
    ----------
    predict, process, sizes, seeds, num_steps, dtype, device, frame_every
        As in `sample_states`.
    atomic_numbers
        Element of each type of the process.
    context
        Known values of each molecule, one row each, that a conditional predictor finds in its layout.
    sampler, eta
        As for `build_sampler`.
    constraints
        What every molecule must contain. With a fragment the molecules come in its frame, and its atoms have
        its very positions; else their centre is the origin.
    start
        Molecules to begin with in place of pure noise; each sample has the centre of its own.
    batch_size, max_edges
        Most molecules, and most pairs of atoms, of a batch.
    progress
        Called after every evaluation of the predictor with the number of evaluations done, counted once for
        each molecule, and what it will be at the end. It goes back when memory ran out.

    Raises
    ------
    ConfigError
        If a value is out of range, numbers do not match, options contradict each other, or one molecule
        alone does not fit into memory.
    """
    request = _Request(
        predict=predict,
        process=process,
        sizes=list(sizes),
        seeds=list(seeds),
        atomic_numbers=list(atomic_numbers),
        context=context,
        sampler=build_sampler(sampler, eta),
        num_steps=num_steps,
        constraints=constraints,
        start=start,
        dtype=dtype,
        device=device,
        frame_every=frame_every,
    )
    request.check()
    counter = _Counter(progress, len(sizes) * request.num_evaluations)
    chains: dict[int, list[Molecule]] = {}
    failures: list[SamplingFailure] = []

    def run(batch: list[int]) -> States:
        return request.run(batch, counter.begin(len(batch)))

    for batch, states in run_batches(plan_batches(sizes, batch_size, max_edges), sizes, run):
        counter.end()
        failures += [replace(failure, index=batch[failure.index]) for failure in states.failures]
        lost = {failure.index for failure in failures}
        chains |= {index: chain for index, chain in request.decoded(batch, states) if index not in lost}
    failures.sort(key=lambda failure: failure.index)
    ordered = [chains[index] for index in sorted(chains)]
    return Samples([chain[-1] for chain in ordered], failures, ordered if frame_every else [])


@dataclass(frozen=True)
class _Request:
    """What was asked for, checked, and how a part of it is sampled."""

    predict: NoisePredictor
    process: DiffusionProcess
    sizes: list[int]
    seeds: list[int]
    atomic_numbers: list[int]
    context: Tensor | None
    sampler: Sampler
    num_steps: int | None
    constraints: Constraints | None
    start: Start | None
    dtype: torch.dtype
    device: torch.device | str
    frame_every: int | None

    def check(self) -> None:
        if len(self.atomic_numbers) != self.process.num_types:
            raise ConfigError(
                f"`atomic_numbers` must name {self.process.num_types} elements, got {self.atomic_numbers}."
            )
        check_request(self.sizes, self.seeds, self.frame_every)
        if self.context is not None and len(self.context) != len(self.sizes):
            raise ConfigError(
                f"`context` must have one row for each of {len(self.sizes)} molecules, got "
                f"{len(self.context)}."
            )
        if self.constraints is not None and self.start is not None:
            raise ConfigError(
                "`start` and `constraints` contradict each other: `start` noises all; omit one of them."
            )
        if self.constraints is not None:
            self.constraints.check(self.sizes, self.atomic_numbers)
        if self.start is not None:
            self.start.check(self.sizes, self.atomic_numbers)

    @property
    def num_evaluations(self) -> int:
        """Evaluations of the predictor for each molecule."""
        first = self.process.num_steps if self.start is None else self.start.time(self.process)
        steps = len(self.sampler.times(self.process.schedule, first, self.num_steps)) - 1
        if self.constraints is None:
            return steps + 1
        path = moves(steps, self.constraints.resamplings, self.constraints.jump_length)
        return 1 + sum(new > old for old, new in path)

    def run(self, batch: list[int], tick: Callable[[], None]) -> States:
        """Sample the molecules of these numbers."""
        sizes = [self.sizes[index] for index in batch]
        constraints, start = self.constraints, self.start
        graph = RaggedBatch.from_sizes(sizes, self.device)
        known = constraints.known_part(self.process, graph, self.atomic_numbers) if constraints else None
        return sample_states(
            self.predict,
            self.process,
            sizes,
            seeds=[self.seeds[index] for index in batch],
            context=None if self.context is None else self.context[batch],
            sampler=self.sampler,
            num_steps=self.num_steps,
            known=known,
            start=start.encoded(self.process, batch, self.atomic_numbers) if start else None,
            dtype=self.dtype,
            device=self.device,
            frame_every=self.frame_every,
            progress=tick,
        )

    def decoded(self, batch: list[int], states: States) -> Iterator[tuple[int, list[Molecule]]]:
        """Chains of the molecules with their numbers in the request: recorded frames, then the molecule."""
        recorded = [*states.frames[:-1], (0, states.state)]
        decoded = [self.process.decode(state.cpu()) for _, state in recorded]
        starts = states.graph.ptr.tolist()
        table = np.asarray(self.atomic_numbers, dtype=np.int64)
        for index, first, end in zip(batch, starts[:-1], starts[1:], strict=True):
            chain: list[Molecule] = []
            for (time, _), (pos, types) in zip(recorded, decoded, strict=True):
                is_final = len(chain) == len(recorded) - 1
                placed = self._placed(index, pos[first:end].numpy(), is_final=is_final)
                properties = {} if is_final else {"diffusion_time": time / self.process.num_steps}
                elements = table[types[first:end].numpy()]
                chain.append(Molecule(elements, placed, properties, id=f"sample-{self.seeds[index]}"))
            yield index, chain

    def _placed(
        self, index: int, pos: Float[np.ndarray, "n 3"], *, is_final: bool
    ) -> Float[np.ndarray, "n 3"]:
        if self.start is not None:
            return self.start.place(index, pos)
        if self.constraints is not None:
            return self.constraints.place(pos) if is_final else self.constraints.shift(pos)
        return pos


class _Counter:
    """Counts evaluations; those of a batch that has to be run again are taken back."""

    def __init__(self, progress: Callable[[int, int], None] | None, total: int) -> None:
        self.progress, self.total = progress, total
        self.done = self.saved = 0

    def begin(self, num_molecules: int) -> Callable[[], None]:
        """Begin a batch; the result is to be called after each of its evaluations."""
        self.done = self.saved

        def tick() -> None:
            self.done += num_molecules
            if self.progress is not None:
                self.progress(self.done, self.total)

        return tick

    def end(self) -> None:
        """Keep what the batch has counted."""
        self.saved = self.done

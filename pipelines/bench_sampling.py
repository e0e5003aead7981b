"""Molecules per second that a diffusion model generates: the whole reverse chain, in the kernel backends.

The network has the published form (128 wide, 5 blocks) and seeded random weights: a chain takes as long with
any weights. Every step of every chain is run.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from geograph.kernels import use_backend
from geograph.kernels.dispatch import FUSED
from geograph.tasks.generation import GenerationTask
from pipelines.bench_cases import Case, noisy_molecules
from pipelines.bench_peers import REFERENCE, seconds
from pipelines.bench_process import Job, SubjectError
from pipelines.bench_rows import Row, ratio, row_of
from pipelines.bench_turns import Result
from pipelines.cost import peak_memory_mb, reset_peak_memory

_ATOMIC_NUMBERS = [1, 6, 7, 8, 9]
_NUM_ATOMS = 18
_WAKING_STEPS = 2


def equal_sizes(num_graphs: int, rng: np.random.Generator) -> np.ndarray:
    """Eighteen atoms in every molecule."""
    return np.full(num_graphs, _NUM_ATOMS)


@dataclass(frozen=True)
class Sampling:
    """Generation with a number of reverse steps.

    Attributes
    ----------
    name
        Name in the column `case`.
    num_steps, quick_steps
        Reverse steps, and with `--quick`.
    minimum
        Runs of a backend at least; a run that takes long is not repeated.
    num_molecules, num_quick
        Molecules of a run, and with `--quick`.
    params
        Keyword parameters of the network.
    """

    name: str
    num_steps: int
    quick_steps: int
    minimum: int
    num_molecules: int = 8
    num_quick: int = 2
    params: tuple[tuple[str, int], ...] = (("num_hidden", 128), ("num_layers", 5))

    @property
    def case(self) -> Case:
        """The network, with the molecules of one evaluation as its batch."""
        count, params = self.num_molecules, dict(self.params)
        return Case(self.name, "edm-dynamics", equal_sizes, noisy_molecules, count, self.num_quick, params)

    def steps(self, quick: bool) -> int:
        """Reverse steps of a run."""
        return self.quick_steps if quick else self.num_steps


SAMPLINGS = (
    Sampling("sampling-1000", 1000, 10, minimum=1, num_molecules=12),
    Sampling("sampling-50", 50, 5, minimum=1, num_molecules=32),
)


class Chain:
    """A task that generates molecules in one backend.

    Parameters
    ----------
    job
        Backend, device, and number of molecules.
    num_steps
        Reverse steps.
    """

    def __init__(self, job: Job, num_steps: int) -> None:
        self.job, self.num_steps = job, num_steps
        statistics = {"atomic_numbers": _ATOMIC_NUMBERS, "size_histogram": {str(_NUM_ATOMS): 1}}
        torch.manual_seed(0)
        task = GenerationTask(model_params=dict(job.case.params), statistics=statistics)
        self.task = task.to(job.device)

    def run(self, count: int, num_steps: int) -> None:
        """Generate so many molecules.

        Raises
        ------
        SubjectError
            If one of them was lost.
        """
        with use_backend(self.job.name):
            samples = self.task.sample(count, 0, sizes=_NUM_ATOMS, num_steps=num_steps, batch_size=count)
        if samples.failures:
            raise SubjectError(str(samples.failures[0]))

    def first(self) -> tuple[float | None, tuple[float, float]]:
        """Peak memory in MB of a run above what the process held, and its times.

        One molecule comes before, so that what a process loads once does not count.
        """
        self.run(1, _WAKING_STEPS)
        reset_peak_memory()
        before = peak_memory_mb()
        times = self.round()
        return max(peak_memory_mb() - before, 0.0), times

    def round(self) -> tuple[float, float]:
        """Seconds of one evaluation of the network with all that a step needs besides, and of the run."""
        taken = seconds(lambda: self.run(self.job.num_graphs, self.num_steps), self.job.device)
        return taken / (self.num_steps + 1), taken


def chain(job: Job, num_steps: int) -> Chain:
    """Make the subject of a job, in the process that measures it."""
    return Chain(job, num_steps)


def sampling_jobs(sampling: Sampling, names: Sequence[str], device: str, *, quick: bool) -> list[Job]:
    """List the subjects: the reference and the fused backends, or all backends where none is fused.

    Parameters
    ----------
    sampling
        What is generated.
    names
        Backends that work here.
    device
        `cpu` or `cuda`.
    quick
        Take few molecules and steps.
    """
    fused = [name for name in names if name in FUSED]
    chosen = [name for name in names if name == REFERENCE or name in fused or not fused]
    count = sampling.num_quick if quick else sampling.num_molecules
    make = functools.partial(chain, num_steps=sampling.steps(quick))
    minimum = 1 if quick else sampling.minimum
    return [Job(sampling.case, name, make, count, device, minimum=minimum) for name in chosen]


def sampling_rows(sampling: Sampling, results: dict[str, Result], device: str) -> list[Row]:
    """Compare the backends; `forward_s` is the time of one reverse step of all molecules together.

    Parameters
    ----------
    sampling
        What was generated.
    results
        Measurement of each backend.
    device
        `cpu` or `cuda`.
    """
    first = results.get(REFERENCE)
    return [
        row_of(
            sampling.name,
            name,
            device,
            forward_s=found.forward_s,
            peak_mb=found.peak_mb,
            speedup_forward=None if first is None else ratio(first.step_s, found.step_s),
            memory_ratio=None if first is None else ratio(found.peak_mb, first.peak_mb),
            molecules_per_s=ratio(found.job.num_graphs, found.step_s),
            edges=sampling.case.num_edges(found.job.num_graphs),
            hidden=dict(sampling.params).get("num_hidden"),
            batch=found.job.num_graphs,
            rounds=len(found.times),
            error=found.error,
        )
        for name, found in results.items()
    ]

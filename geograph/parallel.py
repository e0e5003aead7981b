"""Run independent chunks of work in processes, in order, with a progress bar."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import joblib
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def _call(function: Callable[..., T], job: tuple[Any, ...]) -> T:
    return function(*job)


def run_chunks(
    function: Callable[..., T],
    jobs: Sequence[tuple[Any, ...]],
    *,
    num_workers: int = 1,
    description: str = "working",
) -> list[T]:
    """Call `function(*job)` for every job and return the results in the order of the jobs.

    The work is split by `jobs` alone, so the results do not depend on `num_workers`. Every worker is a
    fresh process with one thread; a single worker is this process.

    Parameters
    ----------
    function
        A module-level function; its results must be picklable.
    jobs
        Positional arguments of each call.
    num_workers
        Number of processes.
    description
        What the progress bar says.

    Raises
    ------
    ValueError
        If `num_workers` is smaller than one.
    """
    return list(stream_chunks(function, jobs, num_workers=num_workers, description=description))


def stream_chunks(
    function: Callable[..., T],
    jobs: Sequence[tuple[Any, ...]],
    *,
    num_workers: int = 1,
    description: str = "working",
) -> Iterator[T]:
    """Yield what `run_chunks` returns, each result as soon as its turn has come.

    A caller that stops early stops the work. Parameters and errors are those of `run_chunks`.
    """
    if num_workers < 1:
        raise ValueError(f"`num_workers` must be at least 1, got {num_workers}")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        with Progress(*columns) as progress, joblib.parallel_config(backend="loky", inner_max_num_threads=1):
            bar = progress.add_task(description, total=len(jobs))
            stream = joblib.Parallel(n_jobs=num_workers, return_as="generator")(
                joblib.delayed(_call)(function, job) for job in jobs
            )
            try:
                for result in stream:
                    progress.advance(bar)
                    yield result
            finally:
                with warnings.catch_warnings():  # that what was not asked for any more is given up
                    warnings.simplefilter("ignore", UserWarning)
                    stream.close()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

"""Time and memory of the spherical harmonic transforms as the band-limit grows, beside torch-harmonics.

Each subject transforms maps of the same size on the Gauss-Legendre grid in float32: synthesis, analysis, and
the backward pass of both; tables count as its memory. torch-harmonics pins another PyTorch, so it is not
installed beside geograph; the environment variable `GEOGRAPH_TORCH_HARMONICS` names a folder that
`pip install --no-deps --target FOLDER torch-harmonics==0.9.3` filled, and only the process that measures it
sees that folder.
"""

from __future__ import annotations

import functools
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from geograph.algebra.harmonics import num_harmonics
from geograph.sphere.grids import make_grid
from geograph.sphere.sht import Backend, analysis, synthesis
from geograph.sphere.sht_ducc import has_ducc
from pipelines.bench_cases import Case, Fields
from pipelines.bench_peers import seconds
from pipelines.bench_process import Apart, Channel, Job, SubjectError, available_mb
from pipelines.bench_rows import Row, fit_exponent, ratio, row_of
from pipelines.bench_turns import Deadline, Result, measure
from pipelines.cost import peak_memory_mb, reset_peak_memory

NAME = "sht-bandlimit"
PEER = "torch-harmonics"
PEER_FOLDER = "GEOGRAPH_TORCH_HARMONICS"
_NUM_MAPS = 4
_SIZES, _QUICK_SIZES = (64, 128, 256, 512, 1024), (16, 32)
_SHARE_S, _QUICK_SHARE_S = 0.4, 0.0
#: A series ends for a subject before a first run (with its tables) of so many seconds, or more of the memory.
_LONGEST_FIRST_S, _LARGEST_SHARE = 20.0, 0.6
#: Time and memory grow at most so.
_POWER = 3.0

Pair = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]


def _one_each(num_maps: int, rng: np.random.Generator) -> np.ndarray:
    return np.ones(num_maps, np.int64)


def _nothing(sizes: np.ndarray, rng: np.random.Generator) -> Fields:
    return {}


def _case(bandlimit: int) -> Case:
    return Case(NAME, nn.Identity, _one_each, _nothing, _NUM_MAPS, _NUM_MAPS, {"bandlimit": bandlimit})


def _own(backend: Backend, bandlimit: int) -> Pair:
    grid = make_grid("gl", bandlimit)
    return (
        functools.partial(synthesis, grid=grid, backend=backend),
        functools.partial(analysis, grid=grid, bandlimit=bandlimit, backend=backend),
    )


def _peer(bandlimit: int, device: str) -> Pair:
    """Make the transforms of torch-harmonics.

    Raises
    ------
    SubjectError
        If it is not installed where the environment variable says.
    """
    if not Path(os.environ.get(PEER_FOLDER, ""), "torch_harmonics").is_dir():
        raise SubjectError(f"not installed: see {PEER_FOLDER} in pipelines/bench_sht.py")
    sys.path.insert(0, os.environ[PEER_FOLDER])
    from torch_harmonics import InverseRealSHT, RealSHT

    sizes = {"nlat": bandlimit, "nlon": 2 * bandlimit, "lmax": bandlimit, "mmax": bandlimit}
    return (
        InverseRealSHT(**sizes, grid="legendre-gauss").to(device),
        RealSHT(**sizes, grid="legendre-gauss").to(device),
    )


class Transforms:
    """Both transforms of one library with maps to work on.

    Parameters
    ----------
    job
        Name of the library, number of maps, device.
    """

    def __init__(self, job: Job) -> None:
        self.job, self.bandlimit = job, int(job.case.params["bandlimit"])
        torch.manual_seed(0)
        count, size = job.num_graphs, self.bandlimit
        if job.name == PEER:
            self.given = torch.randn(count, size, size, dtype=torch.complex64, device=job.device).tril()
        else:
            self.given = torch.randn(count, num_harmonics(size), device=job.device)
        self.maps: Pair | None = None

    def first(self) -> tuple[float | None, tuple[float, ...]]:
        """Peak memory in MB of tables and a round, and the times of a round and of the tables."""
        start = time.perf_counter()
        reset_peak_memory()
        before = peak_memory_mb()
        name = self.job.name
        if name == PEER:
            self.maps = _peer(self.bandlimit, self.job.device)
        else:
            self.maps = _own("ducc" if name == "ducc" else "gemm", self.bandlimit)
        tables_s = time.perf_counter() - start
        times = self.round()
        return max(peak_memory_mb() - before, 0.0), (*times, tables_s)

    def round(self) -> tuple[float, ...]:
        """Seconds of synthesis, of all together, of analysis, and of the backward pass of both."""
        assert self.maps is not None
        forward_map, back_map = self.maps
        held: dict[str, Tensor] = {"harmonic": self.given.clone().requires_grad_()}

        def synthesise() -> None:
            held["values"] = forward_map(held["harmonic"])

        def analyse() -> None:
            held["back"] = back_map(held["values"])

        def backward() -> None:
            held["back"].abs().square().sum().backward()

        taken = [seconds(part, self.job.device) for part in (synthesise, analyse, backward)]
        return taken[0], sum(taken), taken[1], taken[2]


@dataclass
class _Last:
    """What is known of a subject from the point before."""

    bandlimit: int
    first_s: float
    peak_mb: float
    start_s: float

    @property
    def growing_s(self) -> float:
        """Seconds of the first run without those of the smallest one, which are the start of the library."""
        return max(self.first_s - self.start_s, 0.0)


def _reason(size: int, last: _Last | None, device: str) -> str | None:
    """Say why a subject is not run at this band-limit, or None."""
    if last is None:
        return None
    growth = (size / last.bandlimit) ** _POWER
    expected_s = growth * last.growing_s
    if expected_s > _LONGEST_FIRST_S:
        return f"not run: it would take about {expected_s:.0f} s (limit {_LONGEST_FIRST_S:.0f} s)"
    free = available_mb() if device == "cpu" else None
    if free is not None and growth * last.peak_mb > _LARGEST_SHARE * free:
        return f"not run: it would take about {growth * last.peak_mb / 1e3:.0f} GB of memory"
    return None


def _median(result: Result, place: int) -> float | None:
    return statistics.median(times[place] for times in result.times) if result.times else None


def _job(size: int, name: str, device: str) -> Job:
    limit_s = 2.0 * _LONGEST_FIRST_S
    return Job(_case(size), name, Transforms, _NUM_MAPS, device, first_limit_s=limit_s, first_counts=False)


def _row(name: str, size: int, device: str, result: Result | None, first: Result | None, **more: Any) -> Row:
    figures: dict[str, Any] = {"bandlimit": size, "batch": _NUM_MAPS}
    if result is not None:
        figures |= {
            "forward_s": result.forward_s,
            "analysis_s": _median(result, 2),
            "backward_s": _median(result, 3),
            "step_s": result.step_s,
            "peak_mb": result.peak_mb,
            "rounds": len(result.times),
            "error": result.error,
        }
    if result is not None and first is not None:
        figures["speedup_step"] = ratio(first.step_s, result.step_s)
        figures["memory_ratio"] = ratio(result.peak_mb, first.peak_mb)
    return row_of(NAME, name, device, **(figures | more))


def subjects(device: str) -> list[str]:
    """Return the names of what is measured; the first one is what the others are compared with."""
    return ["gemm", *(["ducc"] if device == "cpu" and has_ducc() else []), PEER]


def bench_sht(
    device: str,
    *,
    quick: bool,
    deadline: Deadline,
    open_channel: Callable[[Job], Channel] = Apart,
    note: Callable[[str], None] = lambda _: None,
    sizes: Sequence[int] | None = None,
) -> list[Row]:
    """Measure all subjects at rising band-limits; the exponents stand in each row of a subject.

    Parameters
    ----------
    device
        `cpu` or `cuda`.
    quick
        Take small band-limits and little time.
    deadline
        After it nothing is started.
    open_channel, note
        As for `measure`.
    sizes
        Band-limits, rising; by default 64 to 1024.
    """
    rows: list[Row] = []
    last: dict[str, _Last] = {}
    running = subjects(device)
    for size in sizes or (_QUICK_SIZES if quick else _SIZES):
        jobs = []
        for name in list(running):
            reason = _reason(size, last.get(name), device)
            if reason is None:
                jobs.append(_job(size, name, device))
            else:
                rows.append(_row(name, size, device, None, None, error=reason))
                running.remove(name)
        share_s = _QUICK_SHARE_S if quick else _SHARE_S
        results = measure(jobs, share_s=share_s, deadline=deadline, open_channel=open_channel, note=note)
        for name, result in results.items():
            rows.append(_row(name, size, device, result, results.get("gemm")))
            start_s = last[name].start_s if name in last else result.first_s
            last[name] = _Last(size, result.first_s, result.peak_mb or 0.0, start_s)
            if result.error is not None:
                running.remove(name)
    for name in subjects(device):
        _add_exponents([row for row in rows if row["backend"] == name])
    return rows


def _add_exponents(rows: list[Row]) -> None:
    sizes = [row["bandlimit"] for row in rows]
    for key, column in (("exponent_step", "step_s"), ("exponent_memory", "peak_mb")):
        exponent = fit_exponent(sizes, [row[column] for row in rows])
        for row in rows:
            row[key] = exponent

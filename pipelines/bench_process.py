"""Subjects of the benchmark in processes of their own.

A crash, a refused allocation or a timeout of one subject is an error text of its row; the others go on.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from pipelines.bench_cases import Case

_STATUS, _MEMORY = Path("/proc/self/status"), Path("/proc/meminfo")
#: Share of the free memory that one process may take.
_MEMORY_SHARE = 0.85
#: Seconds that a process gets to end by itself.
_GRACE_S = 3.0
_ERROR = re.compile(r"^[\w.]*(Error|Exception|Exit|Interrupt|Unsupported)\b")
_LONGEST_ERROR = 160


class Subject(Protocol):
    """What a process measures."""

    def first(self) -> tuple[float | None, tuple[float, ...]]:
        """Run everything once: the peak memory in MB, and the seconds as of a round."""

    def round(self) -> tuple[float, ...]:
        """Seconds of a forward pass, of a training step, and of what else the subject tells."""


@dataclass(frozen=True)
class Job:
    """One subject, described so that another process can make it.

    Attributes
    ----------
    case
        Model and batch.
    name
        What stands in the column `backend`.
    make
        Makes the subject from this job, in the process that measures it.
    num_graphs, device
        Size and place of the batch.
    minimum
        Rounds to run at least.
    first_limit_s, round_limit_s
        Seconds that the start and the first step, and that a round, may take.
    reserve_s
        Seconds that must be left to the deadline for the job to be started.
    first_counts
        Whether the first run is like the others: if it is slow, it is then not repeated.
    """

    case: Case
    name: str
    make: Callable[[Job], Subject]
    num_graphs: int
    device: str
    minimum: int = 3
    first_limit_s: float = 120.0
    round_limit_s: float = 60.0
    reserve_s: float = 0.0
    first_counts: bool = True


class SubjectError(Exception):
    """A subject that could not be measured; the message stands in its row."""


# Where a subject lives --------------------------------------------------------------------------------------


class Channel(Protocol):
    """A subject, here or elsewhere."""

    def call(self, limit_s: float) -> Any:
        """Return the next answer: of `first`, then of `round`."""

    def close(self) -> None:
        """End it."""


class Here:
    """A subject in this process."""

    def __init__(self, job: Job) -> None:
        self._subject = job.make(job)
        self._is_warm = False

    def call(self, limit_s: float) -> Any:
        """Return the next answer; the limit is not watched."""
        if self._is_warm:
            return self._subject.round()
        self._is_warm = True
        return self._subject.first()

    def close(self) -> None:
        """Do nothing."""


def _context() -> Any:
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    context.set_forkserver_preload(["pipelines.bench_peers", "pipelines.bench_scaling"])
    return context


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a process of its own and return its result."""
    with ProcessPoolExecutor(1, mp_context=_context()) as pool:
        return pool.submit(function, *arguments).result()


class Apart:
    """A subject in a process of its own, forked from one that has only imported the libraries."""

    def __init__(self, job: Job) -> None:
        context = _context()
        self._folder = tempfile.TemporaryDirectory()
        self._errors = Path(self._folder.name) / "errors"
        self._connection, remote = context.Pipe()
        self._process = context.Process(target=_serve, args=(job, remote, str(self._errors)), daemon=True)
        self._process.start()
        remote.close()

    def call(self, limit_s: float) -> Any:
        """Ask for the next answer.

        Raises
        ------
        SubjectError
            If the process ended, or gave no answer in time and was ended.
        """
        try:
            self._connection.send(True)
            if self._connection.poll(limit_s):
                return self._connection.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self._process.join()
            raise SubjectError(_reason(self._process.exitcode, self._errors)) from None
        self._process.kill()
        raise SubjectError(f"stopped: took longer than {limit_s:.0f} s")

    def close(self) -> None:
        """End the process: it sees that nobody asks any more, or is killed."""
        self._connection.close()
        self._process.join(_GRACE_S)
        self._process.kill()
        self._process.join()
        self._folder.cleanup()


def _serve(job: Job, connection: Connection, errors: str) -> None:
    """Answer until the other side is gone; what goes wrong is written to the file `errors`."""
    handle = os.open(errors, os.O_WRONLY | os.O_CREAT, 0o600)
    os.dup2(handle, 2)
    os.close(handle)
    if job.device == "cpu":
        _limit_memory()
    subject = Here(job)
    with suppress(EOFError):
        while connection.recv():
            connection.send(subject.call(0.0))


def available_mb() -> float | None:
    """Free memory of the machine in MB, where the system tells."""
    if not _MEMORY.exists():
        return None
    found = re.search(r"MemAvailable:\s+(\d+)", _MEMORY.read_text(encoding="ascii"))
    return int(found[1]) * 1024 / 1e6 if found else None


def _limit_memory() -> None:
    """Let an allocation beyond the free memory fail here, and not end other programs."""
    free = available_mb()
    if free is None or not _STATUS.exists():
        return
    import resource

    found = re.search(r"VmSize:\s+(\d+)", _STATUS.read_text(encoding="ascii"))
    held = int(found[1]) * 1024 if found else 0
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = held + int(_MEMORY_SHARE * free * 1e6)
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard < 0 else min(limit, hard), hard))
    Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _reason(exitcode: int | None, errors: Path) -> str:
    """Say in one line why a process ended."""
    if exitcode is not None and exitcode < 0:
        return f"ended by {signal.Signals(-exitcode).name}"
    text = errors.read_text(encoding="utf-8", errors="replace") if errors.exists() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if _ERROR.match(line)]
    said = (named or lines or [f"ended with code {exitcode}"])[-1]
    return said if len(said) <= _LONGEST_ERROR else said[: _LONGEST_ERROR - 1] + "…"

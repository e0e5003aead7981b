"""How the benchmark measures: its subjects take turns.

The first training step of a fresh process tells the peak memory, the rounds that follow tell the times. What
takes long is not repeated: its first step tells the time too.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from pipelines.bench_process import Apart, Channel, Job, SubjectError

_MAX_ROUNDS = 25
#: A subject that has taken so many seconds is asked for no more rounds, whatever its minimum.
_ENOUGH_S = 12.0
#: A subject whose first run, slower than the others, has taken so many seconds is asked for one round only;
#: beyond the second limit it is asked for none, and the first run counts.
_SLOW_S, _ONCE_S = 8.0, 40.0


class Deadline:
    """A moment that the benchmark wants to be finished by."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that are left, at least 0."""
        return max(0.0, self._end - time.monotonic())


@dataclass
class Result:
    """Measurements of one subject.

    Attributes
    ----------
    job
        What was measured.
    peak_mb
        Peak memory of the first step.
    times
        Seconds of forward pass and training step in every round, and of what else a subject tells.
    first_s
        Seconds of all that the first answer tells.
    spent_s
        Seconds spent on rounds.
    error
        Why there are no (more) measurements.
    """

    job: Job
    peak_mb: float | None = None
    times: list[tuple[float, ...]] = field(default_factory=list)
    first_s: float = 0.0
    spent_s: float = 0.0
    error: str | None = None

    @property
    def forward_s(self) -> float | None:
        """Median of the forward pass."""
        return statistics.median(times[0] for times in self.times) if self.times else None

    @property
    def step_s(self) -> float | None:
        """Median of the training step."""
        return statistics.median(times[1] for times in self.times) if self.times else None


class _Runner:
    def __init__(self, job: Job, open_channel: Callable[[Job], Channel]) -> None:
        self.result = Result(job)
        self._is_slow = False
        self._open, self._channel = open_channel, None  # type: tuple[Callable[[Job], Channel], Channel | None]

    def first(self) -> None:
        self._channel = self._open(self.result.job)
        answer = self._call(self.result.job.first_limit_s)
        if answer is None:
            return
        self.result.peak_mb, times = answer
        self.result.first_s = sum(times)
        self._is_slow = sum(times) > _SLOW_S and self.result.job.first_counts
        if self._is_slow and sum(times) > _ONCE_S:
            self.result.times.append(times)

    def round(self) -> None:
        start = time.perf_counter()
        times = self._call(self.result.job.round_limit_s)
        self.result.spent_s += time.perf_counter() - start
        if times is not None:
            self.result.times.append(times)

    def _call(self, limit_s: float) -> Any:
        if self._channel is None:
            return None
        try:
            return self._channel.call(limit_s)
        except SubjectError as error:
            self.result.error = str(error)
            self.close()
            return None

    def wants_round(self, share_s: float) -> bool:
        rounds = len(self.result.times)
        if self.result.error is not None or rounds >= (1 if self._is_slow else _MAX_ROUNDS):
            return False
        if rounds and self.result.spent_s > _ENOUGH_S:
            return False
        return rounds < self.result.job.minimum or self.result.spent_s < share_s

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None


def _waiting(runners: list[_Runner], share_s: float) -> list[_Runner]:
    """Return those that want another round, and end the others, whose processes hold memory."""
    for runner in runners:
        if not runner.wants_round(share_s):
            runner.close()
    return [runner for runner in runners if runner.wants_round(share_s)]


def measure(
    jobs: Iterable[Job],
    *,
    share_s: float,
    deadline: Deadline,
    open_channel: Callable[[Job], Channel] = Apart,
    note: Callable[[str], None] = lambda _: None,
) -> dict[str, Result]:
    """Measure subjects in alternation, so that a change of the load of the machine meets all of them.

    Parameters
    ----------
    jobs
        The subjects.
    share_s
        A subject gets more rounds than its minimum, 25 at most, until it has taken so many seconds.
    deadline
        After it no subject is started, and none gets more than its minimum of rounds.
    open_channel
        Brings a subject to life.
    note
        Called with what is being done.
    """
    runners: list[_Runner] = []
    try:
        for job in jobs:
            runners.append(_Runner(job, open_channel))
            if deadline.left() <= job.reserve_s:
                runners[-1].result.error = "not run: the benchmark's time was up"
                continue
            note(f"{job.case.name}: {job.name}, first step")
            runners[-1].first()
        number = 0
        while waiting := _waiting(runners, share_s if deadline.left() else 0.0):
            number += 1
            for runner in waiting:
                note(f"{runner.result.job.case.name}: {runner.result.job.name}, round {number}")
                runner.round()
    finally:
        for runner in runners:
            runner.close()
    return {runner.result.job.name: runner.result for runner in runners}

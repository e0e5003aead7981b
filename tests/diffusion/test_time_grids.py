from __future__ import annotations

import pytest
import torch

from geograph.diffusion.schedule import build_schedule
from geograph.diffusion.time_grids import levels, log_snr_grid, time_grid
from geograph.errors import ConfigError


def test_levels_are_those_of_the_schedule() -> None:
    schedule = build_schedule("cosine", 50)
    for level in levels(schedule, [50, 13, 0]):
        step = torch.tensor(level.time)
        values = (schedule.gamma_at(step), schedule.alpha_at(step), schedule.sigma_at(step))
        assert level[1:] == tuple(value.item() for value in values)


def test_time_grid_has_both_end_points() -> None:
    assert time_grid(10) == list(range(10, -1, -1))
    assert time_grid(10, 1) == [10, 0]
    for steps in range(1, 51):
        grid = time_grid(50, steps)
        assert (grid[0], grid[-1], len(grid)) == (50, 0, steps + 1)
        assert all(t > s for t, s in zip(grid[:-1], grid[1:], strict=True))


@pytest.mark.parametrize("schedule", ["polynomial_2", "polynomial_3", "cosine"])
def test_log_snr_grid_has_both_end_points(schedule: str) -> None:
    made = build_schedule(schedule, 60)
    assert log_snr_grid(made, 60) == list(range(60, -1, -1))
    assert log_snr_grid(made, 40, 1) == [40, 0]
    for first in (60, 7):
        for steps in range(1, first + 1):
            grid = log_snr_grid(made, first, steps)
            assert (grid[0], grid[-1], len(grid)) == (first, 0, steps + 1)
            assert all(t > s for t, s in zip(grid[:-1], grid[1:], strict=True))


def test_log_snr_grid_has_even_steps() -> None:
    fine = build_schedule("polynomial_2", 100_000)
    gaps = -fine.gamma[log_snr_grid(fine, 100_000, 20)].diff()
    assert gaps.max() / gaps.min() < 1.1


@pytest.mark.parametrize("num_steps", [0, 51])
def test_bad_number_of_steps_is_named(num_steps: int) -> None:
    schedule = build_schedule("polynomial_2", 100)
    for grid in (lambda: time_grid(50, num_steps), lambda: log_snr_grid(schedule, 50, num_steps)):
        with pytest.raises(ConfigError, match=f"`num_steps` must be between 1 and 50, got {num_steps}"):
            grid()

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from geograph.diffusion.schedule import alpha, build_schedule, sigma, transition
from geograph.errors import ConfigError

GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("edm_gamma_*.npy"))
NAMES = ("polynomial_1", "polynomial_2", "polynomial_3", "polynomial_2.5", "cosine")


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_gamma_is_the_released_one(path: Path) -> None:
    # The released schedules were computed in float64 and stored in float32.
    released = np.load(path)
    ours = build_schedule(path.stem.removeprefix("edm_gamma_"), 1000, precision=1e-5).gamma
    np.testing.assert_allclose(ours.numpy(), released, rtol=np.finfo(np.float32).eps)


def test_golden_schedules_are_present() -> None:
    assert len(GOLDEN) == 3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("num_steps", [1, 7, 1000])
def test_levels_are_complementary_and_log_snr_falls(name: str, num_steps: int) -> None:
    schedule = build_schedule(name, num_steps)
    step = torch.arange(num_steps + 1)
    assert schedule.num_steps == num_steps
    total = schedule.alpha_at(step).square() + schedule.sigma_at(step).square()
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=4e-16)
    assert schedule.gamma.dtype == torch.float64
    assert (schedule.log_snr_at(step).diff() < 0).all()


def test_precision_sets_the_end_points() -> None:
    schedule = build_schedule("polynomial_2", 100, precision=1e-4)
    alpha2 = schedule.alpha_at(torch.tensor([0, 100])).square()
    assert alpha2[0].item() == pytest.approx(1 - 1e-4, rel=1e-12)
    # The last ratio is held above 1e-3, so the last level is not exactly the precision.
    assert 1e-4 <= alpha2[1].item() < 1.1e-4


def test_transition_composes() -> None:
    gamma = torch.tensor([-9.0, -2.0, 3.0], dtype=torch.float64)
    s, t = gamma[:-1], gamma[1:]
    alpha_ts, variance_ts = transition(s, t)
    torch.testing.assert_close(alpha_ts * alpha(s), alpha(t))
    torch.testing.assert_close(variance_ts, sigma(t).square() - (alpha_ts * sigma(s)).square())
    two_steps, _ = transition(gamma[:1], gamma[2:])
    torch.testing.assert_close(alpha_ts.prod()[None], two_steps)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "linear"}, r"`schedule` must be cosine or polynomial_p .* got 'linear'"),
        ({"name": "polynomial_0"}, r"with p > 0"),
        ({"num_steps": 0}, r"`num_steps` must be at least 1, got 0"),
        ({"precision": 0.7}, r"`precision` must lie between 0 and 0.5, got 0.7"),
    ],
)
def test_bad_parameter_is_named(arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_schedule(**arguments)

from __future__ import annotations

import math

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

from geograph.errors import ConfigError
from geograph.training.optimizers import build_optimizer, schedule_factor

STEPS = 40


def rates(scheduler: torch.optim.lr_scheduler.LRScheduler, steps: int) -> list[float]:
    values = []
    for _ in range(steps):
        values.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        scheduler.step()
    return values


def torch_sgd(lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def test_cosine_equals_that_of_torch() -> None:
    factor = schedule_factor({"schedule": "cosine", "final_fraction": 0.1}, STEPS)
    expected = rates(CosineAnnealingLR(torch_sgd(1.0), T_max=STEPS, eta_min=0.1), STEPS)
    assert [factor(step) for step in range(STEPS)] == pytest.approx(expected, rel=1e-12)
    assert factor(STEPS) == factor(10 * STEPS) == pytest.approx(0.1)


def test_one_cycle_equals_that_of_torch() -> None:
    settings = {"schedule": "one_cycle", "peak_at": 0.25, "div_factor": 10.0, "final_fraction": 0.01}
    factor = schedule_factor(settings, STEPS)
    options = {"pct_start": 0.25, "div_factor": 10.0, "final_div_factor": 100.0, "cycle_momentum": False}
    scheduler = OneCycleLR(torch_sgd(0.1), 1.0, STEPS, **options)
    expected = rates(scheduler, STEPS - 1)
    assert [factor(step) for step in range(STEPS - 1)] == pytest.approx(expected, rel=1e-12)
    assert factor(STEPS - 1) == pytest.approx(0.01 / 10.0)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "cosine_restarts"])
def test_warm_up_is_linear_and_ends_at_one(schedule: str) -> None:
    factor = schedule_factor({"schedule": schedule, "warmup_steps": 5}, STEPS)
    assert [factor(step) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factor(5) == 1.0


def test_constant_stays() -> None:
    factor = schedule_factor({"schedule": "constant"}, STEPS)
    assert {factor(step) for step in range(2 * STEPS)} == {1.0}


def test_restarts_begin_every_cycle_at_one() -> None:
    factor = schedule_factor({"schedule": "cosine_restarts", "cycles": 4}, STEPS)
    assert [factor(10 * cycle) for cycle in range(4)] == [1.0] * 4
    assert factor(15) == pytest.approx(0.5)
    assert factor(9) == pytest.approx((1 + math.cos(0.9 * math.pi)) / 2)
    assert factor(STEPS) == 0.0


def test_built_optimizer_uses_the_settings() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    settings = {"name": "adam", "lr": 0.5, "weight_decay": 0.1, "betas": [0.8, 0.9], "warmup_steps": 2}
    built = build_optimizer([parameter], settings, STEPS)
    optimizer = built["optimizer"]
    assert type(optimizer) is torch.optim.Adam
    group = optimizer.param_groups[0]
    assert (group["weight_decay"], group["betas"], group["lr"]) == (0.1, (0.8, 0.9), 0.25)
    assert built["lr_scheduler"]["interval"] == "step"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": 1}, "`optimizer.rate` is not known; there are name, lr"),
        ({"name": "sgd"}, "`optimizer.name` must be one of adam, adamw, got 'sgd'"),
        ({"schedule": "step"}, "`optimizer.schedule` must be one of constant, cosine"),
        ({"lr": -1.0}, "`optimizer.lr` must be a number positive, got -1.0"),
        ({"lr": "fast"}, "`optimizer.lr` must be a number positive, got 'fast'"),
        ({"peak_at": 1.0}, r"`optimizer.peak_at` must be a number in \(0, 1\)"),
        ({"warmup_steps": 40}, "`optimizer.warmup_steps` must be smaller than the 40 steps"),
    ],
)
def test_settings_out_of_range(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        schedule_factor(settings, STEPS)

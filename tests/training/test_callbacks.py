from __future__ import annotations

import random
from types import SimpleNamespace
from unittest.mock import Mock

import lightning
import numpy as np
import pytest
import torch
from torch import nn

from geograph.training.callbacks import (
    AdaptiveClip,
    DivergenceError,
    FiniteGuard,
    WeightAverage,
    random_state,
    restore_random_state,
)

TRAINER = Mock(spec=lightning.Trainer)


class Weights(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.0], dtype=torch.float64))
        self.register_buffer("mean", torch.tensor([0.0], dtype=torch.float64))
        self.register_buffer("infinite", torch.tensor([torch.inf]))
        self.register_buffer("count", torch.tensor(0))


def advance(average: WeightAverage, module: Weights, value: float) -> None:
    with torch.no_grad():
        module.weight.fill_(value)
        module.mean.fill_(2 * value)
        module.count.add_(1)
    average.on_train_batch_end(TRAINER, module, None, None, 0)


def expected_average(values: list[float], decay: float) -> float:
    average = 0.0
    for n, value in enumerate(values, start=1):
        d = min(decay, (1 + n) / (10 + n))
        average = d * average + (1 - d) * value
    return average


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.999])
def test_average_follows_its_formula(decay: float) -> None:
    module, average = Weights(), WeightAverage(decay)
    average.on_fit_start(TRAINER, module)
    values = [1.0, -2.0, 5.0, 0.5, 3.0]
    for value in values:
        advance(average, module, value)
    expected = expected_average(values, decay)
    assert average.average["weight"].item() == pytest.approx(expected, rel=1e-14)
    assert average.average["mean"].item() == pytest.approx(2 * expected, rel=1e-14)
    assert average.average["infinite"].item() == torch.inf
    assert average.average["count"].item() == 5


def test_average_replaces_the_weights_during_validation_only() -> None:
    module, average = Weights(), WeightAverage(0.5)
    average.on_fit_start(TRAINER, module)
    advance(average, module, 4.0)
    averaged = average.average["weight"].item()
    assert averaged != 4.0
    average.on_validation_start(TRAINER, module)
    assert (module.weight.item(), average.average["weight"].item()) == (averaged, 4.0)
    average.on_validation_end(TRAINER, module)
    assert (module.weight.item(), average.average["weight"].item()) == (4.0, averaged)


def test_average_goes_on_from_its_state() -> None:
    module, average = Weights(), WeightAverage(0.9)
    average.on_fit_start(TRAINER, module)
    advance(average, module, 1.0)
    state = {"count": average.count, "average": {k: v.clone() for k, v in average.average.items()}}
    advance(average, module, 2.0)
    again = WeightAverage(0.9)
    again.load_state_dict(state)
    again.on_fit_start(TRAINER, module)
    advance(again, module, 2.0)
    assert torch.equal(again.average["weight"], average.average["weight"])


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand() + np.random.randn()), float(torch.rand(()))


def test_random_state_is_restored_in_all_libraries() -> None:
    np.random.randn()
    state = random_state()
    first = draw()
    assert draw() != first
    restore_random_state(state)
    assert draw() == first


def test_infinite_gradient_is_named() -> None:
    module = Weights()
    module.weight.grad = torch.tensor([torch.inf], dtype=torch.float64)
    guard = FiniteGuard()
    trainer = Mock(spec=lightning.Trainer, current_epoch=3, global_step=17)
    guard._batch = SimpleNamespace(record_index=torch.tensor([5, 8]))
    with pytest.raises(DivergenceError, match=r"norm of the gradient is inf in epoch 3, step 17, .*\[5, 8\]"):
        guard.on_before_optimizer_step(trainer, module, None)
    FiniteGuard(checks_gradients=False).on_before_optimizer_step(trainer, module, None)


def test_validation_loss_that_is_not_finite_is_named() -> None:
    metrics = {"val/loss": torch.tensor(torch.nan)}
    trainer = Mock(spec=lightning.Trainer, current_epoch=2, global_step=9, callback_metrics=metrics)
    with pytest.raises(DivergenceError, match="validation loss is nan in epoch 2, step 9"):
        FiniteGuard().on_validation_end(trainer, Weights())


def test_adaptive_clip_bounds_by_what_was_usual() -> None:
    module, clip = Weights(), AdaptiveClip(window=4, start=2.0)

    def step(gradient: float) -> float:
        module.weight.grad = torch.tensor([gradient], dtype=torch.float64)
        clip.on_before_optimizer_step(TRAINER, module, None)
        return module.weight.grad.item()

    assert step(1e6) == pytest.approx(3.0, rel=1e-5)  # 1.5 times the start
    assert clip.norms == pytest.approx([2.0, 2.0, 2.0, 3.0])  # the bounded norm is what is remembered
    assert [step(value) for value in (1.0, -3.0, 1.0)] == [1.0, -3.0, 1.0]
    bound = 1.5 * 2.0 + 2.0 * 1.0
    assert step(-100.0) == pytest.approx(-bound, rel=1e-6)
    again = AdaptiveClip(window=4)
    again.load_state_dict(clip.state_dict())
    assert again.bound() == clip.bound() != AdaptiveClip(window=4).bound()
    assert step(0.1) == 0.1
    step(float("inf"))
    assert clip.norms == pytest.approx([3.0, 1.0, bound, 0.1])  # an infinite norm is not remembered

"""What happens around the steps of a training: average, guard, limits, random state.

Each callback keeps plain values in `state_dict`, so that a training that resumes from `last.ckpt` goes on as
if it had never stopped.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch_geometric.data import Data

from geograph.errors import GeographError


class DivergenceError(GeographError, ArithmeticError):
    """A loss or a gradient is not finite; the message names epoch, step and the records of the batch."""


class WeightAverage(Callback):
    r"""Exponential moving average of the weights, used in place of them whenever the task is evaluated.

    After step n (from 1) every parameter's average moves by 1 - d_n towards the parameter, with
    d_n = min(decay, (1 + n) / (10 + n)), so that short trainings are not dominated by the initial weights.
    Floating buffers (running statistics) are averaged alike, integer buffers are copied.

    Parameters
    ----------
    decay
        Upper limit of d_n, in [0, 1).
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.count = 0
        self.average: dict[str, Tensor] = {}

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Begin with the present weights, unless an average was restored."""
        present = pl_module.state_dict()
        if not self.average:
            self.average = {name: value.detach().clone() for name, value in present.items()}
        self.average = {name: value.to(present[name].device) for name, value in self.average.items()}

    @torch.no_grad()
    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Move the average towards the weights."""
        self.count += 1
        weight = 1 - min(self.decay, (1 + self.count) / (10 + self.count))
        for name, value in pl_module.state_dict().items():
            average = self.average[name]
            if value.is_floating_point():
                # Equal entries stay as they are, which keeps infinities in constant buffers.
                moved = torch.where(average == value, average, torch.lerp(average, value, weight))
                average.copy_(moved)
            else:
                average.copy_(value)

    @torch.no_grad()
    def _swap(self, pl_module: lightning.LightningModule) -> None:
        for name, value in pl_module.state_dict().items():
            kept = value.clone()
            value.copy_(self.average[name])
            self.average[name].copy_(kept)

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Put the average in place of the weights."""
        self._swap(pl_module)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Put the weights back."""
        self._swap(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return the average and the number of updates."""
        return {"count": self.count, "average": self.average}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the average."""
        self.count, self.average = int(state_dict["count"]), dict(state_dict["average"])


class AdaptiveClip(Callback):
    """Clips the gradient to 1.5 times the mean of its recent norms plus twice their standard deviation.

    The bounded norms of the last `window` steps are remembered. Published as starting from a single norm of
    3000, which lets the first steps through whatever they are; steps from random weights can be so large that
    they spoil the start, so the memory is filled with `start` here.

    Parameters
    ----------
    window
        Number of steps that are remembered.
    start
        Norm that the memory begins with.

    References
    ----------
    Hoogeboom et al. (2022), arXiv:2203.17003, released training script.
    """

    def __init__(self, window: int = 50, start: float = 2.0) -> None:
        self.window = window
        self.norms = [start] * window

    def bound(self) -> float:
        """Largest norm that is let through."""
        return 1.5 * statistics.fmean(self.norms) + 2.0 * statistics.pstdev(self.norms)

    def on_before_optimizer_step(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, optimizer: Any
    ) -> None:
        """Scale the gradient down to the bound, and remember its norm."""
        bound = self.bound()
        parameters = [p for p in pl_module.parameters() if p.grad is not None]
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, bound))
        if math.isfinite(norm):  # float16 scaling skips a step with an infinite gradient
            self.norms = [*self.norms, min(norm, bound)][-self.window :]

    def state_dict(self) -> dict[str, Any]:
        """Return the remembered norms."""
        return {"norms": self.norms}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the remembered norms."""
        self.norms = [float(norm) for norm in state_dict["norms"]]


class FiniteGuard(Callback):
    """Stops with the record numbers of the batch when a loss or a gradient is not finite.

    Parameters
    ----------
    checks_gradients
        False with float16 scaling, where an infinite gradient is skipped by the scaler and no fault.
    """

    def __init__(self, checks_gradients: bool = True) -> None:
        self.checks_gradients = checks_gradients
        self._batch: Data | None = None

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the batch."""
        self._batch = batch

    def on_before_backward(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, loss: Tensor
    ) -> None:
        """Check the loss before any gradient is made of it."""
        if not bool(torch.isfinite(loss)):
            raise DivergenceError(self._message(trainer, f"the training loss is {loss.item()}"))

    def on_before_optimizer_step(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, optimizer: Any
    ) -> None:
        """Check the gradient before the weights take it."""
        if not self.checks_gradients:
            return
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if not bool(torch.isfinite(norm)):
            raise DivergenceError(self._message(trainer, f"the norm of the gradient is {norm.item()}"))

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Check the validation loss."""
        loss = trainer.callback_metrics.get("val/loss")
        if loss is not None and not bool(torch.isfinite(loss)):
            raise DivergenceError(
                f"the validation loss is {loss.item()} in epoch {trainer.current_epoch}, step "
                f"{trainer.global_step}; lower the learning rate or clip the gradient."
            )

    def _message(self, trainer: lightning.Trainer, what: str) -> str:
        index = getattr(self._batch, "record_index", None)
        records = "unknown records" if index is None else f"records {index.tolist()}"
        return (
            f"{what} in epoch {trainer.current_epoch}, step {trainer.global_step}, batch of {records}; look "
            "at these records, lower the learning rate or clip the gradient."
        )


def random_state() -> dict[str, Any]:
    """State of the generators of Python, NumPy and torch as plain values and tensors."""
    version, internal, gauss = random.getstate()
    legacy: Any = np.random.get_state(legacy=True)
    return {
        "python": [version, list(internal), gauss],
        "numpy": [legacy[0], torch.from_numpy(legacy[1].astype(np.int64)), *map(float, legacy[2:])],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Set the generators of Python, NumPy and torch to a state from `random_state`."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), int(position), int(has_gauss), cached))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all(state["cuda"])


class Limits(Callback):
    """Stops the training after a number of steps or a time, counted over all its parts.

    Parameters
    ----------
    minutes, steps
        Limits; None is none.
    """

    def __init__(self, minutes: float | None = None, steps: int | None = None) -> None:
        self.limit_s = math.inf if minutes is None else 60 * minutes
        self.limit_steps = math.inf if steps is None else steps
        self.before_s = 0.0
        self.reached = ""
        self._start = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds of training so far, those before the last resume included."""
        return self.before_s + time.monotonic() - self._start

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the clock."""
        self._start = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Ask for an end when a limit is reached."""
        if trainer.global_step >= self.limit_steps:
            self.reached, trainer.should_stop = "max_steps", True
        elif self.elapsed_s > self.limit_s:
            self.reached, trainer.should_stop = "max_minutes", True

    def state_dict(self) -> dict[str, Any]:
        """Return the seconds so far."""
        return {"elapsed_s": self.elapsed_s}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Count from the seconds that the interrupted training took."""
        self.before_s = float(state_dict["elapsed_s"])

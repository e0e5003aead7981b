"""What is kept at the end of every epoch: the history, the best and the last checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from geograph.errors import CheckpointError, ConfigError
from geograph.tasks import Task
from geograph.training.callbacks import Limits, WeightAverage, random_state, restore_random_state
from geograph.training.checkpoint import read_plain, save_checkpoint
from geograph.training.loaders import EpochLoader
from geograph.training.progress import ProgressLines
from geograph.training.tracking import Tracker
from geograph.training.within_epoch import WithinEpoch

STATE_KEY = "geograph"


@dataclass(frozen=True)
class RunDescription:
    """What a training is, as plain values: two trainings with the same `identity` give the same weights."""

    identity: dict[str, str]
    config: dict[str, Any]
    data: dict[str, Any]


def check_identity(path: Path, found: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Refuse to continue a training that was another one.

    Raises
    ------
    CheckpointError
        If a setting differs; the message has the first five keys with both values.
    """
    changed = changed_keys(found, wanted)
    if changed:
        shown = "; ".join(
            f"`{key}` was {found.get(key, 'not set')}, is {wanted.get(key, 'not set')}" for key in changed[:5]
        )
        more = f"; and {len(changed) - 5} more" if len(changed) > 5 else ""
        raise CheckpointError(
            f"{path} belongs to a training with another configuration: {shown}{more}. Restore the "
            "configuration, use another folder, or start anew with `resume='never'`."
        )


def changed_keys(found: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """Keys whose values differ between two identities, sorted."""
    return sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))


class Recorder(Callback):
    """Keeps history, `best.pt`, `final.pt` and `last.ckpt`, and decides on early stopping.

    Parameters
    ----------
    folder
        Where the checkpoints stand.
    description
        Identity, configuration and data of the run.
    monitor, mode
        Which metric decides which epoch is best, and whether `min` or `max` is.
    max_epochs
        Length of the training.
    patience
        Validations without improvement after which the training ends; None never ends it.
    limits, average, progress, tracker
        Companions.
    loader
        Training batches; it is told what a training that goes on within an epoch has seen.
    checkpoint_minutes
        Time between states that are kept within an epoch.
    """

    def __init__(
        self,
        folder: Path,
        description: RunDescription,
        *,
        monitor: str,
        mode: str,
        max_epochs: int,
        patience: int | None,
        limits: Limits,
        average: WeightAverage | None,
        progress: ProgressLines,
        tracker: Tracker | None,
        loader: EpochLoader,
        checkpoint_minutes: float,
    ) -> None:
        self.folder, self.description = folder, description
        self.monitor, self.sign = monitor, 1.0 if mode == "min" else -1.0
        self.max_epochs, self.patience = max_epochs, patience
        self.limits, self.average, self.progress, self.tracker = limits, average, progress, tracker
        self.loader, self.interval_s = loader, 60 * checkpoint_minutes
        self.history: list[dict[str, float]] = []
        self.best = math.inf
        self.waited = 0
        self.finished = ""
        self._random: dict[str, Any] | None = None
        self._validated = False
        self._within = WithinEpoch()
        self._epoch_start = self._last_save = time.monotonic()

    @property
    def companions(self) -> list[Callback]:
        """Callbacks that have to act before this one."""
        return [*([self.average] if self.average else []), self.limits, self.progress]

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Begin an epoch; the generators are restored after a resume."""
        self._restore_random()
        self._validated, self._within = False, WithinEpoch()
        self._epoch_start = self._last_save = time.monotonic()

    def _restore_random(self) -> None:
        """Restore the generators after a resume, at the last moment before they are used."""
        if self._random is not None:
            restore_random_state(self._random)
            self._random = None

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Restore the generators after a resume within an epoch."""
        self._restore_random()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count the loss, and keep the state if that has not been done for long."""
        self._within.add(outputs["loss"], int(batch.num_graphs), batch_idx + 1)
        is_last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        if not is_last and time.monotonic() - self._last_save >= self.interval_s:
            self._within.elapsed_s += time.monotonic() - self._epoch_start
            self._epoch_start = time.monotonic()
            self._save_last(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Note that this epoch has validation metrics."""
        self._validated = True

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write the row of the epoch and the checkpoints."""
        row = self._row(trainer)
        self.history.append(row)
        if self._validated or not trainer.enable_validation:
            self._compare(trainer, row)
        self._decide(trainer, row)
        self.progress.epoch_line(row, self.monitor)
        if self.tracker is not None:
            self.tracker.log_metrics(row, step=int(row["epoch"]))
        if self.finished:
            self._save(trainer, "final.pt", row)
        self._within = WithinEpoch()
        self._save_last(trainer)

    def _row(self, trainer: lightning.Trainer) -> dict[str, float]:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if not self._validated:
            metrics = {name: value for name, value in metrics.items() if not name.startswith("val/")}
        metrics["train/loss"] = self._within.mean()
        return {
            "epoch": float(trainer.current_epoch),
            "step": float(trainer.global_step),
            "lr": float(trainer.optimizers[0].param_groups[0]["lr"]),
            **dict(sorted(metrics.items())),
            "epoch_s": self._within.elapsed_s + time.monotonic() - self._epoch_start,
            "elapsed_s": self.limits.elapsed_s,
        }

    def _compare(self, trainer: lightning.Trainer, row: dict[str, float]) -> None:
        monitor = self.monitor if trainer.enable_validation else "train/loss"
        if monitor not in row:
            there = ", ".join(name for name in row if "/" in name)
            raise ConfigError(f"`monitor` must be one of the logged metrics {there}, got {monitor!r}.")
        value = self.sign * row[monitor] if monitor == self.monitor else row[monitor]
        if value < self.best or not (self.folder / "best.pt").is_file():
            self.best, self.waited = value, 0
            self._save(trainer, "best.pt", row)
        else:
            self.waited += 1

    def _decide(self, trainer: lightning.Trainer, row: dict[str, float]) -> None:
        if self.limits.reached:
            self.finished = self.limits.reached
        elif row["epoch"] + 1 >= self.max_epochs:
            self.finished = "max_epochs"
        elif self.patience is not None and self.waited >= self.patience:
            self.finished, trainer.should_stop = "early_stopping", True

    def _save(self, trainer: lightning.Trainer, name: str, row: dict[str, float]) -> None:
        task = trainer.lightning_module
        assert isinstance(task, Task)
        average: dict[str, Tensor] | None = None if self.average is None else self.average.average
        save_checkpoint(
            self.folder / name,
            task,
            ema_weights=average,
            config=self.description.config,
            data=self.description.data,
            metrics=row,
        )

    def _save_last(self, trainer: lightning.Trainer) -> None:
        temporary = self.folder / ".last.ckpt.tmp"
        trainer.save_checkpoint(temporary)
        temporary.replace(self.folder / "last.ckpt")
        self._last_save = time.monotonic()

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put everything of this callback, the generators and the identity into `last.ckpt`."""
        checkpoint[STATE_KEY] = {
            "identity": self.description.identity,
            "history": self.history,
            "best": self.best,
            "waited": self.waited,
            "finished": self.finished,
            "random": random_state(),
            "within_epoch": self._within.values(),
        }

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on from the state in `last.ckpt`."""
        state = checkpoint[STATE_KEY]
        self.history, self.best, self.waited = (
            list(state["history"]),
            float(state["best"]),
            int(state["waited"]),
        )
        self._random = state["random"]
        self._within = WithinEpoch(**state.get("within_epoch", {}))
        self.loader.num_skipped = self._within.num_batches


def last_state(folder: Path) -> dict[str, Any] | None:
    """State of the training in a folder, or None where there is none.

    Raises
    ------
    CheckpointError
        If `last.ckpt` is unreadable or not of geograph.
    """
    path = folder / "last.ckpt"
    if not path.exists():
        return None
    content = read_plain(path)
    if STATE_KEY not in content:
        raise CheckpointError(
            f"{path}: not a training state of geograph, found keys "
            f"{', '.join(sorted(content)[:8])}; use an empty folder."
        )
    state: dict[str, Any] = content[STATE_KEY]
    return state

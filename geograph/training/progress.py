"""Progress of a training: one line for each epoch, and a moving bar on a terminal."""

from __future__ import annotations

import time
from typing import Any, Protocol, runtime_checkable

import lightning
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@runtime_checkable
class HasLength(Protocol):
    """Anything that knows its number of batches."""

    length: int


class ProgressLines(Callback):
    """One line for each epoch; a moving bar besides on a terminal, and a line each `every_s` elsewhere.

    Parameters
    ----------
    max_epochs
        For the time left.
    loader
        Whose `length` is the number of batches.
    every_s
        Seconds between lines within a long epoch when there is no terminal.
    console
        Where to write; the standard output by default.
    """

    def __init__(
        self,
        max_epochs: int,
        loader: HasLength,
        every_s: float = 60.0,
        console: Console | None = None,
    ) -> None:
        self.max_epochs, self.loader, self.every_s = max_epochs, loader, every_s
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._bar: Progress | None = None
        self._began = self._last = time.monotonic()
        self._epochs_done = 0

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Begin an epoch's bar."""
        if self._epochs_done == 0:
            self._began = time.monotonic()
        self._last = time.monotonic()
        if self.console.is_terminal and self._bar is None:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=self.console, transient=True)
            self._bar.start()
        if self._bar is not None:
            for task in self._bar.task_ids:
                self._bar.remove_task(task)
            label = f"epoch {trainer.current_epoch + 1}/{self.max_epochs}"
            self._bar.add_task(label, total=self.loader.length)

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Advance the bar, or write a line after a long silence."""
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0])
        elif time.monotonic() - self._last > self.every_s:
            self._last = time.monotonic()
            self.console.print(
                f"epoch {trainer.current_epoch + 1}/{self.max_epochs}  batch {batch_idx + 1}/"
                f"{self.loader.length}  train/loss {float(outputs['loss']):.5g}"
            )

    def epoch_line(self, row: dict[str, float], monitor: str) -> None:
        """Write the line of an epoch: loss, monitored value, further metrics, time, time left."""
        self._epochs_done += 1
        spent = (time.monotonic() - self._began) / self._epochs_done
        left = max(0.0, spent * (self.max_epochs - row["epoch"] - 1))
        first = [name for name in ("train/loss", monitor) if name in row]
        others = [name for name in row if name.startswith("val/") and name not in first][:3]
        values = "  ".join(f"{name} {row[name]:.5g}" for name in (*first, *others))
        minutes, seconds = divmod(round(left), 60)
        self.console.print(
            f"epoch {int(row['epoch']) + 1}/{self.max_epochs}  {values}  {row['epoch_s']:.1f} s  "
            f"left {minutes}:{seconds:02d}"
        )

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

"""The one place that builds a Lightning Trainer."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from torch_geometric.data import Data

from geograph import models
from geograph.errors import ConfigError
from geograph.tasks import Task
from geograph.training.callbacks import AdaptiveClip, FiniteGuard, Limits, WeightAverage
from geograph.training.checkpoint import read_plain
from geograph.training.loaders import EpochLoader, Loader
from geograph.training.optimizers import build_optimizer, complete_settings
from geograph.training.progress import ProgressLines
from geograph.training.provenance import flatten
from geograph.training.recorder import (
    Recorder,
    RunDescription,
    changed_keys,
    check_identity,
    last_state,
)
from geograph.training.tracking import Tracker

PRECISIONS = {"32": "32-true", "64": "64-true", "bf16": "bf16-mixed", "16": "16-mixed"}
RESUMES = ("auto", "matching", "never")


@dataclass(frozen=True)
class FitResult:
    """What a training leaves behind.

    Attributes
    ----------
    best, final, last
        Checkpoint of the best epoch and of the end (`load_checkpoint` reads both), and the state to resume.
    history
        One row for each epoch.
    train_s
        Seconds, over all parts of the training.
    epochs
        Number of epochs that were begun.
    stopped_by
        `max_epochs`, `max_steps`, `max_minutes` or `early_stopping`.
    """

    best: Path
    final: Path
    last: Path
    history: list[dict[str, float]]
    train_s: float
    epochs: int
    stopped_by: str


def check_precision(task: Task, precision: str, naive_amp: bool) -> str:
    """Return Lightning's name of a precision.

    Raises
    ------
    ConfigError
        If the name is unknown, or the model does not stand reduced precision and `naive_amp` is not set.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"`precision` must be one of {', '.join(PRECISIONS)}, got {precision!r}.")
    name = task.settings["model"]
    if precision in ("bf16", "16") and not models.MODELS[name].allows_amp and not naive_amp:
        raise ConfigError(
            f"`precision` must be '32' or '64' for the model {name}, whose Lorentz or Clifford products lose "
            f"their accuracy in {precision}; set `naive_amp=True` to train so all the same."
        )
    return PRECISIONS[precision]


def describe_run(
    task: Task, config: Mapping[str, Any] | None, data: Mapping[str, Any] | None, **fit_settings: Any
) -> RunDescription:
    """Collect what determines the weights, so that another run can be told apart key by key."""
    settings = {**task.settings, "optimizer": complete_settings(task.settings["optimizer"])}
    if settings["optimizer"]["schedule"] == "constant":
        # Such a training may be prolonged: its steps do not depend on how many will follow.
        fit_settings = {key: value for key, value in fit_settings.items() if not key.startswith("max_")}
    parts = {
        "task": {"kind": task.kind, **settings},
        "fit": fit_settings,
        "config": dict(config or {}),
        "data": dict(data or {}),
    }
    identity = {key: json.dumps(value, sort_keys=True, default=str) for key, value in flatten(parts).items()}
    return RunDescription(identity=identity, config=dict(config or {}), data=dict(data or {}))


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's informational lines away; warnings stay."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _resume_from(folder: Path, run: RunDescription, resume: str, max_epochs: int) -> tuple[Path | None, str]:
    """Return the state to go on from, if any, and why the training there has ended, if it has."""
    path = folder / "last.ckpt"
    state = None if resume == "never" else last_state(folder)
    if state is not None and resume == "matching" and changed_keys(state["identity"], run.identity):
        state = None
    if state is None:
        for name in ("last.ckpt", "best.pt", "final.pt"):
            (folder / name).unlink(missing_ok=True)
        return None, ""
    check_identity(path, state["identity"], run.identity)
    prolonged = state["finished"] == "max_epochs" and len(state["history"]) < max_epochs
    return path, "" if prolonged else state["finished"]


def fit(
    task: Task,
    train_loader: Loader | Iterable[Data],
    val_loader: Loader | Iterable[Data] | None,
    *,
    out_dir: str | Path,
    max_epochs: int,
    max_steps: int | None = None,
    max_minutes: float | None = None,
    seed: int = 0,
    gradient_clip: float | str | None = None,
    ema_decay: float | None = None,
    early_stopping_patience: int | None = None,
    precision: str = "32",
    naive_amp: bool = False,
    monitor: str = "val/loss",
    mode: str = "min",
    tracker: Tracker | None = None,
    resume: str = "auto",
    accelerator: str = "auto",
    num_threads: int | None = None,
    val_every: int = 1,
    checkpoint_minutes: float = 5.0,
    config: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
) -> FitResult:
    """Train a task; afterwards it holds the weights of the best epoch, in evaluation mode.

    `last.ckpt` is written at the end of every epoch, and within long ones every few minutes. A training that
    is killed at any moment and called again in the same folder goes on there, and on a CPU ends with the same
    bits as one that was not interrupted (with the same number of threads).

    Parameters
    ----------
    task
        Built by the caller, who also seeds the initial weights.
    train_loader, val_loader
        Iterables of batches with a length; `set_epoch(epoch)` is called before each pass where it is there,
        and the order may depend on nothing else. Without `val_loader` the training loss is monitored.
    out_dir
        Folder of `best.pt`, `final.pt` and `last.ckpt`.
    max_epochs, max_steps, max_minutes
        Whichever comes first ends the training; the schedule stretches over the first two.
    seed
        Of everything that is drawn during the training.
    gradient_clip
        Largest norm of the gradient, or `adaptive` (see `AdaptiveClip`); None does not clip.
    ema_decay
        Averages the weights (see `WeightAverage`); evaluation and `best.pt` then use the average.
    early_stopping_patience
        Validations without improvement of `monitor` that end the training.
    precision
        `32`, `64`, `bf16` or `16` (mixed); the latter two need a model that allows them, or `naive_amp`.
    tracker
        Takes the row of each epoch.
    resume
        `auto` goes on from `last.ckpt` and refuses one of another configuration, `matching` starts anew in
        that case, `never` starts anew always.
    num_threads
        Of torch; None leaves it.
    val_every
        Epochs between validations.
    checkpoint_minutes
        Time between two states in `last.ckpt` within an epoch; it does not change the result.
    config, data
        Configuration of the run and description of its data (with digests): they go into the checkpoints
        and tell this run from others when it resumes.

    Raises
    ------
    ConfigError
        If a parameter is out of range.
    CheckpointError
        If `last.ckpt` is unreadable or of another configuration.
    DivergenceError
        If a loss or a gradient is not finite.
    """
    _check(max_epochs, val_every, mode, resume, gradient_clip)
    loader = EpochLoader(train_loader, "train_loader")
    validation = None if val_loader is None else EpochLoader(val_loader, "val_loader")
    trainer_precision = check_precision(task, precision, naive_amp)
    folder = Path(out_dir).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    run = describe_run(
        task, config, data, max_epochs=max_epochs, max_steps=max_steps, seed=seed,
        gradient_clip=gradient_clip, ema_decay=ema_decay, early_stopping_patience=early_stopping_patience,
        precision=precision, monitor=monitor, mode=mode, val_every=val_every,
    )  # fmt: skip
    state_path, finished = _resume_from(folder, run, resume, max_epochs)
    if finished:
        return _result(folder, task, finished)
    steps = min(max_epochs * loader.length, max_steps or max_epochs * loader.length)
    task.optimizer_factory = lambda of: build_optimizer(of.parameters(), of.settings["optimizer"], steps)
    average = None if ema_decay is None else WeightAverage(ema_decay)
    recorder = Recorder(
        folder, run, monitor=monitor, mode=mode, max_epochs=max_epochs, patience=early_stopping_patience,
        limits=Limits(max_minutes, max_steps), average=average, progress=ProgressLines(max_epochs, loader),
        tracker=tracker, loader=loader, checkpoint_minutes=checkpoint_minutes,
    )  # fmt: skip
    clips = [AdaptiveClip()] if gradient_clip == "adaptive" else []
    callbacks = [FiniteGuard(checks_gradients=precision != "16"), *clips, *recorder.companions, recorder]
    with _quiet_lightning(), _threads(num_threads), contextlib.closing(recorder.progress):
        lightning.seed_everything(seed, verbose=False)
        trainer = loader.trainer = _trainer(
            default_root_dir=folder, accelerator=accelerator, precision=trainer_precision,
            max_epochs=max_epochs, gradient_clip_val=None if clips else gradient_clip,
            check_val_every_n_epoch=val_every, limit_val_batches=0.0 if validation is None else 1.0,
            callbacks=callbacks,
        )  # fmt: skip
        task.train()
        # Without validation Lightning still asks for a loader, and leaves it alone.
        trainer.fit(task, loader, validation or loader, ckpt_path=state_path, weights_only=True)
    task.optimizer_factory = None
    return _result(folder, task, recorder.finished)


def _trainer(**settings: Any) -> lightning.Trainer:
    """Build a Trainer without all that geograph does itself."""
    return lightning.Trainer(
        devices=1,
        min_epochs=0,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        **settings,
    )


def _check(max_epochs: int, val_every: int, mode: str, resume: str, clip: float | str | None) -> None:
    for name, value in (("max_epochs", max_epochs), ("val_every", val_every)):
        if value < 1:
            raise ConfigError(f"`{name}` must be at least 1, got {value}.")
    if mode not in ("min", "max"):
        raise ConfigError(f"`mode` must be 'min' or 'max', got {mode!r}.")
    if resume not in RESUMES:
        raise ConfigError(f"`resume` must be one of {', '.join(RESUMES)}, got {resume!r}.")
    if clip is not None and clip != "adaptive" and not (isinstance(clip, int | float) and clip > 0):
        raise ConfigError(f"`gradient_clip` must be a positive number or 'adaptive', got {clip!r}.")


@contextlib.contextmanager
def _threads(num_threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _result(folder: Path, task: Task, stopped_by: str) -> FitResult:
    content = read_plain(folder / "best.pt")
    task.load_state_dict(content["ema_weights"] or content["weights"])
    task.eval()
    state = last_state(folder) or {"history": []}
    history = state["history"]
    return FitResult(
        best=folder / "best.pt",
        final=folder / "final.pt",
        last=folder / "last.ckpt",
        history=history,
        train_s=history[-1]["elapsed_s"],
        epochs=len(history),
        stopped_by=stopped_by,
    )

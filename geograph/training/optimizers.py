r"""Optimizers and learning-rate schedules, as pure functions of the step.

A schedule is a factor f(step) on the base learning rate. With warm-up over w steps, f rises linearly as
(step + 1) / w; what follows is stretched over the remaining steps, with progress p in [0, 1]:

    constant          f = 1
    cosine            f = final + (1 - final) (1 + cos(pi p)) / 2
    cosine_restarts   the same with p replaced by the progress within the present one of `cycles` equal cycles
    one_cycle         cosine rise from 1 / div_factor to 1 over `peak_at` of all steps, then cosine fall to
                      final / div_factor (no warm-up besides, momentum unchanged)

References
----------
Loshchilov and Hutter (2017), arXiv:1608.03983, Eq. (5); Smith and Topin (2018), arXiv:1708.07120.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from geograph.errors import ConfigError

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
SCHEDULES = ("constant", "cosine", "cosine_restarts", "one_cycle")
DEFAULTS: dict[str, Any] = {
    "name": "adamw",
    "lr": 1e-3,
    "weight_decay": 0.0,
    "betas": [0.9, 0.999],
    "eps": 1e-8,
    "amsgrad": False,
    "schedule": "cosine",
    "warmup_steps": 0,
    "final_fraction": 0.0,
    "cycles": 1,
    "peak_at": 0.3,
    "div_factor": 25.0,
}
_RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "lr": (lambda value: value > 0, "positive"),
    "weight_decay": (lambda value: value >= 0, "at least 0"),
    "eps": (lambda value: value > 0, "positive"),
    "warmup_steps": (lambda value: value >= 0, "at least 0"),
    "final_fraction": (lambda value: 0 <= value <= 1, "in [0, 1]"),
    "cycles": (lambda value: value >= 1, "at least 1"),
    "peak_at": (lambda value: 0 < value < 1, "in (0, 1)"),
    "div_factor": (lambda value: value >= 1, "at least 1"),
}


def complete_settings(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """Fill in the defaults and check every value.

    Raises
    ------
    ConfigError
        If a key is unknown or a value is out of range; the message has the dotted path.
    """
    given = dict(settings or {})
    unknown = sorted(given.keys() - DEFAULTS.keys())
    if unknown:
        raise ConfigError(f"`optimizer.{unknown[0]}` is not known; there are {', '.join(DEFAULTS)}.")
    complete = DEFAULTS | given
    for key, choices in (("name", tuple(OPTIMIZERS)), ("schedule", SCHEDULES)):
        if complete[key] not in choices:
            raise ConfigError(
                f"`optimizer.{key}` must be one of {', '.join(choices)}, got {complete[key]!r}."
            )
    for key, (accepts, wanted) in _RANGES.items():
        value = complete[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not accepts(value):
            raise ConfigError(f"`optimizer.{key}` must be a number {wanted}, got {value!r}.")
    return complete


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def schedule_factor(settings: Mapping[str, Any] | None, total_steps: int) -> Callable[[int], float]:
    """Return the factor on the learning rate as a function of the step (from 0).

    Parameters
    ----------
    settings
        See `DEFAULTS`.
    total_steps
        Steps of the whole training; later steps keep the final value.

    Raises
    ------
    ConfigError
        If the settings are invalid, or the warm-up is not shorter than the training.
    """
    chosen = complete_settings(settings)
    kind, warmup, final = chosen["schedule"], int(chosen["warmup_steps"]), float(chosen["final_fraction"])
    if kind != "constant" and warmup >= total_steps:
        raise ConfigError(
            f"`optimizer.warmup_steps` must be smaller than the {total_steps} steps of the training, "
            f"got {warmup}."
        )
    if kind == "one_cycle":
        return _one_cycle(total_steps, chosen["peak_at"], chosen["div_factor"], final)
    cycles = int(chosen["cycles"]) if kind == "cosine_restarts" else 1
    length = max(total_steps - warmup, 1)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        if kind == "constant":
            return 1.0
        if step - warmup >= length:
            return final
        within = math.fmod((step - warmup) * cycles / length, 1.0)
        return _cosine(1.0, final, within)

    return factor


def _one_cycle(total_steps: int, peak_at: float, div_factor: float, final: float) -> Callable[[int], float]:
    peak, last = peak_at * total_steps - 1, total_steps - 1

    def factor(step: int) -> float:
        if step <= peak:
            return _cosine(1 / div_factor, 1.0, step / peak)
        return _cosine(1.0, final / div_factor, min(1.0, (step - peak) / (last - peak)))

    return factor


def build_optimizer(
    parameters: Iterable[torch.nn.Parameter], settings: Mapping[str, Any] | None, total_steps: int
) -> dict[str, Any]:
    """Build optimizer and schedule in the form that Lightning expects, the schedule advancing every step.

    Raises
    ------
    ConfigError
        If the settings are invalid.
    """
    chosen = complete_settings(settings)
    optimizer = OPTIMIZERS[chosen["name"]](
        parameters,
        lr=float(chosen["lr"]),
        betas=tuple(chosen["betas"]),
        eps=float(chosen["eps"]),
        weight_decay=float(chosen["weight_decay"]),
        amsgrad=bool(chosen["amsgrad"]),
    )
    scheduler = LambdaLR(optimizer, schedule_factor(chosen, total_steps))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

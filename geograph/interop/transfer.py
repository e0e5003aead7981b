"""Copying of released parameters into our modules by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from geograph.errors import CheckpointError
from geograph.tasks.base import Task


@dataclass(frozen=True)
class Recipe:
    """What a task of ours is made of that takes a released network over.

    Attributes
    ----------
    kind, model, model_params
        Kind of the task, name of its model and the parameters of that.
    weights
        Of the network, under our names.
    notes
        Where our function differs from the released one, for the user to read.
    """

    kind: str
    model: str
    model_params: dict[str, Any]
    weights: Mapping[str, Tensor]
    notes: list[str] = field(default_factory=list)


def renamed(name: str, patterns: Sequence[tuple[str, str]]) -> str:
    """Apply the first pattern (regular expression, replacement) that matches the whole name."""
    for pattern, replacement in patterns:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    return name


def count_blocks(params: Mapping[str, Tensor], pattern: str) -> int:
    """Count the different numbers that the first group of `pattern` takes among the parameter names."""
    return len({match.group(1) for name in params if (match := re.match(pattern, name))})


def required(params: Mapping[str, Tensor], name: str) -> Tensor:
    """Return a released parameter.

    Raises
    ------
    CheckpointError
        If it is missing.
    """
    if name not in params:
        raise CheckpointError(
            f"The released parameter `{name}` is missing; is this a checkpoint of that model?"
        )
    return params[name]


def check_consumed(
    params: Mapping[str, Tensor], module: nn.Module, released_name: Callable[[str], str], model: str
) -> None:
    """Make sure that every released parameter has its place in a module.

    Raises
    ------
    CheckpointError
        If some have none; the message lists them.
    """
    left = sorted(set(params) - {released_name(ours) for ours in module.state_dict()})
    if left:
        raise CheckpointError(
            f"{len(left)} released parameters have no place in {model}: {', '.join(left)}; "
            "do the options match the checkpoint?"
        )


def copy_parameters(
    module: nn.Module, params: Mapping[str, Tensor], released_name: Callable[[str], str]
) -> nn.Module:
    """Copy released parameters and buffers into a module, in the dtype that they have.

    Raises
    ------
    CheckpointError
        If one is missing or has another shape.
    """
    dtype = next(value.dtype for value in params.values() if value.is_floating_point())
    module.to(dtype)
    with torch.no_grad():
        for ours, target in module.state_dict(keep_vars=True).items():
            source = required(params, released_name(ours))
            if source.shape != target.shape:
                raise CheckpointError(
                    f"`{released_name(ours)}` has shape {tuple(source.shape)}, but `{ours}` needs "
                    f"{tuple(target.shape)}; do the options match the checkpoint?"
                )
            target.copy_(source)
    return module


def filled(task: Task, network: nn.Module, weights: Mapping[str, Tensor]) -> Task:
    """Return the task in evaluation mode and in the dtype of the weights, with these in its network."""
    dtype = next(value.dtype for value in weights.values() if value.is_floating_point())
    task = task.to(dtype)
    network.load_state_dict(weights)
    return task.eval()

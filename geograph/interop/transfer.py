"""Copying of released parameters into our modules by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from geograph.errors import CheckpointError


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

"""Parameters of the authors' released models in, our modules that compute the same function out."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from geograph.errors import ConfigError
from geograph.interop.transfer import check_consumed

#: Module of each family; it offers `build(params, **options)` and `released_name(our_name)`, and where a
#: released checkpoint has more than the network also `network_params(params)`, the part that is the
#: network.
FAMILIES: dict[str, str] = {
    "egnn": "geograph.interop.released_egnn",
    "lorentznet": "geograph.interop.released_lorentznet",
    "cgenn-nbody": "geograph.interop.released_cgenn",
    "cgenn-lorentz": "geograph.interop.released_cgenn",
    "edm-dynamics": "geograph.interop.released_edm",
}

#: Prefix that data-parallel training put before each released name.
_PARALLEL_PREFIX = "module."


def family(name: str) -> ModuleType:
    """Return the module that knows a family's names.

    Raises
    ------
    ConfigError
        If there is no such family.
    """
    if name not in FAMILIES:
        raise ConfigError(f"`name` must be one of {', '.join(FAMILIES)}, got {name!r}.")
    return import_module(FAMILIES[name])


def from_released(name: str, params: Mapping[str, np.ndarray | Tensor], **options: Any) -> nn.Module:
    """Build a published network from the parameters of its released implementation.

    Parameters
    ----------
    name
        A key of `FAMILIES`.
    params
        Released parameters and buffers by their released names; the module takes their dtype.
    **options
        Settings that shapes do not show, by the names that the family module gives them.

    Raises
    ------
    ConfigError
        If the family is unknown.
    CheckpointError
        If a parameter is missing, has a wrong shape, or has no place in our module.
    """
    module = family(name)
    tensors = {key.removeprefix(_PARALLEL_PREFIX): _tensor(value) for key, value in params.items()}
    if hasattr(module, "network_params"):
        tensors = module.network_params(tensors)
    model: nn.Module = module.build(tensors, **options)
    check_consumed(tensors, model, module.released_name, name)
    return model


def _tensor(value: np.ndarray | Tensor) -> Tensor:
    return value.detach().clone() if isinstance(value, Tensor) else torch.from_numpy(np.array(value))

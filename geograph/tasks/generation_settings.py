"""What a generation task is built from: statistics of the training part, and checks of its settings."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from geograph.errors import ConfigError
from geograph.models import model_spec

MAX_ATOMIC_NUMBER = 118


def fit_statistics(z: Int[Tensor, " n"], batch: Int[Tensor, " n"]) -> dict[str, Any]:
    """Statistics of the training part for `GenerationTask`, as JSON values.

    Parameters
    ----------
    z
        Atomic numbers of all molecules.
    batch
        Molecule of each atom.

    Returns
    -------
    `atomic_numbers` (sorted) and `size_histogram` (number of atoms, as text, to number of molecules).
    """
    sizes, counts = torch.bincount(batch).unique(return_counts=True)
    histogram = {
        str(size): count for size, count in zip(sizes.tolist(), counts.tolist(), strict=True) if size
    }
    return {"atomic_numbers": z.unique().tolist(), "size_histogram": histogram}


def checked_elements(model: str, statistics: dict[str, Any] | None) -> list[int]:
    """Return the elements that a generator knows.

    Raises
    ------
    ConfigError
        If the model does not predict noise, or the statistics are incomplete.
    """
    output = model_spec(model).output
    if output != "noise":
        raise ConfigError(f"`model` must predict noise for generation, but {model} predicts {output}.")
    missing = {"atomic_numbers", "size_histogram"} - (statistics or {}).keys()
    if statistics is None or missing:
        raise ConfigError(
            f"`statistics` must hold {', '.join(sorted(missing))}; fit them on the training part with "
            "`geograph.tasks.generation.fit_statistics`."
        )
    elements = [int(number) for number in statistics["atomic_numbers"]]
    if (
        not elements
        or len(set(elements)) < len(elements)
        or min(elements) < 1
        or max(elements) > MAX_ATOMIC_NUMBER
    ):
        raise ConfigError(f"`atomic_numbers` must be different numbers from 1 to 118, got {elements}.")
    return elements


def with_inputs(model_params: dict[str, Any], *, num_features: int, num_context: int) -> dict[str, Any]:
    """Fill in the numbers of inputs that the statistics decide.

    Raises
    ------
    ConfigError
        If another number is given.
    """
    inputs = {"num_features": (num_features, "elements, charge")}
    if num_context or "num_context" in model_params:
        inputs["num_context"] = (num_context, "two for each property")
    for name, (number, meaning) in inputs.items():
        given = model_params.get(name, number)
        if given != number:
            raise ConfigError(f"`model_params.{name}` must be {number} ({meaning}), got {given}; omit it.")
    return {**model_params, **{name: number for name, (number, _) in inputs.items()}}

"""What is asked of a generator: size and properties of each molecule; molecules that carry the latter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from geograph.diffusion.condition import PropertyCondition
from geograph.diffusion.molecules import Samples
from geograph.diffusion.sizes import SizeDistribution
from geograph.errors import ConfigError


def choose_conditions(
    condition: PropertyCondition | None,
    distribution: SizeDistribution,
    seeds: Sequence[int],
    sizes: Sequence[int] | None,
    targets: Mapping[str, float | Sequence[float]] | None,
    guidance: float,
) -> tuple[Sequence[int], Float[Tensor, "g p"] | None]:
    """Size and property values (NaN: left open) of each molecule; None for a model without properties.

    Parameters
    ----------
    condition
        Properties of the model; None for one without.
    distribution
        Sizes of the training molecules.
    seeds
        Seed of each molecule.
    sizes, targets, guidance
        As for `GenerationTask.sample`.

    Raises
    ------
    ConfigError
        If there is no property to aim at, or not one size for each molecule.
    """
    if condition is None:
        if targets or guidance:
            raise ConfigError(
                "`targets` and `guidance` need a model that is conditioned on properties; this one is not, "
                "train one with `task.targets`."
            )
        return (distribution.sample(seeds) if sizes is None else sizes), None
    if sizes is not None and len(sizes) != len(seeds):
        raise ConfigError(f"`sizes` must hold {len(seeds)} numbers of atoms, got {len(sizes)}.")
    if targets is None:
        return condition.draw(seeds, sizes)
    if guidance and not targets:
        raise ConfigError("`guidance` needs a property to aim at, got none; name one in `targets`.")
    values = condition.table(targets, len(seeds))
    return (condition.sizes_for(seeds, values) if sizes is None else sizes), values


def labelled(samples: Samples, names: Sequence[str], values: Float[Tensor, "g p"]) -> Samples:
    """Give each molecule the values that it was made for, as properties `target_<name>`; NaN is left out."""
    lost = {failure.index for failure in samples.failures}
    rows = [row for index, row in enumerate(values.tolist()) if index not in lost]
    known = [
        {f"target_{name}": value for name, value in zip(names, row, strict=True) if not math.isnan(value)}
        for row in rows
    ]
    molecules = [
        replace(molecule, properties={**molecule.properties, **properties})
        for molecule, properties in zip(samples.molecules, known, strict=True)
    ]
    return replace(samples, molecules=molecules)

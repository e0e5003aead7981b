r"""Properties that a diffusion model is conditioned on: their encoding, and joint draws with the size.

A property enters the network as two numbers for each molecule, :math:`((y - c) / s, 1)`, with centre c and
scale s of the training part, or (0, 0) where it is not known. The second number lets one network serve with
all, some or none of its properties given.

References
----------
Hoogeboom et al. (2022), arXiv:2203.17003, section 3.3 (the size and the property are drawn jointly from the
data); Ho and Salimans (2022), arXiv:2207.12598 (one network with and without condition, and its guidance).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from geograph.diffusion.process import NoisePredictor
from geograph.diffusion.ragged import RaggedBatch
from geograph.diffusion.sizes import CONDITION_STREAM, random_stream
from geograph.errors import ConfigError

#: A size for given targets is drawn from this share of the training molecules, those nearest to the targets.
_NEAREST_SHARE, _NEAREST_LEAST = 0.01, 32

#: Statistics that describe the properties of the training part.
STATISTICS = ("property_names", "property_center", "property_scale", "property_sizes", "property_values")


def fit_properties(
    names: Sequence[str], values: Float[Tensor, "m p"], sizes: Int[Tensor, " m"]
) -> dict[str, Any]:
    """Statistics of the properties of the training part, as JSON values.

    Centre and scale are the mean and the mean absolute deviation.

    Parameters
    ----------
    names
        Names of the properties, which carry their units.
    values
        Property values of each molecule.
    sizes
        Number of atoms of each molecule.

    Raises
    ------
    ConfigError
        If a value is not finite or a property does not vary.
    """
    if values.shape != (len(sizes), len(names)):
        raise ConfigError(
            f"`values` must have {len(sizes)} rows and one column for each of {', '.join(names)}, got "
            f"{tuple(values.shape)}."
        )
    table = values.double()
    center = table.mean(dim=0)
    scale = (table - center).abs().mean(dim=0)
    for name, column, width in zip(names, table.T, scale.tolist(), strict=True):
        if not bool(torch.isfinite(column).all()):
            raise ConfigError(
                f"property `{name}` must be finite in every training molecule; remove the others."
            )
        if not width > 0:
            raise ConfigError(f"property `{name}` must vary in the training part to be a condition.")
    rows = values.float().tolist()
    contents = (list(names), center.tolist(), scale.tolist(), sizes.tolist(), rows)
    return dict(zip(STATISTICS, contents, strict=True))


@dataclass(frozen=True)
class PropertyCondition:
    """Encodes property values, and draws them together with sizes from the training part.

    Attributes
    ----------
    names
        Names of the properties.
    center, scale
        What is subtracted from each, and what the difference is divided by.
    sizes, values
        Number of atoms and properties of each training molecule.
    """

    names: tuple[str, ...]
    center: Float[Tensor, " p"]
    scale: Float[Tensor, " p"]
    sizes: Int[np.ndarray, " m"]
    values: Float[np.ndarray, "m p"]

    @classmethod
    def from_statistics(cls, statistics: Mapping[str, Any]) -> PropertyCondition | None:
        """Read what `fit_properties` has measured; None where there are no properties.

        Raises
        ------
        ConfigError
            If some of it is missing.
        """
        missing = [name for name in STATISTICS if name not in statistics]
        if len(missing) == len(STATISTICS):
            return None
        if missing:
            raise ConfigError(f"`statistics` must hold {', '.join(missing)} beside {STATISTICS[0]}.")
        names, center, scale, sizes, values = (statistics[name] for name in STATISTICS)
        return cls(
            tuple(names),
            torch.tensor(center, dtype=torch.float64),
            torch.tensor(scale, dtype=torch.float64),
            np.asarray(sizes, dtype=np.int64),
            np.asarray(values, dtype=np.float64).reshape(len(sizes), len(names)),
        )

    @property
    def width(self) -> int:
        """Columns of the context: two for each property."""
        return 2 * len(self.names)

    def encode(self, values: Float[Tensor, "g p"]) -> Float[Tensor, "g c"]:
        """Context of molecules; NaN stands for a property that is not known."""
        is_known = ~values.isnan()
        normalised = (values - self.center.to(values)) / self.scale.to(values)
        return torch.cat([torch.where(is_known, normalised, 0.0), is_known.to(values.dtype)], dim=1)

    def hide(self, context: Float[Tensor, "g c"], probability: float) -> Float[Tensor, "g c"]:
        """Make properties unknown at random, from torch's global generator.

        All of a molecule's with the given probability; of the other molecules each one with the same
        probability, where there are several.
        """
        count, device = len(self.names), context.device
        is_shown = (torch.rand(len(context), 1, device=device) >= probability).expand(-1, count)
        if count > 1:
            is_shown = is_shown & (torch.rand(len(context), count, device=device) >= probability)
        return context * is_shown.repeat(1, 2)

    def table(self, targets: Mapping[str, float | Sequence[float]], num: int) -> Float[Tensor, "{num} p"]:
        """Values for `num` molecules, NaN for properties without a target.

        Raises
        ------
        ConfigError
            If a property is unknown, not finite, or there is not one value, or one for each molecule.
        """
        values = torch.full((num, len(self.names)), torch.nan, dtype=torch.float64)
        for name, given in targets.items():
            if name not in self.names:
                raise ConfigError(
                    f"`targets` names {name!r}, but the model is conditioned on {', '.join(self.names)}."
                )
            column = torch.as_tensor(given, dtype=torch.float64)
            if column.ndim > 1 or (column.ndim == 1 and len(column) != num):
                raise ConfigError(f"`targets.{name}` must be one number, or {num}, got {list(column.shape)}.")
            if not bool(torch.isfinite(column).all()):
                raise ConfigError(f"`targets.{name}` must be finite, got {given}.")
            values[:, self.names.index(name)] = column
        return values

    def draw(
        self, seeds: Sequence[int], sizes: Sequence[int] | None = None
    ) -> tuple[list[int], Float[Tensor, "g p"]]:
        """Sizes and property values of one training molecule for each seed.

        With sizes given, from the training molecules of that size (of the nearest size that occurs).
        """
        pools = [np.arange(len(self.sizes))] * len(seeds) if sizes is None else self._of_sizes(sizes)
        rows = _choose(seeds, pools)
        chosen = self.sizes[rows].tolist() if sizes is None else list(sizes)
        return chosen, torch.from_numpy(self.values[rows])

    def sizes_for(self, seeds: Sequence[int], values: Float[Tensor, "g p"]) -> list[int]:
        """Size for each seed, from the training molecules whose properties are nearest to the given ones.

        Properties that are NaN do not count; with none given all molecules are equally near.
        """
        least = min(len(self.sizes), max(_NEAREST_LEAST, int(_NEAREST_SHARE * len(self.sizes))))
        scaled = torch.from_numpy(self.values) / self.scale
        unique, inverse = torch.unique(
            (values / self.scale).nan_to_num(torch.inf), dim=0, return_inverse=True
        )
        pools = []
        for target in unique:  # one search for each different target
            counts = target.isfinite()
            gap = (scaled[:, counts] - target[counts]).square().sum(dim=1)
            pools.append(gap.argsort(stable=True)[:least].numpy() if counts.any() else np.arange(len(gap)))
        return self.sizes[_choose(seeds, [pools[index] for index in inverse.tolist()])].tolist()

    def _of_sizes(self, sizes: Sequence[int]) -> list[np.ndarray]:
        known = np.unique(self.sizes)
        pools = {
            size: np.flatnonzero(self.sizes == known[np.abs(known - size).argmin()]) for size in set(sizes)
        }
        return [pools[size] for size in sizes]


def _choose(seeds: Sequence[int], pools: Sequence[np.ndarray]) -> np.ndarray:
    draws = (random_stream(seed, CONDITION_STREAM) for seed in seeds)
    rows = [pool[draw.integers(len(pool))] for draw, pool in zip(draws, pools, strict=True)]
    return np.array(rows, dtype=np.int64)


def guided(predict: NoisePredictor, weight: float) -> NoisePredictor:
    r"""Guide a predictor by its own unconditional prediction.

    .. math:: \epsilon = (1 + w)\, \epsilon(x_t, c) - w\, \epsilon(x_t)

    Parameters
    ----------
    predict
        Predictor that takes a layout without context as "nothing is known".
    weight
        Scale w; 0 is the conditional model itself, -1 the unconditional one.

    References
    ----------
    Ho and Salimans (2022), arXiv:2207.12598, Eq. (6).
    """
    if weight == 0:
        return predict

    def guided_predict(state: Tensor, time: Tensor, graph: RaggedBatch) -> Tensor:
        conditional = predict(state, time, graph)
        return conditional + weight * (conditional - predict(state, time, graph.without_context()))

    return guided_predict

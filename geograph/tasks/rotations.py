"""Rotations of the functions on spheres, for augmentation and for protocols that test rotated data.

Each record has its own rotations, and they depend on nothing but its number and a seed: neither on the batch
that it is in nor on the order of the data.
"""

from __future__ import annotations

import copy
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch_geometric.data import Data

from geograph.algebra.wigner import rotate
from geograph.errors import ConfigError, DataError

GROUPS = ("z", "so3")
_STEP = 0x9E3779B97F4A7C15
#: What is left of 64 bits after a shift to the right by 30, 27 and 31.
_MASK_30, _MASK_27, _MASK_31 = (1 << 34) - 1, (1 << 37) - 1, (1 << 33) - 1


def _signed(value: int) -> int:
    """Return the 64-bit number with the same bits, as PyTorch's signed type holds it."""
    value %= 1 << 64
    return value - (1 << 64) if value >= 1 << 63 else value


def _mixed(value: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """Scramble 64-bit numbers by the finaliser of SplitMix64 (Steele et al., OOPSLA 2014)."""
    value = (value ^ ((value >> 30) & _MASK_30)) * _signed(0xBF58476D1CE4E5B9)
    value = (value ^ ((value >> 27) & _MASK_27)) * _signed(0x94D049BB133111EB)
    return value ^ ((value >> 31) & _MASK_31)


def _uniform(
    record: Int[Tensor, " n"], number: Int[Tensor, " n"], seed: int, count: int
) -> Float[Tensor, "n count"]:
    """Draw numbers in [0, 1) that belong to a record, a copy of it and a seed."""
    state = _mixed(record + _signed(_STEP * (seed + 1)))
    state = _mixed(state + _signed(_STEP) * (number + 1))
    state = state[:, None] + _signed(_STEP) * torch.arange(1, count + 1, device=state.device)
    return ((_mixed(state) >> 11) & ((1 << 53) - 1)).double() / float(1 << 53)


def rotation_matrices(uniform: Float[Tensor, "n 3"], group: str) -> Float[Tensor, "n 3 3"]:
    """Rotations, uniform in the group, from uniform numbers.

    Parameters
    ----------
    uniform
        Three numbers in [0, 1) for each; `z` uses the first.
    group
        `z` (about the axis) or `so3`.

    References
    ----------
    Shoemake (1992), Graphics Gems III, "Uniform random rotations" (quaternions from three uniform numbers).
    """
    angle = 2 * math.pi * uniform
    if group == "z":
        cosine, sine = angle[:, 0].cos(), angle[:, 0].sin()
        zero, one = torch.zeros_like(cosine), torch.ones_like(cosine)
        return torch.stack([cosine, -sine, zero, sine, cosine, zero, zero, zero, one], dim=1).view(-1, 3, 3)
    short, long = (1 - uniform[:, 0]).sqrt(), uniform[:, 0].sqrt()
    x, y = short * angle[:, 1].sin(), short * angle[:, 1].cos()
    z, w = long * angle[:, 2].sin(), long * angle[:, 2].cos()
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=1).view(-1, 3, 3)


class RandomRotations:
    """Rotates the functions on the spheres of each graph, all spheres of a graph alike.

    Parameters
    ----------
    group
        `z`: about the polar axis; `so3`: all rotations.
    copies
        Every record has so many rotations, and each call takes one of them by chance: training on a data set
        that holds so many rotated copies of each record. None stands for a new rotation at each call.
    seed
        Of the rotations of the records. What is drawn by chance comes from PyTorch's generator.

    Raises
    ------
    ConfigError
        If the group is unknown or there are no copies.
    """

    def __init__(self, group: str, copies: int | None = None, seed: int = 0) -> None:
        if group not in GROUPS:
            raise ConfigError(f"`group` must be one of {', '.join(GROUPS)}, got {group!r}.")
        if copies is not None and copies < 1:
            raise ConfigError(f"`copies` must be at least 1, got {copies}.")
        self.group, self.copies, self.seed = group, copies, seed

    def matrices(self, record_index: Int[Tensor, " graphs"]) -> Float[Tensor, "graphs 3 3"]:
        """Rotation of each record, float64."""
        if self.copies is None:
            drawn = torch.rand(len(record_index), 3, dtype=torch.float64).to(record_index.device)
            return rotation_matrices(drawn, self.group)
        number = torch.zeros_like(record_index)
        if self.copies > 1:
            number = torch.randint(self.copies, record_index.shape).to(record_index.device)
        return rotation_matrices(_uniform(record_index, number, self.seed, 3), self.group)

    def __call__(self, batch: Data) -> Data:
        """Return the batch with rotated functions; the given one stays as it is.

        Raises
        ------
        DataError
            If the batch holds no functions on spheres.
        """
        if "harmonic" not in batch:
            raise DataError(
                "`rotations` act on functions on spheres, and this data set has none",
                remedy="use a data set under `projections`, or leave `rotations` out",
            )
        result = copy.copy(batch)
        matrices = self.matrices(batch.record_index).index_select(0, batch.batch)
        result.harmonic = rotate(batch.harmonic, matrices.to(batch.harmonic.dtype))
        return result

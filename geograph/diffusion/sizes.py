"""How many atoms a molecule has: the training histogram as a prior and as a source of samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from geograph.errors import ConfigError

#: Branches of a molecule's seed; see `random_stream`.
SIZE_STREAM, NOISE_STREAM, EVALUATION_STREAM, CONDITION_STREAM = 0, 1, 2, 3


def molecule_seeds(seed: int, num: int, first: int = 0) -> list[int]:
    """Seeds of molecules `first` to `first + num - 1` of a run: the k-th depends on `seed` and k alone.

    Raises
    ------
    ConfigError
        If a value is negative.
    """
    if seed < 0 or num < 0 or first < 0:
        raise ConfigError(f"`seed`, `num` and `first` must not be negative, got {seed}, {num}, {first}.")
    words = (np.random.SeedSequence((seed, index)).generate_state(2) for index in range(first, first + num))
    return [int(low) | (int(high) << 32) for low, high in words]


def random_stream(seed: int, branch: int) -> np.random.Generator:
    """Random generator of one molecule for one purpose.

    NumPy's seeds have 128 bits; torch's CPU generator keeps only 32 of its seed, so that two of a hundred
    thousand molecules would probably be the same.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(branch,)))


@dataclass(frozen=True)
class SizeDistribution:
    """Distribution of the number of atoms.

    Attributes
    ----------
    counts
        Number of molecules of each size.

    Raises
    ------
    ConfigError
        If the histogram is empty or has a size below 1 or a count that is not positive.
    """

    counts: Mapping[int, int]

    def __post_init__(self) -> None:
        """Check and sort."""
        counts = self.counts
        if not counts or min(counts) < 1 or min(counts.values()) < 1:
            raise ConfigError(
                "`size_histogram` must map numbers of atoms >= 1 to counts >= 1, got "
                f"{dict(counts)!r}; it is made from the training part."
            )
        object.__setattr__(self, "counts", dict(sorted(counts.items())))

    @classmethod
    def from_histogram(cls, histogram: Mapping[str, int]) -> SizeDistribution:
        """Make the distribution from a histogram whose keys are text, as in JSON."""
        return cls({int(size): count for size, count in histogram.items()})

    def sample(self, seeds: Sequence[int]) -> list[int]:
        """Size for each seed; a size depends on its own seed alone."""
        edges = np.cumsum(list(self.counts.values()))
        sizes = list(self.counts)
        draws = [random_stream(seed, SIZE_STREAM).integers(edges[-1]) for seed in seeds]
        return [sizes[index] for index in np.searchsorted(edges, draws, side="right")]

    def is_known(self, sizes: Int[Tensor, " g"]) -> Int[Tensor, " g"]:
        """1 where a size occurs in the histogram, else 0."""
        return torch.isin(sizes, torch.tensor(list(self.counts), device=sizes.device)).to(torch.int64)

    def log_prob(self, sizes: Int[Tensor, " g"]) -> Float[Tensor, " g"]:
        """Log probability of each size, float64; a size that was never seen counts as if seen once."""
        table = torch.full((max(*self.counts, int(sizes.max())) + 1,), 1.0, dtype=torch.float64)
        table[list(self.counts)] = torch.tensor(list(self.counts.values()), dtype=torch.float64)
        return (table.log() - math.log(sum(self.counts.values()))).to(sizes.device)[sizes]

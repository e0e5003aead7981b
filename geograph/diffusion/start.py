"""Chains that begin with given molecules, noised part of the way, in place of pure noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geograph.diffusion.constraints import check_elements, type_numbers
from geograph.diffusion.process import DiffusionProcess
from geograph.diffusion.ragged import RaggedBatch
from geograph.errors import ConfigError
from geograph.records import Molecule


@dataclass(frozen=True)
class PartialNoise:
    """Encoded molecules, and the integer time that they are noised to before the chain begins."""

    state: Float[Tensor, "n f"]
    time: int


@dataclass(frozen=True)
class Start:
    """Molecules to begin with.

    Attributes
    ----------
    molecules
        One for all samples, or one for each.
    noise_level
        Diffusion time in (0, 1] that they are noised to: little stays near them, 1 forgets them.

    Raises
    ------
    ConfigError
        If there is no molecule, or the noise level is out of range.
    """

    molecules: Sequence[Molecule]
    noise_level: float

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.molecules:
            raise ConfigError("`start` must have at least one molecule, got none.")
        if not 0.0 < self.noise_level <= 1.0:
            raise ConfigError(
                f"`noise_level` must be above 0 and at most 1, got {self.noise_level}; 1 is pure noise."
            )

    def check(self, sizes: Sequence[int], atomic_numbers: Sequence[int]) -> None:
        """Check that the molecules fit the request and the model.

        Raises
        ------
        ConfigError
            If their number or their sizes differ from the request, or the model does not know an element.
        """
        if len(self.molecules) not in (1, len(sizes)):
            raise ConfigError(
                f"`start` must have 1 molecule or one for each of {len(sizes)} samples, got "
                f"{len(self.molecules)}."
            )
        check_elements(
            "start", [z for molecule in self.molecules for z in molecule.z.tolist()], atomic_numbers
        )
        for index, size in enumerate(sizes):
            if len(self.of(index).z) != size:
                raise ConfigError(
                    f"`sizes` asks for {size} atoms in molecule {index}, but `start` has "
                    f"{len(self.of(index).z)}; omit the sizes."
                )

    def of(self, index: int) -> Molecule:
        """Molecule that sample `index` begins with."""
        return self.molecules[0 if len(self.molecules) == 1 else index]

    def time(self, process: DiffusionProcess) -> int:
        """Integer time at which the chains begin, at least 1."""
        return max(1, round(self.noise_level * process.num_steps))

    def encoded(
        self, process: DiffusionProcess, indices: Sequence[int], atomic_numbers: Sequence[int]
    ) -> PartialNoise:
        """Encode the molecules of a batch, in float64 on the CPU."""
        molecules = [self.of(index) for index in indices]
        graph = RaggedBatch.from_sizes([len(molecule.z) for molecule in molecules])
        z = np.concatenate([molecule.z for molecule in molecules]).astype(np.int64)
        pos = np.concatenate([molecule.pos for molecule in molecules]).astype(np.float64)
        types = type_numbers(z.tolist(), atomic_numbers)
        state = process.encode(torch.from_numpy(pos), types, torch.from_numpy(z), graph)
        return PartialNoise(state, self.time(process))

    def place(self, index: int, pos: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Move sample `index` [angstrom], whose centre is the origin, to where its first molecule was."""
        return pos + self.of(index).pos.mean(axis=0)

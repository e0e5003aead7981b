r"""What is given of a molecule before it is sampled: a fragment, a composition.

Positions live in the subspace of zero centre of mass of the whole molecule. Split those of the given atoms
into their centroid and the positions about it: noise that is isotropic in the subspace is isotropic and
independent in the two parts. What is given is the inner part alone (the shape of the fragment, and its
orientation, which equivariance leaves free); where its centroid lies relative to the other atoms is for the
model to say. So at every time t the inner part of the given atoms is replaced by a draw of
:math:`\alpha_t p + \sigma_t \epsilon` about the centroid that they have. That moves no centre of mass.

Going back towards noise and down again several times lets the rest adapt to what is given (resampling).

References
----------
Lugmayr et al. (2022), arXiv:2201.09865, algorithm 1, for pictures. Centre of mass in conditional molecules:
Igashov et al. (2022), arXiv:2210.05274; Schneuing et al. (2022), arXiv:2210.13695.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from geograph.diffusion.process import DiffusionProcess
from geograph.diffusion.ragged import RaggedBatch
from geograph.errors import ConfigError
from geograph.records import Molecule


@dataclass(frozen=True)
class KnownPart:
    """What is given of a batch of molecules, encoded.

    Attributes
    ----------
    state
        Scaled values without noise, float64; only the marked ones count.
    has_position, has_features
        Atoms whose positions relative to each other, and whose element, are given.
    resamplings, jump_length
        As in `Constraints`.
    """

    state: Float[Tensor, "n f"]
    has_position: Bool[Tensor, " n"]
    has_features: Bool[Tensor, " n"]
    resamplings: int = 1
    jump_length: int = 1

    def put(
        self, state: Float[Tensor, "n f"], known: Float[Tensor, "n f"], graph: RaggedBatch
    ) -> Float[Tensor, "n f"]:
        """Replace the marked values of a state; the given atoms of a molecule keep their centroid."""
        moved = known[:, :3] + self.centroid(state[:, :3] - known[:, :3], graph)[graph.batch]
        pos = torch.where(self.has_position[:, None], moved, state[:, :3])
        features = torch.where(self.has_features[:, None], known[:, 3:], state[:, 3:])
        return torch.cat([pos, features], dim=1)

    def centroid(self, pos: Float[Tensor, "n 3"], graph: RaggedBatch) -> Float[Tensor, "g 3"]:
        """Mean over the atoms of each molecule whose positions are given; zero without any."""
        weight = self.has_position[:, None].to(pos.dtype)
        return graph.sum(weight * pos) / graph.sum(weight).clamp(min=1.0)


@dataclass(frozen=True)
class Constraints:
    """What all sampled molecules must contain.

    Attributes
    ----------
    fragment
        Atoms that come first in every molecule, with their elements and exactly these positions; it may
        consist of several pieces, whose relative pose is kept.
    composition
        Atomic numbers of all atoms; they are ordered by the fragment first. Positions stay free.
    resamplings
        How often each stretch of the chain is run; 1 never goes back, and leaves most fragments alone.
    jump_length
        Steps of a stretch.

    Raises
    ------
    ConfigError
        If nothing is given, a number is out of range, or the composition lacks atoms of the fragment.
    """

    fragment: Molecule | None = None
    composition: Sequence[int] | None = None
    resamplings: int = 10
    jump_length: int = 1

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.fragment is None and self.composition is None:
            raise ConfigError("`constraints` must have a `fragment`, a `composition`, or both, got neither.")
        if self.resamplings < 1:
            raise ConfigError(f"`resamplings` must be at least 1, got {self.resamplings}.")
        if self.jump_length < 1:
            raise ConfigError(f"`jump_length` must be at least 1, got {self.jump_length}.")
        if self.composition is not None and len(self.composition) == 0:
            raise ConfigError("`composition` must name at least one atom, got none.")
        missing = Counter(self._fragment_elements) - Counter(self.composition or self._fragment_elements)
        if missing:
            raise ConfigError(
                "`composition` must contain the atoms of `fragment`, but lacks atomic numbers "
                f"{_list(missing)}; give the composition of the whole molecule."
            )

    @property
    def elements(self) -> list[int]:
        """Atomic numbers of the atoms whose element is given; they come first in every molecule."""
        inside = self._fragment_elements
        rest = Counter(self.composition or inside) - Counter(inside)
        return [*inside, *rest.elements()]

    def check(self, sizes: Sequence[int], atomic_numbers: Sequence[int]) -> None:
        """Check that molecules of these sizes and elements can be made.

        Raises
        ------
        ConfigError
            If an element is unknown to the model, or a size contradicts what is given.
        """
        check_elements("composition" if self.fragment is None else "fragment", self.elements, atomic_numbers)
        num_fixed = len(self._fragment_elements)
        if self.composition is not None and set(sizes) != {len(self.composition)}:
            raise ConfigError(
                f"`sizes` must be the {len(self.composition)} atoms of `composition`, got "
                f"{_list(set(sizes))}; omit one of the two."
            )
        if min(sizes, default=num_fixed) < num_fixed:
            raise ConfigError(
                f"`fragment` has {num_fixed} atoms, more than the {min(sizes)} atoms asked for in `sizes`; "
                "ask for larger molecules or fix fewer atoms."
            )

    def known_part(
        self, process: DiffusionProcess, graph: RaggedBatch, atomic_numbers: Sequence[int]
    ) -> KnownPart:
        """Encode what is given for a batch of molecules."""
        elements = self.elements
        atom = torch.arange(len(graph.batch), device=graph.batch.device) - graph.ptr[graph.batch]
        num_fixed = len(self._fragment_elements)
        table = torch.zeros(len(elements) + 1, process.width, dtype=torch.float64)
        pos = torch.zeros(len(elements), 3, dtype=torch.float64)
        if self.fragment is not None:
            pos[:num_fixed] = torch.from_numpy(np.asarray(self.fragment.pos, dtype=np.float64))
        whole = RaggedBatch.from_sizes([len(elements)])
        table[:-1] = process.encode(
            pos, type_numbers(elements, atomic_numbers), torch.tensor(elements), whole
        )
        state = table.to(atom.device)[atom.clamp(max=len(elements))]
        return KnownPart(state, atom < num_fixed, atom < len(elements), self.resamplings, self.jump_length)

    def place(self, pos: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Move one molecule [angstrom] into the frame of the fragment, whose atoms get its very positions."""
        if self.fragment is None:
            return pos
        placed = self.shift(pos)
        placed[: len(self.fragment.z)] = self.fragment.pos
        return placed

    def shift(self, pos: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Move one molecule [angstrom] so that its given atoms have the centroid of the fragment."""
        if self.fragment is None:
            return pos
        return pos - pos[: len(self.fragment.z)].mean(axis=0) + self.fragment.pos.mean(axis=0)

    @property
    def _fragment_elements(self) -> list[int]:
        return [] if self.fragment is None else self.fragment.z.tolist()


def moves(num_steps: int, resamplings: int = 1, jump_length: int = 1) -> list[tuple[int, int]]:
    """List the moves between the times of a grid, as pairs of its numbers: one down, or a jump back up.

    Raises
    ------
    ConfigError
        If a jump is longer than the chain.
    """
    if jump_length > num_steps:
        raise ConfigError(
            f"`jump_length` must be at most the number of steps {num_steps}, got {jump_length}."
        )
    path: list[tuple[int, int]] = []
    for k in range(1, num_steps + 1):
        path.append((k - 1, k))
        if k % jump_length == 0:
            again = [(k, k - jump_length), *((i, i + 1) for i in range(k - jump_length, k))]
            path += again * (resamplings - 1)
    return path


def check_elements(name: str, elements: Sequence[int], atomic_numbers: Sequence[int]) -> None:
    """Check that a model knows the elements that the option `name` gives.

    Raises
    ------
    ConfigError
        If it does not.
    """
    unknown = set(elements) - set(atomic_numbers)
    if unknown:
        raise ConfigError(
            f"`{name}` has atomic numbers {_list(unknown)}, but the model knows "
            f"{_list(atomic_numbers)} only; use elements of the training data."
        )


def type_numbers(elements: Sequence[int], atomic_numbers: Sequence[int]) -> Tensor:
    """Look up the number of each element in the list of the model's elements."""
    number = {element: index for index, element in enumerate(atomic_numbers)}
    return torch.tensor([number[element] for element in elements], dtype=torch.int64)


def _list(numbers: object) -> str:
    return ", ".join(map(str, sorted(numbers)))  # type: ignore[call-overload]

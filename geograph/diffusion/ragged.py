"""Molecules of different sizes side by side, without padding, and sums over each of them.

Every sum is taken molecule by molecule in the order of its atoms: no result depends on the neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geograph.errors import ConfigError


@dataclass(frozen=True)
class RaggedBatch:
    """Which atoms belong to which molecule.

    Attributes
    ----------
    batch
        Molecule of each atom, sorted.
    ptr
        First atom of each molecule, and the number of atoms at the end.
    context
        Known values of each molecule that a conditional noise predictor reads; None without any.
    """

    batch: Int[Tensor, " n"]
    ptr: Int[Tensor, " num_ptr"]
    context: Float[Tensor, "g c"] | None = None

    @classmethod
    def from_sizes(
        cls,
        sizes: Sequence[int],
        device: torch.device | str = "cpu",
        context: Float[Tensor, "g c"] | None = None,
    ) -> RaggedBatch:
        """Lay out molecules with the given numbers of atoms.

        Raises
        ------
        ConfigError
            If there is no molecule, or one without atoms, or not one row of context for each.
        """
        if not sizes or min(sizes) < 1:
            raise ConfigError(f"`sizes` must be one or more numbers of atoms >= 1, got {list(sizes)}.")
        counts = torch.tensor(list(sizes), dtype=torch.int64, device=device)
        ptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        batch = torch.repeat_interleave(torch.arange(len(counts), device=device), counts)
        if context is not None and len(context) != len(counts):
            raise ConfigError(
                f"`context` must have one row for each of {len(counts)} molecules, got {len(context)}."
            )
        return cls(batch, ptr, None if context is None else context.to(device))

    def without_context(self) -> RaggedBatch:
        """Return the same layout with nothing known of its molecules."""
        other = replace(self, context=None)
        # Edges are expensive enough to be taken along.
        other.__dict__.update({name: value for name, value in self.__dict__.items() if name != "context"})
        return other

    @property
    def num_graphs(self) -> int:
        """Number of molecules."""
        return len(self.ptr) - 1

    @cached_property
    def sizes(self) -> Int[Tensor, " g"]:
        """Number of atoms of each molecule."""
        return self.ptr.diff()

    @cached_property
    def edges(self) -> tuple[Int[Tensor, "2 e"], Int[Tensor, " num_edge_ptr"]]:
        """All ordered pairs i != j of each molecule: `edge_index` sorted by target, and its `edge_ptr`."""
        degree = (self.sizes - 1)[self.batch]
        edge_ptr = torch.cat([degree.new_zeros(1), degree.cumsum(0)])
        node = torch.arange(len(self.batch), device=self.batch.device)
        target = torch.repeat_interleave(node, degree)
        first = self.ptr[self.batch]
        position = torch.arange(len(target), device=target.device) - edge_ptr[target]
        skips_self = position >= (node - first)[target]
        return torch.stack([first[target] + position + skips_self, target]), edge_ptr

    def sum(self, values: Float[Tensor, "n ..."]) -> Float[Tensor, "g ..."]:
        """Sum over the atoms of each molecule."""
        return values.new_zeros(self.num_graphs, *values.shape[1:]).index_add(0, self.batch, values)

    def total(self, values: Float[Tensor, "n f"]) -> Float[Tensor, " g"]:
        """Sum over the atoms and the features of each molecule."""
        return self.sum(values.sum(dim=1))

    def centered(self, values: Float[Tensor, "n f"]) -> Float[Tensor, "n f"]:
        """Subtract each molecule's mean: the projection onto the subspace of zero centre of mass."""
        mean = self.sum(values) / self.sizes[:, None].to(values.dtype)
        return values - mean[self.batch]

    def centered_positions(self, state: Float[Tensor, "n f"]) -> Float[Tensor, "n f"]:
        """Remove the centre of mass of the first three features, and leave the others."""
        return torch.cat([self.centered(state[:, :3]), state[:, 3:]], dim=1)

    def subspace_dim(self) -> Float[Tensor, " g"]:
        """Dimension 3 (M - 1) of the positions with zero centre of mass, float64."""
        return 3.0 * (self.sizes - 1).to(torch.float64)

    def noise(
        self, num_features: int, generator: torch.Generator | None = None, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "n {num_features}"]:
        """Gaussian noise for positions (centred) and features; the global generator where none is given."""
        shape = (len(self.batch), num_features)
        values = torch.randn(shape, generator=generator, dtype=dtype, device=self.batch.device)
        return self.centered_positions(values)

"""Batch fields -> invariant node features, positions and invariant edge attributes for Euclidean networks.

Each encoder offers `num_node_features` and `num_edge_features`; forward(batch) -> (h, pos, edge_attr or
None).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from geograph.errors import ConfigError, DataError
from geograph.kernels import segment_reduce
from geograph.layers.mlp import RadialBasis, signed_log

_NUM_ELEMENTS = 118
#: Below this length (or area) a direction (or logarithm) is not resolved.
_TINY = 1e-12

Inputs = tuple[Tensor, Tensor, Tensor | None]


class MoleculeInputs(nn.Module):
    """One-hot elements; optionally a radial basis of the interatomic distances.

    Parameters
    ----------
    elements
        Atomic numbers that may occur; None for all 118.
    num_rbf
        Number of radial functions on each edge; 0 for none, as published.
    cutoff
        Distance in angstrom where the radial functions have fallen to zero.
    pos_scale
        Positions are divided by it.
    """

    index_of: Tensor

    def __init__(
        self,
        elements: Sequence[int] | None = None,
        num_rbf: int = 0,
        cutoff: float = 5.0,
        pos_scale: float = 1.0,
    ) -> None:
        super().__init__()
        numbers = list(elements) if elements is not None else list(range(1, _NUM_ELEMENTS + 1))
        if (
            not numbers
            or len(set(numbers)) != len(numbers)
            or not all(0 < z <= _NUM_ELEMENTS for z in numbers)
        ):
            raise ConfigError(f"`elements` must be different atomic numbers from 1 to 118, got {numbers}.")
        table = torch.full((_NUM_ELEMENTS + 1,), -1, dtype=torch.int64)
        table[numbers] = torch.arange(len(numbers))
        self.register_buffer("index_of", table, persistent=False)
        self.radial = RadialBasis(num_rbf, cutoff) if num_rbf else None
        self.pos_scale = pos_scale
        self.num_node_features, self.num_edge_features = len(numbers), num_rbf

    def one_hot(self, batch: Data) -> Tensor:
        """One-hot elements of the atoms.

        Raises
        ------
        DataError
            If an element is not among `elements`.
        """
        index = self.index_of[batch.z]
        if bool((index < 0).any()):
            first = int((index < 0).nonzero()[0, 0])
            raise DataError(
                f"atomic number {int(batch.z[first])} is not among the model's `elements`",
                record=int(batch.record_index[batch.batch[first]]),
                remedy="add it to the parameter `elements` and train again",
            )
        return nn.functional.one_hot(index, self.num_node_features)

    def forward(self, batch: Data) -> Inputs:
        """Encode the atoms.

        Raises
        ------
        DataError
            If an element is not among `elements`.
        """
        h = self.one_hot(batch).to(batch.pos.dtype)
        if self.radial is None:
            return h, batch.pos / self.pos_scale, None
        return h, batch.pos / self.pos_scale, self.radial(edge_lengths(batch.pos, batch.edge_index))


class MeshInputs(nn.Module):
    """Logarithm of the area and place about the centroid on nodes; angles of normals and the edge on edges.

    Node features are log(area), |c_i| and n_i . c_i with c_i the position from the mean vertex of the mesh:
    a vertex knows where it stands on the whole shape, beyond the few edges that messages travel. Edge
    attributes are n_i . n_j, n_i . u_ij, n_j . u_ij with u_ij the unit vector from j to i, the distance, and
    optionally a radial basis. Invariant under E(3) because outward normals are polar vectors.
    """

    def __init__(self, num_rbf: int = 0, cutoff: float = 5.0, pos_scale: float = 1.0) -> None:
        super().__init__()
        self.radial = RadialBasis(num_rbf, cutoff) if num_rbf else None
        self.pos_scale = pos_scale
        self.num_node_features, self.num_edge_features = 3, 4 + num_rbf

    def forward(self, batch: Data) -> Inputs:
        """Encode the surface points."""
        source, target = batch.edge_index[0], batch.edge_index[1]
        pos = batch.pos / self.pos_scale
        difference = pos.index_select(0, target) - pos.index_select(0, source)
        distance = torch.linalg.vector_norm(difference, dim=1)
        unit = difference / distance.clamp(min=_TINY)[:, None]
        at_target, at_source = batch.normal.index_select(0, target), batch.normal.index_select(0, source)
        angles = [(at_target * at_source).sum(1), (at_target * unit).sum(1), (at_source * unit).sum(1)]
        columns = torch.stack([*angles, distance], dim=1)
        if self.radial is not None:
            columns = torch.cat([columns, self.radial(distance)], dim=1)
        mean = segment_reduce(pos, batch.ptr, "mean", index=batch.batch)
        place = pos - mean.index_select(0, batch.batch)
        radius = torch.linalg.vector_norm(place, dim=1)
        log_area = batch.area.clamp(min=_TINY).log()
        return torch.stack([log_area, radius, (batch.normal * place).sum(1)], dim=1), pos, columns


class JetInputs(nn.Module):
    """Four-momenta as points of a Euclidean R^4: the symmetry that the physics does not have.

    Parameters
    ----------
    p4_scale
        Momenta are divided by it, in GeV.
    has_norm
        Give each node the compressed Euclidean length of its four-momentum besides its type. It is invariant
        under O(4) but not under translations of momentum space; False makes the network E(4)-invariant.
    """

    num_edge_features = 0

    def __init__(self, p4_scale: float = 1.0, *, has_norm: bool = True) -> None:
        super().__init__()
        self.p4_scale, self.has_norm = p4_scale, has_norm
        self.num_node_features = 3 if has_norm else 2

    def forward(self, batch: Data) -> Inputs:
        """Encode the constituents and beams."""
        p4 = batch.p4 / self.p4_scale
        h = nn.functional.one_hot(batch.is_beam, 2).to(p4.dtype)
        if self.has_norm:
            length = torch.linalg.vector_norm(p4, dim=1, keepdim=True)
            h = torch.cat([h, signed_log(length)], dim=1)
        return h, p4, None


class AtomReferences(nn.Module):
    """Constant of each element, as a column that can be summed over the atoms of a molecule.

    Parameters
    ----------
    references
        Constant for each atomic number; 0 for those not given.
    """

    table: Tensor

    def __init__(self, references: Mapping[int, float]) -> None:
        super().__init__()
        table = torch.zeros(_NUM_ELEMENTS + 1)
        for number, value in references.items():
            if not 0 < int(number) <= _NUM_ELEMENTS:
                raise ConfigError(f"`atom_references` must name atomic numbers from 1 to 118, got {number}.")
            table[int(number)] = float(value)
        self.register_buffer("table", table)

    def forward(self, z: Tensor) -> Tensor:
        """Look up the constants, [N] -> [N, 1]."""
        return self.table[z][:, None]


def edge_lengths(pos: Tensor, edge_index: Tensor) -> Tensor:
    """Distance of the two ends of each edge; zero, with gradient zero, where they coincide."""
    difference = pos.index_select(0, edge_index[1]) - pos.index_select(0, edge_index[0])
    return torch.linalg.vector_norm(difference, dim=1)

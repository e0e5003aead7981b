"""EGNN for graph-level properties and classes of molecules, meshes and jets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data

from geograph.errors import ConfigError
from geograph.kernels import segment_reduce
from geograph.layers.inputs import AtomReferences, JetInputs, MeshInputs, MoleculeInputs
from geograph.layers.readout import GraphReadout
from geograph.models.egnn import EGNN


class EGNNGraph(nn.Module):
    """EGNN that predicts properties or classes of molecules, meshes or jets; invariant.

    Parameters
    ----------
    inputs
        "molecule", "mesh" or "jet": which fields it reads, see `geograph.layers.inputs`.
    num_outputs
        Number of properties or classes.
    num_hidden, num_layers, has_attention
        Published values for molecular properties by default.
    normalize, has_tanh, coords_agg, update_coordinates
        Options of `EGCL`; positions stay fixed by default, as published for properties.
    pooling, is_extensive
        Options of `GraphReadout`.
    num_rbf, cutoff
        Radial functions of the distances on each edge (molecule, mesh); none by default, as published.
    elements, atom_references
        Molecules: atomic numbers that may occur, and a constant for each of them (in the unit of the output)
        that is summed over the atoms of a molecule and added to its first output.
    pos_scale, p4_scale
        Positions and momenta are divided by it: statistics of the training part.
    has_norm
        Jets: see `JetInputs`.

    Notes
    -----
    `num_rbf`, `is_extensive`, `atom_references` and the compressed radial input for jets are ours, not
    published.
    """

    def __init__(
        self,
        inputs: str,
        num_outputs: int = 1,
        num_hidden: int = 128,
        num_layers: int = 7,
        *,
        has_attention: bool = True,
        normalize: bool = False,
        has_tanh: bool = False,
        coords_agg: str = "mean",
        update_coordinates: bool = False,
        pooling: str = "sum",
        is_extensive: bool = False,
        num_rbf: int = 0,
        cutoff: float = 5.0,
        elements: Sequence[int] | None = None,
        atom_references: Mapping[int, float] | None = None,
        pos_scale: float = 1.0,
        p4_scale: float = 1.0,
        has_norm: bool = True,
    ) -> None:
        super().__init__()
        encoder = _encoder(inputs, elements, num_rbf, cutoff, pos_scale, p4_scale, has_norm)
        self.encoder = encoder
        self.network = EGNN(
            encoder.num_node_features,
            num_hidden,
            None,
            num_layers,
            encoder.num_edge_features,
            is_last_feature_only=True,
            has_attention=has_attention,
            normalize=normalize,
            has_tanh=has_tanh,
            coords_agg=coords_agg,
            update_coordinates=update_coordinates,
            is_radial_compressed=inputs == "jet",
        )
        self.readout = GraphReadout(num_hidden, num_outputs, pooling=pooling, is_extensive=is_extensive)
        self.references = None
        if atom_references is not None and inputs == "molecule":
            self.references = AtomReferences(atom_references)

    def forward(self, batch: Data) -> Float[Tensor, "graphs outputs"]:
        """Predict for each graph."""
        h, pos, edge_attr = self.encoder(batch)
        dtype = self.network.embedding_in.weight.dtype
        h, pos = h.to(dtype), pos.to(dtype)
        h, _ = self.network(h, pos, batch.edge_index, batch.edge_ptr, edge_attr)
        out: Tensor = self.readout(h, batch.ptr, batch.batch)
        if self.references is not None:
            total = segment_reduce(self.references(batch.z), batch.ptr, "sum", index=batch.batch)
            out = torch.cat([out[:, :1] + total, out[:, 1:]], dim=1)
        return out


def _encoder(
    inputs: str,
    elements: Sequence[int] | None,
    num_rbf: int,
    cutoff: float,
    pos_scale: float,
    p4_scale: float,
    has_norm: bool,
) -> MoleculeInputs | MeshInputs | JetInputs:
    if min(pos_scale, p4_scale, cutoff) <= 0 or num_rbf < 0:
        raise ConfigError(
            "`pos_scale`, `p4_scale` and `cutoff` must be positive and `num_rbf` not negative, "
            f"got {pos_scale}, {p4_scale}, {cutoff} and {num_rbf}."
        )
    if inputs == "molecule":
        return MoleculeInputs(elements, num_rbf, cutoff, pos_scale)
    if inputs == "mesh":
        return MeshInputs(num_rbf, cutoff, pos_scale)
    if inputs == "jet":
        return JetInputs(p4_scale, has_norm=has_norm)
    raise ConfigError(f"`inputs` must be one of molecule, mesh, jet, got {inputs!r}.")

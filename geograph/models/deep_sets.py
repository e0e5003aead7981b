"""Particle-flow network: a set network on jet constituents, the plain baseline without edges."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch_geometric.data import Data

from geograph.errors import ConfigError
from geograph.kernels import segment_reduce
from geograph.layers.mlp import mlp

#: Smallest transverse momentum and energy (GeV) that the logarithms resolve.
_SMALLEST_GEV = 1e-8


class DeepSets(nn.Module):
    """Sum over constituents of a learned map, then a classifier; invariant under permutations.

    Parameters
    ----------
    num_outputs
        Number of classes.
    num_hidden
        Width of all layers but the sum.
    num_latent
        Length of the summed representation.

    Notes
    -----
    The published network takes pT as a fraction of the jet's, rapidity, azimuth and mass or type; this one
    log pT, pseudorapidity, azimuth and log E: the same four numbers up to a change of variables.

    References
    ----------
    Komiske, Metodiev and Thaler (2019), arXiv:1810.05165, Eq. (1.2) and section 4.
    """

    def __init__(self, num_outputs: int = 2, num_hidden: int = 100, num_latent: int = 256) -> None:
        super().__init__()
        if min(num_outputs, num_hidden, num_latent) < 1:
            raise ConfigError(
                "`num_outputs`, `num_hidden` and `num_latent` must be at least 1, "
                f"got {num_outputs}, {num_hidden} and {num_latent}."
            )
        self.constituent = mlp([4, num_hidden, num_hidden, num_latent], nn.ReLU, is_last_active=True)
        self.classifier = mlp([num_latent, num_hidden, num_hidden, num_hidden, num_outputs], nn.ReLU)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, batch: Data) -> Float[Tensor, "graphs outputs"]:
        """Return the logits of each jet; beam particles are left out."""
        weight = (1 - batch.is_beam).to(batch.p4.dtype)[:, None]
        features = jet_coordinates(batch.p4, weight, batch.ptr, batch.batch)
        dtype = next(self.classifier.parameters()).dtype
        features, weight = features.to(dtype), weight.to(dtype)
        total = segment_reduce(self.constituent(features) * weight, batch.ptr, "sum", index=batch.batch)
        logits: Tensor = self.classifier(total)
        return logits


def jet_coordinates(
    p4: Float[Tensor, "nodes 4"],
    weight: Float[Tensor, "nodes 1"],
    ptr: Int[Tensor, " graphs_plus_one"],
    batch: Int[Tensor, " nodes"],
) -> Float[Tensor, "nodes 4"]:
    """Hadron-collider coordinates (log pT, delta eta, delta phi, log E) about the axis of each jet.

    Invariant under rotations about the beam and, but for log E, under boosts along it. A momentum without
    transverse part gets azimuth 0 and the pseudorapidity of the smallest resolved pT.

    Parameters
    ----------
    p4
        Four-momenta in GeV.
    weight
        0 for rows that do not count towards the axis (beams), else 1.
    ptr, batch
        CSR pointer of the nodes and the graph of each node.
    """
    axis = segment_reduce(p4 * weight, ptr, "sum", index=batch)
    log_pt, eta, phi = _angles(p4)
    _, axis_eta, axis_phi = _angles(axis)
    turn = torch.remainder(phi - axis_phi[batch] + math.pi, 2 * math.pi) - math.pi
    log_energy = p4[:, 0].clamp(min=_SMALLEST_GEV).log()
    return torch.stack([log_pt, eta - axis_eta[batch], turn, log_energy], dim=1)


def _angles(p4: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logarithm of pT, pseudorapidity and azimuth."""
    pt = torch.linalg.vector_norm(p4[:, 1:3], dim=1).clamp(min=_SMALLEST_GEV)
    return pt.log(), torch.asinh(p4[:, 3] / pt), torch.atan2(p4[:, 2], p4[:, 1])

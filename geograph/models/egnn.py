"""EGNN (Satorras et al. 2021): the published network, and its use for dynamics."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch_geometric.data import Data

from geograph.errors import ConfigError
from geograph.layers.egcl import EGCL


class EGNN(nn.Module):
    """E(n)-equivariant graph network: features invariant, positions covariant.

    Parameters
    ----------
    in_features, out_features
        Length of the input and output node features; `out_features=None` leaves out the last linear map.
    num_hidden, num_layers
        Width and depth.
    num_edge_features
        Length of the edge attributes.
    is_last_position_only, is_last_feature_only
        Leave out the update of the last layer that the caller does not read.
    **layer_options
        Options of `EGCL`, the same for all layers.

    References
    ----------
    Satorras et al. (2021), arXiv:2102.09844.
    """

    def __init__(
        self,
        in_features: int,
        num_hidden: int,
        out_features: int | None,
        num_layers: int = 4,
        num_edge_features: int = 0,
        *,
        is_last_position_only: bool = False,
        is_last_feature_only: bool = False,
        **layer_options: Any,
    ) -> None:
        super().__init__()
        if min(in_features, num_hidden, num_layers) < 1:
            raise ConfigError(
                "`in_features`, `num_hidden` and `num_layers` must be at least 1, "
                f"got {in_features}, {num_hidden} and {num_layers}."
            )
        if layer_options.get("coords_agg", "mean") not in ("mean", "sum"):
            raise ConfigError(f"`coords_agg` must be mean or sum, got {layer_options['coords_agg']!r}.")
        self.embedding_in = nn.Linear(in_features, num_hidden)
        options = [dict(layer_options) for _ in range(num_layers)]
        if is_last_position_only:
            options[-1]["update_features"] = False
        if is_last_feature_only:
            options[-1]["update_coordinates"] = False
        self.layers = nn.ModuleList(
            EGCL(num_hidden, num_hidden, num_edge_features, **layer_option) for layer_option in options
        )
        self.embedding_out = None if out_features is None else nn.Linear(num_hidden, out_features)

    def forward(
        self,
        h: Float[Tensor, "nodes in_features"],
        pos: Float[Tensor, "nodes dim"],
        edge_index: Int[Tensor, "2 edges"],
        edge_ptr: Int[Tensor, " nodes_plus_one"],
        edge_attr: Float[Tensor, "edges attributes"] | None = None,
        vel: Float[Tensor, "nodes dim"] | None = None,
    ) -> tuple[Float[Tensor, "nodes out_features"], Float[Tensor, "nodes dim"]]:
        """Return node features and positions."""
        h = self.embedding_in(h)
        for layer in self.layers:
            h, pos = layer(h, pos, edge_index, edge_ptr, edge_attr, vel)
        return (h if self.embedding_out is None else self.embedding_out(h)), pos


class EGNNDynamics(nn.Module):
    """EGNN that predicts later positions of charged particles from positions and velocities; covariant.

    Node input |v|, edge attributes q_i q_j and |x_i - x_j|^2 of the input positions.

    References
    ----------
    Satorras et al. (2021), arXiv:2102.09844, section 5.1 and appendix C.1.
    """

    def __init__(self, num_hidden: int = 64, num_layers: int = 4, *, has_tanh: bool = False) -> None:
        super().__init__()
        self.network = EGNN(
            1,
            num_hidden,
            None,
            num_layers,
            num_edge_features=2,
            is_last_position_only=True,
            has_velocity=True,
            has_tanh=has_tanh,
        )

    def forward(self, batch: Data) -> Float[Tensor, "nodes 3"]:
        """Return the predicted positions."""
        source, target = batch.edge_index[0], batch.edge_index[1]
        speed = torch.linalg.vector_norm(batch.vel, dim=1, keepdim=True)
        difference = batch.pos[target] - batch.pos[source]
        edge_attr = torch.stack(
            [batch.charge[target] * batch.charge[source], difference.square().sum(dim=1)], dim=1
        )
        _, pos = self.network(speed, batch.pos, batch.edge_index, batch.edge_ptr, edge_attr, batch.vel)
        return pos

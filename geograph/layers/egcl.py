"""E(n)-equivariant graph convolution of Satorras et al. (2021), arXiv:2102.09844."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from geograph.kernels import segment_reduce
from geograph.kernels.edge_network import edge_network
from geograph.layers.mlp import PairLinear, edge_network_weights, mlp, signed_log

#: Added to the norm that divides a difference vector, as in the released code.
_NORM_EPSILON = 1e-8


class EGCL(nn.Module):
    """One equivariant graph convolution layer.

    Features are invariant and positions covariant under E(n), for any dimension n of the positions:

    m_ij = phi_e(h_i, h_j, |x_i - x_j|^2, a_ij) [times sigmoid(phi_inf(m_ij))],
    x_i' = x_i + phi_v(h_i) v_i + mean_j (x_i - x_j) phi_x(m_ij),
    h_i' = h_i + phi_h(h_i, sum_j m_ij).

    Parameters
    ----------
    num_features
        Length of the node features, in and out.
    num_hidden
        Width of the four networks.
    num_edge_features
        Length of the edge attributes a_ij.
    has_attention
        Weigh each message by a learned gate, Eq. (8).
    normalize
        Divide x_i - x_j by its (detached) length plus 1e-8.
    has_tanh
        Bound phi_x by a tanh.
    is_residual
        Add h_i to the output of phi_h.
    coords_agg
        "mean" over the neighbours (the released default) or "sum".
    has_velocity
        Read velocities, Eq. (7).
    update_coordinates, update_features
        Leave out an update, and its parameters, where nothing reads its result.
    is_radial_compressed
        Give phi_e sign(r) log(1 + |r|) of the squared distance r, for inputs that span orders of magnitude.

    References
    ----------
    Satorras et al. (2021), arXiv:2102.09844, Eqs. (3)-(8). The paper divides the coordinate sum by M - 1,
    with M nodes of a complete graph; the released code by the number of neighbours, which is the same
    there.
    """

    def __init__(
        self,
        num_features: int,
        num_hidden: int,
        num_edge_features: int = 0,
        *,
        has_attention: bool = False,
        normalize: bool = False,
        has_tanh: bool = False,
        is_residual: bool = True,
        coords_agg: str = "mean",
        has_velocity: bool = False,
        update_coordinates: bool = True,
        update_features: bool = True,
        is_radial_compressed: bool = False,
    ) -> None:
        super().__init__()
        self.normalize, self.is_residual, self.coords_agg = normalize, is_residual, coords_agg
        self.is_radial_compressed = is_radial_compressed
        self.edge_linear = PairLinear(num_features, 1 + num_edge_features, num_hidden)
        self.edge_mlp = nn.Sequential(nn.SiLU(), nn.Linear(num_hidden, num_hidden), nn.SiLU())
        self.attention = nn.Linear(num_hidden, 1) if has_attention else None
        self.node_mlp = (
            mlp([num_features + num_hidden, num_hidden, num_features], nn.SiLU) if update_features else None
        )
        self.coord_mlp = _coordinate_mlp(num_hidden, has_tanh) if update_coordinates else None
        self.velocity_mlp = (
            mlp([num_features, num_hidden, 1], nn.SiLU) if has_velocity and update_coordinates else None
        )

    def forward(
        self,
        h: Float[Tensor, "nodes features"],
        pos: Float[Tensor, "nodes dim"],
        edge_index: Int[Tensor, "2 edges"],
        edge_ptr: Int[Tensor, " nodes_plus_one"],
        edge_attr: Float[Tensor, "edges attributes"] | None = None,
        vel: Float[Tensor, "nodes dim"] | None = None,
    ) -> tuple[Float[Tensor, "nodes features"], Float[Tensor, "nodes dim"]]:
        """Return updated features and positions."""
        target = edge_index[1]
        difference = pos.index_select(0, target) - pos.index_select(0, edge_index[0])
        radial = difference.square().sum(dim=1, keepdim=True)
        total, length = self._edges(h, radial, edge_attr, edge_index, edge_ptr)
        if self.coord_mlp is not None and length is not None:
            if self.normalize:
                difference = difference / (radial.sqrt().detach() + _NORM_EPSILON)
            shift = difference * self.coord_mlp[3:](length)
            update = segment_reduce(shift, edge_ptr, self.coords_agg, index=target)
            if self.velocity_mlp is not None and vel is not None:
                update = update + self.velocity_mlp(h) * vel
            pos = pos + update.to(pos.dtype)
        if self.node_mlp is not None and total is not None:
            out = self.node_mlp(torch.cat([h, total.to(h.dtype)], dim=1))
            h = h + out if self.is_residual else out
        return h, pos

    def _edges(
        self, h: Tensor, radial: Tensor, edge_attr: Tensor | None, edge_index: Tensor, edge_ptr: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return the summed messages, and phi_x before its tanh."""
        scalar = signed_log(radial) if self.is_radial_compressed else radial
        scalars = scalar if edge_attr is None else torch.cat([scalar, edge_attr], dim=1)
        weights = edge_network_weights(self.edge_linear, self.edge_mlp[1], self.attention, self.coord_mlp)
        return edge_network(h, scalars, weights, edge_index, edge_ptr, wants_sum=self.node_mlp is not None)


def _coordinate_mlp(num_hidden: int, has_tanh: bool) -> nn.Sequential:
    last = nn.Linear(num_hidden, 1, bias=False)
    nn.init.xavier_uniform_(last.weight, gain=0.001)
    layers: list[nn.Module] = [nn.Linear(num_hidden, num_hidden), nn.SiLU(), last]
    if has_tanh:
        layers.append(nn.Tanh())
    return nn.Sequential(*layers)

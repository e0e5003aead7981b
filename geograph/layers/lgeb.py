"""Lorentz group equivariant block of Gong et al. (2022), arXiv:2201.08187."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from geograph.algebra.minkowski import minkowski_dot, minkowski_norm2
from geograph.kernels import segment_reduce
from geograph.kernels.edge_network import edge_network
from geograph.layers.mlp import PairLinear, edge_network_weights, signed_log


class RaggedBatchNorm(nn.BatchNorm1d):
    """Batch norm over all rows of a ragged batch (edges or nodes).

    A training batch with fewer than two rows has no variance; it is normalised by the running statistics,
    which it leaves alone.
    """

    def forward(self, input: Float[Tensor, "rows features"]) -> Float[Tensor, "rows features"]:
        """Normalise each feature over the rows."""
        if self.training and input.shape[0] < 2:
            return nn.functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(input)


class LGEB(nn.Module):
    """One Lorentz group equivariant block.

    Features are invariant and four-vectors covariant under O(1, 3):

    m_ij = phi_e(h_i, h_j, psi(|x_i - x_j|^2), psi(<x_i, x_j>)),
    m_ij <- sigmoid(phi_m(m_ij)) m_ij,
    x_i' = x_i + c mean_j clamp((x_i - x_j) phi_x(m_ij)),
    h_i' = h_i + phi_h(h_i, sum_j m_ij, s_i).

    Parameters
    ----------
    num_features
        Length of the node features, in and out.
    num_hidden
        Width of the networks.
    num_scalars
        Length of the input scalars s_i.
    c_weight
        Step c of the four-vector update.
    is_last
        Leave out the four-vector update, whose result nothing would read.
    clamp
        Bound on each component of an update, in GeV. Equivariance holds as long as it does not act.

    Notes
    -----
    The paper writes x_j in the update; the released code, followed here, uses x_i - x_j. The four-vectors may
    be of higher precision than the features: their products cancel large numbers and are cast afterwards.

    References
    ----------
    Gong et al. (2022), arXiv:2201.08187, Eqs. (3.2)-(3.5).
    """

    def __init__(
        self,
        num_features: int,
        num_hidden: int,
        num_scalars: int,
        *,
        c_weight: float = 5e-3,
        is_last: bool = False,
        clamp: float = 100.0,
    ) -> None:
        super().__init__()
        self.c_weight, self.clamp = c_weight, clamp
        self.edge_linear = PairLinear(num_features, 2, num_hidden, has_bias=False)
        self.edge_mlp = nn.Sequential(
            RaggedBatchNorm(num_hidden), nn.ReLU(), nn.Linear(num_hidden, num_hidden), nn.ReLU()
        )
        self.node_mlp = nn.Sequential(
            nn.Linear(num_features + num_hidden + num_scalars, num_hidden),
            RaggedBatchNorm(num_hidden),
            nn.ReLU(),
            nn.Linear(num_hidden, num_features),
        )
        self.gate = nn.Linear(num_hidden, 1)
        self.vector_mlp = None if is_last else _vector_mlp(num_hidden)

    def forward(
        self,
        h: Float[Tensor, "nodes features"],
        x: Float[Tensor, "nodes 4"],
        scalars: Float[Tensor, "nodes scalars"],
        edge_index: Int[Tensor, "2 edges"],
        edge_ptr: Int[Tensor, " nodes_plus_one"],
    ) -> tuple[Float[Tensor, "nodes features"], Float[Tensor, "nodes 4"]]:
        """Return updated features and four-vectors."""
        target = edge_index[1]
        x_target, x_source = x.index_select(0, target), x.index_select(0, edge_index[0])
        difference = x_target - x_source
        products = torch.stack([minkowski_norm2(difference), minkowski_dot(x_target, x_source)], dim=1)
        invariants = signed_log(products).to(h.dtype)
        weights = edge_network_weights(
            self.edge_linear, self.edge_mlp[2], self.gate, self.vector_mlp, self.edge_mlp[0]
        )
        total, length = edge_network(h, invariants, weights, edge_index, edge_ptr, activation="relu")
        assert total is not None
        if length is not None:
            shift = (difference * length.to(x.dtype)).clamp(-self.clamp, self.clamp)
            x = x + self.c_weight * segment_reduce(shift, edge_ptr, "mean", index=target)
        return h + self.node_mlp(torch.cat([h, total, scalars], dim=1)), x


def _vector_mlp(num_hidden: int) -> nn.Sequential:
    last = nn.Linear(num_hidden, 1, bias=False)
    nn.init.xavier_uniform_(last.weight, gain=0.001)
    return nn.Sequential(nn.Linear(num_hidden, num_hidden), nn.ReLU(), last)

r"""Block of the diffusion network: message layers on invariant features, then one move of the positions.

Edges run from source j (row 0) to target i (row 1) and are sorted by target.

References
----------
Hoogeboom et al. (2022), arXiv:2203.17003, section 3.1 and appendix B;
Satorras et al. (2021), arXiv:2102.09844.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from geograph.kernels import segment_reduce
from geograph.kernels.edge_network import edge_network
from geograph.layers.mlp import PairLinear, edge_network_weights

#: Keeps the gradient of the distance finite for coincident atoms.
_DISTANCE_FLOOR = 1e-8
_LAST_GAIN = 1e-3


def squared_distances(
    pos: Float[Tensor, "n 3"], edge_index: Int[Tensor, "2 e"]
) -> tuple[Float[Tensor, "e 3"], Float[Tensor, "e 1"]]:
    """Difference x_i - x_j (target minus source) of each edge, and its squared length."""
    difference = pos.index_select(0, edge_index[1]) - pos.index_select(0, edge_index[0])
    return difference, difference.square().sum(dim=1, keepdim=True)


class PairMLP(nn.Module):
    """Two linear layers with SiLU on [h_i, h_j, e_ij], the parameters of an edge network.

    Parameters
    ----------
    num_node, num_edge
        Widths of the node and edge features.
    hidden
        Width of both layers.
    """

    def __init__(self, num_node: int, num_edge: int, hidden: int) -> None:
        super().__init__()
        self.first = PairLinear(num_node, num_edge, hidden)
        self.second = nn.Linear(hidden, hidden)


class EDMMessageLayer(nn.Module):
    r"""Message passing on invariant features with a residual.

    :math:`h_i \to h_i + \phi_h(h_i, \sum_j a_{ij} m_{ij} / c)`.

    Parameters
    ----------
    hidden
        Width of the features.
    num_edge
        Width of the edge features.
    has_attention
        Whether each message is weighted by the sigmoid of a linear map of itself.
    normalization_factor
        The divisor c of the sum.
    """

    def __init__(
        self, hidden: int, num_edge: int, *, has_attention: bool, normalization_factor: float
    ) -> None:
        super().__init__()
        self.message = PairMLP(hidden, num_edge, hidden)
        self.attention = nn.Linear(hidden, 1) if has_attention else None
        self.update_first = nn.Linear(2 * hidden, hidden)
        self.update_second = nn.Linear(hidden, hidden)
        self.normalization_factor = normalization_factor

    def forward(
        self,
        node: Float[Tensor, "n f"],
        edge: Float[Tensor, "e d"],
        edge_index: Int[Tensor, "2 e"],
        edge_ptr: Int[Tensor, " num_ptr"],
    ) -> Float[Tensor, "n f"]:
        """Update the features of each node."""
        weights = edge_network_weights(self.message.first, self.message.second, self.attention)
        total, _ = edge_network(node, edge, weights, edge_index, edge_ptr)
        assert total is not None
        total = total / self.normalization_factor
        hidden = nn.functional.silu(self.update_first(torch.cat([node, total], dim=1)))
        return node + self.update_second(hidden)


class EDMBlock(nn.Module):
    r"""Message layers followed by an equivariant move of the positions.

    :math:`x_i \to x_i + \frac{1}{c} \sum_j \frac{x_i - x_j}{d_{ij} + k} \, r \tanh \phi_x(h_i, h_j, d_{ij}^2,
    d_{0,ij}^2)`, where :math:`d_0` is the distance at the network's input. Features are invariant under
    E(3) and positions covariant.

    Parameters
    ----------
    hidden
        Width of the features.
    num_message_layers
        Message layers before the move.
    has_attention
        Whether messages are weighted.
    has_tanh
        Whether the length of a move along an edge is bounded by `coordinate_range`.
    coordinate_range
        The bound r, in units of the positions.
    norm_constant
        The constant k.
    normalization_factor
        The divisor c of every sum over neighbours.
    """

    def __init__(
        self,
        hidden: int,
        *,
        num_message_layers: int = 1,
        has_attention: bool = True,
        has_tanh: bool = True,
        coordinate_range: float = 15.0,
        norm_constant: float = 1.0,
        normalization_factor: float = 1.0,
    ) -> None:
        super().__init__()
        self.message_layers = nn.ModuleList(
            EDMMessageLayer(hidden, 2, has_attention=has_attention, normalization_factor=normalization_factor)
            for _ in range(num_message_layers)
        )
        self.move = PairMLP(hidden, 2, hidden)
        self.move_length = nn.Linear(hidden, 1, bias=False)
        nn.init.xavier_uniform_(self.move_length.weight, gain=_LAST_GAIN)
        self.has_tanh, self.coordinate_range = has_tanh, coordinate_range
        self.norm_constant, self.normalization_factor = norm_constant, normalization_factor

    def forward(
        self,
        node: Float[Tensor, "n f"],
        pos: Float[Tensor, "n 3"],
        input_distance2: Float[Tensor, "e 1"],
        edge_index: Int[Tensor, "2 e"],
        edge_ptr: Int[Tensor, " num_ptr"],
    ) -> tuple[Float[Tensor, "n f"], Float[Tensor, "n 3"]]:
        """Update features and positions."""
        difference, distance2 = squared_distances(pos, edge_index)
        edge = torch.cat([distance2, input_distance2], dim=1)
        for layer in self.message_layers:
            node = layer(node, edge, edge_index, edge_ptr)
        weights = edge_network_weights(self.move.first, self.move.second, None, self.move_length)
        _, length = edge_network(node, edge, weights, edge_index, edge_ptr, wants_sum=False)
        assert length is not None
        if self.has_tanh:
            length = self.coordinate_range * torch.tanh(length)
        direction = difference / ((distance2 + _DISTANCE_FLOOR).sqrt() + self.norm_constant)
        total = segment_reduce(direction * length, edge_ptr, "sum", index=edge_index[1])
        return node, pos + total / self.normalization_factor

r"""Message passing with multivector features: the layers of the two published CGENN graph networks.

References
----------
Ruhe et al. (2023), arXiv:2305.11141, sections 4.3, 5.4 and 5.5 and appendix.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from geograph.algebra.clifford import CliffordAlgebra
from geograph.errors import ConfigError
from geograph.kernels import segment_reduce
from geograph.kernels.clifford_messages import MessageWeights, clifford_messages
from geograph.layers.multivector import invariants
from geograph.layers.multivector_product import ProductBlock, ProductKind, clifford_mlp, product_block

Aggregation: TypeAlias = Literal["mean", "sum"]


class CliffordEGCL(nn.Module):
    r"""Message passing on multivectors; equivariant under the Clifford group.

    :math:`m_{ij} = \phi_e(h_i - h_j, e_{ij})`, then
    :math:`h_i \leftarrow h_i + \phi_h(h_i, \mathrm{mean}_j m_{ij})`.

    Parameters
    ----------
    algebra
        Algebra of the features.
    features
        Number of multivector channels.
    num_edge_features
        Number of multivector channels on each edge.
    num_blocks
        Product blocks in each of the two networks.
    product
        Kind of the products; see `product_block`.
    is_residual
        Add the input to the output.
    normalization_init
        Start value of the products' grade normalisation; None leaves it out.
    """

    def __init__(
        self,
        algebra: CliffordAlgebra,
        features: int,
        num_edge_features: int,
        *,
        num_blocks: int = 2,
        product: ProductKind = "elementwise",
        is_residual: bool = True,
        normalization_init: float | None = 0.0,
    ) -> None:
        super().__init__()
        self.is_residual = is_residual
        self.edge_model, self.node_model = (
            clifford_mlp(
                algebra,
                inputs,
                features,
                features,
                num_blocks=num_blocks,
                kind=product,
                normalization_init=normalization_init,
            )
            for inputs in (features + num_edge_features, 2 * features)
        )

    def forward(
        self,
        h: Float[Tensor, "nodes channels blades"],
        edge_attr: Float[Tensor, "edges attributes blades"],
        edge_index: Int[Tensor, "2 edges"],
        edge_ptr: Int[Tensor, " nodes_plus_one"],
    ) -> Float[Tensor, "nodes channels blades"]:
        """Update the nodes."""
        source, target = edge_index[0], edge_index[1]
        difference = h.index_select(0, target) - h.index_select(0, source)
        messages = self.edge_model(torch.cat([difference, edge_attr], dim=1))
        received = segment_reduce(messages, edge_ptr, "mean", index=target)
        update: Tensor = self.node_model(torch.cat([h, received], dim=1))
        return h + update if self.is_residual else update


class LorentzCliffordLayer(nn.Module):
    r"""Message passing on scalars h and multivectors x, with the four-momenta p as side input.

    With I the invariants of a multivector and s the input scalars:

    .. math::
        m^x_{ij} &= \phi_x(x_i, x_j, x_i - x_j, p_i - p_j, p_i, p_j), &
        m^h_{ij} &= \phi_h(I(m^x_{ij}), h_i, h_j, h_i - h_j), \\
        x_i' &= \sigma(\chi(h_i')) \theta_x(x_i, \mathrm{mean}_j \sigma(\psi(m^h_{ij})) m^x_{ij}, p_i), &
        h_i' &= \theta_h(h_i, \mathrm{mean}_j m^h_{ij}, I(x_i), s_i).

    h is invariant and x equivariant under the Clifford group.

    Parameters
    ----------
    algebra
        Algebra of the features.
    num_hidden, num_multivectors
        Numbers of scalar and of multivector channels.
    num_scalars
        Length of the input scalars s.
    product
        Kind of the products; see `product_block`.
    normalization_init
        Start value of the products' grade normalisation; None leaves it out.
    has_gates
        Scale messages and updates of x by the gates.
    is_residual
        Add the input to the output.
    aggregation
        "mean" or "sum" over the incoming messages.
    """

    def __init__(
        self,
        algebra: CliffordAlgebra,
        num_hidden: int,
        num_multivectors: int,
        num_scalars: int,
        *,
        product: ProductKind = "fully_connected",
        normalization_init: float | None = None,
        has_gates: bool = True,
        is_residual: bool = False,
        aggregation: Aggregation = "mean",
    ) -> None:
        super().__init__()
        if aggregation not in ("mean", "sum"):
            raise ConfigError(f"`aggregation` must be mean or sum, got {aggregation!r}.")
        self.algebra = algebra
        self.is_residual = is_residual
        self.aggregation: Aggregation = aggregation
        num_invariants = num_multivectors * algebra.num_grades
        self.message_vector, self.update_vector = (
            product_block(
                algebra, inputs, num_multivectors, kind=product, normalization_init=normalization_init
            )
            for inputs in (3 * num_multivectors + 3, 2 * num_multivectors + 1)
        )
        self.message_scalar = nn.Sequential(
            nn.Linear(3 * num_hidden + num_invariants, num_hidden, bias=False),
            nn.BatchNorm1d(num_hidden),
            nn.ReLU(),
            nn.Linear(num_hidden, num_hidden),
            nn.ReLU(),
        )
        self.update_scalar = nn.Sequential(
            nn.Linear(2 * num_hidden + num_invariants + num_scalars, num_hidden),
            nn.BatchNorm1d(num_hidden),
            nn.ReLU(),
            nn.Linear(num_hidden, num_hidden),
        )
        self.gate_message = _gate(num_hidden, num_invariants) if has_gates else None
        self.gate_update = _gate(num_hidden, num_invariants) if has_gates else None

    def forward(
        self,
        h: Float[Tensor, "nodes features"],
        x: Float[Tensor, "nodes channels blades"],
        scalars: Float[Tensor, "nodes scalars"],
        vectors: Float[Tensor, "nodes 1 blades"],
        edge_index: Int[Tensor, "2 edges"],
        edge_ptr: Int[Tensor, " nodes_plus_one"],
    ) -> tuple[Float[Tensor, "nodes features"], Float[Tensor, "nodes channels blades"]]:
        """Update the nodes."""
        x_received, h_received = clifford_messages(
            h,
            x,
            vectors,
            self._message_weights(),
            edge_index,
            edge_ptr,
            self.algebra,
            reduce=self.aggregation,
        )
        x_new = self.update_vector(torch.cat([x, x_received, vectors], dim=1))
        flat = invariants(x, self.algebra).flatten(1)
        h_new = self.update_scalar(torch.cat([h, h_received, flat, scalars], dim=1))
        x_new = self._gated(x_new, h_new, self.gate_update)
        return (h_new + h, x_new + x) if self.is_residual else (h_new, x_new)

    def _message_weights(self) -> MessageWeights:
        first, norm, _, last, _ = self.message_scalar
        assert isinstance(first, nn.Linear)
        assert isinstance(norm, nn.BatchNorm1d)
        gate = None
        if self.gate_message is not None:
            inner, _, outer = self.gate_message
            gate = (*_linear(inner), *_linear(outer))
        block = self.message_vector
        assert isinstance(block, ProductBlock)
        return MessageWeights(block.weights, first.weight, norm, *_linear(last), gate)

    def _gated(self, x: Tensor, h: Tensor, gate: nn.Module | None) -> Tensor:
        if gate is None:
            return x
        weights = torch.sigmoid(gate(h)).view(*x.shape[:2], self.algebra.num_grades)
        return x * self.algebra.spread(weights)


def _gate(num_hidden: int, num_gates: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(num_hidden, num_hidden), nn.ReLU(), nn.Linear(num_hidden, num_gates))


def _linear(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias."""
    assert isinstance(layer, nn.Linear)
    return layer.weight, layer.bias

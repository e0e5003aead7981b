r"""Messages of the Clifford network of jets, from both nodes of each edge to the sums over its target.

With I the invariants, c_ij = [x_i, x_j, x_i - x_j, p_i - p_j, p_i, p_j] and B the product block:

.. math::
    m_{ij} &= B(c_{ij}), \quad z_{ij} = W [I(m_{ij}), h_i, h_j, h_i - h_j], \\
    n_{ij} &= \mathrm{relu}(V \mathrm{relu}(\mathrm{norm}(z_{ij})) + b), \\
    X_i &= \sum_j \sigma(G(n_{ij})) m_{ij}, \qquad H_i = \sum_j n_{ij},

where the sums may be means. The block's input is linear in u_i = [x_i, p_i] and u_j, and the block, without
its grade normalisation, is quadratic. So it splits into node parts and one term that is bilinear in both:

.. math:: B(c_{ij}) \propto c(u_i) + d(u_j) + M(u_i) u_j.

The backend `cpu` computes the matrix M of a target once for all its edges: a quarter of the work of a product
on every edge, and a plain matrix product. `composed_messages` is the specification.

References
----------
Ruhe et al. (2023), arXiv:2305.11141, section 5.5 and appendix.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from geograph.algebra.clifford import CliffordAlgebra
from geograph.kernels import dispatch
from geograph.kernels.clifford import BlockWeights, invariants, is_uniform, product_block

#: Fewer edges for each node do not repay the matrix of a target.
_LEAST_DEGREE = 6


@dataclass(frozen=True)
class MessageWeights:
    """Parameters of the messages.

    Attributes
    ----------
    block
        Those of the product block.
    scalar
        W [hidden, invariants + 3 hidden].
    norm
        Batch norm of z over the edges.
    map, map_bias
        V and b.
    gate
        The weights and biases of the two linear maps of G with a ReLU between them; None for no gates.
    """

    block: BlockWeights
    scalar: Tensor
    norm: nn.BatchNorm1d
    map: Tensor
    map_bias: Tensor
    gate: tuple[Tensor, Tensor, Tensor, Tensor] | None


def clifford_messages(
    h: Float[Tensor, "nodes hidden"],
    x: Float[Tensor, "nodes channels blades"],
    vectors: Float[Tensor, "nodes momenta blades"],
    weights: MessageWeights,
    edge_index: Int[Tensor, "2 edges"],
    edge_ptr: Int[Tensor, " nodes_plus_one"],
    algebra: CliffordAlgebra,
    *,
    reduce: str = "mean",
    backend: str | None = None,
) -> tuple[Float[Tensor, "nodes channels blades"], Float[Tensor, "nodes hidden"]]:
    """Return what each node receives: multivectors X and scalars H.

    X is equivariant and H invariant under the Clifford group.

    Parameters
    ----------
    h, x, vectors
        Scalars and multivectors of the nodes, and their momenta as multivectors.
    weights
        Parameters.
    edge_index, edge_ptr
        Edges sorted by target, and their CSR pointer over targets.
    algebra
        The algebra of the features.
    reduce
        "mean" or "sum".
    backend
        Name of a backend for this call.
    """
    name = dispatch.selected(backend, x)
    if (
        name == "cpu"
        and _is_quadratic(weights, h, x, vectors)
        and edge_index.shape[1] >= _LEAST_DEGREE * len(x)
    ):
        from geograph.kernels.clifford_fused import fused_messages

        return fused_messages(h, x, vectors, weights, edge_index, edge_ptr, algebra, reduce)
    return composed_messages(
        h, x, vectors, weights, edge_index, edge_ptr, algebra, reduce=reduce, backend=name
    )


def composed_messages(
    h: Tensor,
    x: Tensor,
    vectors: Tensor,
    weights: MessageWeights,
    edge_index: Tensor,
    edge_ptr: Tensor,
    algebra: CliffordAlgebra,
    *,
    reduce: str,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """Run `clifford_messages` on arrays over the edges."""
    source, target = edge_index[0], edge_index[1]
    x_i, x_j = x.index_select(0, target), x.index_select(0, source)
    p_i, p_j = vectors.index_select(0, target), vectors.index_select(0, source)
    inputs = torch.cat([x_i, x_j, x_i - x_j, p_i - p_j, p_i, p_j], dim=1)
    m_x = product_block(inputs, weights.block, algebra, backend=backend)
    h_i, h_j = h.index_select(0, target), h.index_select(0, source)
    flat = invariants(m_x, algebra).flatten(1)
    linear, relu = nn.functional.linear, nn.functional.relu
    hidden = relu(weights.norm(linear(torch.cat([flat, h_i, h_j, h_i - h_j], dim=1), weights.scalar)))
    m_h = relu(linear(hidden, weights.map, weights.map_bias))
    if weights.gate is not None:
        inner, inner_bias, outer, outer_bias = weights.gate
        gates = torch.sigmoid(linear(relu(linear(m_h, inner, inner_bias)), outer, outer_bias))
        m_x = m_x * algebra.spread(gates.view(*m_x.shape[:2], algebra.num_grades))
    return (
        dispatch.segment_reduce(m_x, edge_ptr, reduce, index=target, backend=backend),
        dispatch.segment_reduce(m_h, edge_ptr, reduce, index=target, backend=backend),
    )


def _is_quadratic(weights: MessageWeights, *inputs: Tensor) -> bool:
    """Whether the fused form applies: a plain fully connected product, with gates, in one float type."""
    block = weights.block
    if weights.gate is None or block.path.ndim != 3 or block.first is not None:
        return False
    if block.norm is not None or block.layer is None or block.left_bias is None:
        return False
    return is_uniform(*inputs, block.path, weights.scalar, weights.norm.weight, *weights.gate)

"""CGENN for n-body dynamics (Ruhe et al. 2023): future positions by Clifford multivectors, E(n)-covariant."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch_geometric.data import Data

from geograph.algebra.clifford import CliffordAlgebra
from geograph.errors import ConfigError
from geograph.kernels import segment_index, segment_reduce
from geograph.layers.clifford_graph import CliffordEGCL
from geograph.layers.multivector import MVLinear
from geograph.layers.multivector_product import ProductKind


class CGENNNBody(nn.Module):
    """Network that adds a predicted displacement to each position; covariant under E(n).

    Node input: charge (scalar), position relative to the mean of the graph and velocity (vectors).

    Parameters
    ----------
    num_hidden, num_layers
        Multivector channels and depth; published values by default: 28, 3 (134,625 parameters).
    num_edge_features
        Number of scalars on each edge.
    metric
        Metric of the positions; Euclidean space of three dimensions by default.
    num_blocks, product, is_residual, normalization_init
        Options of `CliffordEGCL`.

    References
    ----------
    Ruhe et al. (2023), arXiv:2305.11141, section 5.4.
    """

    def __init__(
        self,
        num_hidden: int = 28,
        num_layers: int = 3,
        num_edge_features: int = 1,
        *,
        metric: Sequence[float | int] = (1, 1, 1),
        num_blocks: int = 2,
        product: ProductKind = "elementwise",
        is_residual: bool = True,
        normalization_init: float | None = 0.0,
    ) -> None:
        super().__init__()
        if min(num_hidden, num_layers, num_edge_features, num_blocks) < 1:
            raise ConfigError(
                "`num_hidden`, `num_layers`, `num_edge_features` and `num_blocks` must be at least 1, "
                f"got {num_hidden}, {num_layers}, {num_edge_features} and {num_blocks}."
            )
        self.algebra = CliffordAlgebra(metric)
        self.embedding = MVLinear(self.algebra, 3, num_hidden, is_grade_wise=False)
        self.layers = nn.ModuleList(
            CliffordEGCL(
                self.algebra,
                num_hidden,
                num_edge_features,
                num_blocks=num_blocks,
                product=product,
                is_residual=is_residual,
                normalization_init=normalization_init,
            )
            for _ in range(num_layers)
        )
        self.projection = MVLinear(self.algebra, num_hidden, 1)

    def forward(
        self,
        pos: Float[Tensor, "nodes dim"],
        vel: Float[Tensor, "nodes dim"],
        charge: Float[Tensor, " nodes"],
        edge_attr: Float[Tensor, "edges attributes"],
        edge_index: Int[Tensor, "2 edges"],
        edge_ptr: Int[Tensor, " nodes_plus_one"],
        ptr: Int[Tensor, " graphs_plus_one"],
    ) -> Float[Tensor, "nodes dim"]:
        """Return the predicted positions.

        Parameters
        ----------
        pos, vel, charge
            Positions, velocities and charges of the particles.
        edge_attr
            Scalars on each edge; published: the product of the charges.
        edge_index, edge_ptr, ptr
            Edges sorted by target, their CSR pointer, and the CSR pointer of the nodes.
        """
        graph = segment_index(ptr, pos.shape[0])
        centred = pos - segment_reduce(pos, ptr, "mean", index=graph).index_select(0, graph)
        embed = self.algebra.embed
        vectors = embed(torch.stack([centred, vel], dim=1), 1)
        h = self.embedding(torch.cat([embed(charge[:, None, None], 0), vectors], dim=1))
        edges = embed(edge_attr[..., None], 0)
        for layer in self.layers:
            h = layer(h, edges, edge_index, edge_ptr)
        return pos + self.algebra.take(self.projection(h)[:, 0], 1)


class CGENNNBodyDynamics(nn.Module):
    """CGENN on batches of charged particles; the edge scalar is the product of the two charges.

    Parameters are those of `CGENNNBody`.
    """

    def __init__(
        self,
        num_hidden: int = 28,
        num_layers: int = 3,
        *,
        metric: Sequence[float | int] = (1, 1, 1),
        num_blocks: int = 2,
        product: ProductKind = "elementwise",
        is_residual: bool = True,
        normalization_init: float | None = 0.0,
    ) -> None:
        super().__init__()
        if len(metric) != 3:
            raise ConfigError(f"`metric` must have 3 entries for positions in space, got {len(metric)}.")
        self.network = CGENNNBody(
            num_hidden,
            num_layers,
            metric=metric,
            num_blocks=num_blocks,
            product=product,
            is_residual=is_residual,
            normalization_init=normalization_init,
        )

    def forward(self, batch: Data) -> Float[Tensor, "nodes 3"]:
        """Return the predicted positions."""
        source, target = batch.edge_index[0], batch.edge_index[1]
        edge_attr = (batch.charge[target] * batch.charge[source])[:, None]
        pos: Tensor = self.network(
            batch.pos, batch.vel, batch.charge, edge_attr, batch.edge_index, batch.edge_ptr, batch.ptr
        )
        return pos

"""CGENN for jets (Ruhe et al. 2023): classification with Clifford multivectors, invariant under O(1, 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch_geometric.data import Data

from geograph.algebra.clifford import CliffordAlgebra
from geograph.algebra.minkowski import METRIC
from geograph.errors import ConfigError
from geograph.kernels import segment_index, segment_reduce
from geograph.layers.clifford_graph import Aggregation, LorentzCliffordLayer
from geograph.layers.multivector import MVLinear, invariants
from geograph.layers.multivector_product import ProductKind
from geograph.models.lorentznet import mass_scalars


class CGENNLorentz(nn.Module):
    """Stack of Clifford layers on scalars and vectors, mean over nodes, decoder; invariant logits.

    Parameters
    ----------
    num_scalars
        Length of the input scalars.
    num_hidden, num_multivectors, num_layers, num_decoder, dropout
        Published values by default: 72, 8, 4, 64, 0.2 (320,594 parameters).
    num_classes
        Number of logits.
    metric
        Metric of the vectors; Minkowski by default.
    product, normalization_init, has_gates, is_residual, aggregation
        Options of `LorentzCliffordLayer`.

    Notes
    -----
    The released code divides the sum over nodes by the padded length, which depends on the batch; here the
    divisor is the number of nodes of the graph unless `pool_divisor` says otherwise.

    References
    ----------
    Ruhe et al. (2023), arXiv:2305.11141, section 5.5.
    """

    def __init__(
        self,
        num_scalars: int = 2,
        num_hidden: int = 72,
        num_multivectors: int = 8,
        num_layers: int = 4,
        num_classes: int = 2,
        *,
        num_decoder: int = 64,
        dropout: float = 0.2,
        metric: Sequence[float | int] = METRIC,
        product: ProductKind = "fully_connected",
        normalization_init: float | None = None,
        has_gates: bool = True,
        is_residual: bool = False,
        aggregation: Aggregation = "mean",
    ) -> None:
        super().__init__()
        sizes = (num_scalars, num_hidden, num_multivectors, num_layers, num_classes, num_decoder)
        if min(sizes) < 1 or not 0 <= dropout < 1:
            raise ConfigError(f"Sizes must be at least 1 and `dropout` in [0, 1), got {sizes} and {dropout}.")
        self.algebra = CliffordAlgebra(metric)
        self.embedding_scalar = nn.Linear(num_scalars, num_hidden)
        self.embedding_vector = MVLinear(self.algebra, 1, num_multivectors, is_grade_wise=False)
        self.layers = nn.ModuleList(
            LorentzCliffordLayer(
                self.algebra,
                num_hidden,
                num_multivectors,
                num_scalars,
                product=product,
                normalization_init=normalization_init,
                has_gates=has_gates,
                is_residual=is_residual,
                aggregation=aggregation,
            )
            for _ in range(num_layers)
        )
        self.decoder = nn.Sequential(
            nn.Linear(num_hidden + num_multivectors * self.algebra.num_grades, num_decoder),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(num_decoder, num_classes),
        )

    def encode(
        self,
        scalars: Float[Tensor, "nodes scalars"],
        vectors: Float[Tensor, "nodes dim"],
        edge_index: Int[Tensor, "2 edges"],
        edge_ptr: Int[Tensor, " nodes_plus_one"],
    ) -> tuple[Float[Tensor, "nodes features"], Float[Tensor, "nodes channels blades"]]:
        """Return the invariant features and covariant multivectors after the last layer."""
        inputs = self.algebra.embed(vectors[:, None], 1)
        h, x = self.embedding_scalar(scalars), self.embedding_vector(inputs)
        for layer in self.layers:
            h, x = layer(h, x, scalars, inputs, edge_index, edge_ptr)
        return h, x

    def forward(
        self,
        scalars: Float[Tensor, "nodes scalars"],
        vectors: Float[Tensor, "nodes dim"],
        edge_index: Int[Tensor, "2 edges"],
        edge_ptr: Int[Tensor, " nodes_plus_one"],
        ptr: Int[Tensor, " graphs_plus_one"],
        *,
        node_weight: Float[Tensor, " nodes"] | None = None,
        pool_divisor: Float[Tensor, " graphs"] | None = None,
    ) -> Float[Tensor, "graphs classes"]:
        """Return the logits.

        Parameters
        ----------
        scalars, vectors
            Invariant scalars and four-momenta (GeV) of the nodes.
        edge_index, edge_ptr, ptr
            Edges sorted by target, their CSR pointer, and the CSR pointer of the nodes.
        node_weight
            Weight of each node in the sum over a graph; 1 if not given.
        pool_divisor
            What the sum over a graph is divided by; its number of nodes if not given.
        """
        h, x = self.encode(scalars, vectors, edge_index, edge_ptr)
        h = torch.cat([h, invariants(x, self.algebra).flatten(1)], dim=1)
        if node_weight is not None:
            h = h * node_weight[:, None]
        total = segment_reduce(h, ptr, "sum", index=segment_index(ptr, h.shape[0]))
        divisor = ptr.diff().clamp(min=1).to(h.dtype) if pool_divisor is None else pool_divisor
        logits: Tensor = self.decoder(total / divisor[:, None])
        return logits


class CGENNLorentzGraph(nn.Module):
    """CGENN on batches of jets; logits invariant under O(1, 3) acting on all nodes, beams included.

    Parameters are those of `CGENNLorentz`; `num_outputs` is the number of classes.
    """

    def __init__(
        self,
        num_outputs: int = 2,
        num_hidden: int = 72,
        num_multivectors: int = 8,
        num_layers: int = 4,
        *,
        num_decoder: int = 64,
        dropout: float = 0.2,
        metric: Sequence[float | int] = METRIC,
        product: ProductKind = "fully_connected",
        normalization_init: float | None = None,
        has_gates: bool = True,
        is_residual: bool = False,
        aggregation: Aggregation = "mean",
    ) -> None:
        super().__init__()
        if len(metric) != 4:
            raise ConfigError(f"`metric` must have 4 entries for jets (E, px, py, pz), got {len(metric)}.")
        self.network = CGENNLorentz(
            2,
            num_hidden,
            num_multivectors,
            num_layers,
            num_outputs,
            num_decoder=num_decoder,
            dropout=dropout,
            metric=metric,
            product=product,
            normalization_init=normalization_init,
            has_gates=has_gates,
            is_residual=is_residual,
            aggregation=aggregation,
        )

    def forward(self, batch: Data) -> Float[Tensor, "graphs outputs"]:
        """Return the logits of each jet."""
        is_beam = batch.is_beam if "is_beam" in batch else batch.p4.new_zeros(len(batch.p4)).long()
        dtype = self.network.embedding_scalar.weight.dtype
        scalars = mass_scalars(batch.p4, is_beam).to(dtype)
        vectors = batch.p4.to(dtype)
        logits: Tensor = self.network(scalars, vectors, batch.edge_index, batch.edge_ptr, batch.ptr)
        return logits

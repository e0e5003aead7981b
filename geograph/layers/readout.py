"""From invariant node features to one prediction for each graph."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn

from geograph.errors import ConfigError
from geograph.kernels import segment_reduce
from geograph.layers.mlp import mlp


class GraphReadout(nn.Module):
    """Node network, pooling over the nodes of each graph, graph network.

    Invariant under permutations of the nodes.

    Parameters
    ----------
    num_features
        Length of the node features and width of both networks.
    num_outputs
        Number of predictions for each graph.
    pooling
        "sum" (extensive features) or "mean".
    is_extensive
        Leave out the graph network: the prediction is the pooled sum (or mean) of node predictions, as for an
        energy that is a sum over atoms.

    References
    ----------
    Satorras et al. (2021), arXiv:2102.09844, appendix C.3 (property prediction).
    """

    def __init__(
        self,
        num_features: int,
        num_outputs: int,
        *,
        pooling: str = "sum",
        is_extensive: bool = False,
    ) -> None:
        super().__init__()
        if pooling not in ("sum", "mean"):
            raise ConfigError(f"`pooling` must be sum or mean, got {pooling!r}.")
        self.pooling = pooling
        last = num_outputs if is_extensive else num_features
        self.node_mlp = mlp([num_features, num_features, last], nn.SiLU)
        self.graph_mlp = None if is_extensive else mlp([num_features, num_features, num_outputs], nn.SiLU)

    def forward(
        self,
        h: Float[Tensor, "nodes features"],
        ptr: Int[Tensor, " graphs_plus_one"],
        batch: Int[Tensor, " nodes"],
    ) -> Float[Tensor, "graphs outputs"]:
        """Predict for each graph."""
        pooled = segment_reduce(
            self.node_mlp(h), ptr, "mean" if self.pooling == "mean" else "sum", index=batch
        )
        return pooled if self.graph_mlp is None else self.graph_mlp(pooled)

"""LorentzNet (Gong et al. 2022): jet classification invariant under O(1, 3)."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch_geometric.data import Data

from geograph.algebra.minkowski import minkowski_norm2
from geograph.errors import ConfigError
from geograph.kernels import segment_index, segment_reduce
from geograph.layers.lgeb import LGEB
from geograph.layers.mlp import signed_log


class LorentzNet(nn.Module):
    """Stack of Lorentz group equivariant blocks, mean over nodes, decoder; logits invariant under O(1, 3).

    Parameters
    ----------
    num_scalars
        Length of the input scalars.
    num_hidden, num_layers, c_weight, dropout
        Published values by default: 72, 6, 5e-3, 0.2.
    clamp
        Bound on each component of a four-vector update, in GeV; 100 in the released code.
    num_classes
        Number of logits.

    Notes
    -----
    A bound on components depends on the frame: where it acts, the logits are not invariant. For jets in GeV
    the released bound does act, so a larger `clamp` gives a more nearly invariant network.

    The released code divides the sum over nodes by the padded length, which depends on the batch; here the
    divisor is the number of nodes of the graph unless `pool_divisor` says otherwise.

    References
    ----------
    Gong et al. (2022), arXiv:2201.08187, section 3.
    """

    def __init__(
        self,
        num_scalars: int = 2,
        num_hidden: int = 72,
        num_layers: int = 6,
        num_classes: int = 2,
        *,
        c_weight: float = 5e-3,
        dropout: float = 0.2,
        clamp: float = 100.0,
    ) -> None:
        super().__init__()
        if min(num_scalars, num_hidden, num_layers, num_classes) < 1 or not 0 <= dropout < 1:
            raise ConfigError(
                "`num_scalars`, `num_hidden`, `num_layers` and `num_classes` must be at least 1 and "
                "`dropout` in [0, 1), "
                f"got {num_scalars}, {num_hidden}, {num_layers}, {num_classes} and {dropout}."
            )
        self.embedding = nn.Linear(num_scalars, num_hidden)
        self.layers = nn.ModuleList(
            LGEB(
                num_hidden,
                num_hidden,
                num_scalars,
                c_weight=c_weight,
                is_last=number == num_layers - 1,
                clamp=clamp,
            )
            for number in range(num_layers)
        )
        self.decoder = nn.Sequential(
            nn.Linear(num_hidden, num_hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(num_hidden, num_classes),
        )

    def encode(
        self,
        scalars: Float[Tensor, "nodes scalars"],
        x: Float[Tensor, "nodes 4"],
        edge_index: Int[Tensor, "2 edges"],
        edge_ptr: Int[Tensor, " nodes_plus_one"],
    ) -> tuple[Float[Tensor, "nodes features"], Float[Tensor, "nodes 4"]]:
        """Return the invariant features and covariant four-vectors after the last block."""
        h = self.embedding(scalars)
        for layer in self.layers:
            h, x = layer(h, x, scalars, edge_index, edge_ptr)
        return h, x

    def forward(
        self,
        scalars: Float[Tensor, "nodes scalars"],
        x: Float[Tensor, "nodes 4"],
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
        scalars, x
            Invariant scalars and four-momenta (GeV) of the nodes.
        edge_index, edge_ptr, ptr
            Edges sorted by target, their CSR pointer, and the CSR pointer of the nodes.
        node_weight
            Weight of each node in the sum over a graph; 1 if not given.
        pool_divisor
            What the sum over a graph is divided by; its number of nodes if not given.
        """
        h, _ = self.encode(scalars, x, edge_index, edge_ptr)
        if node_weight is not None:
            h = h * node_weight[:, None]
        total = segment_reduce(h, ptr, "sum", index=segment_index(ptr, h.shape[0]))
        divisor = ptr.diff().clamp(min=1).to(h.dtype) if pool_divisor is None else pool_divisor
        logits: Tensor = self.decoder(total / divisor[:, None])
        return logits


class LorentzNetGraph(nn.Module):
    """LorentzNet on batches of jets.

    Parameters are those of `LorentzNet`; `num_outputs` is the number of classes.
    """

    def __init__(
        self,
        num_outputs: int = 2,
        num_hidden: int = 72,
        num_layers: int = 6,
        *,
        c_weight: float = 5e-3,
        dropout: float = 0.2,
        clamp: float = 100.0,
    ) -> None:
        super().__init__()
        self.network = LorentzNet(
            2, num_hidden, num_layers, num_outputs, c_weight=c_weight, dropout=dropout, clamp=clamp
        )

    def forward(self, batch: Data) -> Float[Tensor, "graphs outputs"]:
        """Return the logits of each jet."""
        p4 = batch.p4.double()  # products of nearly light-like vectors cancel; see `mass_scalars`
        scalars = mass_scalars(p4, batch.is_beam).to(self.network.embedding.weight.dtype)
        logits: Tensor = self.network(scalars, p4, batch.edge_index, batch.edge_ptr, batch.ptr)
        return logits


def mass_scalars(p4: Float[Tensor, "nodes 4"], is_beam: Int[Tensor, " nodes"]) -> Float[Tensor, "nodes 2"]:
    """Compressed mass of each node in the column of its type (constituent, beam).

    Invariant under O(1, 3). The mass is computed in float64 because E^2 and |p|^2 nearly cancel.

    References
    ----------
    Gong et al. (2022), arXiv:2201.08187, section 3.1.
    """
    mass = minkowski_norm2(p4.double()).abs().sqrt().to(p4.dtype)
    kind = nn.functional.one_hot(is_beam, 2).to(p4.dtype)
    return signed_log(kind * mass[:, None])

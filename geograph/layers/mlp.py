"""Small dense building blocks that the published layers share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from geograph.kernels import pair_linear
from geograph.kernels.edge_network import EdgeNetworkWeights


class PairLinear(nn.Module):
    """Linear map of [h_i, h_j, e_ij] on every edge j -> i, run by the kernel backends.

    Parameters and initialisation are those of ``nn.Linear(2 * num_features + num_edge_features,
    num_outputs)`` with the columns in the order target, source, edge.
    """

    def __init__(
        self, num_features: int, num_edge_features: int, num_outputs: int, *, has_bias: bool = True
    ) -> None:
        super().__init__()
        columns = 2 * num_features + num_edge_features
        self.weight = nn.Parameter(torch.empty(num_outputs, columns))
        self.bias = nn.Parameter(torch.empty(num_outputs)) if has_bias else None
        bound = 1.0 / math.sqrt(columns)
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(
        self,
        h: Float[Tensor, "nodes features"],
        edge_attr: Float[Tensor, "edges scalars"] | None,
        edge_index: Int[Tensor, "2 edges"],
    ) -> Float[Tensor, "edges outputs"]:
        """Apply the map on each edge."""
        return pair_linear(h, edge_attr, self.weight, self.bias, edge_index)


def edge_network_weights(
    pair: PairLinear,
    second: nn.Module,
    gate: nn.Linear | None = None,
    head: nn.Sequential | nn.Linear | None = None,
    norm: nn.Module | None = None,
) -> EdgeNetworkWeights:
    """Gather the parameters of the modules that make an edge network.

    Parameters
    ----------
    pair, second
        The two linear layers of the message.
    gate
        Linear map to the logit of the gate.
    head
        Network from message to length: one linear map, or two with an activation between them; neither
        the last bias nor what follows in the sequence is read.
    norm
        Batch norm between `pair` and its activation.
    """
    first, last = (head[0], head[2]) if isinstance(head, nn.Sequential) else (None, head)
    weight, bias = _parameters(second)
    gate_weight, gate_bias = _parameters(gate)
    head_weight, head_bias = _parameters(first)
    length_weight, _ = _parameters(last)
    if weight is None or bias is None or not (norm is None or isinstance(norm, nn.BatchNorm1d)):
        raise TypeError("`second` must be a linear layer with a bias and `norm` a batch norm.")
    return EdgeNetworkWeights(
        pair.weight, pair.bias, weight, bias, norm, gate_weight, gate_bias, head_weight, head_bias,
        length_weight,
    )  # fmt: skip


def _parameters(layer: nn.Module | None) -> tuple[Tensor | None, Tensor | None]:
    if layer is None:
        return None, None
    if not isinstance(layer, nn.Linear):
        raise TypeError(f"An edge network is made of linear layers, got {type(layer).__name__}.")
    return layer.weight, layer.bias


def mlp(
    sizes: Sequence[int], activation: Callable[[], nn.Module], *, is_last_active: bool = False
) -> nn.Sequential:
    """Stack of linear layers with an activation between them, and after the last if `is_last_active`."""
    layers: list[nn.Module] = []
    for depth, (size_in, size_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        layers.append(nn.Linear(size_in, size_out))
        if is_last_active or depth < len(sizes) - 2:
            layers.append(activation())
    return nn.Sequential(*layers)


def signed_log(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Odd, monotone compression sign(x) log(1 + |x|) of quantities that span orders of magnitude.

    References
    ----------
    Gong et al. (2022), arXiv:2201.08187, below Eq. (3.3): the function psi.
    """
    return x.sign() * x.abs().log1p()


def cosine_cutoff(distance: Float[Tensor, " n"], cutoff: float) -> Float[Tensor, " n"]:
    """Weight that falls smoothly from 1 at distance 0 to 0 at the cutoff and beyond.

    References
    ----------
    Behler and Parrinello (2007), Phys. Rev. Lett. 98, 146401, Eq. (4).
    """
    inside = (distance < cutoff).to(distance.dtype)
    return 0.5 * (torch.cos(math.pi * distance / cutoff) + 1.0) * inside


class RadialBasis(nn.Module):
    """Gaussians of the distance, evenly spaced up to a cutoff, times a smooth cutoff weight.

    Invariant under E(n). Distances in angstrom (or the unit of the positions).

    References
    ----------
    Schuett et al. (2017), arXiv:1706.08566, Eq. (5).
    """

    centers: Tensor

    def __init__(self, num_rbf: int, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.width = cutoff / max(num_rbf - 1, 1)
        self.register_buffer("centers", torch.linspace(0.0, cutoff, num_rbf), persistent=False)

    def forward(self, distance: Float[Tensor, " edges"]) -> Float[Tensor, "edges num_rbf"]:
        """Evaluate the basis."""
        scaled = (distance[:, None] - self.centers) / self.width
        return torch.exp(-0.5 * scaled.square()) * cosine_cutoff(distance, self.cutoff)[:, None]

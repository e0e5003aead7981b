r"""The edge network that EGNN, LorentzNet and the diffusion network share, as one operator.

On every edge j -> i, with activation :math:`\sigma` (SiLU or ReLU) and the optional parts in brackets:

.. math::
    z_{ij} &= W [h_i, h_j, e_{ij}] + b \quad [\text{batch-normalised over the edges}], \\
    m_{ij} &= \sigma(V \sigma(z_{ij}) + c) \quad [\times\ \mathrm{sigmoid}(g \cdot m_{ij} + g_0)], \\
    M_i &= \sum_j m_{ij}, \qquad
    l_{ij} = u \cdot m_{ij} \ \text{or}\ u \cdot \sigma(U m_{ij} + d).

`M` feeds the node update, `l` is the coefficient of the difference vector in the coordinate update. The
backends `reference`, `native` and `torch_scatter` compose it of PyTorch operations, which keep every
[edges, hidden] array for the backward pass. A fused backend keeps none: see `geograph.kernels.fused`.

References
----------
Satorras et al. (2021), arXiv:2102.09844, Eqs. (3) to (8); Gong et al. (2022), arXiv:2201.08187, Eqs. (3.2) to
(3.5); Hoogeboom et al. (2022), arXiv:2203.17003, appendix B.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from geograph.errors import ConfigError
from geograph.kernels import dispatch

ACTIVATIONS = {"silu": nn.functional.silu, "relu": nn.functional.relu}


@dataclass(frozen=True)
class EdgeNetworkWeights:
    """Parameters of an edge network; a part whose first member is None is left out.

    Attributes
    ----------
    pair_weight, pair_bias
        W [hidden, 2 features + scalars], columns target, source, edge; b [hidden] or None.
    norm
        Batch norm of z over the edges.
    weight, bias
        V [messages, hidden] and c [messages].
    gate_weight, gate_bias
        g [1, messages] and g_0 [1].
    head_weight, head_bias
        U [head, messages] and d [head]; without them l = u . m.
    length_weight
        u [1, head] (or [1, messages]); without it there is no l.
    """

    pair_weight: Tensor
    pair_bias: Tensor | None
    weight: Tensor
    bias: Tensor
    norm: nn.BatchNorm1d | None = None
    gate_weight: Tensor | None = None
    gate_bias: Tensor | None = None
    head_weight: Tensor | None = None
    head_bias: Tensor | None = None
    length_weight: Tensor | None = None


def edge_network(
    h: Float[Tensor, "nodes features"],
    edge_attr: Float[Tensor, "edges scalars"],
    weights: EdgeNetworkWeights,
    edge_index: Int[Tensor, "2 edges"],
    edge_ptr: Int[Tensor, " nodes_plus_one"],
    *,
    activation: str = "silu",
    wants_sum: bool = True,
    backend: str | None = None,
) -> tuple[Float[Tensor, "nodes messages"] | None, Float[Tensor, "edges 1"] | None]:
    """Return the summed messages of each node and the length on each edge; None for what is not wanted.

    Invariant under whatever leaves `h` and `edge_attr` alone, covariant under permutations.

    Parameters
    ----------
    h
        Node features.
    edge_attr
        Edge scalars.
    weights
        All parameters.
    edge_index, edge_ptr
        Edges sorted by target, and their CSR pointer over targets.
    activation
        "silu" or "relu".
    wants_sum
        Whether the sum is needed.
    backend
        Name of a backend for this call.

    Raises
    ------
    ConfigError
        If the activation is unknown.
    """
    if activation not in ACTIVATIONS:
        raise ConfigError(f"`activation` must be one of {', '.join(ACTIVATIONS)}, got {activation!r}.")
    name = dispatch.selected(backend, h)
    if name in dispatch.FUSED:
        from geograph.kernels import fused

        module = dispatch.implementation(name)
        return fused.edge_network(
            module, h, edge_attr, weights, edge_index, edge_ptr, activation=activation, wants_sum=wants_sum
        )
    return composed(
        h, edge_attr, weights, edge_index, edge_ptr, activation=activation, wants_sum=wants_sum, backend=name
    )


def composed(
    h: Tensor,
    edge_attr: Tensor,
    weights: EdgeNetworkWeights,
    edge_index: Tensor,
    edge_ptr: Tensor,
    *,
    activation: str,
    wants_sum: bool,
    backend: str,
) -> tuple[Tensor | None, Tensor | None]:
    """Compose the operator of the smaller operations of a backend: the specification, with `reference`."""
    pair = dispatch.pair_linear(
        h, edge_attr, weights.pair_weight, weights.pair_bias, edge_index, backend=backend
    )
    if weights.norm is not None:
        pair = weights.norm(pair)
    message, length = messages(pair, weights, activation)
    if not wants_sum:
        return None, length
    total = dispatch.segment_reduce(message, edge_ptr, "sum", index=edge_index[1], backend=backend)
    return total, length


def messages(pair: Tensor, weights: EdgeNetworkWeights, activation: str) -> tuple[Tensor, Tensor | None]:
    """Compute messages and lengths from the (normalised) pair inputs z."""
    linear, act = nn.functional.linear, ACTIVATIONS[activation]
    message = act(linear(act(pair), weights.weight, weights.bias))
    if weights.gate_weight is not None:
        message = message * torch.sigmoid(linear(message, weights.gate_weight, weights.gate_bias))
    if weights.length_weight is None:
        return message, None
    hidden = message
    if weights.head_weight is not None:
        hidden = act(linear(message, weights.head_weight, weights.head_bias))
    return message, linear(hidden, weights.length_weight)

"""Parameters of the released EGNN (github.com/vgsatorras/egnn) under our names.

Theirs aggregates on row 0 of `edge_index`, ours on row 1: give ours the edges with the rows swapped, sorted
by target. The columns of the first edge layer have the same order in both: receiving node, sending node,
squared distance, edge attributes.
"""

from __future__ import annotations

import re

from torch import Tensor, nn

from geograph.errors import CheckpointError
from geograph.interop.transfer import Recipe, check_consumed, copy_parameters, count_blocks, renamed, required
from geograph.models.egnn import EGNN, EGNNDynamics

#: Our name -> released name, as regular expressions; other names are the same.
RENAMES: tuple[tuple[str, str], ...] = (
    (r"layers\.(\d+)\.edge_linear\.(.+)", r"gcl_\1.edge_mlp.0.\2"),
    (r"layers\.(\d+)\.edge_mlp\.1\.(.+)", r"gcl_\1.edge_mlp.2.\2"),
    (r"layers\.(\d+)\.attention\.(.+)", r"gcl_\1.att_mlp.0.\2"),
    (r"layers\.(\d+)\.velocity_mlp\.(.+)", r"gcl_\1.coord_mlp_vel.\2"),
    (r"layers\.(\d+)\.(.+)", r"gcl_\1.\2"),
)

_GATE = "att_mlp.0.weight"


def released_name(our_name: str) -> str:
    """Return the released name of one of our parameters."""
    return renamed(our_name, RENAMES)


def build(
    params: dict[str, Tensor],
    *,
    attention: bool | None = None,
    normalize: bool = False,
    tanh: bool = False,
    residual: bool = True,
    coords_agg: str = "mean",
) -> nn.Module:
    """Build an `EGNN` with released parameters; sizes, attention and velocity follow from their shapes.

    Parameters
    ----------
    params
        Released names and values.
    attention, normalize, tanh, residual, coords_agg
        Options of the released constructor; `attention` is read off the parameters.
    """
    embedding, last = required(params, "embedding_in.weight"), required(params, "embedding_out.weight")
    first_edge = required(params, "gcl_0.edge_mlp.0.weight")
    num_hidden, in_features = embedding.shape
    module = EGNN(
        in_features,
        num_hidden,
        last.shape[0],
        count_blocks(params, r"gcl_(\d+)\."),
        first_edge.shape[1] - 2 * num_hidden - 1,
        has_attention="gcl_0.att_mlp.0.weight" in params if attention is None else attention,
        normalize=normalize,
        has_tanh=tanh,
        is_residual=residual,
        coords_agg=coords_agg,
        has_velocity="gcl_0.coord_mlp_vel.0.weight" in params,
    )
    return copy_parameters(module, params, released_name)


def recipe(params: dict[str, Tensor], *, tanh: bool = False) -> Recipe:
    """Return the task of ours that the released network for charged particles becomes.

    The released class for dynamics calls its embedding `embedding`; what only changes features that nothing
    reads (the last feature update, an output embedding) is left out.

    Parameters
    ----------
    params
        Released names and values.
    tanh
        Option of the released constructor.

    Raises
    ------
    CheckpointError
        If it is another EGNN than that for the n-body experiment: those have inputs of their own making,
        which no task of ours offers.
    """
    names = {name: re.sub(r"^embedding\.", "embedding_in.", name) for name in params}
    given = {names[name]: value for name, value in params.items()}
    num_hidden, num_inputs = required(given, "embedding_in.weight").shape
    num_layers = count_blocks(given, r"gcl_(\d+)\.")
    num_edge = required(given, "gcl_0.edge_mlp.0.weight").shape[1] - 2 * num_hidden - 1
    has_velocity, has_attention = ("gcl_0." + part in given for part in ("coord_mlp_vel.0.weight", _GATE))
    if (num_inputs, num_edge, has_velocity, has_attention) != (1, 2, True, False):
        raise CheckpointError(
            "only the EGNN for charged particles can become a checkpoint (1 node feature, 2 edge features, "
            f"velocities, no attention), got {num_inputs} node features, {num_edge} edge features, "
            f"{'with' if has_velocity else 'without'} velocities, {'with' if has_attention else 'without'} "
            "attention; use the network in Python: `geograph.interop.released.from_released('egnn', ...)`."
        )
    unread = re.compile(rf"gcl_{num_layers - 1}\.node_mlp\..+|embedding_out\..+")
    network = EGNNDynamics(num_hidden, num_layers, has_tanh=tanh).network
    kept = {name: value for name, value in given.items() if not unread.fullmatch(name)}
    check_consumed(kept, network, released_name, "egnn-dynamics")
    weights = copy_parameters(network, kept, released_name).state_dict()
    settings = {"num_hidden": num_hidden, "num_layers": num_layers, "has_tanh": tanh}
    return Recipe("trajectory", "egnn-dynamics", settings, weights)

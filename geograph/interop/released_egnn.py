"""Parameters of the released EGNN (github.com/vgsatorras/egnn) under our names.

Theirs aggregates on row 0 of `edge_index`, ours on row 1: give ours the edges with the rows swapped, sorted
by target. The columns of the first edge layer have the same order in both: receiving node, sending node,
squared distance, edge attributes.
"""

from __future__ import annotations

from torch import Tensor, nn

from geograph.interop.transfer import copy_parameters, count_blocks, renamed, required
from geograph.models.egnn import EGNN

#: Our name -> released name, as regular expressions; other names are the same.
RENAMES: tuple[tuple[str, str], ...] = (
    (r"layers\.(\d+)\.edge_linear\.(.+)", r"gcl_\1.edge_mlp.0.\2"),
    (r"layers\.(\d+)\.edge_mlp\.1\.(.+)", r"gcl_\1.edge_mlp.2.\2"),
    (r"layers\.(\d+)\.attention\.(.+)", r"gcl_\1.att_mlp.0.\2"),
    (r"layers\.(\d+)\.velocity_mlp\.(.+)", r"gcl_\1.coord_mlp_vel.\2"),
    (r"layers\.(\d+)\.(.+)", r"gcl_\1.\2"),
)


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

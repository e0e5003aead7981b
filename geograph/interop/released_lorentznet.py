"""Parameters of the released LorentzNet (github.com/sdogsq/LorentzNet-release) under our names.

Theirs aggregates on row 0 of the edge list, ours on row 1; columns of the first edge layer are in the same
order. Theirs averages over the padded number of nodes: pass that to `LorentzNet.forward` as `pool_divisor`
for equal logits.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from geograph.errors import CheckpointError
from geograph.interop.transfer import (
    Recipe,
    check_consumed,
    copy_parameters,
    count_blocks,
    renamed,
    required,
)
from geograph.models.lorentznet import LorentzNet

#: Our name -> released name, as regular expressions; other names are the same.
RENAMES: tuple[tuple[str, str], ...] = (
    (r"layers\.(\d+)\.edge_linear\.(.+)", r"LGEBs.\1.phi_e.0.\2"),
    (r"layers\.(\d+)\.edge_mlp\.0\.(.+)", r"LGEBs.\1.phi_e.1.\2"),
    (r"layers\.(\d+)\.edge_mlp\.2\.(.+)", r"LGEBs.\1.phi_e.3.\2"),
    (r"layers\.(\d+)\.node_mlp\.(.+)", r"LGEBs.\1.phi_h.\2"),
    (r"layers\.(\d+)\.vector_mlp\.(.+)", r"LGEBs.\1.phi_x.\2"),
    (r"layers\.(\d+)\.gate\.(.+)", r"LGEBs.\1.phi_m.0.\2"),
    (r"decoder\.(.+)", r"graph_dec.\1"),
)

#: What the released function depends on and ours does not.
PADDING_NOTE = (
    "the released code divides the sum over nodes by the padded length of the batch, this model by the "
    "number of nodes of the jet"
)


def released_name(our_name: str) -> str:
    """Return the released name of one of our parameters."""
    return renamed(our_name, RENAMES)


def build(params: dict[str, Tensor], *, c_weight: float = 5e-3, dropout: float = 0.2) -> nn.Module:
    """Build a `LorentzNet` with released parameters; sizes follow from their shapes.

    Parameters
    ----------
    params
        Released names and values, without the prefix "module.".
    c_weight, dropout
        Settings that the parameters do not show; the published values by default.
    """
    num_hidden, num_scalars = required(params, "embedding.weight").shape
    module = LorentzNet(
        num_scalars,
        num_hidden,
        count_blocks(params, r"LGEBs\.(\d+)\."),
        required(params, "graph_dec.3.weight").shape[0],
        c_weight=c_weight,
        dropout=dropout,
    )
    return copy_parameters(module, params, released_name)


def recipe(params: dict[str, Tensor], **options: Any) -> Recipe:
    """Return the task of ours that the released jet tagger becomes.

    Parameters
    ----------
    params
        Released names and values.
    **options
        As for `build`.

    Raises
    ------
    CheckpointError
        If a parameter is missing or does not fit, or the network reads other scalars than the masses of
        constituents and beams.
    """
    network = build(params, **options)
    check_consumed(params, network, released_name, "lorentznet")
    num_scalars = required(params, "embedding.weight").shape[1]
    if num_scalars != 2:
        raise CheckpointError(f"`embedding.weight` must read 2 scalars (masses by type), got {num_scalars}.")
    settings = {
        "num_outputs": required(params, "graph_dec.3.weight").shape[0],
        "num_hidden": required(params, "embedding.weight").shape[0],
        "num_layers": count_blocks(params, r"LGEBs\.(\d+)\."),
        **options,
    }
    return Recipe("classification", "lorentznet", settings, network.state_dict(), [PADDING_NOTE])

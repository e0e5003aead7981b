"""Parameters of the released CGENN under our names.

Released: github.com/DavidRuhe/clifford-group-equivariant-neural-networks. Theirs aggregates on row 0 of the
edge list, ours on row 1. Their jet network averages over the padded number of nodes: pass that to
`CGENNLorentz.forward` as `pool_divisor` for equal logits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from geograph.algebra.clifford import CliffordAlgebra
from geograph.errors import CheckpointError, ConfigError
from geograph.interop.released_lorentznet import PADDING_NOTE
from geograph.interop.transfer import Recipe, check_consumed, copy_parameters, count_blocks, renamed, required
from geograph.models.cgenn_lorentz import CGENNLorentz
from geograph.models.cgenn_nbody import CGENNNBody

#: Our name -> released name, as regular expressions; other names are the same.
RENAMES: tuple[tuple[str, str], ...] = (
    (r"embedding_scalar\.(.+)", r"embedding_h.\1"),
    (r"embedding_vector\.(.+)", r"embedding_x.\1"),
    (r"layers\.(\d+)\.message_scalar\.(.+)", r"CGLs.\1.phi_h.\2"),
    (r"layers\.(\d+)\.message_vector\.(.+)", r"CGLs.\1.phi_x.\2"),
    (r"layers\.(\d+)\.update_scalar\.(.+)", r"CGLs.\1.theta_h.\2"),
    (r"layers\.(\d+)\.update_vector\.(.+)", r"CGLs.\1.theta_x.\2"),
    (r"layers\.(\d+)\.gate_message\.(.+)", r"CGLs.\1.psi_x.\2"),
    (r"layers\.(\d+)\.gate_update\.(.+)", r"CGLs.\1.chi_x.\2"),
    (r"decoder\.(.+)", r"graph_dec.\1"),
    (r"layers\.(\d+)\.(edge|node)_model\.(\d+\..+)", r"layers.\1.\2_model.layers.\3"),
    (r"projection\.(weight|bias)", r"projection.0.\1"),
)

#: Constants of the algebra that the released modules store with their parameters.
_CONSTANTS = re.compile(r"(.+\.)?algebra\.(metric|subspaces|bbo_grades|even_grades|odd_grades|cayley)")
_GATES = re.compile(r"CGLs\.\d+\.(psi_x|chi_x)\..+")


def released_name(our_name: str) -> str:
    """Return the released name of one of our parameters."""
    return renamed(our_name, RENAMES)


def our_shape(name: str, value: Tensor) -> Tensor:
    """Drop the axes of length 1 that the released parameters (and their gradients) carry.

    Parameters
    ----------
    name
        Released name.
    value
        Released value.
    """
    if name.endswith(".bias") and value.ndim == 3:
        return value.reshape(-1)
    is_scale = name.endswith((".a", ".b")) and not name.endswith("normalization.a")
    return value[0] if is_scale and value.shape[0] == 1 else value


def build(params: dict[str, Tensor], **options: Any) -> nn.Module:
    """Build a `CGENNLorentz` or `CGENNNBody` with released parameters, which tell the kind and the sizes.

    Parameters
    ----------
    params
        Released names and values. Stored constants of the algebra are checked and then removed from it, as
        are gates that `use_invariants_to_update=False` leaves without effect.
    **options
        Keyword options of the released constructor. Those that the shapes show are checked against them.

    Raises
    ------
    CheckpointError
        If a parameter is missing, an option contradicts the parameters, or the algebra has another basis.
    ConfigError
        If an option is unknown, or asks for the network without scalars, which the released code cannot run.
    """
    return _built(params, options)[0]


def recipe(params: dict[str, Tensor], **options: Any) -> Recipe:
    """Return the task of ours that a released CGENN becomes.

    Parameters
    ----------
    params, **options
        As for `build`.

    Raises
    ------
    CheckpointError
        As `build` does, and if the network has other inputs than the published one for its experiment.
    """
    left = dict(params)
    network, settings = _built(left, options)
    check_consumed(left, network, released_name, "cgenn")
    if isinstance(network, CGENNLorentz):
        if (settings.pop("num_scalars"), settings.pop("num_vectors")) != (2, 1):
            raise CheckpointError(
                "the released CGENN for jets must read 2 scalars and 1 vector of each node."
            )
        settings["num_outputs"] = settings.pop("num_classes")
        return Recipe("classification", "cgenn-lorentz", settings, network.state_dict(), [PADDING_NOTE])
    if (settings.pop("num_inputs"), settings.pop("num_edge_features")) != (3, 1):
        raise CheckpointError("the released CGENN for particles must read 3 node inputs and 1 edge feature.")
    return Recipe("trajectory", "cgenn-nbody", settings, network.state_dict())


def _built(params: dict[str, Tensor], options: Mapping[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network and its settings, with the widths of its inputs."""
    is_jet = any(name.startswith("CGLs.") for name in params)
    metric = _remove_constants(params, (1.0, -1.0, -1.0, -1.0) if is_jet else (1.0, 1.0, 1.0))
    for name in params:
        params[name] = our_shape(name, params[name])
    settings = _lorentz(params, metric, options) if is_jet else _nbody(params, metric, options)
    unused = {"num_vectors", "num_inputs"}  # both constructors know these
    chosen = {name: value for name, value in settings.items() if name not in unused}
    module: nn.Module = CGENNLorentz(**chosen) if is_jet else CGENNNBody(**chosen)
    return copy_parameters(module, params, released_name), settings


def _lorentz(
    params: dict[str, Tensor], metric: tuple[float, ...], options: Mapping[str, Any]
) -> dict[str, Any]:
    is_elementwise = "CGLs.0.phi_x.2.weight" in params
    shown = _lorentz_sizes(params) | {"layer_type": "gpmlp" if is_elementwise else "fc"}
    hidden = {"dropout": 0.2, "use_invariants_to_update": True, "residual": False, "aggregation": "mean"}
    settings = _settings(shown, hidden, options)
    if not settings["use_invariants_to_update"]:
        for name in [name for name in params if _GATES.fullmatch(name)]:
            del params[name]
    return {
        "num_scalars": shown["in_features_h"],
        "num_vectors": shown["in_features_x"],
        "num_hidden": shown["hidden_features_h"],
        "num_multivectors": shown["hidden_features_x"],
        "num_layers": shown["n_layers"],
        "num_classes": shown["n_class"],
        "num_decoder": shown["decoder_features"],
        "dropout": settings["dropout"],
        "metric": list(metric),
        "product": "elementwise" if is_elementwise else "fully_connected",
        "normalization_init": _normalization(params, f"CGLs.0.phi_x.{2 * is_elementwise}.normalization.a"),
        "has_gates": settings["use_invariants_to_update"],
        "is_residual": settings["residual"],
        "aggregation": settings["aggregation"],
    }


def _lorentz_sizes(params: Mapping[str, Tensor]) -> dict[str, Any]:
    """Options of the released jet network that its parameters show."""
    num_hidden, num_scalars = required(params, "embedding_h.weight").shape
    num_multivectors, num_vectors = required(params, "embedding_x.weight").shape
    return {
        "in_features_h": num_scalars,
        "hidden_features_h": num_hidden,
        "in_features_x": num_vectors,
        "hidden_features_x": num_multivectors,
        "decoder_features": required(params, "graph_dec.0.weight").shape[0],
        "n_class": required(params, "graph_dec.3.weight").shape[0],
        "n_layers": count_blocks(params, r"CGLs\.(\d+)\."),
        "use_invariant_network": True,
    }


def _nbody(
    params: dict[str, Tensor], metric: tuple[float, ...], options: Mapping[str, Any]
) -> dict[str, Any]:
    num_hidden, in_features = required(params, "embedding.weight").shape
    first = "layers.0.edge_model.layers.0"
    shown: dict[str, Any] = {
        "in_features": in_features,
        "hidden_features": num_hidden,
        "out_features": required(params, "projection.0.weight").shape[0],
        "edge_features_in": required(params, f"{first}.0.weight").shape[1] - num_hidden,
        "n_layers": count_blocks(params, r"layers\.(\d+)\."),
    }
    settings = _settings(shown, {"residual": True}, options)
    return {
        "num_inputs": in_features,
        "num_hidden": num_hidden,
        "num_layers": shown["n_layers"],
        "num_edge_features": shown["edge_features_in"],
        "metric": list(metric),
        "num_blocks": count_blocks(params, r"layers\.0\.edge_model\.layers\.(\d+)\."),
        "is_residual": settings["residual"],
        "normalization_init": _normalization(params, f"{first}.2.normalization.a"),
    }


def _settings(
    shown: Mapping[str, Any], hidden: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Options with their defaults; those that the shapes show must agree with them."""
    known = {*shown, *hidden, "normalization_init"}
    for name, value in options.items():
        if name not in known:
            raise ConfigError(f"`{name}` is no option of this released CGENN: {', '.join(sorted(known))}.")
        if name == "use_invariant_network" and not value:
            raise ConfigError("`use_invariant_network` must be True: released code cannot run without it.")
        if name in shown and value != shown[name]:
            raise CheckpointError(f"`{name}` is {value!r}, but the released parameters show {shown[name]!r}.")
    return {**hidden, **options}


def _normalization(params: Mapping[str, Tensor], name: str) -> float | None:
    """Start value of the grade normalisation (overwritten by the checkpoint), or None where it has none."""
    return 0.0 if name in params else None


def _remove_constants(params: dict[str, Tensor], default: tuple[float, ...]) -> tuple[float, ...]:
    """Take the stored constants out of `params` and return the metric that they state."""
    constants = {name: params.pop(name) for name in list(params) if _CONSTANTS.fullmatch(name)}
    metrics = [tuple(value.tolist()) for name, value in constants.items() if name.endswith("algebra.metric")]
    metric = metrics[0] if metrics else default
    if any(other != metric for other in metrics):
        raise CheckpointError(f"The released parameters must share one metric, got {sorted(set(metrics))}.")
    cayley = CliffordAlgebra(metric).cayley
    for name, value in constants.items():
        if name.endswith("algebra.cayley") and not np.array_equal(value.double().numpy(), cayley):
            raise CheckpointError(
                f"`{name}` must be the Cayley table of metric {metric} in short-lex blade order, but is not."
            )
    return metric

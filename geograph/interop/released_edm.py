"""Released parameters of the diffusion network (EDM) in our module."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from geograph.errors import CheckpointError
from geograph.models.denoiser import EDMDynamics

#: Our parameter prefix -> the released one, as templates in the numbers of block and message layer.
RENAMES: dict[str, str] = {
    "embedding.": "egnn.embedding.",
    "embedding_out.": "egnn.embedding_out.",
    "blocks.{block}.message_layers.{layer}.message.first.": "egnn.e_block_{block}.gcl_{layer}.edge_mlp.0.",
    "blocks.{block}.message_layers.{layer}.message.second.": "egnn.e_block_{block}.gcl_{layer}.edge_mlp.2.",
    "blocks.{block}.message_layers.{layer}.attention.": "egnn.e_block_{block}.gcl_{layer}.att_mlp.0.",
    "blocks.{block}.message_layers.{layer}.update_first.": "egnn.e_block_{block}.gcl_{layer}.node_mlp.0.",
    "blocks.{block}.message_layers.{layer}.update_second.": "egnn.e_block_{block}.gcl_{layer}.node_mlp.2.",
    "blocks.{block}.move.first.": "egnn.e_block_{block}.gcl_equiv.coord_mlp.0.",
    "blocks.{block}.move.second.": "egnn.e_block_{block}.gcl_equiv.coord_mlp.2.",
    "blocks.{block}.move_length.": "egnn.e_block_{block}.gcl_equiv.coord_mlp.4.",
}

#: What a checkpoint of the whole diffusion model has besides the network: its schedule, an unused buffer.
_PROCESS_KEYS = ("gamma.gamma", "buffer")
_NETWORK_PREFIX = "dynamics."


def _pattern(template: str) -> re.Pattern[str]:
    text = re.escape(template)
    for number in ("block", "layer"):
        text = text.replace(re.escape("{" + number + "}"), rf"(?P<{number}>\d+)")
    return re.compile(text + r"(?P<kind>weight|bias)")


def released_name(name: str) -> str:
    """Released name of one of our parameters.

    Raises
    ------
    CheckpointError
        If we have no parameter of that name.
    """
    for ours, theirs in RENAMES.items():
        match = _pattern(ours).fullmatch(name)
        if match:
            return theirs.format(**match.groupdict()) + match["kind"]
    raise CheckpointError(f"`{name}` is no parameter of the diffusion network.")


def network_params(params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the network's own parameters from the released checkpoint of a whole diffusion model."""
    kept = {name: value for name, value in params.items() if name not in _PROCESS_KEYS}
    return {name.removeprefix(_NETWORK_PREFIX): value for name, value in kept.items()}


def _count(params: Mapping[str, Tensor], pattern: str) -> int:
    numbers = [int(match[1]) for name in params if (match := re.match(pattern, name))]
    return max(numbers, default=-1) + 1


def _matched(model: EDMDynamics, params: Mapping[str, Tensor]) -> dict[str, str]:
    """Released name of each of the model's parameters, after a check of names and shapes."""
    names = {name: released_name(name) for name in model.state_dict()}
    missing, extra = set(names.values()) - set(params), set(params) - set(names.values())
    if missing or extra:
        verb, which = ("lacks", missing) if missing else ("has the unknown", extra)
        raise CheckpointError(f"`params` {verb} {', '.join(sorted(which))}; is this another model?")
    for name, value in model.state_dict().items():
        given = params[names[name]]
        if given.shape != value.shape:
            raise CheckpointError(
                f"`{names[name]}` must have shape {tuple(value.shape)}, got {tuple(given.shape)}."
            )
    return names


def build(
    params: Mapping[str, Tensor],
    *,
    num_context: int = 0,
    has_tanh: bool = True,
    coordinate_range: float = 15.0,
    norm_constant: float = 1.0,
    normalization_factor: float = 1.0,
) -> EDMDynamics:
    """Build the diffusion network from released parameters; every width and depth comes from their shapes.

    Parameters
    ----------
    params
        Released name -> value.
    num_context, has_tanh, coordinate_range, norm_constant, normalization_factor
        Settings that leave no trace in the shapes, as in `EDMDynamics`.

    Raises
    ------
    CheckpointError
        If a parameter is missing, left over, or of the wrong shape.
    """
    ours = dict(params)
    if "egnn.embedding.weight" not in ours:
        raise CheckpointError(
            "`params` must hold the parameter egnn.embedding.weight of the released diffusion network, got "
            f"{', '.join(sorted(ours)[:3])} ...; is this a checkpoint of another model?"
        )
    hidden, num_inputs = ours["egnn.embedding.weight"].shape
    model = EDMDynamics(
        num_inputs - 1 - num_context,
        hidden,
        _count(ours, r"egnn\.e_block_(\d+)\."),
        num_message_layers=_count(ours, r"egnn\.e_block_0\.gcl_(\d+)\."),
        has_attention=any(".att_mlp." in name for name in ours),
        has_tanh=has_tanh,
        coordinate_range=coordinate_range,
        norm_constant=norm_constant,
        normalization_factor=normalization_factor,
        num_context=num_context,
    )
    names = _matched(model, ours)
    model.to(ours["egnn.embedding.weight"].dtype)
    model.load_state_dict({name: ours[released] for name, released in names.items()})
    return model

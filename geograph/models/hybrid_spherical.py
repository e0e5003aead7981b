"""Networks on the sphere whose blocks are of several families, from one list of blocks."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from geograph.errors import ConfigError
from geograph.layers.spherical_pooling import GlobalPooling
from geograph.models.sphere_graph import InputScales, SphereGraph, SphericalTrunk

#: Module and class of each kind of block; `num_outputs` and `bandlimit` of a block are those of its output.
BLOCKS: dict[str, tuple[str, str]] = {
    "zonal": ("geograph.layers.zonal", "ZonalBlock"),
    "spin": ("geograph.layers.spin_blocks", "SpinScalarBlock"),
    "tensor": ("geograph.layers.tensor_block", "TensorBlock"),
    "scattering": ("geograph.layers.spherical_scattering", "SphericalScattering"),
}
#: Parameters of the classes that the network fills in itself.
_FILLED = ("num_channels", "input_bandlimit", "num_outputs", "bandlimit")


def build_block(
    config: Mapping[str, Any], num_channels: int, bandlimit: int, place: str = "blocks"
) -> nn.Module:
    """One block from its description.

    Parameters
    ----------
    config
        `kind`, a key of `BLOCKS`; `channels` and `bandlimit` of the output (by default that of the input);
        and options of the class. Scattering decides its channels and band-limit itself and takes neither.
    num_channels, bandlimit
        Of the input.
    place
        Name of the entry for messages.

    Raises
    ------
    ConfigError
        If the kind or an option is unknown, a required one is missing, or a value is out of range.
    MissingExtraError
        If the block needs a package that is not installed.
    """
    kind = config.get("kind")
    if kind not in BLOCKS:
        raise ConfigError(f"`{place}.kind` must be one of {', '.join(BLOCKS)}, got {kind!r}.")
    module, name = BLOCKS[kind]
    block: type[nn.Module] = getattr(import_module(module), name)
    options = _checked_options(config, block, place)
    if kind == "scattering":
        if "smallest_scale" not in options:
            raise ConfigError(f"`{place}.smallest_scale` is required by a scattering block.")
        return block(num_channels, bandlimit, **options)
    outputs, limit = config.get("channels", 0), config.get("bandlimit", bandlimit)
    if outputs < 1 or not 1 <= limit <= bandlimit:
        raise ConfigError(
            f"`{place}` needs positive `channels` and a `bandlimit` from 1 to {bandlimit}, that of its "
            f"input; got {outputs} and {limit}."
        )
    first = (num_channels, bandlimit) if kind == "tensor" else (num_channels,)
    return block(*first, outputs, limit, **options)


def _checked_options(config: Mapping[str, Any], block: type[nn.Module], place: str) -> dict[str, Any]:
    """Options of the class alone, all of which it knows."""
    kind = config["kind"]
    known = [key for key in inspect.signature(block).parameters if key not in ("self", *_FILLED)]
    sized = () if kind == "scattering" else ("channels", "bandlimit")
    unknown = sorted(set(config) - {"kind", *sized, *known})
    if unknown:
        raise ConfigError(
            f"`{place}.{unknown[0]}` is no option of a {kind} block; it has {', '.join((*sized, *known))}."
        )
    return {key: value for key, value in config.items() if key not in ("kind", *sized)}


class HybridTrunk(SphericalTrunk):
    """Blocks one after another, each of its own kind; then invariants.

    What is between two blocks is always real functions on the sphere, so that every kind follows every other.

    Parameters
    ----------
    num_channels, bandlimit
        Of the input.
    blocks
        Description of each block, see `build_block`.
    readout
        See `GlobalPooling`.
    is_every_block_read
        Give the head the invariants of every block, not of the last one alone.

    Raises
    ------
    ConfigError
        If there is no block, or a description is wrong; the message has its number.

    References
    ----------
    Cobb et al. (2021), arXiv:2010.11661, section 2: layers of many kinds as maps of one kind of signal.
    """

    def __init__(
        self,
        num_channels: int,
        bandlimit: int,
        *,
        blocks: Sequence[Mapping[str, Any]],
        readout: str = "mean",
        is_every_block_read: bool = False,
    ) -> None:
        super().__init__()
        if not blocks:
            raise ConfigError("`blocks` must list at least one block.")
        self.num_channels, self.bandlimit = num_channels, bandlimit
        self.blocks, self.readouts = nn.ModuleList(), nn.ModuleList()
        for index, config in enumerate(blocks):
            block: Any = build_block(config, num_channels, bandlimit, f"blocks.{index}")
            num_channels, bandlimit = block.num_outputs, block.bandlimit
            self.blocks.append(block)
            is_read = is_every_block_read or index == len(blocks) - 1
            self.readouts.append(
                GlobalPooling(num_channels, bandlimit, readout) if is_read else nn.Identity()
            )
        read = [pool for pool in self.readouts if isinstance(pool, GlobalPooling)]
        self.num_features = sum(pool.num_features for pool in read)

    def forward(
        self, harmonic: Float[Tensor, "spheres channels coefficients"]
    ) -> Float[Tensor, "spheres features"]:
        """Reduce to invariants."""
        state, features = harmonic, []
        for block, pool in zip(self.blocks, self.readouts, strict=True):
            state = block(state)
            if isinstance(pool, GlobalPooling):
                features.append(pool(state))
        return torch.cat(features, dim=1)


class HybridSphericalGraph(SphereGraph):
    """`HybridTrunk` on every sphere and the head of `SphereGraph`; the parameters are those of the two."""

    def __init__(
        self,
        *,
        num_channels: int,
        bandlimit: int,
        num_outputs: int,
        blocks: Sequence[Mapping[str, Any]],
        readout: str = "mean",
        is_every_block_read: bool = False,
        head: Literal["sphere", "atoms"] = "sphere",
        num_hidden: Sequence[int] | None = None,
        dropout: float = 0.0,
        elements: Sequence[int] | None = None,
        input_mean: Sequence[float] | None = None,
        input_scale: InputScales | None = None,
    ) -> None:
        trunk = HybridTrunk(
            num_channels,
            bandlimit,
            blocks=blocks,
            readout=readout,
            is_every_block_read=is_every_block_read,
        )
        super().__init__(
            trunk, num_outputs=num_outputs, head=head, num_hidden=num_hidden, dropout=dropout,
            elements=elements, input_mean=input_mean, input_scale=input_scale,
        )  # fmt: skip

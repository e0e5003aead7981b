"""The networks whose forward pass `pipelines.latency` times, and the digits that they see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch_geometric.data import Data

from geograph.errors import ConfigError
from geograph.models import build_model
from pipelines.cost import num_parameters

NUM_CLASSES = 10


@dataclass(frozen=True)
class Subject:
    """A network to time.

    Attributes
    ----------
    name
        Name of the row.
    model
        Name in the table of models.
    params
        Its parameters, but channels, band-limit and outputs.
    budget_of
        Subject whose number of parameters `num_parameters` shall be, where the network takes one.
    """

    name: str
    model: str
    params: dict[str, Any] = field(default_factory=dict)
    budget_of: str | None = None


#: All have about as many parameters as this one, 54 thousand.
_S2CNN = {"features": [16, 36], "bandlimits": [10, 6]}

SUBJECTS: tuple[Subject, ...] = (
    Subject("s2cnn", "s2cnn", _S2CNN),
    Subject("s2cnn, oversampled", "s2cnn", {**_S2CNN, "oversampling": 2.0}),
    Subject("planar-cnn", "planar-cnn", budget_of="s2cnn"),
    Subject("zonal-cnn", "zonal-cnn", {"widths": [24, 48, 88]}),
    Subject("spin-weighted-cnn", "spin-weighted-cnn", {"widths": [6, 12, 16]}),
    Subject(
        "clebsch-gordan-net",
        "clebsch-gordan-net",
        {"max_degrees": 8, "num_layers": 3, "num_fragments": 15},
    ),
    Subject(
        "efficient-spherical",
        "efficient-spherical",
        {"channels": [24, 32, 56], "bandlimits": [10, 8, 6]},
    ),
    Subject(
        "hybrid-spherical",
        "hybrid-spherical",
        {
            "blocks": [
                {"kind": "zonal", "channels": 32, "bandlimit": 16},
                {"kind": "tensor", "channels": 48, "bandlimit": 8},
            ]
        },
    ),
)


def chosen(names: Sequence[str] | None) -> list[Subject]:
    """Return subjects by name, all of them without names.

    Raises
    ------
    ConfigError
        If there is no subject of a name.
    """
    known = {subject.name: subject for subject in SUBJECTS}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ConfigError(f"`--only` must be one of {', '.join(known)}, got {unknown[0]!r}.")
    return [known[name] for name in names] if names else list(SUBJECTS)


def build(subject: Subject, bandlimit: int) -> nn.Module:
    """Build a network for one channel and ten classes, in evaluation mode, with repeatable weights."""
    params: dict[str, Any] = {"num_channels": 1, "bandlimit": bandlimit, "num_outputs": NUM_CLASSES}
    if subject.budget_of is not None:
        other = next(each for each in SUBJECTS if each.name == subject.budget_of)
        params["num_parameters"] = num_parameters(build(other, bandlimit))
    torch.manual_seed(0)
    return build_model(subject.model, **params, **subject.params).eval()


def digits(num: int, bandlimit: int) -> Data:
    """Return a batch of digits, one sphere for each graph."""
    from geograph.generate.digits import generate_digits

    maps = generate_digits(num, bandlimit=bandlimit, seed=0)
    each = torch.arange(num)
    return Data(
        harmonic=torch.stack([torch.from_numpy(record.harmonic).float() for record in maps]),
        batch=each,
        ptr=torch.arange(num + 1),
        num_graphs=num,
        num_nodes=num,
    )


def take(batch: Data, num: int) -> Data:
    """Return the first graphs of a batch of digits."""
    return Data(
        harmonic=batch.harmonic[:num],
        batch=batch.batch[:num],
        ptr=batch.ptr[: num + 1],
        num_graphs=num,
        num_nodes=num,
    )

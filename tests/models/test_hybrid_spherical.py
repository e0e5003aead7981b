"""Blocks of several families in one network."""

from __future__ import annotations

import pytest
import torch
from equivariance import equivariance_errors
from model_suite import ModelSuite
from strategies import SPHERE_BANDLIMIT, SPHERE_CHANNELS, make_batch

from geograph.errors import ConfigError
from geograph.models import build_model

pytest.importorskip("e3nn", reason="Clebsch-Gordan coefficients come from e3nn")

SIZE = {"num_channels": SPHERE_CHANNELS, "bandlimit": SPHERE_BANDLIMIT, "num_outputs": 2}
ZONAL = {"kind": "zonal", "channels": 6, "activation": "quadratic", "oversampling": 1.5}
SPIN = {
    "kind": "spin",
    "channels": 6,
    "bandlimit": 5,
    "nonlinearity": "squared-collapse",
    "oversampling": 1.5,
}
TENSOR = {"kind": "tensor", "channels": 6, "bandlimit": 4}
SCATTERING = {"kind": "scattering", "smallest_scale": 1}


class TestExactFamilies(ModelSuite):
    name = "hybrid-spherical"
    params = {**SIZE, "blocks": [ZONAL, SPIN, TENSOR], "readout": "power"}
    kind = "sphere"
    num_steps = 40
    depth = 8


class TestAtoms(ModelSuite):
    name = "hybrid-spherical"
    params = {
        **SIZE,
        "blocks": [TENSOR, {**ZONAL, "bandlimit": 3}],
        "num_outputs": 1,
        "head": "atoms",
        "num_hidden": [16, 16, 16],
        "is_every_block_read": True,
    }
    kind = "atom_spheres"
    num_steps = 40
    depth = 8


@pytest.mark.parametrize(
    "blocks",
    [
        [SCATTERING, TENSOR | {"bandlimit": 2}],
        [SCATTERING, ZONAL | {"bandlimit": 2}],
        [ZONAL, SCATTERING, SPIN | {"bandlimit": 2}],
        [SPIN, ZONAL | {"bandlimit": 5}],
        [TENSOR, SPIN | {"bandlimit": 4}, TENSOR | {"bandlimit": 3}],
    ],
)
def test_every_kind_follows_every_other(blocks: list) -> None:
    torch.manual_seed(0)
    model = build_model("hybrid-spherical", **SIZE, blocks=blocks).double()
    batch = make_batch("sphere", num_graphs=6)
    out = model(batch)
    out.square().sum().backward()
    assert out.shape == (6, 2)
    missing = [name for name, value in model.named_parameters() if value.grad is None]
    assert not missing
    error = equivariance_errors(model.eval(), batch, "SO(3)")["out"]
    assert error < (0.1 if SCATTERING in blocks else 1e-10)


def test_readout_of_every_block() -> None:
    model = build_model("hybrid-spherical", **SIZE, blocks=[ZONAL, TENSOR], is_every_block_read=True)
    assert model.trunk.num_features == 12
    model = build_model("hybrid-spherical", **SIZE, blocks=[ZONAL, TENSOR], readout="power")
    assert model.trunk.num_features == 6 * 4


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([], "`blocks` must list at least one block"),
        ([{"kind": "planar"}], "`blocks.0.kind` must be one of zonal, spin, .*, got 'planar'"),
        ([ZONAL, {"channels": 4}], "`blocks.1.kind` must be one of zonal, .*, got None"),
        ([{"kind": "zonal"}], "`blocks.0` needs positive `channels` .*; got 0 and 6"),
        ([ZONAL | {"bandlimit": 7}], "`blocks.0` needs .* a `bandlimit` from 1 to 6, .*; got 6 and 7"),
        ([ZONAL | {"width": 4}], "`blocks.0.width` is no option of a zonal block; it has channels, band"),
        ([SPIN | {"channels": 5}], "`num_outputs` of a spin block must be even and positive, got 5"),
        ([{"kind": "scattering"}], "`blocks.0.smallest_scale` is required by a scattering block"),
        ([SCATTERING | {"channels": 4}], "`blocks.0.channels` is no option of a scattering block"),
    ],
)  # fmt: skip
def test_descriptions_are_checked(blocks: list, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_model("hybrid-spherical", **SIZE, blocks=blocks)

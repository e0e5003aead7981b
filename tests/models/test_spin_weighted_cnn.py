"""The spin-weighted network on spheres and on atoms."""

from __future__ import annotations

import pytest
import torch
from equivariance import equivariance_errors
from model_suite import ModelSuite
from strategies import SPHERE_BANDLIMIT, SPHERE_CHANNELS, make_batch

from geograph.errors import ConfigError
from geograph.models import build_model

SIZE = {"num_channels": SPHERE_CHANNELS, "bandlimit": SPHERE_BANDLIMIT, "num_outputs": 2, "widths": [4, 6]}
#: With this nonlinearity on this grid the whole network is invariant to rounding.
EXACT = {"nonlinearity": "squared-collapse", "oversampling": 1.5}


class TestSpheres(ModelSuite):
    name = "spin-weighted-cnn"
    params = {**SIZE, **EXACT}
    kind = "sphere"
    num_steps = 40


class TestAtoms(ModelSuite):
    name = "spin-weighted-cnn"
    params = {
        **SIZE,
        **EXACT,
        "num_outputs": 1,
        "head": "atoms",
        "num_hidden": [16, 16, 16],
        "readout": "power",
        "spins": [0, 2],
        "is_residual": False,
    }
    kind = "atom_spheres"
    num_steps = 40


@pytest.mark.parametrize("nonlinearity", ["phase-collapse", "magnitude"])
def test_error_falls_with_oversampling(nonlinearity: str) -> None:
    errors = []
    for oversampling in (1.0, 2.0, 4.0):
        torch.manual_seed(0)
        model = build_model("spin-weighted-cnn", **SIZE, nonlinearity=nonlinearity, oversampling=oversampling)
        errors.append(equivariance_errors(model.double().eval(), make_batch("sphere"), "SO(3)")["out"])
    assert errors[0] > 1.3 * errors[1] > 1.7 * errors[2]
    assert errors[0] < 0.1


def test_spin_carries_information() -> None:
    """The spin-1 parts of the first block reach the output."""
    torch.manual_seed(0)
    model = build_model("spin-weighted-cnn", **SIZE).double().eval()
    batch = make_batch("sphere")
    before = model(batch)
    with torch.no_grad():
        model.trunk.blocks[0].convolution.anchors[:, :, 1] *= 2.0
    assert not torch.allclose(model(batch), before)


def test_residual_branch_starts_at_zero() -> None:
    """A fresh residual block is the nonlinearity of its input alone."""
    torch.manual_seed(0)
    model = build_model("spin-weighted-cnn", **{**SIZE, "widths": [4, 4]}).double().eval()
    block = model.trunk.blocks[1]
    parts = torch.randn(2, 2, 2, 4, SPHERE_BANDLIMIT**2, dtype=torch.float64)
    parts[:, 1, ..., 0] = 0.0
    assert torch.allclose(block(parts), block.nonlinearity(parts), rtol=0, atol=1e-14)


def test_number_of_parameters() -> None:
    """One convolution: 2 real numbers for each anchor, spin and channel, in and out."""
    model = build_model("spin-weighted-cnn", **{**SIZE, "widths": [4]}, num_anchors=3)
    assert model.trunk.blocks[0].convolution.anchors.numel() == 2 * 3 * (2 * 4) * (1 * SPHERE_CHANNELS)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"spins": [1]}, "`spins` must start with 0"),
        ({"nonlinearity": "relu"}, "`nonlinearity` must be one of phase-collapse, .*, got 'relu'"),
        ({"oversampling": 0.5}, "`oversampling` must be a number of at least 1, got 0.5"),
        ({"num_anchors": 0}, "`num_anchors` and `bandlimit` must be at least 1, got 0 and 6"),
    ],
)
def test_parameters_are_checked(params: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_model("spin-weighted-cnn", **{**SIZE, **params})

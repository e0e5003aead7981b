"""The zonal network on spheres and on atoms."""

from __future__ import annotations

import pytest
import torch
from equivariance import equivariance_errors
from model_suite import ModelSuite
from strategies import SPHERE_BANDLIMIT, SPHERE_CHANNELS, harmonic_coefficients, make_batch

from geograph.algebra.wigner import random_rotation, rotate
from geograph.errors import ConfigError
from geograph.models import build_model
from geograph.models.zonal_cnn import ZonalTrunk, block_bandlimits

SIZE = {"num_channels": SPHERE_CHANNELS, "bandlimit": SPHERE_BANDLIMIT, "num_outputs": 2, "widths": [8, 12]}
#: With this activation on this grid the whole network is invariant to rounding.
EXACT = {"activation": "quadratic", "oversampling": 1.5}


class TestSpheres(ModelSuite):
    name = "zonal-cnn"
    params = {**SIZE, **EXACT, "readout": "power"}
    kind = "sphere"
    num_steps = 40


class TestAtoms(ModelSuite):
    name = "zonal-cnn"
    params = {**SIZE, **EXACT, "num_outputs": 1, "head": "atoms", "num_hidden": [16, 16, 16]}
    kind = "atom_spheres"
    num_steps = 40


class TestTwoBranches(ModelSuite):
    name = "zonal-cnn"
    params = {**SIZE, **EXACT, "branches": [[0], [1, 2]]}
    kind = "sphere"
    num_steps = 40


@pytest.mark.parametrize("activation", ["relu", "prelu", "silu"])
def test_error_falls_with_oversampling(activation: str) -> None:
    errors = []
    for oversampling in (1.0, 2.0, 4.0):
        torch.manual_seed(0)
        model = build_model("zonal-cnn", **SIZE, activation=activation, oversampling=oversampling)
        errors.append(equivariance_errors(model.double().eval(), make_batch("sphere"), "SO(3)")["out"])
    assert errors[0] > 1.5 * errors[1] > 2.25 * errors[2]
    assert errors[0] < 0.1


def test_area_pooling_trains_and_is_nearly_invariant() -> None:
    torch.manual_seed(0)
    trunk = ZonalTrunk(
        2, 8, widths=(4, 8, 8), bandlimits=(8, 4, 4), pooling="area", oversampling=2.0
    ).double()
    generator = torch.Generator().manual_seed(0)
    f = harmonic_coefficients(6, 2, 8, generator, torch.float64)
    trunk(f).square().sum().backward()
    assert all(value.grad is not None for value in trunk.parameters())
    trunk.eval()
    before, after = trunk(f), trunk(rotate(f, random_rotation(generator, 6)))
    error = float(((after - before).norm() / before.norm()).detach())
    assert 1e-10 < error < 0.05  # pooling over cells is no exact symmetry


def test_published_size() -> None:
    """Two branches of 16 ... 128 channels on a 64 x 64 grid; published: about half a million parameters.

    Where filters have fewer than 8 degrees, 8 anchors would say the same thing twice; they are left out here.
    """
    trunk = ZonalTrunk(2, 32, widths=(16, 16, 32, 32, 64, 64, 128, 128), branches=[[0], [1]])
    anchors = 8 * (16 + 16 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64) + 4 * (64 * 128 + 128 * 128)
    joined = 8 * (16 * 32 + 32 * 64) + 4 * 64 * 128
    norm_and_activation = 3 * (16 + 16 + 32 + 32 + 64 + 64 + 128 + 128)
    assert sum(value.numel() for value in trunk.parameters()) == 2 * (anchors + norm_and_activation) + joined


def test_bandlimits_halve_where_the_width_grows() -> None:
    assert block_bandlimits(32, (16, 16, 32, 32, 64, 64)) == (32, 32, 16, 16, 8, 8)
    assert block_bandlimits(5, (1, 2, 3, 4, 5)) == (5, 2, 2, 2, 2)
    assert block_bandlimits(1, (1, 2)) == (1, 1)
    assert block_bandlimits(32, (1, 2), (16, 16)) == (16, 16)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"widths": []}, "`widths` must be positive, one for each block"),
        ({"widths": [4, 0]}, r"`widths` must be positive, one for each block, got \[4, 0\]"),
        ({"bandlimits": [4]}, "`bandlimits` must be 2 numbers that do not rise, none above 6"),
        ({"bandlimits": [4, 5]}, r"`bandlimits` must be 2 numbers .*, got \[4, 5\]"),
        ({"bandlimits": [7, 5]}, "`bandlimits` must be 2 numbers that do not rise, none above 6"),
        ({"pooling": "max"}, "`pooling` must be spectral or area, got 'max'"),
        ({"pooling": "area", "bandlimits": [6, 2]}, "`bandlimits` may only halve .*, got 6 before 2"),
        ({"activation": "sine"}, "`activation` must be one of relu"),
        ({"readout": "max"}, "`readout` must be one of mean, power, got 'max'"),
        ({"branches": [[0], [3]]}, r"`branches` must be lists of channels 0 to 2, .*\[\[0\], \[3\]\]"),
        ({"branches": [[0], []]}, "`branches` must be lists of channels 0 to 2, none empty"),
    ],
)
def test_parameters_are_checked(params: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_model("zonal-cnn", **{**SIZE, **params})

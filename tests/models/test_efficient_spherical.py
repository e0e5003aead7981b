"""Efficient generalized spherical networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from model_suite import ModelSuite
from strategies import SPHERE_BANDLIMIT, SPHERE_CHANNELS, harmonic_coefficients

from geograph.algebra.wigner import random_rotation, rotate
from geograph.errors import ConfigError, ShapeError
from geograph.models import build_model
from geograph.models.efficient_spherical import EfficientSphericalTrunk

pytest.importorskip("e3nn.o3", reason="e3nn is not installed")

SIZE = {"num_channels": SPHERE_CHANNELS, "bandlimit": SPHERE_BANDLIMIT}


class TestSpheres(ModelSuite):
    name = "efficient-spherical"
    params = {**SIZE, "channels": [4, 8], "num_outputs": 2}
    kind = "sphere"
    num_steps = 40


class TestAtoms(ModelSuite):
    name = "efficient-spherical"
    params = {
        **SIZE,
        "channels": [4, 6, 8],
        "bandlimits": [6, 4, 1],
        "max_fragments": 2,
        "mixing": "rmst",
        "num_outputs": 1,
        "head": "atoms",
        "num_hidden": [16, 16, 16],
    }
    kind = "atom_spheres"


class TestWhiteInput(TestAtoms):
    """Channels of each degree divided by a square root of their covariance."""

    params = {
        **TestAtoms.params,
        "input_mean": [0.1, 0.0, -0.2],
        "input_scale": [[[2.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.3, 0.5 + 0.1 * low]] for low in range(6)],
    }
    num_steps = 60


OPTIONS: list[dict[str, Any]] = [
    {"mixing": "full"},
    {"mixing": "mst", "max_fragments": 3},
    {"mixing": "rmst", "bandlimits": [8, 6, 2]},
    {"has_residual": False, "has_input_norm": False},
    {"channels": [5]},
    {"channels": [4, 4, 4, 4, 4, 4]},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("is_training", [True, False])
def test_trunk_is_invariant(options: dict[str, Any], is_training: bool) -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    trunk = EfficientSphericalTrunk(2, 8, **{"channels": [3, 4, 5], **options}).double().train()
    f = harmonic_coefficients(10, 2, 8, generator, torch.float64)
    for _ in range(3):
        trunk(f)
    trunk.train(is_training)
    state = {name: value.clone() for name, value in trunk.state_dict().items()}
    before = trunk(f)
    trunk.load_state_dict(state)
    after = trunk(rotate(f, random_rotation(generator, 10)))
    assert float((after - before).detach().abs().max()) <= 1e-10 * float(before.detach().abs().max())
    assert before.shape == (10, trunk.num_features)


def test_shuffled_components_are_seen() -> None:
    """Negative control: an orthogonal map of the coefficients that is no rotation changes the output."""
    torch.manual_seed(0)
    trunk = EfficientSphericalTrunk(2, 6, channels=[4, 4, 4]).double().eval()
    f = harmonic_coefficients(5, 2, 6, torch.Generator().manual_seed(0), torch.float64)
    shuffled = f.clone()
    shuffled[..., 9:16] = f[..., 9:16].flip(-1)
    assert float((trunk(shuffled) - trunk(f)).detach().abs().max()) > 1e-3


def test_mirror_images_differ_in_the_full_set_only_by_odd_products() -> None:
    """Products with l1 + l2 + l odd change sign under inversion, so that handedness can be seen."""
    torch.manual_seed(0)
    trunk = EfficientSphericalTrunk(1, 6, channels=[4, 4, 4, 4], mixing="full").double().eval()
    f = harmonic_coefficients(3, 1, 6, torch.Generator().manual_seed(0), torch.float64)
    mirrored = rotate(f, torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)))
    assert float((trunk(mirrored) - trunk(f)).detach().abs().max()) > 1e-3


def test_published_sizes_can_be_built() -> None:
    """QM7 with about the published 337,000 parameters: band-limit 10, 5 channels."""
    model = build_model(
        "efficient-spherical",
        num_channels=5,
        bandlimit=10,
        num_outputs=1,
        channels=[32, 48, 64],
        max_fragments=3,
        head="atoms",
        elements=[1, 6, 7, 8, 16],
    )
    assert 150_000 < sum(value.numel() for value in model.parameters()) < 400_000


def test_errors() -> None:
    with pytest.raises(ConfigError, match=r"`channels` must list at least one positive number, got \[\]"):
        EfficientSphericalTrunk(1, 4, channels=[])
    with pytest.raises(
        ConfigError, match=r"`bandlimits` must be 2 positive numbers.*at most 4, got \[5, 1\]"
    ):
        EfficientSphericalTrunk(1, 4, channels=[2, 2], bandlimits=[5, 1])
    with pytest.raises(ConfigError, match="from 1 to 3 with factors of band-limit 2, got 4"):
        EfficientSphericalTrunk(1, 4, channels=[2, 2], bandlimits=[2, 4])
    with pytest.raises(ConfigError, match="`mixing` must be one of"):
        build_model("efficient-spherical", **SIZE, num_outputs=1, mixing="tree")
    with pytest.raises(ShapeError, match="2 channels and band-limit 4"):
        EfficientSphericalTrunk(2, 4, channels=[2])(torch.zeros(3, 1, 16))

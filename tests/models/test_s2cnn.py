"""S2CNN: published parameter counts, exact and approximate invariance, both heads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from equivariance import equivariance_errors
from model_suite import ModelSuite
from strategies import SPHERE_BANDLIMIT, SPHERE_CHANNELS, make_batch

from geograph.errors import ConfigError
from geograph.models import build_model
from geograph.models.s2cnn import S2CNN, S2CNNGraph

SIZE = {
    "num_channels": SPHERE_CHANNELS,
    "bandlimit": SPHERE_BANDLIMIT,
    "num_outputs": 2,
    "features": [6, 8],
    "bandlimits": [4, 3],
}
#: With this activation on this grid the whole network is invariant to rounding.
EXACT = {"activation": "quadratic", "oversampling": 1.5}


class TestSpheres(ModelSuite):
    name = "s2cnn"
    params = {**SIZE, **EXACT}
    kind = "sphere"
    num_steps = 60


class TestAtoms(ModelSuite):
    name = "s2cnn"
    params = {**SIZE, **EXACT, "num_outputs": 1, "head": "atoms", "num_hidden": [16, 16, 16]}
    kind = "atom_spheres"
    num_steps = 60


def count(**options: Any) -> int:
    return sum(value.numel() for value in S2CNNGraph(**options, use_published_head=True).parameters())


def test_published_numbers_of_parameters() -> None:
    """The released networks for SHREC'17, simple and as in the paper (1.4 million there), and for QM7."""
    simple = {"features": (100, 100), "bandlimits": (16, 10)}
    original = {"features": (50, 70, 350), "bandlimits": (32, 22, 7), "pooling": "max"}
    shapes = {"num_channels": 6, "num_outputs": 55, "filters": "equator"}
    assert count(bandlimit=64, **simple, **shapes) == 402_955
    assert count(bandlimit=128, **original, **shapes) == 1_399_515
    assert count(bandlimit=10, num_channels=5, num_outputs=1, head="atoms") == 168_809


def test_error_falls_with_oversampling() -> None:
    errors = []
    for oversampling in (1.0, 2.0, 4.0):
        torch.manual_seed(0)
        model = build_model("s2cnn", **SIZE, oversampling=oversampling).double().eval()
        errors.append(equivariance_errors(model, make_batch("sphere"), "SO(3)")["out"])
    assert 0.1 > errors[0] > 1.5 * errors[1] > 2.25 * errors[2]


def test_largest_sample_is_nearly_invariant() -> None:
    torch.manual_seed(0)
    model = build_model("s2cnn", **SIZE, pooling="max", oversampling=3.0).double().eval()
    assert 1e-10 < equivariance_errors(model, make_batch("sphere"), "SO(3)")["out"] < 0.1


@pytest.mark.parametrize(("head", "kind"), [("sphere", "sphere"), ("atoms", "atom_spheres")])
def test_published_heads_train(head: str, kind: str) -> None:
    torch.manual_seed(0)
    model = build_model("s2cnn", **SIZE, head=head, pooling="max", use_published_head=True)
    batch = make_batch(kind, num_graphs=4, dtype=torch.float32)
    out = model(batch)
    assert out.shape == (4, 2)
    out.square().sum().backward()
    assert all(value.grad is not None for value in model.parameters())


def test_published_head_sees_no_elements() -> None:
    torch.manual_seed(0)
    model = build_model("s2cnn", **SIZE, head="atoms", use_published_head=True).double().eval()
    batch = make_batch("atom_spheres")
    before = model(batch)
    batch.z = torch.full_like(batch.z, 1)
    assert torch.equal(model(batch), before)


def test_default_band_limits_fit_the_input() -> None:
    assert [layer.bandlimit_out for layer in (S2CNN(1, 5).lift, *S2CNN(1, 5).correlations)] == [5, 5, 4, 2]


def test_sizes_are_checked() -> None:
    with pytest.raises(
        ConfigError, match="`bandlimits` must be as many as `features`, at least one, got 1 and 2"
    ):
        S2CNN(1, 4, features=(2, 2), bandlimits=(4,))
    with pytest.raises(ConfigError, match="`bandlimit_out` must not be above `bandlimit_in`, got 6 and 4"):
        S2CNN(1, 4, features=(2,), bandlimits=(6,))
    with pytest.raises(ConfigError, match="`pooling` must be mean or max, got 'sum'"):
        S2CNN(1, 4, features=(2,), bandlimits=(4,), pooling="sum")

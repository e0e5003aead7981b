"""The set network on jets."""

from __future__ import annotations

import math

import pytest
import torch
from equivariance import equivariance_errors
from model_suite import ModelSuite
from strategies import make_batch

from geograph.errors import ConfigError
from geograph.models.deep_sets import DeepSets, jet_coordinates


class TestDeepSets(ModelSuite):
    name = "deep-sets"
    params = {"num_hidden": 16, "num_latent": 16}
    kind = "jet"
    batch_options = {"has_beams": True}


def test_is_not_lorentz_invariant() -> None:
    """Negative control."""
    model = DeepSets(2, 16, 16).double().eval()
    assert equivariance_errors(model, make_batch("jet"), "O(1,3)")["out"] > 1e-4


def test_beams_do_not_count() -> None:
    model = DeepSets(2, 16, 16).double().eval()
    plain, with_beams = make_batch("jet", seed=3), make_batch("jet", seed=3, has_beams=True)
    assert torch.allclose(model(plain), model(with_beams), rtol=1e-12)


def test_coordinates_by_hand() -> None:
    """Two massless particles of equal pT at azimuth pi - 0.1 and -pi + 0.1: the axis lies at pi."""
    angle = torch.tensor([math.pi - 0.1, -math.pi + 0.1], dtype=torch.float64)
    zero = torch.zeros_like(angle)
    p4 = torch.stack([zero + 2, 2 * angle.cos(), 2 * angle.sin(), zero], dim=1)
    out = jet_coordinates(
        p4, torch.ones(2, 1, dtype=torch.float64), torch.tensor([0, 2]), torch.tensor([0, 0])
    )
    expected = torch.tensor([[math.log(2), 0, -0.1, math.log(2)], [math.log(2), 0, 0.1, math.log(2)]])
    assert torch.allclose(out, expected.double())


def test_jet_without_axis_is_finite() -> None:
    """Back-to-back particles, particles along the beam, and a particle at rest."""
    p4 = torch.tensor([[1.0, 1, 0, 0], [1.0, -1, 0, 0], [1.0, 0, 0, 1], [0.0, 0, 0, 0]])
    out = jet_coordinates(p4, torch.ones(4, 1), torch.tensor([0, 2, 4]), torch.tensor([0, 0, 1, 1]))
    assert bool(out.isfinite().all())
    assert float(out.abs().max()) < 100


def test_sizes_are_checked() -> None:
    with pytest.raises(ConfigError, match="`num_latent` must be at least 1, got 2, 100 and 0"):
        DeepSets(num_latent=0)

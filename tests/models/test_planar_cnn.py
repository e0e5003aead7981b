"""The planar baseline: budgets, its picture, and that rotations break it."""

from __future__ import annotations

import pytest
import torch
from equivariance import equivariance_errors
from model_suite import ModelSuite
from strategies import SPHERE_BANDLIMIT, SPHERE_CHANNELS, harmonic_coefficients, make_batch

from geograph.algebra.wigner import rotate
from geograph.errors import ConfigError
from geograph.layers.s2_correlation import rotations
from geograph.models import build_model
from geograph.models.planar_cnn import PlanarCNN, width_for

SIZE = {"num_channels": SPHERE_CHANNELS, "bandlimit": SPHERE_BANDLIMIT, "num_outputs": 2}


class TestPlanarCNN(ModelSuite):
    name = "planar-cnn"
    params = {**SIZE, "width": 6, "num_blocks": 2}
    kind = "sphere"


def test_is_not_invariant() -> None:
    """Negative control for the spherical networks."""
    torch.manual_seed(0)
    model = build_model("planar-cnn", **SIZE).double().eval()
    assert equivariance_errors(model, make_batch("sphere"), "SO(3)")["out"] > 1e-2


@pytest.mark.parametrize(("is_periodic", "is_exact"), [(True, True), (False, False)])
def test_periodic_picture_commutes_with_turns_by_pixels(is_periodic: bool, is_exact: bool) -> None:
    """Half a turn about z moves the two cells of each row into each other."""
    torch.manual_seed(0)
    trunk = PlanarCNN(2, 8, width=4, num_blocks=2, cells=(1, 2), is_periodic=is_periodic).double().eval()
    harmonic = harmonic_coefficients(3, 2, 8, torch.Generator().manual_seed(0), torch.float64)
    zero = torch.zeros(1).double()
    half = rotations(zero + torch.pi, zero, zero)[0]
    before = trunk(harmonic).unflatten(1, (-1, 2)).flip(2)
    after = trunk(rotate(harmonic, half)).unflatten(1, (-1, 2))
    assert (float((after - before).detach().abs().max()) < 1e-12) is is_exact


def test_number_of_parameters_by_hand() -> None:
    """Convolutions 3 x 3 without bias, scale and shift of each channel."""
    trunk = PlanarCNN(3, 8, width=4, num_blocks=4)
    widths = [3, 4, 8, 16, 16]
    wanted = sum(9 * a * b + 2 * b for a, b in zip(widths[:-1], widths[1:], strict=True))
    assert sum(value.numel() for value in trunk.parameters()) == wanted
    assert trunk.num_features == 16 * 2 * 4


@pytest.mark.parametrize("budget", [20_000, 60_000, 200_000])
def test_width_fills_the_budget(budget: int) -> None:
    def size(**options: int) -> int:
        return sum(value.numel() for value in build_model("planar-cnn", **SIZE, **options).parameters())

    width = width_for(budget, **SIZE)
    assert size(num_parameters=budget) == size(width=width) <= budget < size(width=width + 1)
    assert size(num_parameters=budget) > 0.8 * budget


def test_sizes_are_checked() -> None:
    with pytest.raises(ConfigError, match="two `cells` must be at least 1, got 1, 4, 0, 3"):
        PlanarCNN(1, 4, width=0)
    with pytest.raises(ConfigError, match="two `cells` must be at least 1"):
        PlanarCNN(1, 4, cells=(1, 2, 3))
    with pytest.raises(ConfigError, match="`num_blocks` must leave pixels: 6 are too many for band-limit 4"):
        PlanarCNN(1, 4, num_blocks=6)
    with pytest.raises(ConfigError, match=r"`num_parameters` must be at least \d+ for this network, got 100"):
        build_model("planar-cnn", **SIZE, num_parameters=100)

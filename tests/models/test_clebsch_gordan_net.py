"""The Clebsch-Gordan network."""

from __future__ import annotations

import pytest
import torch
from model_suite import ModelSuite
from strategies import SPHERE_BANDLIMIT, SPHERE_CHANNELS, harmonic_coefficients

from geograph.algebra.wigner import random_rotation, rotate
from geograph.errors import ConfigError, ShapeError
from geograph.models import build_model
from geograph.models.clebsch_gordan_net import ClebschGordanTrunk, decreasing_type

pytest.importorskip("e3nn.o3", reason="e3nn is not installed")

SIZE = {"num_channels": SPHERE_CHANNELS, "bandlimit": SPHERE_BANDLIMIT}
SMALL = {"num_fragments": 4, "num_layers": 3, "max_degrees": 4}


class TestSpheres(ModelSuite):
    name = "clebsch-gordan-net"
    params = {**SIZE, **SMALL, "num_outputs": 2}
    kind = "sphere"
    num_steps = 40


class TestAtoms(ModelSuite):
    name = "clebsch-gordan-net"
    params = {**SIZE, **SMALL, "num_outputs": 1, "head": "atoms", "num_hidden": [16, 16, 16], "mixing": "mst"}
    kind = "atom_spheres"
    num_steps = 60


def test_published_number_of_parameters() -> None:
    """The network for digits: 285,772 with complex weights and its own head of 256 hidden units."""
    trunk = ClebschGordanTrunk(1, 11)
    real = sum(weight.numel() for name, weight in trunk.named_parameters() if name.startswith("layers"))
    assert sum(layer.plan.num_weights for layer in trunk.layers[:1]) == 1643
    # Only degree 0 of the last layer is read: its other weights, which the released code has, never matter.
    tau = decreasing_type(11, 12)
    last = trunk.layers[1].plan.num_weights - trunk.layers[4].plan.num_weights
    assert tau[0] == 12
    assert real + last == 125_735
    invariants = 2 * trunk.num_features  # real and imaginary parts
    head = 2 * invariants + (invariants * 256 + 256) + (256 * 10 + 10)
    assert 2 * (real + last) + head == 285_772


@pytest.mark.parametrize("is_training", [True, False])
def test_trunk_is_invariant_after_five_layers(is_training: bool) -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    trunk = ClebschGordanTrunk(2, 8, num_fragments=4).double().train()
    f = harmonic_coefficients(10, 2, 8, generator, torch.float64)
    for _ in range(3):
        trunk(f)
    trunk.train(is_training)
    state = {name: value.clone() for name, value in trunk.state_dict().items()}
    before = trunk(f)
    trunk.load_state_dict(state)
    after = trunk(rotate(f, random_rotation(generator, 10)))
    assert float((after - before).detach().abs().max()) <= 1e-10 * float(before.detach().abs().max())
    assert before.shape == (10, 2 + 5 * 4) == (10, trunk.num_features)


def test_input_is_cut_to_max_degrees() -> None:
    trunk = ClebschGordanTrunk(2, 6, num_fragments=3, num_layers=2, max_degrees=3).eval()
    f = torch.randn(4, 2, 36)
    cut = f.clone()
    cut[..., 9:] = 0
    assert torch.equal(trunk(f), trunk(cut))
    assert trunk.num_rows == 2 * 9


def test_errors() -> None:
    with pytest.raises(ConfigError, match="`num_layers` must be at least 1"):
        ClebschGordanTrunk(1, 4, num_layers=0)
    with pytest.raises(ConfigError, match="`max_degrees` must be from 1 to 4, got 5"):
        ClebschGordanTrunk(1, 4, max_degrees=5)
    with pytest.raises(ConfigError, match="`num_fragments` must be at least 1, got 0"):
        decreasing_type(4, 0)
    with pytest.raises(ConfigError, match="`mixing` must be one of"):
        build_model("clebsch-gordan-net", **SIZE, num_outputs=1, mixing="all")
    with pytest.raises(ShapeError, match="2 channels and band-limit 4"):
        ClebschGordanTrunk(2, 4, num_fragments=2, num_layers=1)(torch.zeros(3, 2, 25))

"""Products as a block: exact symmetry, and what it does with channels and degrees."""

from __future__ import annotations

import pytest
import torch
from strategies import harmonic_coefficients
from torch import Tensor

from geograph.algebra.wigner import random_rotation, rotate
from geograph.errors import ConfigError
from geograph.layers.tensor_block import TensorBlock

pytest.importorskip("e3nn", reason="Clebsch-Gordan coefficients come from e3nn")

_EPS = torch.finfo(torch.float64).eps


def functions(spheres: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return harmonic_coefficients(spheres, 3, 6, generator, torch.float64)


def block(**options: object) -> TensorBlock:
    torch.manual_seed(0)
    made = TensorBlock(3, 6, 5, 4, **options).double()  # type: ignore[arg-type]
    made(functions())  # running scales
    return made.eval()


@pytest.mark.parametrize("mixing", ["full", "mst", "rmst"])
def test_commutes_with_rotations(mixing: str) -> None:
    layer, f = block(mixing=mixing), functions()
    rotation = random_rotation(torch.Generator().manual_seed(1), len(f))
    after, wanted = layer(rotate(f, rotation)), rotate(layer(f), rotation)
    assert after.shape == (4, 5, 16)
    assert float((after - wanted).detach().norm() / wanted.detach().norm()) <= 500 * _EPS * 6


def test_is_quadratic() -> None:
    """Linear part and products apart: f(2 x) - 2 f(x) is 2 times the products, and products scale by 4."""
    layer, f = block(), functions()
    with torch.no_grad():
        base = layer(torch.zeros_like(f))

        def at(scale: float) -> Tensor:
            return layer(scale * f) - base

        assert torch.allclose(at(2.0) - 2 * at(1.0), at(-1.0) + at(1.0), rtol=0, atol=1e-11)
        assert float((at(1.0) + at(-1.0)).abs().max()) > 1e-2


def test_products_stay_in_their_channel() -> None:
    """Without the mixture of channels, another channel changes nothing."""
    layer, f = block(), functions()
    other = f.clone()
    other[:, 1] += 1.0
    with torch.no_grad():
        layer.anchors[:, :, 1::3] = 0.0
    assert torch.allclose(layer(f), layer(other), rtol=0, atol=1e-12)


def test_parameters_are_checked() -> None:
    with pytest.raises(ConfigError, match="`bandlimit` of a tensor block must be at most 6 .*, got 7 and 2"):
        TensorBlock(3, 6, 5, 7)
    with pytest.raises(ConfigError, match="`num_products` at least 1, got 4 and 0"):
        TensorBlock(3, 6, 5, 4, num_products=0)

"""Channel-wise products with a constrained convolution."""

from __future__ import annotations

import pytest
import torch

from geograph.algebra.mixing_sets import mixing_set
from geograph.algebra.wigner import random_rotation, rotate
from geograph.errors import ConfigError
from geograph.layers.generalized_layer import GeneralizedLayer

pytest.importorskip("e3nn.o3", reason="e3nn is not installed")


@pytest.mark.parametrize("mixing", ["full", "mst", "rmst"])
@pytest.mark.parametrize("outputs", [3, 5, 7])
def test_is_equivariant_to_fewer_and_to_more_degrees(mixing: str, outputs: int) -> None:
    torch.manual_seed(0)
    layer = GeneralizedLayer((1,) * 5, (1,) * outputs, 3, 4, mixing=mixing).double()
    generator = torch.Generator().manual_seed(0)
    f = torch.randn(6, 3, 25, generator=generator, dtype=torch.float64)
    rotation = random_rotation(generator, 6)
    layer(f.permute(2, 1, 0))
    layer.eval()
    before = layer(f.permute(2, 1, 0)).permute(2, 1, 0)
    after = layer(rotate(f, rotation).permute(2, 1, 0)).permute(2, 1, 0)
    assert before.shape == (6, 4, outputs**2)
    error = (after - rotate(before, rotation)).abs().max() / before.abs().max()
    assert float(error.detach()) <= 1e-13


def test_parameters_grow_with_the_channels_not_with_their_products() -> None:
    tau = (1, 3, 3, 3)
    layer = GeneralizedLayer(tau, tau, 8, 8, mixing="mst", has_residual=False)
    pairs = mixing_set("mst", 4, 4)
    shared = sum(t * sum(tau[a] * tau[b] for a, b in each) for t, each in zip(tau, pairs, strict=True))
    depthwise, channels, bias = sum(8 * t * t for t in tau), 4 * 8 * 8, 8
    assert sum(p.numel() for p in layer.parameters()) == shared + depthwise + channels + bias


def test_residual_passes_the_input_on() -> None:
    torch.manual_seed(0)
    layer = GeneralizedLayer((1, 1), (1, 1, 1), 2, 2).double()
    torch.nn.init.zeros_(layer.product.weight)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    y = layer(x)
    assert torch.equal(y[:4], layer.residual(x))
    assert bool((y[4:] == 0).all())
    without = GeneralizedLayer((1, 1), (1, 1), 2, 2, has_residual=False).double()
    torch.nn.init.zeros_(without.product.weight)
    assert bool((without(x) == 0).all())


def test_errors() -> None:
    with pytest.raises(ConfigError, match="from 1 to 3 with factors of band-limit 2, got 4"):
        GeneralizedLayer((1, 1), (1,) * 4, 2, 2)
    with pytest.raises(ConfigError, match="`mixing` must be one of full, mst, rmst"):
        GeneralizedLayer((1, 1), (1, 1), 2, 2, mixing="some")

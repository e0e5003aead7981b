"""Dense building blocks."""

from __future__ import annotations

import math

import torch
from torch import nn

from geograph.layers.mlp import PairLinear, RadialBasis, cosine_cutoff, mlp, signed_log


def test_pair_linear_has_the_parameters_of_a_linear_layer() -> None:
    layer = PairLinear(5, 3, 7)
    assert layer.weight.shape == nn.Linear(13, 7).weight.shape
    assert float(layer.weight.detach().abs().max()) <= 1 / math.sqrt(13)
    assert PairLinear(5, 0, 7, has_bias=False).bias is None


def test_pair_linear_column_order_is_target_source_edge() -> None:
    layer = PairLinear(1, 1, 1, has_bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[100.0, 10.0, 1.0]]))
    out = layer(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0]]), torch.tensor([[0], [1]]))
    assert out.item() == 213.0


def test_mlp_layout() -> None:
    assert [type(part) for part in mlp([2, 3, 1], nn.ReLU)] == [nn.Linear, nn.ReLU, nn.Linear]
    assert isinstance(mlp([2, 3], nn.SiLU, is_last_active=True)[-1], nn.SiLU)


def test_signed_log_is_odd() -> None:
    x = torch.tensor([-math.e + 1, 0.0, math.e - 1])
    assert torch.allclose(signed_log(x), torch.tensor([-1.0, 0.0, 1.0]))


def test_cutoff_is_smooth() -> None:
    distance = torch.tensor([0.0, 2.5, 5.0, 7.0], dtype=torch.float64, requires_grad=True)
    weight = cosine_cutoff(distance, 5.0)
    assert torch.allclose(weight, torch.tensor([1.0, 0.5, 0.0, 0.0], dtype=torch.float64))
    weight.sum().backward()
    assert distance.grad is not None
    assert torch.allclose(distance.grad[[0, 2, 3]], torch.zeros(3, dtype=torch.float64), atol=1e-15)


def test_radial_basis_peaks_at_its_centers() -> None:
    basis = RadialBasis(5, 4.0).double()
    values = basis(torch.tensor([0.0, 1.0, 2.0, 9.0], dtype=torch.float64))
    assert values.shape == (4, 5)
    assert torch.allclose(values[2, 2], torch.tensor(0.5, dtype=torch.float64))
    assert values[3].abs().max() == 0
    assert RadialBasis(1, 4.0)(torch.tensor([1.0])).isfinite().all()

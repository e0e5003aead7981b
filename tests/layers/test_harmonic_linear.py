"""Linear maps between fragments, full and constrained."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from geograph.algebra.wigner import random_rotation, real_wigner
from geograph.errors import ConfigError, ShapeError
from geograph.layers.harmonic_linear import (
    ConstrainedLinear,
    HarmonicLinear,
    fragment_type,
    harmonic_to_rows,
)
from geograph.layers.product_plan import row_offsets

TAU_IN, TAU_OUT = (2, 1, 3, 1), (1, 4, 0)
every_class = pytest.mark.parametrize("kind", [HarmonicLinear, ConstrainedLinear])


def signal(tau: tuple[int, ...], channels: int, spheres: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(row_offsets(tau)[-1], channels, spheres, generator=generator, dtype=torch.float64)


def matrix(tau: tuple[int, ...], rotation: Tensor) -> Tensor:
    """How a rotation acts on the rows."""
    return torch.block_diag(
        *[
            torch.kron(real_wigner(degree, rotation), torch.eye(count, dtype=torch.float64))
            for degree, count in enumerate(tau)
            if count
        ]
    )


@every_class
def test_is_equivariant(kind: type[HarmonicLinear]) -> None:
    torch.manual_seed(0)
    module = kind(TAU_IN, TAU_OUT, 3, 5).double()
    assert module.bias is not None
    torch.nn.init.normal_(module.bias)
    rotation = random_rotation(torch.Generator().manual_seed(1), 1)[0]
    x = signal(TAU_IN, 3, 6)
    expected = torch.tensordot(matrix(TAU_OUT, rotation), module(x), dims=1)
    after = module(torch.tensordot(matrix(TAU_IN, rotation), x, dims=1))
    assert after.shape == (1 + 12, 5, 6)
    assert torch.allclose(after, expected, rtol=0, atol=1e-13)
    # Negative control: a map between the components of one degree is not equivariant.
    assert not torch.allclose(module(x.flip(0)), module(x).flip(0), rtol=0, atol=1e-2)


def test_maps_by_degree() -> None:
    module = HarmonicLinear((1, 2), (1, 1), 2, 1, has_bias=False).double()
    x = signal((1, 2), 2, 4)
    weight = module.weight[1].detach().view(2, 2)  # (fragment, channel)
    expected = torch.einsum("tk,mtks->ms", weight, x[1:].view(3, 2, 2, 4))
    assert torch.allclose(module(x)[1:, 0].detach(), expected)


def test_constrained_weight_is_a_product() -> None:
    module = ConstrainedLinear((3, 2), (2, 2), 4, 5).double()
    full = module.degree_weight(0).view(2, 5, 3, 4)
    expected = torch.einsum("ok,kut->uotk", module.weight[0], module.fragment_weight[0])
    assert torch.equal(full, expected)


def test_numbers_of_parameters_for_each_degree() -> None:
    full, constrained = HarmonicLinear((3, 3), (2, 2), 4, 5), ConstrainedLinear((3, 3), (2, 2), 4, 5)
    assert [weight.numel() for weight in full.weight] == [5 * 2 * 4 * 3] * 2
    assert [weight.numel() for weight in constrained.weight] == [5 * 4] * 2
    assert [weight.numel() for weight in constrained.fragment_weight] == [4 * 2 * 3] * 2
    assert full.bias is not None
    assert full.bias.numel() == 2 * 5


@every_class
def test_keeps_the_scale(kind: type[HarmonicLinear]) -> None:
    torch.manual_seed(0)
    tau = (4,) * 4
    y = kind(tau, tau, 32, 32).double()(signal(tau, 32, 50))
    assert float(y.detach().square().mean()) == pytest.approx(1, abs=0.2)


def test_types_and_rows() -> None:
    assert fragment_type(5, 1) == (1, 1, 1, 1, 1)
    assert fragment_type(5, 4) == (1, 3, 4, 4, 4)
    harmonic = torch.randn(2, 3, 16)
    assert torch.equal(harmonic_to_rows(harmonic)[5, 2], harmonic[:, 2, 5])


def test_errors() -> None:
    with pytest.raises(ConfigError, match="at least 1, got 0 and 2"):
        fragment_type(0, 2)
    with pytest.raises(ConfigError, match=r"got \(1, 2\) from \(1, 0\)"):
        HarmonicLinear((1, 0), (1, 2), 1, 1)
    with pytest.raises(ConfigError, match="`tau_out` may have only degrees"):
        ConstrainedLinear((1,), (1, 1), 1, 1)
    with pytest.raises(ShapeError, match=r"4 rows and 2 channels, got \(4, 3\)"):
        HarmonicLinear((1, 1), (1, 1), 2, 1)(torch.zeros(4, 3, 1))

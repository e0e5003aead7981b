"""Grade-wise and product layers commute with the Clifford group."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from strategies import boosts, orthogonal_matrices, seeds
from torch import Tensor, nn

from geograph.algebra.clifford import CliffordAlgebra
from geograph.algebra.euclid import random_orthogonal
from geograph.algebra.minkowski import random_lorentz
from geograph.errors import ConfigError
from geograph.layers.clifford_graph import LorentzCliffordLayer
from geograph.layers.multivector import (
    GradeNormalization,
    MVLayerNorm,
    MVLinear,
    MVSiLU,
    invariants,
    smooth_norm,
)
from geograph.layers.multivector_product import (
    FullyConnectedSteerableGeometricProduct,
    SteerableGeometricProduct,
    clifford_mlp,
    product_block,
)

CHANNELS = 4
LAYERS: dict[str, Callable[[CliffordAlgebra], nn.Module]] = {
    "MVLinear": lambda algebra: MVLinear(algebra, CHANNELS, 3),
    "MVLinear, one weight": lambda algebra: MVLinear(algebra, CHANNELS, 3, is_grade_wise=False),
    "GradeNormalization": lambda algebra: GradeNormalization(algebra, CHANNELS, 0.5),
    "MVSiLU": lambda algebra: MVSiLU(algebra, CHANNELS),
    "MVLayerNorm": lambda algebra: MVLayerNorm(algebra, CHANNELS),
    "element-wise": lambda algebra: SteerableGeometricProduct(algebra, CHANNELS),
    "element-wise, not normalised": lambda algebra: SteerableGeometricProduct(
        algebra, CHANNELS, normalization_init=None
    ),
    "fully connected": lambda algebra: FullyConnectedSteerableGeometricProduct(algebra, CHANNELS, 3),
    "MLP": lambda algebra: clifford_mlp(algebra, CHANNELS, 5, 2),
    "MLP, fully connected": lambda algebra: clifford_mlp(algebra, CHANNELS, 5, 2, kind="fully_connected"),
}
METRICS = {"Cl(3,0)": (1, 1, 1), "Cl(1,3)": (1, -1, -1, -1), "Cl(2,0)": (1, 1), "Cl(5,0)": (1,) * 5}


def random_features(algebra: CliffordAlgebra, seed: int = 0, items: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(items, CHANNELS, algebra.num_blades, generator=generator, dtype=torch.float64)


def with_random_parameters(module: nn.Module) -> nn.Module:
    """Away from their initial values, so that biases and gates count."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in module.parameters():
            value.add_(0.3 * torch.randn(value.shape, generator=generator))
    return module.double().eval()


def law_error(module: Callable[[Tensor], Tensor], x: Tensor, outer: Tensor) -> float:
    """Largest difference of f(g x) and g f(x), relative to f."""
    with torch.no_grad():
        before = module(x) @ outer.T
        return float((module(x @ outer.T) - before).abs().max() / before.abs().max())


def group_element(algebra: CliffordAlgebra, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if -1 in algebra.metric:
        return algebra.outermorphism(random_lorentz(generator, max_rapidity=2.0))
    return algebra.outermorphism(random_orthogonal(generator, algebra.dim))


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_equivariant(name: str, metric: tuple[int, ...]) -> None:
    algebra = CliffordAlgebra(metric)
    torch.manual_seed(0)
    module = with_random_parameters(LAYERS[name](algebra))
    for seed in range(4):
        assert law_error(module, random_features(algebra, seed), group_element(algebra, seed)) <= 1e-9


@settings(max_examples=8, deadline=None)
@given(seed=seeds, rotation=orthogonal_matrices(proper=False))
def test_reflections_are_part_of_the_group(seed: int, rotation: Tensor) -> None:
    algebra = CliffordAlgebra((1, 1, 1))
    torch.manual_seed(0)
    module = with_random_parameters(clifford_mlp(algebra, CHANNELS, 4, 2))
    assert law_error(module, random_features(algebra, seed), algebra.outermorphism(rotation)) <= 1e-10


@settings(max_examples=8, deadline=None)
@given(seed=seeds, boost=boosts(max_rapidity=2.0))
def test_boosts_are_part_of_the_group(seed: int, boost: Tensor) -> None:
    algebra = CliffordAlgebra((1, -1, -1, -1))
    torch.manual_seed(0)
    module = with_random_parameters(product_block(algebra, CHANNELS, 3, kind="fully_connected"))
    assert law_error(module, random_features(algebra, seed), algebra.outermorphism(boost)) <= 1e-9


def test_identity_obeys_the_law_and_a_vector_bias_breaks_it() -> None:
    """Controls: the test itself passes the identity and fails a bias on grade 1."""
    algebra = CliffordAlgebra((1, 1, 1))
    x, outer = random_features(algebra), group_element(algebra, 0)
    bias = algebra.embed(torch.ones(3, dtype=torch.float64), 1)
    assert law_error(nn.Identity(), x, outer) == 0
    assert law_error(lambda y: y + bias, x, outer) > 1e-2
    assert law_error(torch.sigmoid, x, outer) > 1e-2


def test_a_euclidean_norm_breaks_the_lorentz_group() -> None:
    """Negative control for the metric."""
    algebra = CliffordAlgebra((1, -1, -1, -1))
    outer = algebra.outermorphism(random_lorentz(torch.Generator().manual_seed(3)))
    assert law_error(lambda y: y / y.norm(dim=-1, keepdim=True), random_features(algebra), outer) > 1e-2


def test_closed_forms() -> None:
    algebra = CliffordAlgebra((1, -1))
    x = torch.tensor([[[2.0, 3.0, 1.0, 5.0], [1.0, 0.0, 2.0, 0.0]]], dtype=torch.float64)
    assert torch.equal(algebra.quadratic(x), torch.tensor([[[4.0, 8.0, -25.0], [1.0, -4.0, 0.0]]]).double())
    assert torch.equal(invariants(x, algebra)[0, 0], torch.tensor([2.0, 8.0, -25.0]).double())
    assert torch.allclose(smooth_norm(algebra.quadratic(x))[0, 0], torch.tensor([2.0, 8**0.5, 5.0]).double())
    norm = MVLayerNorm(algebra, 2).double()
    assert torch.allclose(norm(x), x / ((13**0.5 + 3**0.5) / 2 + 1e-6))
    grades = GradeNormalization(algebra, 2, init=50.0).double()
    assert torch.allclose(grades(x)[0, 0], x[0, 0] / torch.tensor([2.0, 8**0.5, 8**0.5, 5.0]), rtol=1e-5)
    gate = MVSiLU(algebra, 2).double()
    assert torch.allclose(gate(x)[0, 0, 0], torch.tensor(2.0).sigmoid().double() * 2)


def test_norms_of_null_elements_have_finite_gradients() -> None:
    algebra = CliffordAlgebra((1, -1, -1, -1))
    x = algebra.embed(torch.tensor([[[1.0, 1.0, 0.0, 0.0]], [[0.0] * 4]]), 1).requires_grad_()
    product_block(algebra, 1, 2)(x).sum().backward()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())


def test_initial_scales() -> None:
    algebra = CliffordAlgebra((1, 1, 1))
    torch.manual_seed(0)
    linear = MVLinear(algebra, 64, 64)
    product = SteerableGeometricProduct(algebra, 64)
    full = FullyConnectedSteerableGeometricProduct(algebra, 64, 64)
    assert float(linear.weight.detach().std()) == pytest.approx(64**-0.5, rel=0.05)
    assert float(product.weight.detach().std()) == pytest.approx(4**-0.5, rel=0.05)
    assert float(full.weight.detach().std()) == pytest.approx((64 * 4) ** -0.5, rel=0.05)
    assert linear.bias is not None
    assert float(linear.bias.detach().abs().max()) == 0


def test_unknown_kinds_are_refused() -> None:
    algebra = CliffordAlgebra((1, 1, 1))
    with pytest.raises(ConfigError, match="`product` must be one of fully_connected, .*, got 'dense'"):
        product_block.__wrapped__(algebra, 2, 2, kind="dense")  # past the test-time type check
    with pytest.raises(ConfigError, match="`aggregation` must be mean or sum, got 'max'"):
        LorentzCliffordLayer.__init__.__wrapped__(
            LorentzCliffordLayer.__new__(LorentzCliffordLayer), algebra, 4, 2, 2, aggregation="max"
        )

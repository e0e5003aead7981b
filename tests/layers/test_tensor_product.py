"""Mixed products of all fragments, and the tables behind them."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from geograph.algebra.clebsch_gordan import clebsch_gordan
from geograph.algebra.mixing_sets import mixing_set
from geograph.algebra.wigner import random_rotation, real_wigner
from geograph.errors import ConfigError, ShapeError
from geograph.kernels.cpu.build import reason_unavailable
from geograph.kernels.dispatch import use_backend
from geograph.layers import product_plan as plans
from geograph.layers.product_plan import ProductPlan, row_offsets
from geograph.layers.tensor_product import TensorProduct

pytest.importorskip("e3nn.o3", reason="e3nn is not installed")

EPS = torch.finfo(torch.float64).eps
TAU_IN, TAU_OUT = (2, 3, 1, 2, 2), (3, 2, 0, 2, 1, 2)
every_kind = pytest.mark.parametrize("kind", ["full", "mst", "rmst"])


@pytest.fixture(params=["native", "cpu"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test with the operation in PyTorch and in C++."""
    if request.param == "cpu" and (reason := reason_unavailable()):
        pytest.skip(f"no C++ kernels: {reason}")
    with use_backend(request.param):
        yield request.param


every_backend = pytest.mark.usefixtures("backend")


def signal(tau: tuple[int, ...], columns: tuple[int, ...], seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(row_offsets(tau)[-1], *columns, generator=generator, dtype=torch.float64)


def fragments(x: Tensor, tau: tuple[int, ...]) -> list[Tensor]:
    """Rows of each degree as [2 l + 1, tau_l, columns]."""
    offsets = row_offsets(tau)
    return [
        x[start:stop].reshape(2 * degree + 1, count, x[0].numel())
        for degree, (count, start, stop) in enumerate(zip(tau, offsets, offsets[1:], strict=False))
    ]


def turned(x: Tensor, tau: tuple[int, ...], rotation: Tensor) -> Tensor:
    parts = [
        torch.einsum("mn,ntc->mtc", real_wigner(degree, rotation), part)
        for degree, part in enumerate(fragments(x, tau))
    ]
    return torch.cat([part.flatten(0, 1) for part in parts]).view(x.shape)


def products(x: Tensor, tau: tuple[int, ...], pairs: tuple) -> list[Tensor]:
    """All products of each degree [2 l + 1, products, columns], straight from the definition."""
    parts = fragments(x, tau)
    found = []
    for degree, each in enumerate(pairs):
        some = [
            torch.einsum("ijm,itn,jun->mtun", clebsch_gordan(a, b, degree), parts[a], parts[b]).flatten(1, 2)
            for a, b in each
        ]
        found.append(torch.cat(some, dim=1))
    return found


def layer(kind: str = "mst", **options: bool) -> TensorProduct:
    torch.manual_seed(0)
    pairs = mixing_set(kind, len(TAU_IN), len(TAU_OUT))
    return TensorProduct(TAU_IN, TAU_OUT, pairs, **options).double()


@every_backend
@every_kind
def test_values_against_the_definition(kind: str) -> None:
    module, x = layer(kind, has_norm=False), signal(TAU_IN, (7,))
    pairs, first = mixing_set(kind, 5, 6), 0
    expected = []
    for degree, every in enumerate(products(x, TAU_IN, pairs)):
        size = TAU_OUT[degree] * every.shape[1]
        weight = module.weight[first : first + size].view(TAU_OUT[degree], every.shape[1])
        expected.append(torch.einsum("tp,mpn->mtn", weight, every).flatten(0, 1))
        first += size
    assert first == module.weight.numel() == module.plan.num_weights
    wanted = torch.cat(expected).detach()
    bound = 16 * EPS * max(module.plan.num_products) * float(wanted.abs().max())
    assert float((module(x) - wanted).detach().abs().max()) <= bound


@every_backend
@every_kind
@pytest.mark.parametrize("is_training", [True, False])
def test_is_equivariant(kind: str, is_training: bool) -> None:
    module, x = layer(kind).train(), signal(TAU_IN, (3, 4))
    module(x)
    module.train(is_training)
    rotation = random_rotation(torch.Generator().manual_seed(1), 1)[0]
    before = copy.deepcopy(module)(x)
    after = copy.deepcopy(module)(turned(x, TAU_IN, rotation))
    assert after.shape == (row_offsets(TAU_OUT)[-1], 3, 4)
    error = (after - turned(before, TAU_OUT, rotation)).abs().max() / before.abs().max()
    assert float(error.detach()) <= 1e-12
    assert float((after - before).detach().abs().max()) > 0.1  # identity control: the rotation does something


def test_tanh_of_components_is_not_equivariant() -> None:
    """Negative control of the assertion above."""
    module, x = layer(), signal(TAU_IN, (5,))
    rotation = random_rotation(torch.Generator().manual_seed(1), 1)[0]
    error = module(turned(x, TAU_IN, rotation).tanh()) - turned(module(x.tanh()), TAU_OUT, rotation)
    assert float(error.detach().abs().max()) > 1e-2


@every_backend
@every_kind
def test_gradients(kind: str) -> None:
    module, x = layer(kind, has_norm=False), signal(TAU_IN, (2,)).requires_grad_()

    def function(values: Tensor, weight: Tensor) -> Tensor:
        result: Tensor = torch.func.functional_call(module, {"weight": weight}, (values,))
        return result

    assert torch.autograd.gradcheck(function, (x, module.weight), fast_mode=True)


def test_blocks_of_columns_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> tuple[Tensor, ...]:
        module, x = layer(), signal(TAU_IN, (100,)).requires_grad_()
        result = module(x)
        result.square().sum().backward()
        assert x.grad is not None
        assert module.weight.grad is not None
        return result.detach(), x.grad, module.weight.grad, module.scale.mean_square

    whole = run()
    monkeypatch.setattr(plans, "_BLOCK_CPU", 1)
    assert layer().plan.block(torch.device("cpu")) == 32
    with use_backend("native"):
        blocks = run()
    for one, other in zip(whole, blocks, strict=True):
        assert torch.allclose(one, other, rtol=1e-11, atol=1e-12)


@every_backend
def test_running_scale_is_the_mean_square_of_the_products() -> None:
    module, x = layer(), signal(TAU_IN, (50,))
    every = products(x, TAU_IN, mixing_set("mst", 5, 6))
    module.train()(x)
    for degree, each in enumerate(every):
        part = slice(*module.plan.first_product[degree : degree + 2])
        # Products of a degree without fragments in the output are not made.
        expected = each.square().mean((0, 2)) * (TAU_OUT[degree] > 0)
        assert torch.allclose(module.scale.mean_square[part], expected, rtol=1e-12, atol=1e-28)
    module.eval()(10 * x)
    assert int(module.scale.num_batches) == 2  # the first batch twice: once for itself


def test_scale_of_the_output_does_not_explode() -> None:
    tau, pairs = (4,) * 5, mixing_set("full", 5, 5)
    torch.manual_seed(0)
    x = 100 * signal(tau, (200,))
    for depth in range(6):
        x = TensorProduct(tau, tau, pairs).double().train()(x).detach()
        assert 0.3 < float(x.square().mean().sqrt()) < 3, depth


def test_products_that_vanish_never_count() -> None:
    """An antisymmetric product of a fragment with itself is rounding error, which must not be blown up."""
    tau, pairs = (0, 2), ((), ((1, 1),))
    module = TensorProduct(tau, tau, pairs).train()
    module(signal(tau, (64,)).float())
    assert module.plan.is_alive.tolist() == [False, True, True, False]
    weight = module._weight().view(2, 4)
    assert bool((weight[:, [0, 3]] == 0).all())
    assert bool((weight[:, [1, 2]] != 0).all())


@every_backend
def test_no_columns_and_single_precision() -> None:
    module = layer().train()
    assert module(signal(TAU_IN, (0,))).shape == (row_offsets(TAU_OUT)[-1], 0)
    assert not module.scale.is_set
    x = signal(TAU_IN, (20,))
    single = layer(has_norm=False).float()
    result = single(x.float())
    assert result.dtype == torch.float32
    wanted = layer(has_norm=False)(x)
    assert float((result.double() - wanted).detach().abs().max()) <= 1e-5 * float(wanted.detach().abs().max())


def test_mixed_precision_stops_before_the_products() -> None:
    module, x = layer(has_norm=False).float(), signal(TAU_IN, (6,)).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = module(x)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, module(x))


@every_backend
def test_tables_made_in_inference_mode_serve_training() -> None:
    plans.product_plan.cache_clear()
    with torch.inference_mode():
        layer()(signal(TAU_IN, (3,)))
    module = layer()
    module(signal(TAU_IN, (3,)).requires_grad_()).sum().backward()
    assert module.weight.grad is not None


def test_errors() -> None:
    with pytest.raises(ShapeError, match="`x` must have 48 rows for its type, got 41"):
        layer()(signal(TAU_IN, (2,))[:41])
    with pytest.raises(ConfigError, match="no products of the given fragments have degree 1"):
        ProductPlan((1, 0), (1, 1), (((0, 0),), ((0, 1),)))

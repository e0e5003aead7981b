"""Weighted geometric products: the native form against the specification."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from geograph.algebra.clifford import CliffordAlgebra
from geograph.errors import BackendError, ShapeError
from geograph.kernels import geometric_product as module
from geograph.kernels import use_backend
from geograph.kernels.geometric_product import geometric_product, native, reference

METRICS = {"Cl(2,0)": (1, 1), "Cl(3,0)": (1, 1, 1), "Cl(1,3)": (1, -1, -1, -1), "Cl(3,0,1)": (0, 1, 1, 1)}
every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
both_kinds = pytest.mark.parametrize("outputs", [None, 3], ids=["elementwise", "fully_connected"])


def arguments(
    metric: tuple[int, ...], outputs: int | None, items: int = 5, channels: int = 2
) -> tuple[Tensor, Tensor, Tensor, CliffordAlgebra]:
    generator = torch.Generator().manual_seed(0)
    algebra = CliffordAlgebra(metric)
    shape = (items, channels, algebra.num_blades)
    weight_shape = (*([] if outputs is None else [outputs]), channels, len(algebra.paths))
    left, right, weight = (
        torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_()
        for s in (shape, shape, weight_shape)
    )
    return left, right, weight, algebra


@every_metric
@both_kinds
@pytest.mark.parametrize("items", [0, 1, 7])
def test_native_equals_reference(
    metric: tuple[int, ...], outputs: int | None, items: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CPU_BLOCK", 3 * 2 * 2 ** len(metric))  # several blocks
    *tensors, algebra = arguments(metric, outputs, items)
    results = []
    for function in (reference, native):
        out = function(*tensors, algebra)
        results.append((out, *torch.autograd.grad(out.sin().sum(), tensors)))
    for wanted, ours in zip(*results, strict=True):
        assert ours.shape == wanted.shape
        assert torch.allclose(ours, wanted, rtol=1e-12, atol=1e-12)


@every_metric
def test_unit_weights_give_the_plain_product(metric: tuple[int, ...]) -> None:
    left, right, weight, algebra = arguments(metric, None)
    product = native(left, right, torch.ones_like(weight), algebra)
    assert torch.allclose(product, algebra.product(left, right), rtol=0, atol=1e-13)


def test_weights_select_their_path() -> None:
    left, right, weight, algebra = arguments((1, -1, -1, -1), None)
    for number, (i, j, k) in enumerate(algebra.paths):
        only = torch.zeros_like(weight)
        only[:, number] = 1
        product = algebra.product(algebra.project(left, i), algebra.project(right, k))
        assert torch.allclose(native(left, right, only, algebra), algebra.project(product, j), atol=1e-13)


@both_kinds
def test_first_and_second_derivatives(outputs: int | None) -> None:
    *tensors, algebra = arguments((1, 1), outputs, items=2)

    def function(left: Tensor, right: Tensor, weight: Tensor) -> Tensor:
        return native(left, right, weight, algebra)

    assert torch.autograd.gradcheck(function, tensors)
    assert torch.autograd.gradgradcheck(function, tensors)


def test_second_derivative_where_one_factor_is_constant() -> None:
    left, right, weight, algebra = arguments((1, 1), 3, items=2)
    right = right.detach()
    loss = native(left, right, weight, algebra).square().sum()
    (slope,) = torch.autograd.grad(loss, left, create_graph=True)
    slope.square().sum().backward()
    assert weight.grad is not None


@both_kinds
def test_second_derivative_where_one_factor_depends_on_the_other(outputs: int | None) -> None:
    left, _, weight, algebra = arguments((1, 1), outputs, items=2)
    results = []
    for function in (reference, native):
        product = function(left, left.square(), weight, algebra)
        (slope,) = torch.autograd.grad(product.square().sum(), left, create_graph=True)
        results.append((slope, *torch.autograd.grad(slope.square().sum(), (left, weight))))
    for wanted, ours in zip(*results, strict=True):
        assert torch.allclose(ours, wanted, rtol=1e-10, atol=1e-10)


@both_kinds
def test_non_contiguous_factors(outputs: int | None) -> None:
    left, right, weight, algebra = arguments((1, 1, 1), outputs)
    flipped = left.detach().permute(2, 1, 0).contiguous().permute(2, 1, 0)
    assert torch.equal(native(flipped, right, weight, algebra), native(left, right, weight, algebra))


@both_kinds
def test_float32_error_is_rounding(outputs: int | None) -> None:
    *exact, algebra = arguments((1, -1, -1, -1), outputs, items=50, channels=8)
    rounded = [tensor.detach().float() for tensor in exact]
    wanted = reference(*exact, algebra).detach()
    error = float((native(*rounded, algebra) - wanted).abs().max() / wanted.abs().max())
    assert error < 1e-6


@both_kinds
def test_equivariant_under_versors(outputs: int | None) -> None:
    left, right, weight, algebra = arguments((1, 1, 1), outputs)
    vector = algebra.embed(torch.tensor([0.3, -1.0, 0.5], dtype=torch.float64), 1)
    moved = native(algebra.act(vector, left), algebra.act(vector, right), weight, algebra)
    assert torch.allclose(moved, algebra.act(vector, native(left, right, weight, algebra)), atol=1e-12)


def test_a_weight_for_each_blade_is_not_equivariant() -> None:
    """Negative control: only weights that are equal within a grade commute with the group."""
    left, right, weight, algebra = arguments((1, 1, 1), None)
    vector = algebra.embed(torch.tensor([0.3, -1.0, 0.5], dtype=torch.float64), 1)
    blades = torch.arange(8, dtype=torch.float64)

    def unsteered(x: Tensor) -> Tensor:
        return blades * native(x, right, weight, algebra)

    moved = unsteered(algebra.act(vector, left))
    assert not torch.allclose(moved, algebra.act(vector, unsteered(left)), atol=1e-3)


def test_backend_is_chosen_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    marked = {
        name: (lambda *args, name=name, function=function: (calls.append(name), function(*args))[1])
        for name, function in module.BACKENDS.items()
    }
    monkeypatch.setattr(module, "BACKENDS", marked)
    left, right, weight, algebra = arguments((1, 1), None)
    geometric_product(left, right, weight, algebra, backend="native")
    with use_backend("reference"):
        geometric_product(left, right, weight, algebra)
    geometric_product(left, right, weight, algebra, backend="reference")
    assert calls == ["native", "reference", "reference"]
    monkeypatch.setattr(module, "BACKENDS", {"reference": reference})
    with pytest.raises(BackendError, match="'native' has no geometric product; choose one of reference"):
        geometric_product(left, right, weight, algebra, backend="native")


def test_shapes_are_checked() -> None:
    left, right, weight, algebra = arguments((1, 1), None)
    with pytest.raises(ShapeError, match=r"`weight` must end in \(channels, paths\) = \(2, 10\)"):
        geometric_product(left, right, weight[:, :9], algebra)
    with pytest.raises(ShapeError, match=r"must both have shape \(items, channels, 8\)"):
        geometric_product(left, right, torch.zeros(2, 20), CliffordAlgebra((1, 1, 1)))

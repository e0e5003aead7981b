"""Sparse geometric products against the dense contraction."""

from __future__ import annotations

import pytest
import torch
from kernels.triton import triton_cases
from kernels.triton.triton_cases import DEVICE, error
from torch import Tensor

triton_cases.need_triton()

from geograph.algebra.clifford import CliffordAlgebra  # noqa: E402
from geograph.errors import BackendError  # noqa: E402
from geograph.kernels.geometric_product import reference  # noqa: E402
from geograph.kernels.triton import clifford  # noqa: E402

METRICS = {"Cl(1,0)": (1,), "Cl(1,3)": (1, -1, -1, -1), "Cl(1,1,1)": (0, 1, -1)}
every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
both_kinds = pytest.mark.parametrize("outputs", [None, 3], ids=["elementwise", "fully_connected"])


def arguments(
    metric: tuple[int, ...], outputs: int | None, items: int, dtype: torch.dtype = torch.float64
) -> tuple[list[Tensor], CliffordAlgebra]:
    generator, algebra, channels = torch.Generator().manual_seed(0), CliffordAlgebra(metric), 3
    shape = (items, channels, algebra.num_blades)
    weights = (*([] if outputs is None else [outputs]), channels, len(algebra.paths))
    return [
        torch.randn(s, generator=generator, dtype=torch.float64).to(DEVICE, dtype).requires_grad_()
        for s in (shape, shape, weights)
    ], algebra


@every_metric
@both_kinds
@pytest.mark.parametrize("items", [0, 33])
def test_product_and_gradients_equal_the_reference(
    metric: tuple[int, ...], outputs: int | None, items: int
) -> None:
    tensors, algebra = arguments(metric, outputs, items)
    results = []
    for function in (reference, clifford.geometric_product):
        product = function(*tensors, algebra)
        results.append((product, *torch.autograd.grad(product.sin().sum(), tensors)))
    for wanted, ours in zip(*results, strict=True):
        assert error(ours, wanted) <= 1e-12


def test_five_dimensions() -> None:
    tensors, algebra = arguments((1, 1, -1, -1, 0), None, 2)
    ours, wanted = clifford.geometric_product(*tensors, algebra), reference(*tensors, algebra)
    assert error(ours, wanted) <= 1e-12
    pairs = zip(
        *(torch.autograd.grad(x.sin().sum(), tensors, retain_graph=True) for x in (ours, wanted)), strict=True
    )
    assert all(error(*pair) <= 1e-12 for pair in pairs)


@both_kinds
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 2e-6), (torch.bfloat16, 2e-2)], ids=str)
def test_narrow_types_stay_close_to_float64(outputs: int | None, dtype: torch.dtype, bound: float) -> None:
    tensors, algebra = arguments((1, 1), outputs, 5, dtype)
    wide = [x.detach().double().requires_grad_() for x in tensors]
    ours, wanted = clifford.geometric_product(*tensors, algebra), reference(*wide, algebra)
    assert ours.dtype == dtype
    assert error(ours, wanted) <= bound
    pairs = zip(
        torch.autograd.grad(ours.sum(), tensors), torch.autograd.grad(wanted.sum(), wide), strict=True
    )
    assert all(error(*pair) <= bound for pair in pairs)


@both_kinds
def test_second_derivatives_equal_the_reference(outputs: int | None) -> None:
    tensors, algebra = arguments((1, -1), outputs, 3)
    results = []
    for function in (reference, clifford.geometric_product):
        left, right, weight = tensors
        product = function(left, right * left, weight, algebra)  # the factors depend on each other
        firsts = torch.autograd.grad(product.sin().sum(), tensors, create_graph=True)
        results.append(torch.autograd.grad(sum(x.cos().sum() for x in firsts), tensors))  # type: ignore[arg-type]
    for wanted, ours in zip(*results, strict=True):
        assert error(ours, wanted) <= 1e-12


def test_operators_keep_the_rules_of_torch_library() -> None:
    (left, right, weight), algebra = arguments((1,), None, 2)
    mix = weight.detach()[..., algebra.constant("path_index", weight)].contiguous().requires_grad_()
    tensors = (left, right, mix, algebra.constant("right", weight))
    torch.library.opcheck(clifford.sparse_product, tensors)
    grad = clifford.sparse_product(*tensors).detach().requires_grad_()
    torch.library.opcheck(clifford.sparse_product_backward, (*tensors, grad))
    (left, right, _), _ = arguments((1,), 3, 2)
    mix = torch.randn(2, 3, 2, 3, dtype=torch.float64, device=DEVICE)
    torch.library.opcheck(clifford.sparse_product, (left.detach(), right.detach(), mix, tensors[3]))


def test_half_precision_is_refused() -> None:
    tensors, algebra = arguments((1, 1), None, 2, torch.float16)
    with pytest.raises(BackendError, match="float32, float64 or bfloat16 throughout, got torch.float16"):
        clifford.geometric_product(*tensors, algebra)

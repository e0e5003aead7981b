"""The compiled products and blocks against the specification."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from geograph.algebra.clifford import CliffordAlgebra
from geograph.kernels import cpu
from geograph.kernels import geometric_product as products
from geograph.kernels.clifford import BlockWeights, product_block

METRICS = {
    "Cl(2,0)": (1, 1),
    "Cl(3,0)": (1, 1, 1),
    "Cl(1,3)": (1, -1, -1, -1),
    "Cl(3,0,1)": (0, 1, 1, 1),
    "Cl(4,1)": (1, 1, 1, 1, -1),
}
every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
both_kinds = pytest.mark.parametrize("is_connected", [False, True], ids=["elementwise", "fully_connected"])


@pytest.fixture(autouse=True)
def _compiled() -> None:
    reason = cpu.unavailable()
    if reason is not None:
        pytest.skip(f"no compiled kernels: {reason}")


def random(seed: int, *shape: int, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(shape, generator=generator, dtype=torch.float64)).requires_grad_()


def block_arguments(
    algebra: CliffordAlgebra, items: int, *, is_connected: bool, parts: str = "first norm bias layer"
) -> tuple[Tensor, BlockWeights]:
    inputs, n, grades, paths = 5, 3, algebra.num_grades, len(algebra.paths)
    o = 2 if is_connected else n
    first = "first" in parts
    path = (o, n, paths) if is_connected else (n, paths)
    weights = BlockWeights(
        right=random(1, n, n, grades, scale=0.5),
        left=random(2, o, n, grades, scale=0.5),
        path=random(3, *path, scale=0.3),
        first=random(4, n, inputs, grades, scale=0.5) if first else None,
        first_bias=random(5, n) if first and "bias" in parts else None,
        gate_a=random(6, n, grades) if first else None,
        gate_b=random(7, n, grades) if first else None,
        norm=random(8, n, grades) if "norm" in parts else None,
        left_bias=random(9, o) if "bias" in parts else None,
        layer=random(10, o) if "layer" in parts else None,
    )
    return random(0, items, inputs if first else n, algebra.num_blades), weights


def leaves_of(x: Tensor, weights: BlockWeights) -> list[Tensor]:
    return [x, *(tensor for tensor in weights.ordered() if tensor is not None)]


def run_block(
    x: Tensor,
    weights: BlockWeights,
    algebra: CliffordAlgebra,
    backend: str,
    dtype: torch.dtype = torch.float64,
) -> list[Tensor]:
    """Output and all gradients."""
    given = [None if t is None else t.detach().to(dtype).requires_grad_() for t in (x, *weights.ordered())]
    first, first_bias, gate_a, gate_b, right, norm, left, left_bias, path, layer = given[1:]
    moved = BlockWeights(right, left, path, first, first_bias, gate_a, gate_b, norm, left_bias, layer)
    out = product_block(given[0], moved, algebra, backend=backend)
    grads = torch.autograd.grad(out.sin().sum(), [tensor for tensor in given if tensor is not None])
    return [out.detach(), *grads]


def assert_close(ours: list[Tensor], wanted: list[Tensor], tolerance: float = 1e-10) -> None:
    for a, b in zip(ours, wanted, strict=True):
        assert a.shape == b.shape
        if b.numel():
            assert float((a - b).abs().max()) <= tolerance * max(float(b.abs().max()), 1e-3)


@every_metric
@both_kinds
@pytest.mark.parametrize("items", [0, 1, 75])
def test_products_equal_the_reference(metric: tuple[int, ...], is_connected: bool, items: int) -> None:
    algebra = CliffordAlgebra(metric)
    left, right = random(0, items, 3, algebra.num_blades), random(1, items, 3, algebra.num_blades)
    weight = random(2, *([18] if is_connected else []), 3, len(algebra.paths))
    results = []
    for function in (products.cpu, products.reference):
        out = function(left, right, weight, algebra)
        grads = torch.autograd.grad(out.sin().sum(), (left, right, weight))
        results.append([out.detach(), *grads])
    assert_close(*results)


@every_metric
@both_kinds
@pytest.mark.parametrize("items", [0, 1, 75])
def test_blocks_equal_the_reference(metric: tuple[int, ...], is_connected: bool, items: int) -> None:
    algebra = CliffordAlgebra(metric)
    x, weights = block_arguments(algebra, items, is_connected=is_connected)
    assert_close(run_block(x, weights, algebra, "cpu"), run_block(x, weights, algebra, "reference"))


@both_kinds
def test_any_part_may_be_left_out(is_connected: bool) -> None:
    algebra = CliffordAlgebra((1, 1, 1))
    parts = ("first", "norm", "bias", "layer")
    for count in range(len(parts)):
        for chosen in itertools.combinations(parts, count):
            x, weights = block_arguments(algebra, 6, is_connected=is_connected, parts=" ".join(chosen))
            assert_close(run_block(x, weights, algebra, "cpu"), run_block(x, weights, algebra, "reference"))


@both_kinds
def test_first_and_second_derivatives(is_connected: bool) -> None:
    algebra = CliffordAlgebra((1, 1))
    x, weights = block_arguments(algebra, 2, is_connected=is_connected, parts="norm layer")
    used = leaves_of(x, weights)

    def function(x: Tensor, right: Tensor, norm: Tensor, left: Tensor, path: Tensor, layer: Tensor) -> Tensor:
        moved = BlockWeights(right, left, path, norm=norm, layer=layer)
        return product_block(x, moved, algebra, backend="cpu")

    assert torch.autograd.gradcheck(function, used)
    assert torch.autograd.gradgradcheck(function, used)


@both_kinds
def test_derivatives_of_the_product(is_connected: bool) -> None:
    algebra = CliffordAlgebra((1, -1))
    left, right = random(0, 2, 2, 4), random(1, 2, 2, 4)
    weight = random(2, *([3] if is_connected else []), 2, len(algebra.paths))

    def function(left: Tensor, right: Tensor, weight: Tensor) -> Tensor:
        return products.cpu(left, right, weight, algebra)

    assert torch.autograd.gradcheck(function, (left, right, weight))
    assert torch.autograd.gradgradcheck(function, (left, right, weight))


def test_second_derivative_where_the_weights_are_constant() -> None:
    algebra = CliffordAlgebra((1, 1, 1))
    x, weights = block_arguments(algebra, 3, is_connected=True)
    slopes = []
    for backend in ("cpu", "reference"):
        out = product_block(x, weights, algebra, backend=backend)
        (slope,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
        slopes.append(list(torch.autograd.grad(slope.square().sum(), (x, weights.path))))
    assert_close(*slopes, tolerance=1e-9)


@both_kinds
@pytest.mark.parametrize("metric", [(1, 1, 1), (1, 1, 1, 1)], ids=["Cl(3,0)", "Cl(4,0)"])
def test_float32_error_is_that_of_the_reference(metric: tuple[int, ...], is_connected: bool) -> None:
    algebra = CliffordAlgebra(metric)
    x, weights = block_arguments(algebra, 300, is_connected=is_connected)
    exact = run_block(x, weights, algebra, "reference")
    errors = []
    for backend in ("cpu", "reference"):
        rounded = run_block(x, weights, algebra, backend, torch.float32)
        errors.append([float((a - b).norm() / b.norm()) for a, b in zip(rounded, exact, strict=True)])
    for ours, theirs in zip(*errors, strict=True):
        assert ours <= 2 * theirs + 1e-7


@both_kinds
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_number_of_threads_gives_the_same_bits(is_connected: bool, dtype: torch.dtype) -> None:
    algebra = CliffordAlgebra((1, -1, -1, -1))
    x, weights = block_arguments(algebra, 500, is_connected=is_connected)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(run_block(x, weights, algebra, "cpu", dtype))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@both_kinds
def test_memory_layout_does_not_matter(is_connected: bool) -> None:
    algebra = CliffordAlgebra((1, 1, 1))
    x, weights = block_arguments(algebra, 20, is_connected=is_connected)
    wanted = product_block(x, weights, algebra, backend="cpu")
    for axes in ((2, 1, 0), (1, 0, 2)):
        moved = x.detach().permute(axes).contiguous().permute([axes.index(i) for i in range(3)])
        assert torch.equal(product_block(moved, weights, algebra, backend="cpu"), wanted)
    every_second = torch.stack([x.detach(), x.detach()], dim=1).flatten(0, 1)[::2]
    assert torch.equal(product_block(every_second, weights, algebra, backend="cpu"), wanted)


def test_mixed_and_half_types_take_pytorch_operations() -> None:
    algebra = CliffordAlgebra((1, 1))
    x = random(0, 4, 2, 4).detach()
    weight = random(1, 2, len(algebra.paths)).detach()
    half = products.cpu(x.bfloat16(), x.bfloat16(), weight.bfloat16(), algebra)
    assert half.dtype is torch.bfloat16
    assert torch.allclose(half.double(), products.reference(x, x, weight, algebra), rtol=0.1, atol=0.3)

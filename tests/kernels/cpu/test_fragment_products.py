"""The C++ kernel of mixed Clebsch-Gordan products against the same operation in PyTorch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from geograph.algebra.mixing_sets import mixing_set
from geograph.kernels import use_backend
from geograph.kernels.cpu.build import reason_unavailable
from geograph.kernels.cpu.fragment_products import (
    FragmentTables,
    fragment_products_backward,
    fragment_products_forward,
    fragment_tables,
)
from geograph.layers.product_plan import row_offsets
from geograph.layers.tensor_product import TensorProduct

pytest.importorskip("e3nn.o3", reason="e3nn is not installed")
if reason_unavailable() is not None:
    pytest.skip(f"no C++ kernels: {reason_unavailable()}", allow_module_level=True)

TYPES = [((2, 3, 1, 2, 2), (3, 2, 0, 2, 1, 2)), ((1,) * 4, (1,) * 7), ((0, 4, 2), (1, 0, 5)), ((3,), (2,))]


def tables(tau_in: tuple[int, ...], tau_out: tuple[int, ...], kind: str) -> FragmentTables:
    return fragment_tables(tau_in, tau_out, mixing_set(kind, len(tau_in), len(tau_out)))


def gaussian(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def relative(found: Tensor, wanted: Tensor) -> float:
    scale = float(wanted.abs().max()) if wanted.numel() else 1.0
    return float((found.double() - wanted.double()).abs().max()) / (scale or 1.0) if wanted.numel() else 0.0


@pytest.mark.parametrize("kind", ["full", "mst"])
@pytest.mark.parametrize("columns", [0, 1, 31, 32, 33, 200])
@pytest.mark.parametrize("types", TYPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_agrees_with_pytorch(
    kind: str, columns: int, types: tuple[tuple[int, ...], tuple[int, ...]], dtype: torch.dtype
) -> None:
    tau_in, tau_out = types
    module = TensorProduct(
        tau_in, tau_out, mixing_set(kind, len(tau_in), len(tau_out)), has_norm=False
    ).double()
    results = []
    for backend, used in (("native", torch.float64), ("cpu", dtype)):
        module.zero_grad()
        module.to(used)
        x = gaussian(row_offsets(tau_in)[-1], columns, dtype=used).requires_grad_()
        with use_backend(backend):
            y = module(x)
            y.backward(gaussian(*y.shape, seed=1, dtype=used))
        assert x.grad is not None
        assert module.weight.grad is not None
        results.append((y.detach(), x.grad, module.weight.grad))
        module.double()
    # Sums of at most products x components terms of both signs.
    bound = 64 * torch.finfo(dtype).eps * max(module.plan.num_products) ** 0.5 * len(tau_in)
    for wanted, found in zip(*results, strict=True):
        assert relative(found, wanted) <= bound


def test_squares_of_the_products() -> None:
    table = tables((1, 2), (1, 1), "full")
    x, weight = gaussian(7, 50), torch.zeros(table.sizes["num_weights"], dtype=torch.float64)
    y, squares = fragment_products_forward(table, x, weight, True)
    assert bool((y == 0).all())
    # Degree 0 from (0, 0): the square of the one fragment of degree 0.
    assert float(squares[0]) == pytest.approx(float(x[0].pow(4).sum()))
    assert bool((fragment_products_forward(table, x, weight, False)[1] == 0).all())


def test_same_bits_for_the_same_threads_and_close_for_others() -> None:
    table = tables((1, 3, 3, 3), (1, 3, 3, 3), "mst")
    x, weight = gaussian(1 + 9 + 15 + 21, 333), gaussian(table.sizes["num_weights"], seed=1)
    above = gaussian(46, 333, seed=2)
    number, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 2, 5):
            torch.set_num_threads(threads)
            results.append(
                (
                    *fragment_products_forward(table, x, weight, True),
                    *fragment_products_backward(table, x, weight, above),
                )
            )
    finally:
        torch.set_num_threads(number)
    assert all(torch.equal(one, other) for one, other in zip(results[1], results[2], strict=True))
    for result in results[1:]:
        for one, other in zip(results[0], result, strict=True):
            assert relative(one, other) <= 1e-13


def test_columns_that_are_not_contiguous() -> None:
    table = tables((1, 1, 1), (1, 1, 1), "full")
    x, weight = gaussian(40, 9).T, gaussian(table.sizes["num_weights"], seed=1)
    found, _ = fragment_products_forward(table, x, weight, False)
    wanted, _ = fragment_products_forward(table, x.contiguous(), weight, False)
    assert torch.equal(found, wanted)


def test_nan_stays_in_its_column() -> None:
    table = tables((1, 1, 1), (1, 1, 1), "full")
    x, weight = gaussian(9, 40), gaussian(table.sizes["num_weights"], seed=1)
    spoiled = x.clone()
    spoiled[4, 7] = float("nan")
    found, _ = fragment_products_forward(table, spoiled, weight, False)
    wanted, _ = fragment_products_forward(table, x, weight, False)
    assert bool(found[:, 7].isnan().any())
    others = [column for column in range(40) if column != 7]
    assert torch.equal(found[:, others], wanted[:, others])

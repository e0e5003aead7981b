from __future__ import annotations

import pytest
import torch

from geograph.errors import ConfigError
from geograph.sphere import operators
from geograph.sphere.operators import PlanCache, apply_linear, available_bytes, check_memory

CPU = torch.device("cpu")


def test_gradient_is_the_transpose_and_can_be_differentiated_again():
    matrix = torch.randn(3, 4, dtype=torch.complex128)

    def square(x):
        return apply_linear(x, lambda v: v @ matrix, lambda v: v @ matrix.mH).abs().square()

    x = torch.randn(2, 3, dtype=torch.complex128, requires_grad=True)
    assert torch.autograd.gradcheck(square, (x,))
    assert torch.autograd.gradgradcheck(square, (x,))


def test_a_wrong_transpose_is_found():
    matrix = torch.randn(3, 3, dtype=torch.float64)
    x = torch.randn(3, dtype=torch.float64, requires_grad=True)
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        torch.autograd.gradcheck(lambda v: apply_linear(v, lambda u: matrix @ u, lambda u: matrix @ u), (x,))


def test_autocast_does_not_reach_the_maps():
    matrix = torch.randn(3, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert apply_linear(torch.randn(3, 3), lambda x: x @ matrix, lambda x: x).dtype == torch.float32


def test_memory_is_refused_with_both_figures(monkeypatch):
    monkeypatch.setattr(operators, "available_bytes", lambda device: 3 << 30)
    check_memory("a table", 2 << 30, CPU, "take less")
    with pytest.raises(
        ConfigError, match=r"a table needs about 4 GiB of memory, but 3 GiB are free on cpu; take"
    ):
        check_memory("a table", 4 << 30, CPU, "take less")


def test_small_requests_do_not_ask(monkeypatch):
    monkeypatch.setattr(operators, "available_bytes", lambda device: 0)
    check_memory("a table", 1000, CPU, "")


def test_free_memory_is_a_sensible_number():
    assert 1 << 20 < available_bytes(CPU) <= 1 << 62


def test_cache_keeps_the_latest_up_to_its_size():
    cache: PlanCache[str] = PlanCache(max_bytes=10)
    built = []

    def build(name):
        def make():
            built.append(name)
            return name, 6

        return make

    assert [cache.get(name, build(name)) for name in "aab"] == ["a", "a", "b"]
    assert built == ["a", "b"]
    cache.get("a", build("a"))
    assert built == ["a", "b", "a"]


def test_cache_may_be_entered_while_it_builds():
    cache: PlanCache[str] = PlanCache()
    assert cache.get("outer", lambda: (cache.get("inner", lambda: ("in", 1)) + "side", 1)) == "inside"

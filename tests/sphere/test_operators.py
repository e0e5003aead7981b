from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux only")
def test_a_limit_of_the_address_space_is_counted():
    """In a process of its own, as the limit could not be taken back."""
    code = (
        "import resource, torch\n"
        "from geograph.sphere.operators import available_bytes, _address_space_bytes\n"
        "assert _address_space_bytes() == [], 'no limit yet'\n"
        "from pathlib import Path\n"
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 28), -1))\n"
        "free = available_bytes(torch.device('cpu'))\n"
        "assert 1 << 27 < free <= 1 << 28, free\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

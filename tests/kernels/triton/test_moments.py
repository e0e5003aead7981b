"""Mean and variance of the pair inputs against those of the stored array."""

from __future__ import annotations

import pytest
import torch
from kernels.triton import triton_cases
from kernels.triton.triton_cases import CASES, Case, error, graph, inputs, leaves

triton_cases.need_triton()

from geograph.kernels import triton as backend  # noqa: E402
from geograph.kernels.triton import moments  # noqa: E402

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@every_case
@pytest.mark.parametrize("programs", [512, 2], ids=["one tile each", "several tiles each"])
def test_moments_and_their_gradients_equal_autograd(
    case: Case, programs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moments, "_PROGRAMS", programs)
    monkeypatch.setattr(moments, "_BLOCK", 16)
    values = inputs(case)[:4]
    source, target, ptr = graph(case.degrees)
    mean, var = backend.moments_forward(*values, source, ptr)
    if len(source) == 0:
        assert not mean.any()
        assert not var.any()
        assert not any(grad.any() for grad in backend.moments_backward(mean, var, mean, *values, source, ptr))
        return
    t, s, e, weight = followed = leaves(values)
    z = t[target] + s[source] + e @ weight.T  # type: ignore[index,union-attr,operator]
    wanted = z.mean(0), z.var(0, unbiased=False)
    size = float(z.detach().square().mean())
    assert error(mean, wanted[0]) <= 1e-12
    assert float((var - wanted[1].detach()).abs().max()) <= 1e-12 * size
    upstream = torch.linspace(-1, 1, z.shape[1]).to(z), torch.linspace(1, 3, z.shape[1]).to(z)
    grads = torch.autograd.grad(wanted, followed, upstream, materialize_grads=True)  # type: ignore[arg-type]
    for ours, theirs in zip(
        backend.moments_backward(*upstream, mean, *values, source, ptr), grads, strict=True
    ):
        assert error(ours, theirs) <= 1e-10


def test_variance_of_a_small_spread_about_a_large_mean() -> None:
    source, target, ptr = graph((40, 30))
    zero = torch.zeros(2, 8, device=source.device)
    spread = torch.linspace(-1, 1, 70).to(source.device)[:, None]
    weight = torch.ones(8, 1, device=source.device)
    mean, var = backend.moments_forward(zero + 1000, zero, spread, weight, source, ptr)
    assert torch.allclose(mean, torch.full_like(mean, 1000.0))
    assert error(var, spread.var(unbiased=False).expand(8)) <= 1e-3  # float32: eps * 1000 on z itself


def test_operators_keep_the_rules_of_torch_library() -> None:
    case = Case((2, 0, 3), scalars=2)
    values, (source, _, ptr) = inputs(case, torch.float32)[:4], graph(case.degrees)
    torch.library.opcheck(moments.moments_forward, (*values, source, ptr))
    mean, var = moments.moments_forward(*values, source, ptr)
    torch.library.opcheck(moments.moments_backward, (mean, var, mean, *values, source, ptr))

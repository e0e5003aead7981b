"""Running scales of fragments."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from geograph.algebra.wigner import random_rotation, real_wigner
from geograph.errors import ConfigError, ShapeError
from geograph.layers.fragment_norm import FragmentNorm, RunningScale

TAU = (2, 0, 3)


def signal(*columns: int) -> Tensor:
    return torch.randn(2 + 15, *columns, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_first_batch_has_mean_square_one_for_each_fragment_and_channel() -> None:
    scales = torch.tensor([1.0, 20.0, 0.03], dtype=torch.float64)
    x = signal(3, 50) * scales[:, None]
    norm = FragmentNorm(TAU, 3).double().train()
    y = norm(x)
    squares = y[2:].view(5, 3, 3, 50).square().mean((0, 3))
    assert torch.allclose(squares, torch.ones_like(squares))
    assert torch.allclose(norm.eval()(x), y)


def test_channels_share_a_scale_where_none_are_stated() -> None:
    x = signal(3, 50)
    norm = FragmentNorm(TAU).double().train()
    y = norm(x)
    assert torch.allclose(y[:2].square().mean((1, 2)), torch.ones(2, dtype=torch.float64))
    assert norm(x[:, 0]).shape == (17, 50)


def test_commutes_with_rotations() -> None:
    rotation = random_rotation(torch.Generator().manual_seed(1), 1)[0]
    x = signal(2, 9)
    norm = FragmentNorm(TAU, 2).double().train()
    norm(x)
    norm.eval()
    matrix = torch.block_diag(
        torch.eye(2, dtype=torch.float64), torch.kron(real_wigner(2, rotation), torch.eye(3).double())
    )
    turn = torch.einsum("ab,bkn->akn", matrix, x)
    assert torch.allclose(norm(turn), torch.einsum("ab,bkn->akn", matrix, norm(x)), rtol=0, atol=1e-13)


def test_statistics_are_those_of_the_steps_before() -> None:
    norm = FragmentNorm(TAU).double().train()
    x = signal(10)
    first = norm(x)
    assert torch.allclose(norm(3 * x), 3 * first)
    after = norm.eval()(x)
    assert float((after / first).mean()) == pytest.approx((0.9 + 0.1 * 9) ** -0.5)


def test_zero_fragments_stay_zero() -> None:
    norm = FragmentNorm(TAU).double().train()
    assert bool((norm(torch.zeros(17, 4, dtype=torch.float64)) == 0).all())
    assert norm(signal(0)).shape == (17, 0)


def test_state_is_stored() -> None:
    norm, other = FragmentNorm(TAU).double().train(), FragmentNorm(TAU).double()
    norm(signal(5))
    other.load_state_dict(norm.state_dict())
    assert other.scale.is_set
    assert torch.equal(other.eval()(signal(5)), norm.eval()(signal(5)))


def test_errors() -> None:
    with pytest.raises(ConfigError, match="`momentum` must be above 0 and at most 1, got 0.0"):
        RunningScale(3, 0.0)
    with pytest.raises(ShapeError, match=r"17 rows and 3 channels, got \(17, 2, 4\)"):
        FragmentNorm(TAU, 3)(signal(2, 4).float())
    with pytest.raises(ShapeError, match=r"17 rows, got \(16, 4\)"):
        FragmentNorm(TAU)(signal(4)[:16].float())

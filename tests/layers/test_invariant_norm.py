"""Batch norm that takes a batch of one."""

from __future__ import annotations

import torch

from geograph.layers.invariant_norm import InvariantNorm


def test_is_batch_norm() -> None:
    x = torch.randn(7, 3)
    ours, theirs = InvariantNorm(3), torch.nn.BatchNorm1d(3)
    assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours.eval()(x), theirs.eval()(x))


def test_a_single_sphere_is_normalised_by_the_running_moments() -> None:
    norm = InvariantNorm(3)
    norm(torch.randn(50, 3))
    state = {name: value.clone() for name, value in norm.state_dict().items()}
    x = torch.randn(1, 3)
    assert torch.equal(norm(x), norm.eval()(x))
    assert all(torch.equal(value, state[name]) for name, value in norm.state_dict().items())

"""Elements of the orthogonal group."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from strategies import orthogonal_matrices
from torch import Tensor

from geograph.algebra.euclid import random_orthogonal, random_translation, rotation_about
from geograph.errors import ConfigError, ShapeError


@settings(max_examples=30, deadline=None)
@given(matrix=orthogonal_matrices())
def test_is_orthogonal(matrix: Tensor) -> None:
    assert torch.allclose(matrix @ matrix.T, torch.eye(3, dtype=torch.float64), atol=1e-14)


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("proper", [True, False])
def test_determinant_is_as_asked(dim: int, proper: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        matrix = random_orthogonal(generator, dim, proper=proper)
        assert float(torch.linalg.det(matrix)) == pytest.approx(1.0 if proper else -1.0)


def test_haar_moments() -> None:
    """E[g_11^2] = 1/3 and E[g_11] = 0 for uniform elements of O(3)."""
    generator = torch.Generator().manual_seed(0)
    first = torch.stack([random_orthogonal(generator, 3)[0, 0] for _ in range(2000)])
    assert float(first.mean()) == pytest.approx(0.0, abs=4 / math.sqrt(3 * 2000))
    assert float(first.square().mean()) == pytest.approx(1 / 3, abs=4 * 0.3 / math.sqrt(2000))


def test_same_generator_state_same_element() -> None:
    draws = [random_orthogonal(torch.Generator().manual_seed(7), 3) for _ in range(2)]
    assert torch.equal(*draws)
    assert random_translation(torch.Generator().manual_seed(7), 4, torch.float32).shape == (4,)


def test_rotation_about_z_by_hand() -> None:
    matrix = rotation_about(torch.tensor([0.0, 0, 2], dtype=torch.float64), math.pi / 2)
    x = torch.tensor([[1.0, 0, 0]], dtype=torch.float64)
    assert torch.allclose(x @ matrix.T, torch.tensor([[0.0, 1, 0]], dtype=torch.float64), atol=1e-15)


def test_errors() -> None:
    with pytest.raises(ConfigError, match="`dim` must be at least 1, got 0"):
        random_orthogonal(torch.Generator(), 0)
    with pytest.raises(ShapeError, match="`axis` must not be the zero vector"):
        rotation_about(torch.zeros(3), 1.0)

"""Minkowski products and Lorentz transformations."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from strategies import boosts
from torch import Tensor

from geograph.algebra.minkowski import METRIC, boost, minkowski_dot, minkowski_norm2, random_lorentz
from geograph.errors import ConfigError, ShapeError

ETA = torch.diag(torch.tensor(METRIC, dtype=torch.float64))


def test_products_by_hand() -> None:
    p = torch.tensor([[5.0, 1, 2, 3], [1, 0, 0, 2]])
    q = torch.tensor([2.0, 1, 0, -1])
    assert minkowski_dot(p, q).tolist() == [12.0, 4.0]
    assert minkowski_norm2(p).tolist() == [11.0, -3.0]


@settings(max_examples=30, deadline=None)
@given(matrix=boosts())
def test_boosts_preserve_the_metric(matrix: Tensor) -> None:
    gamma_2 = float(matrix[0, 0]) ** 2
    assert torch.allclose(matrix.T @ ETA @ matrix, ETA, rtol=0, atol=8 * 2.3e-16 * gamma_2)
    assert torch.allclose(matrix, matrix.T)


def test_boost_of_a_particle_at_rest() -> None:
    matrix = boost(torch.tensor([0.0, 0, 3], dtype=torch.float64), 0.7)
    at_rest = torch.tensor([2.0, 0, 0, 0], dtype=torch.float64)
    expected = torch.tensor([2 * math.cosh(0.7), 0, 0, 2 * math.sinh(0.7)], dtype=torch.float64)
    assert torch.allclose(at_rest @ matrix.T, expected)


def test_rapidities_add() -> None:
    axis = torch.tensor([1.0, -2, 0.5], dtype=torch.float64)
    assert torch.allclose(boost(axis, 0.4) @ boost(axis, 0.9), boost(axis, 1.3))


@pytest.mark.parametrize("proper", [True, False, None])
def test_random_elements_are_in_the_group(proper: bool | None) -> None:
    generator = torch.Generator().manual_seed(0)
    signs = set()
    for _ in range(40):
        matrix = random_lorentz(generator, 1.5, proper)
        assert torch.allclose(matrix.T @ ETA @ matrix, ETA, atol=1e-13)
        assert abs(float(matrix[0, 0])) <= math.cosh(1.5) + 1e-12
        signs.add((float(torch.linalg.det(matrix)) > 0, float(matrix[0, 0]) > 0))
    expected = {True: {(True, True)}, False: {(False, True)}}
    if proper is None:
        assert len(signs) == 4
    else:
        assert signs == expected[proper]


def test_errors() -> None:
    with pytest.raises(ShapeError, match="`q` must have a last axis of length 4, got shape"):
        minkowski_dot(torch.zeros(2, 4), torch.zeros(2, 3))
    with pytest.raises(ShapeError, match="`direction` must not be the zero vector"):
        boost(torch.zeros(3), 1.0)
    with pytest.raises(ConfigError, match="`max_rapidity` must not be negative, got -1"):
        random_lorentz(torch.Generator(), -1.0)

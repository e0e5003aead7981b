"""Clebsch-Gordan coefficients and the change of basis from e3nn."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from torch import Tensor

from geograph.algebra import clebsch_gordan as module
from geograph.algebra.clebsch_gordan import axes_of_e3nn, clebsch_gordan
from geograph.algebra.wigner import random_rotation, real_wigner
from geograph.errors import ConfigError, MissingExtraError

o3 = pytest.importorskip("e3nn.o3", reason="e3nn is not installed")

EPS = torch.finfo(torch.float64).eps
TRIPLES = [(0, 0, 0), (0, 3, 3), (1, 1, 1), (1, 1, 2), (2, 1, 2), (2, 3, 4), (4, 2, 3), (5, 5, 0), (9, 7, 8)]
every_triple = pytest.mark.parametrize("triple", TRIPLES, ids=str)


def bound(triple: tuple[int, int, int]) -> float:
    """Each entry of a contraction over all axes sums at most the product of their lengths."""
    return 16 * EPS * math.prod(2 * degree + 1 for degree in triple) ** 0.5 * (2 * triple[2] + 1)


def turned(tensor: Tensor, triple: tuple[int, int, int], rotation: Tensor) -> Tensor:
    matrices = [real_wigner(degree, rotation) for degree in triple]
    return torch.einsum("ijk,ai,bj,ck->abc", tensor, *matrices)


@every_triple
def test_coefficients_are_invariant_tensors(triple: tuple[int, int, int]) -> None:
    coefficients = clebsch_gordan(*triple)
    rotation = random_rotation(torch.Generator().manual_seed(0), 1)[0]
    error = (turned(coefficients, triple, rotation) - coefficients).abs().max()
    assert float(error) <= bound(triple)


def test_order_of_axes_matters() -> None:
    """Negative control: the same numbers with the components backwards are no invariant tensor."""
    rotation = random_rotation(torch.Generator().manual_seed(0), 1)[0]
    wrong = clebsch_gordan(1, 2, 2).flip(0)
    assert float((turned(wrong, (1, 2, 2), rotation) - wrong).abs().max()) > 0.1


@every_triple
def test_products_are_orthonormal(triple: tuple[int, int, int]) -> None:
    c = clebsch_gordan(*triple)
    gram = torch.einsum("ijk,ijl->kl", c, c)
    assert float((gram - torch.eye(2 * triple[2] + 1)).abs().max()) <= bound(triple)


@pytest.mark.parametrize("degrees", [(1, 1), (2, 3), (4, 4)])
def test_all_degrees_together_are_an_orthogonal_matrix(degrees: tuple[int, int]) -> None:
    l1, l2 = degrees
    blocks = [clebsch_gordan(l1, l2, degree).flatten(0, 1) for degree in range(l2 - l1, l1 + l2 + 1)]
    matrix = torch.cat(blocks, dim=1)
    assert matrix.shape[0] == matrix.shape[1] == (2 * l1 + 1) * (2 * l2 + 1)
    assert float((matrix @ matrix.T - torch.eye(len(matrix))).abs().max()) <= 1e-13


@every_triple
def test_exchange(triple: tuple[int, int, int]) -> None:
    l1, l2, l3 = triple
    sign = (-1) ** (l1 + l2 + l3)
    assert torch.allclose(clebsch_gordan(l2, l1, l3), sign * clebsch_gordan(l1, l2, l3).transpose(0, 1))


def test_products_of_vectors() -> None:
    """1 x 1 -> 0 is the scalar product, -> 1 the cross product, in the order (y, z, x), up to their signs."""
    u, v = torch.randn(2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    axes = [1, 2, 0]
    scalar = torch.einsum("ijk,i,j->k", clebsch_gordan(1, 1, 0), u[axes], v[axes])
    assert abs(float(scalar)) == pytest.approx(abs(float(u @ v)) / math.sqrt(3))
    vector = torch.einsum("ijk,i,j->k", clebsch_gordan(1, 1, 1), u[axes], v[axes])
    cross = torch.linalg.cross(u, v)[axes] / math.sqrt(2)
    assert min(float((vector - cross).abs().max()), float((vector + cross).abs().max())) <= 8 * EPS


@pytest.mark.parametrize("degree", [1, 2, 5, 9])
def test_change_of_basis_from_e3nn(degree: int) -> None:
    """Its harmonics at renamed axes, and its matrices of renamed rotations, are those of this project."""
    rotation = random_rotation(torch.Generator().manual_seed(1), 4)
    renamed = axes_of_e3nn(axes_of_e3nn(rotation).mT).mT
    angles = o3.matrix_to_angles(renamed)
    theirs = o3.wigner_D(degree, *angles)
    # e3nn exponentiates generators that it makes in float32.
    single = degree * 64 * torch.finfo(torch.float32).eps
    assert torch.allclose(real_wigner(degree, rotation), theirs, rtol=0, atol=single)
    assert not torch.allclose(
        real_wigner(degree, rotation), o3.wigner_D(degree, *o3.matrix_to_angles(rotation)), rtol=0, atol=0.1
    )
    # The column m = 0 of the matrix of R is S_lm(R z) / S_l0(z).
    pole = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    at = o3.spherical_harmonics(degree, axes_of_e3nn(rotation @ pole), normalize=True, normalization="norm")
    assert torch.allclose(real_wigner(degree, rotation)[:, :, degree], at, rtol=0, atol=1e-12)


def test_the_cache_is_not_handed_out() -> None:
    clebsch_gordan(1, 1, 2).zero_()
    assert float(clebsch_gordan(1, 1, 2).norm()) == pytest.approx(math.sqrt(5))


@pytest.mark.parametrize("triple", [(1, 1, 3), (0, 1, 0), (2, 5, 2), (-1, 1, 1)])
def test_triangle(triple: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigError, match=r"must obey \|l1 - l2\| <= l3 <= l1 \+ l2"):
        clebsch_gordan(*triple)


def test_missing_e3nn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_coefficients", module._coefficients.__wrapped__)
    monkeypatch.setitem(sys.modules, "e3nn.o3", None)
    with pytest.raises(MissingExtraError, match=r"`e3nn`, which is not installed.*geograph\[sphere\]"):
        clebsch_gordan(1, 1, 1)

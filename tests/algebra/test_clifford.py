"""Clifford algebras: tables, products and group actions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import orthogonal_matrices, seeds
from torch import Tensor

from geograph.algebra.clifford import CliffordAlgebra
from geograph.algebra.minkowski import random_lorentz
from geograph.errors import ConfigError, ShapeError

METRICS = {
    "Cl(2,0)": (1, 1),
    "Cl(3,0)": (1, 1, 1),
    "Cl(1,3)": (1, -1, -1, -1),
    "Cl(3,0,1)": (0, 1, 1, 1),
    "Cl(5,0)": (1, 1, 1, 1, 1),
    "Cl(2,2,1)": (1, 1, -1, -1, 0),
}
every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


def random_multivectors(algebra: CliffordAlgebra, count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, algebra.num_blades, generator=generator, dtype=torch.float64)


def random_versor(algebra: CliffordAlgebra, order: int, seed: int) -> Tensor:
    """Product of `order` vectors that are far from null; an odd order reflects."""
    generator = torch.Generator().manual_seed(seed)
    squares = torch.tensor([float(square) for square in algebra.metric])
    vectors: list[Tensor] = []
    while len(vectors) < order:
        vector = torch.randn(algebra.dim, generator=generator, dtype=torch.float64)
        norm = (squares * vector * vector).sum()
        if abs(float(norm)) > 0.3 * float(vector.square().sum()):
            vectors.append(algebra.embed(vector / norm.abs().sqrt(), 1))
    versor = algebra.embed(torch.ones(1, dtype=torch.float64), 0)
    for vector in vectors:
        versor = algebra.product(versor, vector)
    return versor


def product_by_words(
    metric: tuple[int, ...], left: tuple[int, ...], right: tuple[int, ...]
) -> tuple[int, tuple]:
    """Brute force: sort the word of generators by swapping neighbours, then cancel equal ones."""
    word, sign = [*left, *right], 1
    for _ in word:
        for i in range(len(word) - 1):
            if word[i] > word[i + 1]:
                word[i], word[i + 1], sign = word[i + 1], word[i], -sign
    rest: list[int] = []
    for letter in word:
        if rest and rest[-1] == letter:
            rest.pop()
            sign *= metric[letter]
        else:
            rest.append(letter)
    return sign, tuple(rest)


@every_metric
def test_cayley_table_agrees_with_sorting_of_generators(metric: tuple[int, ...]) -> None:
    dim = len(metric)
    blades = [blade for grade in range(dim + 1) for blade in itertools.combinations(range(dim), grade)]
    expected = np.zeros((len(blades),) * 3)
    for (i, left), (k, right) in itertools.product(enumerate(blades), repeat=2):
        sign, blade = product_by_words(metric, left, right)
        expected[i, blades.index(blade), k] = sign
    assert np.array_equal(CliffordAlgebra(metric).cayley, expected)


@pytest.mark.parametrize(("dim", "count"), [(2, 10), (3, 20), (4, 35), (5, 56)])
def test_number_of_paths(dim: int, count: int) -> None:
    algebra = CliffordAlgebra((1,) * dim)
    assert len(algebra.paths) == count == int(algebra.path_mask.sum())


def test_paths_are_the_same_for_every_non_degenerate_metric() -> None:
    assert CliffordAlgebra((1, -1, -1, -1)).paths == CliffordAlgebra((1, 1, 1, 1)).paths
    assert len(CliffordAlgebra((0, 1, 1, 1)).paths) < 35


def test_blades_are_short_lex_by_grade() -> None:
    algebra = CliffordAlgebra((1, 1, 1))
    assert algebra.tables.masks.tolist() == [0, 1, 2, 4, 3, 5, 6, 7]
    assert algebra.subspaces == (1, 3, 3, 1)
    assert [(part.start, part.stop) for part in algebra.slices] == [(0, 1), (1, 4), (4, 7), (7, 8)]


def test_only_one_right_factor_for_each_pair() -> None:
    algebra = CliffordAlgebra((1, -1, -1, -1))
    assert np.count_nonzero(algebra.cayley) == 256
    assert np.array_equal((algebra.cayley != 0).sum(axis=2), np.ones((16, 16)))


@every_metric
@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_product_is_associative_with_unit(metric: tuple[int, ...], seed: int) -> None:
    algebra = CliffordAlgebra(metric)
    x, y, z = random_multivectors(algebra, 3, seed)
    left = algebra.product(algebra.product(x, y), z)
    right = algebra.product(x, algebra.product(y, z))
    scale = float(x.norm() * y.norm() * z.norm())
    assert float((left - right).abs().max()) <= 1e-14 * scale
    one = algebra.embed(torch.ones(1, dtype=torch.float64), 0)
    assert torch.equal(algebra.product(one, x), x)
    assert torch.equal(algebra.product(x, one), x)


@every_metric
def test_reverse_is_an_anti_automorphism_and_involution_an_automorphism(metric: tuple[int, ...]) -> None:
    algebra = CliffordAlgebra(metric)
    x, y = random_multivectors(algebra, 2, 0)
    xy = algebra.product(x, y)
    assert torch.allclose(
        algebra.reverse(xy), algebra.product(algebra.reverse(y), algebra.reverse(x)), rtol=0, atol=1e-13
    )
    assert torch.allclose(
        algebra.involute(xy), algebra.product(algebra.involute(x), algebra.involute(y)), rtol=0, atol=1e-13
    )


@every_metric
def test_quadratic_form_is_the_scalar_of_reverse_times_self(metric: tuple[int, ...]) -> None:
    algebra = CliffordAlgebra(metric)
    x = random_multivectors(algebra, 4, 1)
    forms = algebra.quadratic(x)
    for grade in range(algebra.num_grades):
        part = algebra.project(x, grade)
        expected = algebra.product(algebra.reverse(part), part)[:, 0]
        assert torch.allclose(forms[:, grade], expected, rtol=0, atol=1e-13)


@every_metric
@settings(max_examples=10, deadline=None)
@given(seed=seeds, order=st.integers(1, 4))
def test_versors_act_by_automorphisms_that_keep_grades(
    metric: tuple[int, ...], seed: int, order: int
) -> None:
    algebra = CliffordAlgebra(metric)
    versor = random_versor(algebra, order, seed)
    x, y = random_multivectors(algebra, 2, seed + 1)
    acted = algebra.act(versor, algebra.product(x, y))
    product = algebra.product(algebra.act(versor, x), algebra.act(versor, y))
    scale = float(acted.abs().max()) * float(versor.square().sum()) ** 2
    assert float((acted - product).abs().max()) <= 1e-12 * scale
    for grade in range(algebra.num_grades):
        after = algebra.project(algebra.act(versor, x), grade)
        before = algebra.act(versor, algebra.project(x, grade))
        assert float((after - before).abs().max()) <= 1e-12 * scale
    drift = algebra.quadratic(algebra.act(versor, x)) - algebra.quadratic(x)
    assert float(drift.abs().max()) <= 1e-11 * scale**2


def test_a_vector_reflects_along_itself() -> None:
    algebra = CliffordAlgebra((1, 1, 1))
    axis, other = algebra.embed(torch.eye(3, dtype=torch.float64)[:2], 1)
    assert torch.equal(algebra.act(axis, axis), -axis)
    assert torch.equal(algebra.act(axis, other), other)


@settings(max_examples=10, deadline=None)
@given(matrix=orthogonal_matrices(), seed=seeds)
def test_outermorphism_of_orthogonal_matrices_is_an_automorphism(matrix: Tensor, seed: int) -> None:
    algebra = CliffordAlgebra((1, 1, 1))
    outer = algebra.outermorphism(matrix)
    x, y = random_multivectors(algebra, 2, seed)
    error = algebra.product(x, y) @ outer.T - algebra.product(x @ outer.T, y @ outer.T)
    assert float(error.abs().max()) <= 1e-13 * float(x.norm() * y.norm())
    assert torch.allclose(outer[-1, -1], torch.linalg.det(matrix), rtol=0, atol=1e-14)


def test_outermorphism_of_lorentz_matrices_is_an_automorphism() -> None:
    algebra = CliffordAlgebra((1, -1, -1, -1))
    outer = algebra.outermorphism(random_lorentz(torch.Generator().manual_seed(0)))
    x, y = random_multivectors(algebra, 2, 0)
    error = algebra.product(x, y) @ outer.T - algebra.product(x @ outer.T, y @ outer.T)
    assert float(error.abs().max()) <= 1e-14 * float(outer.abs().max()) ** 2 * float(x.norm() * y.norm())


def test_outermorphism_of_a_shear_is_none() -> None:
    """Negative control."""
    algebra = CliffordAlgebra((1, 1, 1))
    shear = torch.eye(3, dtype=torch.float64)
    shear[0, 1] = 0.5
    outer = algebra.outermorphism(shear)
    x, y = random_multivectors(algebra, 2, 0)
    error = algebra.product(x, y) @ outer.T - algebra.product(x @ outer.T, y @ outer.T)
    assert float(error.abs().max()) > 1e-2


def test_versor_action_is_the_outermorphism_of_its_action_on_vectors() -> None:
    algebra = CliffordAlgebra((1, -1, -1, -1))
    versor = random_versor(algebra, 3, 5)
    basis = algebra.embed(torch.eye(4, dtype=torch.float64), 1)
    matrix = algebra.take(algebra.act(versor, basis), 1).T
    x = random_multivectors(algebra, 4, 2)
    assert torch.allclose(x @ algebra.outermorphism(matrix).T, algebra.act(versor, x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_embedding_keeps_dtype_and_values(dtype: torch.dtype) -> None:
    algebra = CliffordAlgebra((1, -1, -1, -1))
    values = torch.randn(3, 2, 6).to(dtype)
    embedded = algebra.embed(values, 2)
    assert embedded.dtype == dtype
    assert embedded.shape == (3, 2, 16)
    assert torch.equal(algebra.take(embedded, 2), values)
    assert torch.equal(algebra.project(embedded, 2), embedded)
    assert float(algebra.project(embedded, 1).abs().max()) == 0


def test_equal_metrics_are_equal_and_share_tables() -> None:
    first, second = CliffordAlgebra([1, 1, 1]), CliffordAlgebra((1.0, 1.0, 1.0))
    assert first == second
    assert hash(first) == hash(second)
    assert first.tables is second.tables
    with pytest.raises(ValueError, match="read-only"):
        first.tables.signs[0, 0] = 2


def test_constants_made_in_inference_mode_serve_training() -> None:
    algebra = CliffordAlgebra((-1, -1, 1))
    x = torch.randn(2, 8)
    with torch.inference_mode():
        algebra.quadratic(x)
    x.requires_grad_()
    algebra.quadratic(x).sum().backward()
    assert x.grad is not None


def test_bad_arguments_are_refused() -> None:
    algebra = CliffordAlgebra((1, 1, 1))
    with pytest.raises(ConfigError, match="`metric` entries must be 1, -1 or 0, got 2.0"):
        CliffordAlgebra((1, 2))
    with pytest.raises(ConfigError, match="`metric` must have 1 to 8 entries, got 0"):
        CliffordAlgebra(())
    with pytest.raises(ConfigError, match="`grade` must be from 0 to 3, got 4"):
        algebra.take(torch.zeros(8), 4)
    with pytest.raises(ShapeError, match="last axis of length 3 for grade 1"):
        algebra.embed(torch.zeros(2), 1)
    with pytest.raises(ShapeError, match="a multivector must have a last axis of length 8, got"):
        algebra.reverse(torch.zeros(4))
    with pytest.raises(ShapeError, match=r"`matrix` must have shape \(3, 3\)"):
        algebra.outermorphism(torch.eye(4))
    lightlike = CliffordAlgebra((1, -1)).embed(torch.ones(2), 1)
    with pytest.raises(ConfigError, match="`versor` must be invertible, got a null one"):
        CliffordAlgebra((1, -1)).act(lightlike, lightlike)

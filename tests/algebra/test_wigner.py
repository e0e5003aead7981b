"""Wigner matrices and rotations of real coefficients."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special
import torch
from torch import Tensor

from geograph.algebra import wigner
from geograph.algebra.euclid import random_orthogonal, rotation_about
from geograph.algebra.harmonics import degrees, dense_from_real, power_spectrum
from geograph.algebra.wigner import (
    MAX_BANDLIMIT,
    complex_wigner,
    euler_angles,
    random_rotation,
    real_wigner,
    rotate,
    wigner_d,
)
from geograph.errors import ConfigError, MissingExtraError, ShapeError

EPS = torch.finfo(torch.float64).eps


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coefficients(items: int, channels: int, bandlimit: int, seed: int = 0) -> Tensor:
    return torch.randn(items, channels, bandlimit**2, generator=generator(seed), dtype=torch.float64)


def real_harmonics(points: Tensor, bandlimit: int) -> Tensor:
    """S_lm at unit vectors from SciPy's complex harmonics and the definition of the real ones."""
    x, y, z = points.numpy().T
    theta, phi = np.arccos(np.clip(z, -1, 1)), np.arctan2(y, x)
    columns = []
    for degree in range(bandlimit):
        for m in range(-degree, degree + 1):
            value = scipy.special.sph_harm_y(degree, abs(m), theta, phi)
            part = value.imag if m < 0 else value.real
            columns.append(part * (1.0 if m == 0 else math.sqrt(2) * (-1) ** m))
    return torch.from_numpy(np.stack(columns, axis=1))


def error_bound(bandlimit: int) -> float:
    """Two products with orthogonal matrices of 2 L - 1 rows and three turns by angles up to L pi."""
    return 8 * EPS * (2 * bandlimit - 1 + math.pi * bandlimit) * math.sqrt(2 * bandlimit)


@pytest.mark.parametrize("bandlimit", [1, 2, 7, 16])
def test_rotated_function_has_the_old_values_at_points_turned_back(bandlimit: int) -> None:
    f = coefficients(5, 2, bandlimit)
    rotation = random_rotation(generator(1), 5)
    points = torch.nn.functional.normalize(torch.randn(40, 3, generator=generator(2), dtype=torch.float64))
    turned = rotate(f, rotation)
    for item in range(5):
        after = turned[item] @ real_harmonics(points, bandlimit).T
        before = f[item] @ real_harmonics(points @ rotation[item], bandlimit).T
        assert float((after - before).abs().max()) <= error_bound(bandlimit) * bandlimit**2
    if bandlimit > 1:
        wrong = turned[0] @ real_harmonics(points @ rotation[0], bandlimit).T
        assert float((wrong - f[0] @ real_harmonics(points, bandlimit).T).abs().max()) > 0.1


def test_degree_one_is_the_vector_y_z_x() -> None:
    rotation = random_rotation(generator(), 6)
    axes = [1, 2, 0]
    assert torch.allclose(real_wigner(1, rotation), rotation[:, axes][:, :, axes], rtol=0, atol=8 * EPS)


@pytest.mark.parametrize("bandlimit", [3, 32])
def test_rotate_agrees_with_wigner_matrices(bandlimit: int) -> None:
    f, rotation = coefficients(4, 3, bandlimit), random_rotation(generator(3), 4)
    turned = rotate(f, rotation)
    for degree in range(bandlimit):
        part = slice(degree**2, (degree + 1) ** 2)
        expected = torch.einsum("gmn,gcn->gcm", real_wigner(degree, rotation), f[..., part])
        assert torch.allclose(turned[..., part], expected, rtol=0, atol=10 * error_bound(bandlimit))


def test_dense_coefficients_rotate_by_complex_matrices() -> None:
    f, rotation = coefficients(3, 1, 6), random_rotation(generator(4), 3)
    turned, dense = dense_from_real(rotate(f, rotation)), dense_from_real(f)
    for degree in range(6):
        part = slice(degree**2, (degree + 1) ** 2)
        matrix = complex_wigner(degree, *euler_angles(rotation))
        expected = torch.einsum("gmn,gcn->gcm", matrix, dense[..., part])
        assert torch.allclose(turned[..., part], expected, rtol=0, atol=20 * error_bound(6))


def test_composition_and_inverse() -> None:
    f, first, second = coefficients(4, 2, 12), *random_rotation(generator(5), 8).view(2, 4, 3, 3)
    once, twice = rotate(f, second @ first), rotate(rotate(f, first), second)
    assert torch.allclose(once, twice, rtol=0, atol=10 * error_bound(12))
    assert torch.allclose(rotate(rotate(f, first), first.mT), f, rtol=0, atol=10 * error_bound(12))
    assert not torch.allclose(once, rotate(f, first @ second), rtol=0, atol=0.1)


def test_spectrum_is_invariant() -> None:
    f = coefficients(4, 2, 20)
    turned = rotate(f, random_rotation(generator(6), 4))
    assert torch.allclose(power_spectrum(turned), power_spectrum(f), rtol=100 * error_bound(20), atol=0)


@pytest.mark.parametrize("beta", [0.0, 1e-300, 1e-9, math.pi - 1e-9, math.pi])
def test_poles(beta: float) -> None:
    """Where beta is 0 or pi the two other angles are not unique, but the rotation is."""
    z, y = torch.eye(3, dtype=torch.float64)[2], torch.eye(3, dtype=torch.float64)[1]
    rotation = rotation_about(z, 0.3) @ rotation_about(y, beta) @ rotation_about(z, 1.1)
    axes = [1, 2, 0]
    turned = real_wigner(1, rotation)
    assert torch.allclose(turned, rotation[axes][:, axes], rtol=0, atol=8 * EPS)
    f = coefficients(1, 1, 8)
    identity = rotate(rotate(f, rotation), rotation.T)
    assert torch.allclose(identity, f, rtol=0, atol=10 * error_bound(8))


def test_determinant_minus_one_inverts() -> None:
    f = coefficients(3, 2, 5)
    parity = 1.0 - 2.0 * (degrees(5) % 2).double()
    assert torch.allclose(rotate(f, -torch.eye(3, dtype=torch.float64)), f * parity, rtol=0, atol=1e-14)
    mirror = torch.stack([random_orthogonal(generator(i), proper=i != 1) for i in range(3)])
    turned = rotate(f, mirror)
    points = torch.nn.functional.normalize(torch.randn(9, 3, generator=generator(), dtype=torch.float64))
    for item in range(3):
        before = f[item] @ real_harmonics(points @ mirror[item], 5).T
        assert torch.allclose(turned[item] @ real_harmonics(points, 5).T, before, rtol=0, atol=1e-12)
    part = torch.einsum("gmn,gcn->gcm", real_wigner(3, mirror), f[..., 9:16])
    assert torch.allclose(turned[..., 9:16], part, rtol=0, atol=1e-13)


@pytest.mark.parametrize("degree", [0, 1, 2, 5, 40, 100])
def test_small_d_is_orthogonal_at_every_degree(degree: int) -> None:
    beta = torch.tensor([0.0, 0.4, 1.7, math.pi], dtype=torch.float64)
    d = wigner_d(degree, beta)
    unit = torch.eye(2 * degree + 1, dtype=torch.float64)
    bound = 16 * EPS * (degree + 1)
    assert float((d @ d.mT - unit).abs().max()) <= bound
    assert float((d[0] - unit).abs().max()) <= bound


def test_small_d_closed_forms() -> None:
    beta = 0.7
    d = wigner_d(1, beta)
    c, s = math.cos(beta), math.sin(beta)
    assert float(d[1, 1]) == pytest.approx(c, abs=4 * EPS)
    assert float(d[2, 2]) == pytest.approx((1 + c) / 2, abs=4 * EPS)
    assert float(d[2, 1]) == pytest.approx(-s / math.sqrt(2), abs=4 * EPS)
    assert float(d[2, 0]) == pytest.approx((1 - c) / 2, abs=4 * EPS)
    for degree in (2, 9):
        legendre = scipy.special.eval_legendre(degree, c)
        assert float(wigner_d(degree, beta)[degree, degree]) == pytest.approx(legendre, abs=1e-14)


def test_against_ducc() -> None:
    sht = pytest.importorskip("ducc0.sht")
    bandlimit = 12
    f, angles = coefficients(1, 1, bandlimit)[0], (0.4, 1.3, -0.8)
    z, y = torch.eye(3, dtype=torch.float64)[2], torch.eye(3, dtype=torch.float64)[1]
    rotation = rotation_about(z, angles[0]) @ rotation_about(y, angles[1]) @ rotation_about(z, angles[2])
    from geograph.algebra.harmonics import packed_from_real

    packed = packed_from_real(f)[0].numpy()
    # ducc names the angles in the order in which the turns are done.
    expected = sht.rotate_alm(packed, lmax=bandlimit - 1, psi=angles[2], theta=angles[1], phi=angles[0])
    turned = packed_from_real(rotate(f[None], rotation)[0])[0].numpy()
    assert np.abs(turned - expected).max() <= 20 * error_bound(bandlimit)


def test_gradient_dtype_and_shapes() -> None:
    f = coefficients(2, 1, 4).requires_grad_()
    rotation = random_rotation(generator(7), 2)
    assert torch.autograd.gradcheck(lambda values: rotate(values, rotation), (f,))
    single = f.detach().float()
    assert rotate(single, rotation).dtype == torch.float32
    assert torch.allclose(rotate(single, rotation).double(), rotate(f, rotation).detach(), rtol=0, atol=1e-5)
    assert rotate(f[:, 0], rotation).shape == (2, 16)
    assert rotate(f[:0], rotation[:0]).shape == (0, 1, 16)
    assert rotate(f.detach(), rotation[0].float()).dtype == torch.float64
    assert real_wigner(2, rotation.float()).dtype == torch.float32


def test_tables_made_in_inference_mode_serve_training() -> None:
    f = coefficients(1, 1, 5)
    with torch.inference_mode():
        rotate(f, torch.eye(3, dtype=torch.float64))
    f.requires_grad_()
    rotate(f, torch.eye(3, dtype=torch.float64)).sum().backward()
    assert f.grad is not None


def test_random_rotations_are_uniform() -> None:
    number = 20_000
    rotation = random_rotation(generator(), number)
    unit = torch.eye(3, dtype=torch.float64)
    assert float((rotation @ rotation.mT - unit).abs().max()) <= 16 * EPS
    assert float((torch.linalg.det(rotation) - 1).abs().max()) <= 16 * EPS
    # Entries have mean 0 and variance 1/3; the trace has variance 1 (its character is that of degree 1).
    bound = 5 / math.sqrt(number)
    assert float(rotation.mean(0).abs().max()) <= bound * math.sqrt(1 / 3)
    trace = rotation.diagonal(dim1=1, dim2=2).sum(1)
    assert abs(float(trace.mean())) <= bound
    assert float(trace.square().mean()) == pytest.approx(1, abs=3 * bound)
    assert random_rotation(generator(), 0).shape == (0, 3, 3)
    assert torch.equal(random_rotation(generator(), 3), random_rotation(generator(), 3))


def unchecked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Get past the test-time type check."""
    return getattr(function, "__wrapped__", function)


@pytest.mark.parametrize("shape", [(2, 2), (3,), (2, 3, 2), (2, 4, 4), ()])
def test_matrices_of_other_sizes_are_refused(shape: tuple[int, ...]) -> None:
    matrix, message = torch.ones(shape), rf"hold 3 x 3 matrices, got shape {re.escape(str(shape))}"
    with pytest.raises(ShapeError, match=message):
        unchecked(rotate)(coefficients(2, 1, 3), matrix)
    with pytest.raises(ShapeError, match=message):
        unchecked(real_wigner)(1, matrix)
    with pytest.raises(ShapeError, match=message):
        unchecked(euler_angles)(matrix)


def test_high_bandlimits_are_rotated_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """By ducc0 as by the tables, a matrix for each item or one for all, improper ones among them."""
    pytest.importorskip("ducc0")
    f = coefficients(3, 2, 12)
    matrices = random_rotation(generator(), 3) * torch.tensor([1.0, -1.0, 1.0])[:, None, None]
    wanted = [rotate(f, matrices), rotate(f, matrices[0])]
    monkeypatch.setattr(wigner, "MAX_BANDLIMIT", 4)
    for expected, rotation in zip(wanted, (matrices, matrices[0]), strict=True):
        torch.testing.assert_close(rotate(f, rotation), expected, atol=1e-12, rtol=0)
    single = rotate(f.float(), matrices)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), wanted[0], atol=1e-5, rtol=0)
    assert torch.autograd.gradcheck(lambda x: rotate(x, matrices), f[..., :25].clone().requires_grad_())


def test_high_bandlimits_need_ducc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ducc0.sht", None)
    with pytest.raises(MissingExtraError, match="ducc0"):
        rotate(torch.zeros(1, (MAX_BANDLIMIT + 1) ** 2), torch.eye(3, dtype=torch.float64))


def test_errors() -> None:
    f = coefficients(2, 1, 3)
    with pytest.raises(ShapeError, match=r"one for each of 2 items, got \(3,\)"):
        rotate(f, random_rotation(generator(), 3))
    with pytest.raises(
        ShapeError, match=r"\(items, \*channels, L\^2\), got shape \(9,\); .*`harmonic\[None\]`"
    ):
        unchecked(rotate)(f[0, 0], torch.eye(3, dtype=torch.float64))
    with pytest.raises(ShapeError, match="orthogonal matrices"):
        rotate(f, 2 * torch.eye(3, dtype=torch.float64))
    with pytest.raises(ShapeError, match="orthogonal matrices"):
        real_wigner(1, torch.full((3, 3), float("nan"), dtype=torch.float64))
    with pytest.raises(ShapeError, match="L\\^2 coefficients"):
        rotate(f[..., :5], torch.eye(3, dtype=torch.float64))
    for function in (lambda: wigner_d(-1, 0.0), lambda: real_wigner(-1, torch.eye(3))):
        with pytest.raises(ConfigError, match="`degree` must be at least 0, got -1"):
            function()
    with pytest.raises(ConfigError, match="`num` must be at least 0"):
        random_rotation(generator(), -1)

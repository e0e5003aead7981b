"""The complex transform on SO(3) against sums of Wigner matrices, and its laws."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from geograph.algebra.wigner import complex_wigner
from geograph.errors import ConfigError, ShapeError
from geograph.sphere.so3 import (
    degree_slice,
    num_so3_coefficients,
    so3_analysis,
    so3_bandlimit_of,
    so3_synthesis,
    so3_work_bytes,
    soft_angles,
    soft_weights,
    wigner_table,
)

EPSILON = torch.finfo(torch.float64).eps
#: Rounding of sums over at most a few thousand terms of size one.
TOLERANCE = 1e3 * EPSILON


def random_coefficients(bandlimit: int, *batch: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    size = (*batch, num_so3_coefficients(bandlimit))
    return torch.randn(size, dtype=torch.complex128, generator=generator)


def by_sum(coefficients: Tensor, bandlimit: int, alpha: float, beta: float, gamma: float) -> Tensor:
    total = torch.zeros(coefficients.shape[:-1], dtype=torch.complex128)
    for degree in range(bandlimit):
        block = coefficients[..., degree_slice(degree)].unflatten(-1, (2 * degree + 1, 2 * degree + 1))
        total = total + (block * complex_wigner(degree, alpha, beta, gamma).conj()).sum((-2, -1))
    return total


def test_counts() -> None:
    assert [num_so3_coefficients(bandlimit) for bandlimit in (1, 2, 3)] == [1, 10, 35]
    assert [so3_bandlimit_of(num_so3_coefficients(bandlimit)) for bandlimit in range(1, 70)] == [
        *range(1, 70)
    ]
    assert degree_slice(2) == slice(10, 35)


@pytest.mark.parametrize(("bandlimit", "grid_bandlimit"), [(1, 1), (2, 5), (5, 5), (7, 8), (12, 12)])
def test_round_trip(bandlimit: int, grid_bandlimit: int) -> None:
    coefficients = random_coefficients(bandlimit, 2, 3)
    values = so3_synthesis(coefficients, bandlimit, grid_bandlimit)
    assert values.shape == (2, 3, *(3 * [2 * grid_bandlimit]))
    again = so3_analysis(values, bandlimit)
    assert float((again - coefficients).abs().max()) <= TOLERANCE


def test_samples_are_sums_of_wigner_matrices() -> None:
    coefficients = random_coefficients(5, 2)
    values = so3_synthesis(coefficients, 5, 6)
    beta, alpha = soft_angles(6)
    for j, k, n in [(0, 0, 0), (3, 7, 2), (11, 1, 11)]:
        wanted = by_sum(coefficients, 5, float(alpha[k]), float(beta[j]), float(alpha[n]))
        assert torch.allclose(values[:, j, k, n], wanted, rtol=0, atol=TOLERANCE)


def test_analysis_leaves_out_higher_degrees() -> None:
    values = so3_synthesis(random_coefficients(6), 6, 6)
    assert torch.allclose(
        so3_analysis(values, 3), random_coefficients(6)[: num_so3_coefficients(3)], rtol=0, atol=TOLERANCE
    )


def test_rotation_multiplies_from_the_left() -> None:
    """F^l -> D^l(Q) F^l moves the function: (Q f)(R) = f(Q^-1 R), here for Q about z, which shifts alpha."""
    bandlimit, steps = 4, 3
    coefficients = random_coefficients(bandlimit)
    angle = 2 * math.pi * steps / (2 * bandlimit)
    moved = torch.cat(
        [
            (
                complex_wigner(degree, angle, 0.0, 0.0)
                @ coefficients[degree_slice(degree)].view(2 * degree + 1, -1)
            ).flatten()
            for degree in range(bandlimit)
        ]
    )
    values = so3_synthesis(coefficients, bandlimit, bandlimit).roll(steps, dims=1)
    assert torch.allclose(so3_synthesis(moved, bandlimit, bandlimit), values, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("bandlimit", [1, 3, 8])
def test_weights_integrate_legendre_polynomials(bandlimit: int) -> None:
    beta, _ = soft_angles(bandlimit)
    weights = soft_weights(bandlimit)
    before, value = torch.ones_like(beta), beta.cos()
    assert float(weights.sum()) == pytest.approx(1.0, abs=1e-14)
    for degree in range(1, 2 * bandlimit):
        assert abs(float((weights * value).sum())) <= 1e-14
        before, value = value, ((2 * degree + 1) * beta.cos() * value - degree * before) / (degree + 1)
    assert abs(float((weights * value).sum())) > 1e-3  # degree 2 b is beyond it


def test_parseval() -> None:
    coefficients = random_coefficients(5)
    values = so3_synthesis(coefficients, 5, 5)
    integral = (values.abs().square().mean((1, 2)) * soft_weights(5)).sum()
    wanted = sum(
        coefficients[degree_slice(degree)].abs().square().sum() / (2 * degree + 1) for degree in range(5)
    )
    assert float(integral) == pytest.approx(float(wanted), rel=1e-13)


def test_derivatives() -> None:
    coefficients = random_coefficients(2).requires_grad_()
    assert torch.autograd.gradcheck(lambda c: so3_analysis(so3_synthesis(c, 2, 3) ** 2, 3), (coefficients,))


def test_shapes_are_checked() -> None:
    with pytest.raises(ShapeError, match=r"axis of SO\(3\) coefficients must hold .* got 11"):
        so3_bandlimit_of(11)
    with pytest.raises(ShapeError, match="axis of 35 for band-limit 3, got 10"):
        so3_synthesis(random_coefficients(2), 3, 3)
    with pytest.raises(
        ShapeError, match="`bandlimit` must be from 1 to the band-limit of the grid, 2, got 3"
    ):
        so3_synthesis(random_coefficients(3), 3, 2)
    with pytest.raises(ShapeError, match=r"three axes of 2 b angles each, got \(4, 4, 6\)"):
        so3_analysis(torch.zeros(4, 4, 6, dtype=torch.complex128), 2)
    with pytest.raises(ShapeError, match="`bandlimit` must be from 1"):
        so3_analysis(torch.zeros(4, 4, 4, dtype=torch.complex128), 3)


def test_memory_is_estimated_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = 199**2 * 200 * 100  # of the table
    synthesis, analysis = so3_work_bytes(100, 100, 1, torch.complex128)
    assert 16 * numbers < synthesis < 20 * numbers
    assert 24 * numbers < analysis < 28 * numbers
    assert so3_work_bytes(100, 100, 1, torch.complex64)[0] == synthesis // 2
    monkeypatch.setattr("geograph.sphere.operators.available_bytes", lambda device: 1 << 30)

    def build(*args: object) -> Tensor:
        raise AssertionError("the table must not be built")

    monkeypatch.setattr("geograph.sphere.so3.wigner_d", build)
    coefficients = torch.zeros(1, dtype=torch.complex128).expand(num_so3_coefficients(100))
    figure = rf"{synthesis / 2**30:.3g} GiB of memory, but 1 GiB are free"
    with pytest.raises(ConfigError, match=rf"1 functions of band-limit 100 and a grid of 100 .* {figure}"):
        so3_synthesis(coefficients, 100, 100)
    values = torch.zeros((), dtype=torch.complex128).expand(200, 200, 200)
    with pytest.raises(
        ConfigError, match=r"band-limit 100 .* GiB are free on cpu; transform fewer functions"
    ):
        so3_analysis(values, 100)
    with pytest.raises(
        ConfigError, match=r"Wigner functions of band-limit 100 at 200 angles needs about 6.\d"
    ):
        wigner_table(100, 100)


def test_memory_is_checked_again_when_the_table_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    free = [1 << 30, 1 << 30, 1 << 10]  # before, for the table, which no other test makes, and after
    monkeypatch.setattr("geograph.sphere.operators.available_bytes", lambda device: free.pop(0))
    monkeypatch.setattr("geograph.sphere.operators._SMALL_BYTES", 1)
    with pytest.raises(ConfigError, match="3 functions of band-limit 2 and a grid of 9"):
        so3_synthesis(random_coefficients(2, 3), 2, 9)
    assert not free

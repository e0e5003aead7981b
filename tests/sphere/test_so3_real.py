"""The real transform on SO(3) against the complex one and against sums of real Wigner matrices."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from geograph.algebra.wigner import random_rotation, real_wigner
from geograph.errors import ConfigError, ShapeError
from geograph.layers.s2_correlation import rotations
from geograph.sphere.so3 import degree_slice, num_so3_coefficients, so3_analysis, soft_angles, soft_weights
from geograph.sphere.so3_real import (
    analyze_columns,
    so3_analysis_real,
    so3_synthesis_real,
    synthesize_columns,
)

TOLERANCE = 1e3 * torch.finfo(torch.float64).eps


def random_coefficients(bandlimit: int, *batch: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*batch, num_so3_coefficients(bandlimit), dtype=torch.float64, generator=generator)


def by_sum(coefficients: Tensor, bandlimit: int, matrices: Tensor) -> Tensor:
    total = torch.zeros(len(matrices), dtype=torch.float64)
    for degree in range(bandlimit):
        block = coefficients[degree_slice(degree)].view(2 * degree + 1, -1)
        total = total + (real_wigner(degree, matrices) * block).sum((-2, -1))
    return total


@pytest.mark.parametrize(("bandlimit", "grid_bandlimit"), [(1, 1), (1, 3), (2, 5), (5, 5), (7, 8), (12, 12)])
def test_round_trip(bandlimit: int, grid_bandlimit: int) -> None:
    coefficients = random_coefficients(bandlimit, 2, 3)
    values = so3_synthesis_real(coefficients, grid_bandlimit)
    assert values.shape == (2, 3, *(3 * [2 * grid_bandlimit]))
    assert float((so3_analysis_real(values, bandlimit) - coefficients).abs().max()) <= TOLERANCE


@pytest.mark.parametrize("bandlimit", [1, 2, 5])
def test_samples_are_sums_of_wigner_matrices(bandlimit: int) -> None:
    coefficients, grid_bandlimit = random_coefficients(bandlimit), bandlimit + 1
    values = so3_synthesis_real(coefficients, grid_bandlimit)
    beta, alpha = soft_angles(grid_bandlimit)
    grid = torch.meshgrid(beta, alpha, alpha, indexing="ij")
    angles = [part.flatten() for part in grid]
    wanted = by_sum(coefficients, bandlimit, rotations(angles[1], angles[0], angles[2]))
    assert torch.allclose(values.flatten(), wanted, rtol=0, atol=TOLERANCE)


def test_agrees_with_the_complex_transform() -> None:
    """Samples of a real function: the complex coefficients have the symmetry of real functions, same norm."""
    real = random_coefficients(5)
    values = so3_synthesis_real(real, 5)
    dense = so3_analysis(values.to(torch.complex128), 5)
    for degree in range(5):
        block = dense[degree_slice(degree)].view(2 * degree + 1, -1)
        order = torch.arange(-degree, degree + 1)
        sign = 1.0 - 2.0 * ((order[:, None] - order) % 2)
        assert torch.allclose(block.flip(0, 1), sign * block.conj(), rtol=0, atol=TOLERANCE)
        assert float(block.norm()) == pytest.approx(float(real[degree_slice(degree)].norm()), rel=1e-12)


def test_moves_with_rotations() -> None:
    """F^l -> Delta^l(Q) F^l is (Q f)(R) = f(Q^-1 R) at any R."""
    generator = torch.Generator().manual_seed(1)
    turn, matrices = random_rotation(generator, 1)[0], random_rotation(generator, 6)
    coefficients = random_coefficients(4)
    moved = torch.cat(
        [
            (real_wigner(d, turn) @ coefficients[degree_slice(d)].view(2 * d + 1, -1)).flatten()
            for d in range(4)
        ]
    )
    assert torch.allclose(
        by_sum(moved, 4, matrices), by_sum(coefficients, 4, turn.mT @ matrices), rtol=0, atol=TOLERANCE
    )


def test_parseval() -> None:
    coefficients = random_coefficients(6)
    values = so3_synthesis_real(coefficients, 6)
    integral = (values.square().mean((1, 2)) * soft_weights(6)).sum()
    wanted = sum(coefficients[degree_slice(d)].square().sum() / (2 * d + 1) for d in range(6))
    assert float(integral) == pytest.approx(float(wanted), rel=1e-13)


def test_columns_are_the_same_in_another_order() -> None:
    coefficients = random_coefficients(3, 4)
    samples = synthesize_columns(coefficients.mT, 4)
    assert torch.equal(samples.permute(3, 2, 0, 1), so3_synthesis_real(coefficients, 4))
    assert torch.allclose(analyze_columns(samples, 3), coefficients.mT, rtol=0, atol=TOLERANCE)


def test_single_precision() -> None:
    coefficients = random_coefficients(8, 3).float()
    error = (so3_analysis_real(so3_synthesis_real(coefficients, 8), 8) - coefficients).abs().max()
    assert float(error) <= 64 * torch.finfo(torch.float32).eps


def test_derivatives() -> None:
    coefficients = random_coefficients(2, 2).requires_grad_()

    def function(given: Tensor) -> Tensor:
        return so3_analysis_real(so3_synthesis_real(given, 3).square(), 3)

    assert torch.autograd.gradcheck(function, (coefficients,))
    assert torch.autograd.gradgradcheck(function, (coefficients,))


def test_shapes_are_checked() -> None:
    with pytest.raises(ShapeError, match=r"SO\(3\) coefficients must hold .* got 12"):
        so3_synthesis_real(torch.zeros(12), 4)
    with pytest.raises(ShapeError, match="from 1 to the band-limit of the grid, 2, got 3"):
        so3_synthesis_real(random_coefficients(3), 2)
    with pytest.raises(ShapeError, match="three axes of 2 b angles each"):
        so3_analysis_real(torch.zeros(4, 5, 4), 2)
    with pytest.raises(ShapeError, match="from 1 to the band-limit of the grid, 2, got 3"):
        so3_analysis_real(torch.zeros(4, 4, 4), 3)


def test_memory_is_estimated_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geograph.sphere.operators.available_bytes", lambda device: 1 << 30)

    def build(*args: object) -> Tensor:
        raise AssertionError("the tables must not be built")

    monkeypatch.setattr("geograph.sphere.so3_real.wigner_table", build)
    # 30 blocks of 8 * 100^3 * 200 bytes
    with pytest.raises(ConfigError, match=r"real functions on SO\(3\) of band-limit 100 .* about 44.7 GiB"):
        so3_synthesis_real(torch.zeros(1).double().expand(num_so3_coefficients(100)), 100)
    with pytest.raises(ConfigError, match=r"band-limit 100 .* but 1 GiB are free on cpu; take a lower"):
        so3_analysis_real(torch.zeros(()).expand(200, 200, 200), 100)
    with pytest.raises(
        ConfigError, match=r"5000 functions of band-limit 10 and a grid of 10 needs about 1.04 GiB"
    ):
        so3_synthesis_real(torch.zeros(1).double().expand(5000, num_so3_coefficients(10)), 10)

"""Correlations, normalisation and activations on SO(3): definitions, exactness, and the error on samples."""

from __future__ import annotations

import math

import pytest
import torch
from layers_so3 import functions_on_so3, rotate_columns, value_at
from torch import Tensor, nn

from geograph.algebra.wigner import random_rotation
from geograph.errors import ConfigError, ShapeError
from geograph.layers.s2_correlation import rotations
from geograph.layers.so3_correlation import (
    SO3Activation,
    SO3BatchNorm,
    SO3Correlation,
    filter_rotations,
)
from geograph.sphere.so3 import num_so3_coefficients, soft_weights
from geograph.sphere.so3_real import synthesize_columns

TOLERANCE = 1e3 * torch.finfo(torch.float64).eps


def layer(*sizes: int, **options: object) -> SO3Correlation:
    torch.manual_seed(0)
    made = SO3Correlation(*sizes, **options).double()
    nn.init.normal_(made.bias)
    return made


def error_of(module: nn.Module, bandlimit_in: int, bandlimit_out: int, seed: int = 0) -> float:
    """Relative error of equivariance in the mean square over functions and rotations."""
    columns = functions_on_so3(bandlimit_in, 4, 2)
    wrong, total = 0.0, 0.0
    for matrix in random_rotation(torch.Generator().manual_seed(seed), 4):
        with torch.no_grad():
            wanted = rotate_columns(module(columns), bandlimit_out, matrix)
            after = module(rotate_columns(columns, bandlimit_in, matrix))
        wrong += float((after - wanted).square().sum())
        total += float(wanted.square().sum())
    return math.sqrt(wrong / total)


@pytest.mark.parametrize(
    ("filters", "num_alpha", "num_beta", "num_gamma"),
    [("near_identity", 3, 2, 2), ("equator", None, 1, 1), ("equator", 3, 1, 3)],
)
def test_combines_the_values_around_a_rotation(
    filters: str, num_alpha: int | None, num_beta: int, num_gamma: int
) -> None:
    """out(R) = bias + scale sum_p w_p f(R Q_p)."""
    options = {"num_alpha": num_alpha, "num_beta": num_beta, "num_gamma": num_gamma}
    made, columns = layer(2, 3, 4, 4, filters=filters, **options), functions_on_so3(4, 2, 2)
    places = filter_rotations(*made.points)
    assert made.weight.shape == (2, 3, len(places))
    for matrix in random_rotation(torch.Generator().manual_seed(0), 3):
        values = torch.stack([value_at(columns, 4, matrix @ place) for place in places])
        wanted = made.scale * torch.einsum("psc,cdp->sd", values, made.weight) + made.bias
        assert torch.allclose(value_at(made(columns), 4, matrix), wanted, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("bandlimit_out", [1, 3, 5])
def test_is_equivariant(bandlimit_out: int) -> None:
    made = layer(2, 3, 5, bandlimit_out)
    assert made(functions_on_so3(5, 4, 2)).shape == (num_so3_coefficients(bandlimit_out), 4, 3)
    assert error_of(made, 5, bandlimit_out) <= 1e-12


def test_stack_without_activation_is_equivariant() -> None:
    stack = nn.Sequential(layer(2, 4, 5, 5), SO3BatchNorm(4), layer(4, 4, 5, 4), SO3BatchNorm(4)).double()
    stack.train()
    assert error_of(stack, 5, 4) <= 1e-12
    assert error_of(stack.eval(), 5, 4) <= 1e-12


def test_filters_near_the_identity_turn_little() -> None:
    matrices = filter_rotations("near_identity", 6, 2, 1)
    angle = torch.acos(((matrices.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1))
    expected = torch.tensor([math.pi / 16] * 6 + [math.pi / 8] * 6).double()
    assert torch.allclose(angle, expected)
    wide = SO3Correlation(1, 1, 3, 3, max_beta=1.0)
    assert torch.equal(filter_rotations(*wide.points), filter_rotations("near_identity", 6, 2, 2, 1.0))


def test_norm_gives_mean_zero_and_variance_one() -> None:
    columns = 3.0 * functions_on_so3(5, 6, 2) + 0.0
    columns[0] += 40.0
    norm = SO3BatchNorm(2).double()
    samples = synthesize_columns(norm(columns).flatten(1), 5).unflatten(-1, (6, 2))
    weight = soft_weights(5)[:, None, None]
    mean = (samples.mean((0, 1)) * weight).sum(0).mean(0)
    square = (samples.square().mean((0, 1)) * weight).sum(0).mean(0)
    assert torch.allclose(mean, torch.zeros(2).double(), atol=1e-12)
    assert torch.allclose(square, torch.ones(2).double(), atol=1e-4)  # eps in the denominator


def test_norm_uses_running_statistics_in_evaluation() -> None:
    columns = functions_on_so3(4, 6, 2)
    norm = SO3BatchNorm(2, momentum=1.0).double()
    trained = norm(columns)
    assert torch.allclose(norm.eval()(columns), trained, rtol=1e-12)
    alone = norm(columns[:, :1])
    assert torch.allclose(alone, trained[:, :1], rtol=1e-12)


def test_relu_commutes_with_turns_of_the_grid() -> None:
    """A turn about z by a step of the grid only renames the samples: exact with any activation."""
    activation, columns = SO3Activation(4), functions_on_so3(4, 3, 2)
    angle, zero = torch.tensor([3 * math.pi / 4], dtype=torch.float64), torch.zeros(1).double()
    matrix = rotations(angle, zero, zero)[0]
    after = activation(rotate_columns(columns, 4, matrix))
    assert torch.allclose(after, rotate_columns(activation(columns), 4, matrix), rtol=0, atol=TOLERANCE)


def test_error_of_relu_falls_with_oversampling() -> None:
    errors = [error_of(SO3Activation(4, oversampling), 4, 4) for oversampling in (1.0, 1.5, 2.0, 4.0)]
    assert 0.2 > errors[0] > 1.5 * errors[1]
    assert errors[1] > 1.2 * errors[2]
    assert errors[2] > 2.0 * errors[3] > 1e-6


def test_error_of_relu_grows_with_depth() -> None:
    class Deep(nn.Module):
        def __init__(self, depth: int) -> None:
            super().__init__()
            self.parts = nn.Sequential(*(SO3Activation(4) for _ in range(depth)))
            self.mix = layer(2, 2, 4, 4)

        def forward(self, columns: Tensor) -> Tensor:
            for part in self.parts:
                columns = part(self.mix(columns))
            return columns

    assert error_of(Deep(3), 4, 4) > 1.2 * error_of(Deep(1), 4, 4)


def test_quadratic_activation_is_exact_when_oversampled() -> None:
    assert error_of(SO3Activation(4, 1.5, activation="quadratic"), 4, 4) <= 1e-13
    assert error_of(SO3Activation(4, 1.0, activation="quadratic"), 4, 4) > 1e-3


def test_activation_on_samples_by_hand() -> None:
    columns = functions_on_so3(3, 2, 2).flatten(1)
    samples = SO3Activation(3, 2.0).samples(columns)
    assert samples.shape == (12, 12, 12, 4)
    assert torch.equal(samples, synthesize_columns(columns, 6).relu())


def test_integral_is_the_weighted_mean() -> None:
    columns = functions_on_so3(3, 2, 2)
    activation = SO3Activation(3, bandlimit_out=1)
    samples = activation.samples(columns.flatten(1))
    wanted = (samples.mean((0, 1)) * soft_weights(3)[:, None]).sum(0)
    assert torch.allclose(activation(columns)[0].flatten(), wanted, rtol=1e-12)
    assert torch.equal(activation.largest(columns).flatten(), samples.flatten(0, 2).amax(0))


def test_many_functions_are_the_same_as_few() -> None:
    """More functions than are sampled together."""
    columns = functions_on_so3(6, 700, 2)
    activation = SO3Activation(6)
    assert len(activation._parts(columns)) > 1
    few = torch.cat([activation(part) for part in columns.split(100, dim=1)], dim=1)
    assert torch.allclose(activation(columns), few, rtol=0, atol=TOLERANCE)
    assert activation.largest(columns).shape == (700, 2)


def test_trains_after_inference() -> None:
    made = nn.Sequential(layer(2, 2, 3, 3), SO3BatchNorm(2), SO3Activation(3)).double()
    columns = functions_on_so3(3, 2, 2)
    with torch.inference_mode():
        made(columns)
    made(columns).sum().backward()
    assert all(bool(value.grad.isfinite().all()) for value in made.parameters())


def test_sizes_are_checked() -> None:
    with pytest.raises(ConfigError, match="`bandlimit_out` must not be above `bandlimit_in`"):
        SO3Correlation(1, 1, 3, 4)
    with pytest.raises(ConfigError, match="`num_gamma` must be at least 1, got 0"):
        SO3Correlation(1, 1, 3, 3, num_gamma=0)
    with pytest.raises(ShapeError, match="must have 2 channels and at least 35 coefficients, got 2 and 10"):
        layer(2, 1, 3, 3)(functions_on_so3(2, 1, 2))
    with pytest.raises(ConfigError, match="`oversampling` must be a number of at least 1, got 0.5"):
        SO3Activation(3, 0.5)
    with pytest.raises(ConfigError, match="`bandlimit_out` must be at most 3, that of the grid, got 4"):
        SO3Activation(3, 1.0, 4)
    with pytest.raises(ConfigError, match="`activation` must be one of relu, .* got 'step'"):
        SO3Activation(3, activation="step")

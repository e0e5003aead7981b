"""The lifting correlation against its definition, and its exact equivariance."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from layers_so3 import rotate_columns, value_at
from scipy.special import sph_harm_y
from strategies import harmonic_coefficients
from torch import Tensor

from geograph.algebra.harmonics import real_from_dense
from geograph.algebra.wigner import random_rotation, real_wigner, rotate
from geograph.errors import ConfigError, ShapeError
from geograph.layers.s2_correlation import S2Correlation, rings, rotations
from geograph.sphere.so3 import degree_slice, num_so3_coefficients

TOLERANCE = 1e3 * torch.finfo(torch.float64).eps


def layer(*sizes: int, **options: object) -> S2Correlation:
    torch.manual_seed(0)
    made = S2Correlation(*sizes, **options).double()
    torch.nn.init.normal_(made.bias)
    return made


def functions(spheres: int, channels: int, bandlimit: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return harmonic_coefficients(spheres, channels, bandlimit, generator, torch.float64)


def evaluate(harmonic: Tensor, points: Tensor) -> Tensor:
    """Values of functions at points, with harmonics of SciPy: [spheres, channels, points]."""
    theta, phi = (
        torch.acos(points[:, 2].clamp(-1, 1)).numpy(),
        torch.atan2(points[:, 1], points[:, 0]).numpy(),
    )
    bandlimit = math.isqrt(harmonic.shape[-1])
    dense = [
        sph_harm_y(degree, order, theta, phi)
        for degree in range(bandlimit)
        for order in range(-degree, degree + 1)
    ]
    # delta(x, x_p) has the complex coefficients conj(Y_lm(x_p)) and the real ones S_lm(x_p).
    real = real_from_dense(torch.from_numpy(np.stack(dense).T).conj().resolve_conj())
    return torch.einsum("scn,pn->scp", harmonic, real)


@pytest.mark.parametrize(
    ("filters", "num_beta", "num_alpha"),
    [("near_identity", 2, 5), ("equator", 1, None), ("near_identity", 1, 1)],
)
def test_combines_the_values_around_the_carried_pole(
    filters: str, num_beta: int, num_alpha: int | None
) -> None:
    """out(R) = bias + scale sum_p w_p f(R x_p)."""
    made = layer(3, 2, 5, 5, filters=filters, num_beta=num_beta, num_alpha=num_alpha)
    harmonic = functions(2, 3, 5)
    beta, alpha = rings(*made.rings).unbind(1)
    points = torch.stack([beta.sin() * alpha.cos(), beta.sin() * alpha.sin(), beta.cos()], dim=1)
    for matrix in random_rotation(torch.Generator().manual_seed(0), 3):
        values = evaluate(harmonic, points @ matrix.mT)
        wanted = made.scale * torch.einsum("scp,cdp->sd", values, made.weight) + made.bias
        assert torch.allclose(value_at(made(harmonic), 5, matrix), wanted, rtol=0, atol=TOLERANCE)


def test_is_the_inner_product_with_the_rotated_filter() -> None:
    """Int psi(R^-1 x) f(x) dx, with psi rotated as any function is."""
    made, harmonic = layer(2, 2, 4, 4), functions(3, 2, 4)
    torch.nn.init.zeros_(made.bias)
    psi = made.filter().permute(2, 1, 0)
    for matrix in random_rotation(torch.Generator().manual_seed(3), 3):
        wanted = torch.einsum("scn,dcn->sd", harmonic, rotate(psi, matrix))
        assert torch.allclose(value_at(made(harmonic), 4, matrix), wanted, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("bandlimit_out", [1, 3, 6])
def test_is_equivariant(bandlimit_out: int) -> None:
    made, harmonic = layer(3, 4, 6, bandlimit_out), functions(2, 3, 6)
    out = made(harmonic).detach()
    assert out.shape == (num_so3_coefficients(bandlimit_out), 2, 4)
    for matrix in random_rotation(torch.Generator().manual_seed(1), 3):
        after = made(rotate(harmonic, matrix)).detach()
        wanted = rotate_columns(out, bandlimit_out, matrix)
        assert float((after - wanted).abs().max()) <= 1e-12 * float(out.abs().max())


def test_filters_on_the_input_side_would_not_be() -> None:
    """Negative control: turning the filter instead changes rows for columns."""
    made, harmonic = layer(1, 1, 4, 4), functions(1, 1, 4)
    matrix = random_rotation(torch.Generator().manual_seed(1), 1)[0]
    out = made(harmonic).detach()
    parts = []
    for degree in range(4):
        block = out[degree_slice(degree)].unflatten(0, (2 * degree + 1, -1))
        parts.append(torch.einsum("an,mnsc->masc", real_wigner(degree, matrix), block).flatten(0, 1))
    error = (made(rotate(harmonic, matrix)) - torch.cat(parts)).detach().abs().max()
    assert float(error) > 1e-2 * float(out.abs().max())


def test_output_varies_as_much_as_the_input() -> None:
    torch.manual_seed(0)
    harmonic = functions(4, 8, 8)
    out = S2Correlation(8, 400, 8, 8).double()(harmonic).detach()
    dimension = torch.cat([torch.full(((2 * d + 1) ** 2,), 2.0 * d + 1) for d in range(8)])
    variance = (out[1:].square() / dimension[1:, None, None]).sum(0).mean()
    before = harmonic[..., 1:].square().sum(-1).mean() / (4 * math.pi)
    assert 0.7 < float((variance / before).detach()) < 1.4


def test_rotations_by_hand() -> None:
    quarter, zero = torch.tensor([math.pi / 2]), torch.zeros(1)
    about_z = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    about_y = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    assert torch.allclose(rotations(quarter, zero, zero)[0], about_z, atol=1e-7)
    assert torch.allclose(rotations(zero, quarter, zero)[0], about_y, atol=1e-7)
    assert torch.allclose(rotations(quarter, quarter, quarter)[0], about_z @ about_y @ about_z, atol=1e-7)


def test_rings_by_hand() -> None:
    near = rings("near_identity", 3, 2)
    assert torch.allclose(near[:, 0], torch.tensor([1.0, 1, 1, 2, 2, 2]).double() * math.pi / 16)
    assert torch.allclose(near[:3, 1], torch.tensor([0.0, 1, 2]).double() * 2 * math.pi / 3)
    assert torch.allclose(rings("equator", 4, 1)[:, 0], torch.full((4,), math.pi / 2).double())


def test_trains_after_inference() -> None:
    made, harmonic = layer(1, 1, 3, 3), functions(1, 1, 3)
    with torch.inference_mode():
        made(harmonic)
    made(harmonic).sum().backward()
    assert bool(made.weight.grad.isfinite().all())


def test_sizes_are_checked() -> None:
    with pytest.raises(ConfigError, match="at least 1, got 1, 0 and 3"):
        S2Correlation(1, 0, 3, 3)
    with pytest.raises(ConfigError, match="`bandlimit_out` must not be above `bandlimit_in`, got 4 and 3"):
        S2Correlation(1, 1, 3, 4)
    with pytest.raises(ConfigError, match="`filters` must be near_identity or equator, got 'pole'"):
        rings("pole", 1, 1)
    with pytest.raises(ConfigError, match="`max_beta` must be an angle up to pi / 2, got 2.0"):
        rings("near_identity", 4, 2, 2.0)
    with pytest.raises(ConfigError, match="`num_beta` 1 on the equator, got 4 and 2"):
        rings("equator", 4, 2)
    with pytest.raises(ShapeError, match=r"must have 2 channels and at least 9 coefficients, got \(2, 4\)"):
        layer(2, 1, 3, 3)(torch.zeros(1, 2, 4).double())

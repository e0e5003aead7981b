from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from geograph.algebra.harmonics import degrees, dense_from_real
from geograph.algebra.wigner import complex_wigner
from geograph.errors import ConfigError, ShapeError
from geograph.sphere import sht, spin
from geograph.sphere.grids import make_grid
from geograph.sphere.spin import eth, eth_bar, spin_analysis, spin_synthesis

KINDS = ("gl", "dh", "soft", "mw")


def _noise(
    bandlimit: int, spin: int = 0, num: int = 2, dtype: torch.dtype = torch.complex128
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    dense = torch.randn(num, bandlimit**2, dtype=dtype, generator=generator)
    return dense * (degrees(bandlimit) >= abs(spin))


def _unit(bandlimit: int, degree: int, order: int) -> torch.Tensor:
    dense = torch.zeros(bandlimit**2, dtype=torch.complex128)
    dense[degree * degree + degree + order] = 1
    return dense


#: (spin, l, m) -> (a, function of theta): sYlm = a sqrt(1 / pi) function(theta) exp(i m phi); Goldberg et al.
#: (1967), with the sign (-1)^s of the module.
CLOSED_FORMS = {
    (0, 1, 0): (math.sqrt(3) / 2, torch.cos),
    (0, 2, 2): (math.sqrt(30) / 8, lambda t: t.sin() ** 2),
    (1, 1, 0): (math.sqrt(3 / 8), torch.sin),
    (1, 1, 1): (-math.sqrt(3) / 4, lambda t: 1 - t.cos()),
    (1, 1, -1): (-math.sqrt(3) / 4, lambda t: 1 + t.cos()),
    (-1, 1, 0): (-math.sqrt(3 / 8), torch.sin),
    (-1, 1, 1): (-math.sqrt(3) / 4, lambda t: 1 + t.cos()),
    (-1, 1, -1): (-math.sqrt(3) / 4, lambda t: 1 - t.cos()),
    (2, 2, 2): (math.sqrt(5) / 8, lambda t: (1 - t.cos()) ** 2),
    (2, 2, -2): (math.sqrt(5) / 8, lambda t: (1 + t.cos()) ** 2),
    (2, 2, 0): (math.sqrt(15 / 32), lambda t: t.sin() ** 2),
    (-2, 2, 2): (math.sqrt(5) / 8, lambda t: (1 + t.cos()) ** 2),
    (-2, 2, 1): (math.sqrt(5) / 4, lambda t: t.sin() * (1 + t.cos())),
    (-2, 3, 0): (math.sqrt(210) / 8, lambda t: t.cos() * t.sin() ** 2),
}


@pytest.mark.parametrize("case", CLOSED_FORMS)
def test_closed_forms(case):
    spin, degree, order = case
    scale, function = CLOSED_FORMS[case]
    grid = make_grid("gl", 5)
    values = spin_synthesis(_unit(5, degree, order), spin, grid)
    expected = scale / math.sqrt(math.pi) * function(grid.theta)[:, None] * torch.exp(1j * order * grid.phi)
    assert float((values - expected).abs().max()) < 1e-14


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spin", range(-2, 3))
@pytest.mark.parametrize("bandlimit", [3, 17, 40])
def test_round_trip(kind, spin, bandlimit):
    grid, dense = make_grid(kind, bandlimit), _noise(bandlimit, spin)
    back = spin_analysis(spin_synthesis(dense, spin, grid), spin, grid, bandlimit)
    assert float((back - dense).abs().max()) < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_spin_zero_is_the_scalar_transform(kind):
    grid = make_grid(kind, 20)
    harmonic = torch.randn(2, 3, 400, dtype=torch.float64)
    values = spin_synthesis(dense_from_real(harmonic), 0, grid)
    assert float(values.imag.abs().max()) < 1e-12
    assert float((values.real - sht.synthesis(harmonic, grid)).abs().max()) < 1e-12
    noise = torch.randn(*grid.shape, dtype=torch.float64)
    found = spin_analysis(torch.complex(noise, torch.zeros_like(noise)), 0, grid, 9)
    assert float((found - dense_from_real(sht.analysis(noise, grid, 9))).abs().max()) < 1e-13


@pytest.mark.parametrize("kind", ["gl", "soft"])
def test_parseval(kind):
    grid, dense = make_grid(kind, 20), _noise(20, 1)
    energy = grid.integrate(spin_synthesis(dense, 1, grid).abs() ** 2)
    assert energy.numpy() == pytest.approx((dense.abs() ** 2).sum(-1).numpy(), rel=1e-13)


@pytest.mark.parametrize("spin", [0, 1, -2])
def test_eth_is_the_covariant_derivative(spin):
    # The grid's own rings, moved along the meridian: a difference quotient of fourth order.
    bandlimit, step = 8, 1e-3
    grid, dense = make_grid("gl", bandlimit), _noise(bandlimit, 3, 1)
    theta = grid.theta[:, None]

    def moved(angle: float) -> torch.Tensor:
        other = type(grid)("gl", bandlimit, grid.theta + angle, grid.nlon, 0.0, grid.weights)
        plan = spin_plan(other)
        return plan.synthesis(dense)

    from geograph.sphere.spin import SpinTransform

    def spin_plan(other):
        return SpinTransform(other, spin, bandlimit, torch.complex128, torch.device("cpu"))

    here = moved(0.0)
    slope = (8 * (moved(step) - moved(-step)) - (moved(2 * step) - moved(-2 * step))) / (12 * step)
    order = torch.fft.fftfreq(grid.nlon, 1 / grid.nlon, dtype=torch.float64)
    turn = torch.fft.ifft(1j * order * torch.fft.fft(here))
    raised = -(slope - spin * theta.cos() / theta.sin() * here + 1j / theta.sin() * turn)
    lowered = -(slope + spin * theta.cos() / theta.sin() * here - 1j / theta.sin() * turn)
    assert float((spin_synthesis(eth(dense, spin), spin + 1, grid) - raised).abs().max()) < 1e-7
    assert float((spin_synthesis(eth_bar(dense, spin), spin - 1, grid) - lowered).abs().max()) < 1e-7


@pytest.mark.parametrize("spin", [-1, 0, 1, 2])
def test_every_spin_rotates_by_the_same_matrices(spin):
    # The size of a value is a scalar: it moves with the point.
    bandlimit, grid = 6, make_grid("gl", 6)
    dense = _noise(bandlimit, spin, 1)[0]
    alpha, beta, gamma = 0.4, 1.1, -2.0
    turned = torch.cat(
        [
            complex_wigner(degree, alpha, beta, gamma).to(dense) @ dense[degree**2 : (degree + 1) ** 2]
            for degree in range(bandlimit)
        ]
    )

    def about(axis: int, angle: float) -> torch.Tensor:
        c, s = math.cos(angle), math.sin(angle)
        rows = {1: [[c, 0, s], [0, 1, 0], [-s, 0, c]], 2: [[c, -s, 0], [s, c, 0], [0, 0, 1]]}[axis]
        return torch.tensor(rows, dtype=torch.float64)

    rotation = about(2, alpha) @ about(1, beta) @ about(2, gamma)
    x, y, z = (grid.directions() @ rotation).flatten(0, 1).unbind(-1)
    # One pixel for each ring of an auxiliary grid: the synthesis of the unturned field anywhere.
    other = type(grid)(
        "gl", bandlimit, torch.arccos(z), grid.nlon, 0.0, torch.ones(len(z), dtype=torch.float64)
    )
    from geograph.sphere.spin import SpinTransform

    plan = SpinTransform(other, spin, bandlimit, torch.complex128, torch.device("cpu"))
    parts = torch.view_as_complex(plan._expand(dense[None]).contiguous())[:, :, 0]
    order = torch.cat([torch.arange(bandlimit), torch.arange(1 - bandlimit, 0)])
    expected = (parts * torch.exp(1j * order[:, None] * torch.atan2(y, x))).sum(0)
    found = spin_synthesis(turned, spin, grid).flatten()
    assert float((found.abs() - expected.abs()).abs().max()) < 1e-12
    if spin == 0:
        assert float((found - expected).abs().max()) < 1e-12
    else:
        assert float((found - expected).abs().max()) > 0.1


@pytest.mark.parametrize(("kind", "spin"), [("gl", 1), ("mw", -2)])
def test_gradients(kind, spin):
    grid = make_grid(kind, 3)
    dense = torch.randn(1, 9, dtype=torch.complex128, requires_grad=True)
    values = torch.randn(1, *grid.shape, dtype=torch.complex128, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: spin_synthesis(a, spin, grid), (dense,))
    assert torch.autograd.gradcheck(lambda v: spin_analysis(v, spin, grid, 3), (values,))


def test_single_precision_and_empty_batches():
    grid, dense = make_grid("gl", 16), _noise(16, 1, dtype=torch.complex64)
    values = spin_synthesis(dense, 1, grid)
    assert values.dtype == torch.complex64
    assert float((spin_analysis(values, 1, grid, 16) - dense).abs().max()) < 1e-5
    assert spin_synthesis(dense[:0], 1, grid).shape == (0, 16, 32)
    assert spin_analysis(values[:0], 1, grid, 4).shape == (0, 16)


def test_bad_input_is_refused(monkeypatch):
    grid = make_grid("gl", 4)
    dense = _noise(4)
    with pytest.raises(ShapeError, match="`spin` must be smaller than the band-limit 4, got -4"):
        spin_synthesis(dense, -4, grid)
    with pytest.raises(ShapeError, match="`bandlimit` must be from 1 to 4, that of the grid gl, got 5"):
        spin_synthesis(_noise(5), 1, grid)
    with pytest.raises(ShapeError, match="must end in the axes"):
        spin_analysis(_noise(4), 1, grid, 4)
    with pytest.raises(ShapeError, match="spin transforms need complex64 or complex128, got torch.float64"):
        spin._prepare(dense.real, dense.shape[:-1], 1, grid, 4)
    monkeypatch.setattr("geograph.sphere.operators.available_bytes", lambda device: 1 << 27)
    with pytest.raises(ConfigError, match=r"a transform of spin 1 and band-limit 256 needs about 0.2\d* GiB"):
        spin_synthesis(torch.zeros(256**2, dtype=torch.complex128), 1, make_grid("gl", 256))
    # The tables alone and the rest alone fit, but not both.
    with pytest.raises(ConfigError, match=r"a transform of spin 1 and band-limit 200 needs about 0.137 GiB"):
        spin_synthesis(torch.zeros(3, 200**2, dtype=torch.complex128), 1, make_grid("gl", 200))


def test_orthonormal_for_each_spin():
    grid = make_grid("gl", 6)
    for weight in (-2, 1):
        kept = (degrees(6) >= abs(weight)).numpy()
        basis = spin_synthesis(torch.eye(36, dtype=torch.complex128), weight, grid)
        basis = basis.flatten(1).numpy()[kept]
        area = np.repeat(grid.weights.numpy(), grid.nlon)
        assert np.abs((basis * area) @ basis.conj().T - np.eye(kept.sum())).max() < 1e-13

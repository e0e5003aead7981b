from __future__ import annotations

import math
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y

from geograph.algebra.harmonics import (
    bandlimit_of,
    degrees,
    orders,
    packed_from_real,
    packed_orders,
    power_spectrum,
    real_from_packed,
    truncate,
)
from geograph.algebra.wigner import random_rotation, rotate
from geograph.errors import BackendError, ConfigError, ShapeError
from geograph.sphere import sht
from geograph.sphere.grids import make_grid
from geograph.sphere.sht_gemm import gemm_table_bytes

DUCC = pytest.param(
    "ducc", marks=pytest.mark.skipif(find_spec("ducc0") is None, reason="ducc0 not installed")
)
BACKENDS = ("gemm", DUCC)
KINDS = ("gl", "dh", "soft", "mw")


def _noise(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def _real_harmonics(bandlimit: int, theta: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """S_lm by SciPy; [L^2, *pixels]."""
    degree, order = degrees(bandlimit).numpy(), orders(bandlimit).numpy()
    shape = (-1, *[1] * np.broadcast(theta, phi).ndim)
    complex_ = sph_harm_y(degree.reshape(shape), np.abs(order).reshape(shape), theta, phi)
    factor = np.where(order == 0, 1.0, math.sqrt(2) * (-1.0) ** np.abs(order)).reshape(shape)
    return factor * np.where(order.reshape(shape) >= 0, complex_.real, complex_.imag)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bandlimit", [1, 2, 3, 21, 64, 128])
def test_round_trip(backend, kind, bandlimit):
    grid, harmonic = make_grid(kind, bandlimit), _noise(2, bandlimit**2)
    back = sht.analysis(sht.synthesis(harmonic, grid, backend=backend), grid, bandlimit, backend=backend)
    assert float((back - harmonic).abs().max()) <= 1e-12 * math.sqrt(bandlimit)


@pytest.mark.parametrize("backend", BACKENDS)
def test_round_trip_of_large_maps(backend):
    bandlimit = 256 if backend == "gemm" else 1024
    grid, harmonic = make_grid("gl", bandlimit), _noise(bandlimit**2)
    back = sht.analysis(sht.synthesis(harmonic, grid, backend=backend), grid, bandlimit, backend=backend)
    assert float((back - harmonic).abs().max()) <= 1e-12 * math.sqrt(bandlimit)


@pytest.mark.parametrize("backend", BACKENDS)
def test_round_trip_in_single_precision(backend):
    grid, harmonic = make_grid("gl", 64), _noise(2, 64**2, dtype=torch.float32)
    values = sht.synthesis(harmonic, grid, backend=backend)
    assert values.dtype == torch.float32
    back = sht.analysis(values, grid, 64, backend=backend)
    assert float((back - harmonic).abs().max()) <= torch.finfo(torch.float32).eps * 64


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_harmonic_has_the_values_of_scipy(backend, kind):
    grid = make_grid(kind, 21)
    values = sht.synthesis(torch.eye(441, dtype=torch.float64), grid, backend=backend)
    expected = _real_harmonics(21, grid.theta.numpy()[:, None], grid.phi.numpy()[None])
    assert np.abs(values.numpy() - expected).max() < 1e-13


def test_degree_one_is_y_z_x():
    grid = make_grid("gl", 4)
    values = sht.synthesis(torch.eye(4, dtype=torch.float64)[1:], grid, backend="gemm")
    expected = math.sqrt(3 / (4 * math.pi)) * grid.directions()[..., [1, 2, 0]].permute(2, 0, 1)
    assert float((values - expected).abs().max()) < 1e-15


@pytest.mark.parametrize("kind", KINDS)
def test_backends_agree_also_on_values_that_no_harmonics_have(kind):
    pytest.importorskip("ducc0")
    grid = make_grid(kind, 96)
    harmonic, values = _noise(3, 96**2), _noise(3, *grid.shape)
    pairs = [
        [sht.synthesis(harmonic, grid, backend=backend) for backend in ("gemm", "ducc")],
        [sht.analysis(values, grid, 80, backend=backend) for backend in ("gemm", "ducc")],
    ]
    for first, second in pairs:  # values reach 120 near the poles, where ducc loses most
        assert float((first - second).abs().max()) < 1e-12 * max(1.0, float(first.abs().max()))


def test_mw_is_that_of_ducc():
    ducc0 = pytest.importorskip("ducc0")
    grid = make_grid("mw", 40)
    values = _noise(*grid.shape)
    values[-1] = values[-1, 0]  # the south pole is one point
    expected = ducc0.sht.analysis_2d(map=values.numpy()[None], spin=0, lmax=39, geometry="MW")
    found = sht.analysis_packed(values, grid, 40, backend="gemm")
    assert np.abs(found.numpy() - expected[0]).max() < 1e-13


@pytest.mark.parametrize("kind", ["gl", "dh"])
def test_driscoll_healy_and_gauss_legendre_rings_are_those_of_ducc(kind):
    ducc0 = pytest.importorskip("ducc0")
    grid, harmonic = make_grid(kind, 40), _noise(40**2)
    packed = packed_from_real(harmonic).numpy()
    expected = ducc0.sht.synthesis_2d(
        alm=packed[None], spin=0, lmax=39, geometry=kind.upper(), ntheta=grid.nlat, nphi=grid.nlon
    )
    assert np.abs(sht.synthesis(harmonic, grid, backend="gemm").numpy() - expected[0]).max() < 1e-11


@pytest.mark.parametrize("kind", ["gl", "dh", "soft"])
def test_parseval(kind):
    grid, harmonic = make_grid(kind, 40), _noise(5, 40**2)
    values = sht.synthesis(harmonic, grid, backend="gemm")
    energy = grid.integrate(values**2)
    assert energy.numpy() == pytest.approx((harmonic**2).sum(-1).numpy(), rel=1e-13)
    packed = packed_from_real(harmonic)
    weight = torch.where(packed_orders(40) == 0, 1.0, 2.0)
    assert energy.numpy() == pytest.approx((weight * packed.abs() ** 2).sum(-1).numpy(), rel=1e-13)


@pytest.mark.parametrize("kind", ["gl", "soft", "mw"])
def test_rotation_of_coefficients_is_rotation_of_the_pixels(kind):
    bandlimit, grid = 16, make_grid(kind, 16)
    harmonic = _noise(1, bandlimit**2)
    for rotation in random_rotation(torch.Generator().manual_seed(1), 3).double():
        turned = sht.synthesis(rotate(harmonic, rotation), grid, backend="gemm")[0]
        # (R f)(x) = f(R^-1 x), where a row x @ R is R^-1 x.
        x, y, z = (grid.directions() @ rotation).unbind(-1)
        away = _real_harmonics(bandlimit, torch.arccos(z.clamp(-1, 1)).numpy(), torch.atan2(y, x).numpy())
        expected = torch.tensordot(harmonic[0], torch.from_numpy(away), 1)
        assert float((turned - expected).abs().max()) < 1e-12
        assert float((turned - sht.synthesis(harmonic, grid)[0]).abs().max()) > 0.1
        back = sht.analysis(expected, grid, bandlimit, backend="gemm")
        assert float((back - rotate(harmonic, rotation)[0]).abs().max()) < 1e-12


def test_turn_about_z_rolls_the_pixels():
    grid, harmonic = make_grid("gl", 12), _noise(12**2)
    angle = 2 * math.pi * 5 / grid.nlon
    cosine, sine = math.cos(angle), math.sin(angle)
    rotation = torch.tensor([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], dtype=torch.float64)
    values = sht.synthesis(harmonic, grid)
    turned = sht.synthesis(rotate(harmonic[None], rotation), grid)[0]
    assert float((turned - values.roll(5, dims=-1)).abs().max()) < 1e-13
    assert float((turned - values.roll(-5, dims=-1)).abs().max()) > 0.1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["gl", "dh", "mw"])
def test_gradients(backend, kind):
    grid = make_grid(kind, 3)
    harmonic = _noise(2, 9).requires_grad_()
    values = _noise(2, *grid.shape).requires_grad_()
    assert torch.autograd.gradcheck(lambda h: sht.synthesis(h, grid, backend=backend) ** 2, (harmonic,))
    if kind == "gl":
        assert torch.autograd.gradgradcheck(lambda h: sht.synthesis(h, grid, backend=backend) ** 2, harmonic)
    assert torch.autograd.gradcheck(lambda v: sht.analysis(v, grid, 2, backend=backend), (values,))


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_of_packed_coefficients(backend):
    grid = make_grid("gl", 3)
    packed = torch.randn(2, 6, dtype=torch.complex128).requires_grad_()
    values = _noise(2, *grid.shape).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: sht.synthesis_packed(p, grid, backend=backend) ** 2, (packed,))
    assert torch.autograd.gradcheck(lambda v: sht.analysis_packed(v, grid, 3, backend=backend), (values,))


@pytest.mark.parametrize("backend", BACKENDS)
def test_packed_transforms_are_the_real_ones(backend):
    grid, harmonic = make_grid("soft", 20), _noise(2, 3, 20**2)
    packed = packed_from_real(harmonic)
    values = sht.synthesis_packed(packed, grid, backend=backend)
    assert float((values - sht.synthesis(harmonic, grid, backend=backend)).abs().max()) < 1e-13
    back = sht.analysis_packed(values, grid, 12, backend=backend)
    assert back.shape == (2, 3, 78)
    assert float((real_from_packed(back, 12) - truncate(harmonic, 12)).abs().max()) < 1e-12


@pytest.mark.parametrize("backend", BACKENDS)
def test_batch_axes_and_layouts_do_not_matter(backend):
    grid, harmonic = make_grid("gl", 9), _noise(4, 2, 81)
    values = sht.synthesis(harmonic, grid, backend=backend)
    one = sht.synthesis(harmonic[2, 1], grid, backend=backend)
    assert values.shape == (4, 2, *grid.shape)
    assert float((values[2, 1] - one).abs().max()) < 1e-14
    strided = sht.synthesis(harmonic.flip(0).transpose(0, 1), grid, backend=backend)
    assert float((strided - values.flip(0).transpose(0, 1)).abs().max()) < 1e-14
    none = sht.synthesis(harmonic[:0], grid, backend=backend)
    assert none.shape == (0, 2, *grid.shape)
    assert sht.analysis(none, grid, 5, backend=backend).shape == (0, 2, 25)


@pytest.mark.parametrize("backend", BACKENDS)
def test_lower_bandlimit_is_a_truncation(backend):
    grid, harmonic = make_grid("gl", 24), _noise(24**2)
    low = truncate(harmonic, 10)
    values = sht.synthesis(low, grid, backend=backend)
    padded = sht.synthesis(truncate(low, 24), grid, backend=backend)
    assert float((values - padded).abs().max()) < 1e-13
    found = sht.analysis(sht.synthesis(harmonic, grid, backend=backend), grid, 10, backend=backend)
    assert float((found - low).abs().max()) < 1e-13


def test_power_spectrum_is_that_of_healpy():
    healpy = pytest.importorskip("healpy")
    harmonic = _noise(1, 32**2)
    packed = packed_from_real(harmonic)[0].numpy()
    assert power_spectrum(harmonic)[0].numpy() == pytest.approx(healpy.alm2cl(packed), rel=1e-13)
    pixels = healpy.alm2map(packed, 32, lmax=31)
    assert healpy.anafast(pixels, lmax=31, iter=3) == pytest.approx(power_spectrum(harmonic)[0], rel=1e-3)


def test_auto_takes_what_is_fast():
    cpu = torch.device("cpu")
    expected = "gemm" if find_spec("ducc0") is None else "ducc"
    assert sht.choose_backend("auto", 63, cpu) == "gemm"
    assert sht.choose_backend("auto", 64, cpu) == expected
    assert sht.choose_backend("auto", 512, torch.device("cuda")) == "gemm"


def test_memory_is_estimated_before_it_is_taken(monkeypatch):
    grid = make_grid("gl", 64)
    tables = sht.estimate_memory_bytes(grid, 64, 1, backend="gemm")
    assert 64**3 * 2 < tables < 64**3 * 16
    assert sht.estimate_memory_bytes(grid, 32, 1, backend="gemm") < tables
    assert sht.estimate_memory_bytes(grid, 64, 9, backend="ducc") == 9 * sht.estimate_memory_bytes(
        grid, 64, backend="ducc"
    )
    # `mw`: two resampling matrices of 2 L^2 numbers in float64, and their copies in float32.
    mw = make_grid("mw", 64)
    for dtype, num_bytes in ((torch.float64, 8), (torch.float32, 12)):
        one, two = (sht.estimate_memory_bytes(mw, 64, num, dtype=dtype, backend="ducc") for num in (1, 2))
        assert 2 * one - two == 4 * 64**2 * num_bytes
    monkeypatch.setattr("geograph.sphere.operators.available_bytes", lambda device: 1 << 27)
    with pytest.raises(
        ConfigError, match=r"band-limit 512 by `gemm` needs about 0.\d+ GiB of memory, but 0.125"
    ):
        sht.synthesis(torch.zeros(512**2), make_grid("gl", 512), backend="gemm")
    with pytest.raises(
        ConfigError, match=r"1000 maps of band-limit 64 by `gemm` needs .* fewer maps at once"
    ):
        sht.synthesis(torch.zeros(1, 64**2).expand(1000, -1), grid, backend="gemm")
    # Each fits alone, the tables and what the transform takes next to them do not.
    grid = make_grid("gl", 350)
    table, both = (
        gemm_table_bytes(grid, 350, torch.float32),
        sht.estimate_memory_bytes(grid, 350, 20, dtype=torch.float32, backend="gemm"),
    )
    assert max(table, both - table) < 1 << 27 < both
    with pytest.raises(ConfigError, match=f"needs about {both / 2**30:.3g} GiB of memory, but 0.125"):
        sht.synthesis(torch.zeros(1, 350**2).expand(20, -1), grid, backend="gemm")


def test_bad_input_is_refused():
    grid = make_grid("gl", 4)
    with pytest.raises(ShapeError, match=r"L\^2 coefficients, got 15"):
        sht.synthesis(torch.zeros(2, 15), grid)
    with pytest.raises(ShapeError, match="`bandlimit` must be from 1 to 4, that of the grid gl, got 5"):
        sht.synthesis(torch.zeros(25), grid)
    with pytest.raises(ShapeError, match="`bandlimit` must be from 1 to 4, that of the grid gl, got 0"):
        sht.analysis(torch.zeros(*grid.shape), grid, 0)
    with pytest.raises(ShapeError, match="float32, float64 or their complex, got torch.bfloat16"):
        sht.synthesis(torch.zeros(16, dtype=torch.bfloat16), grid)
    with pytest.raises(ShapeError, match="must end in the axes"):
        sht.analysis(torch.zeros(8, 4), grid, 4)
    with pytest.raises(ShapeError, match="must end in the axes"):
        sht.analysis_packed(torch.zeros(8, 4), grid, 4)
    with pytest.raises(ShapeError, match=r"L \(L \+ 1\) / 2 numbers, got 7"):
        sht.synthesis_packed(torch.zeros(7, dtype=torch.complex64), grid)
    with pytest.raises(BackendError, match="`backend` ducc runs on the CPU, but the input is on cuda"):
        sht.choose_backend("ducc", 64, torch.device("cuda"))
    assert bandlimit_of(16) == 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_gives_the_same(kind):
    grid, harmonic = make_grid(kind, 32), _noise(3, 32**2)
    values = sht.synthesis(harmonic.cuda(), grid)
    assert float((values.cpu() - sht.synthesis(harmonic, grid, backend="gemm")).abs().max()) < 1e-12
    assert float((sht.analysis(values, grid, 32).cpu() - harmonic).abs().max()) < 1e-12

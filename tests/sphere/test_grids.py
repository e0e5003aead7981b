from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
import torch
from scipy.special import eval_legendre, roots_legendre

from geograph.errors import ConfigError, ShapeError
from geograph.sphere.grids import grid_shape, make_grid, resampling_matrices

KINDS = ("gl", "dh", "soft", "mw")
EPSILON = np.finfo(np.float64).eps


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bandlimit", [1, 2, 3, 16, 33])
def test_weights_integrate_exactly_as_far_as_promised(kind, bandlimit):
    grid = make_grid(kind, bandlimit)
    limit = bandlimit if kind == "mw" else 2 * bandlimit - 1
    degree = np.arange(limit)[:, None]
    sums = (eval_legendre(degree, np.cos(grid.theta.numpy())) * grid.weights.numpy()).sum(1) * grid.nlon
    expected = np.where(degree[:, 0] == 0, 4 * np.pi, 0.0)
    # A sum of L terms; P_l changes by l^2 at most where its argument is off by one unit.
    assert np.abs(sums - expected).max() <= 4 * np.pi * EPSILON * (8 * bandlimit + bandlimit**2)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_fail_beyond_what_is_promised(kind):
    grid = make_grid(kind, 6)
    degree = np.arange(30)[:, None]
    sums = (eval_legendre(degree, np.cos(grid.theta.numpy())) * grid.weights.numpy()).sum(1)[1:]
    first = int(np.argmax(np.abs(sums) > 1e-6)) + 1
    assert first == {"gl": 12, "dh": 12, "soft": 12, "mw": 6}[kind]


@pytest.mark.parametrize("num", [1, 2, 3, 10, 65])
def test_gauss_legendre_is_that_of_scipy(num):
    grid = make_grid("gl", num)
    nodes, weights = roots_legendre(num)
    assert np.abs(np.cos(grid.theta.numpy()) - nodes[::-1]).max() < 4 * EPSILON
    assert grid.weights.numpy() * grid.nlon / (2 * np.pi) == pytest.approx(weights[::-1], rel=1e-12)


def test_rings_stand_where_their_definitions_say():
    assert float(make_grid("dh", 8).theta[0]) == 0.0
    assert make_grid("dh", 8).theta.numpy() == pytest.approx(np.pi * np.arange(16) / 16)
    assert make_grid("soft", 8).theta.numpy() == pytest.approx(np.pi * (2 * np.arange(16) + 1) / 32)
    assert make_grid("mw", 8).theta.numpy() == pytest.approx(np.pi * (2 * np.arange(8) + 1) / 15)
    assert [make_grid(kind, 8).shape for kind in KINDS] == [(8, 16), (16, 16), (16, 16), (8, 15)]
    assert [grid_shape(kind, 8) for kind in KINDS] == [make_grid(kind, 8).shape for kind in KINDS]
    assert make_grid("gl", 8, 15).shape == (8, 15)
    assert make_grid("gl", 8).key != make_grid("gl", 8, 15).key


def test_weights_of_the_soft_grid_are_those_of_the_published_code():
    # Cohen et al. divide by the sum over the rings, which is 2 in cos(theta).
    grid = make_grid("soft", 10)
    assert float(grid.weights.sum()) * grid.nlon / (2 * math.pi) == pytest.approx(2.0, abs=1e-14)
    b, k = 10, np.arange(20)
    theta = np.pi * (2 * k + 1) / (4 * b)
    sums = sum(np.sin((2 * k + 1) * (2 * j + 1) * np.pi / (4 * b)) / (2 * j + 1) for j in range(b))
    assert grid.weights.numpy() * grid.nlon / (2 * np.pi) == pytest.approx(
        2 / b * np.sin(theta) * sums, rel=1e-13
    )


def test_large_grids_have_the_whole_area():
    for kind in KINDS:
        grid = make_grid(kind, 1024)
        assert float(grid.weights.sum()) * grid.nlon == pytest.approx(4 * math.pi, rel=1e-13)
        assert bool((grid.weights[1:] > 0).all())


def test_directions_are_unit_vectors_of_the_pixels():
    grid = make_grid("gl", 5)
    directions = grid.directions()
    assert directions.shape == (5, 10, 3)
    assert directions.norm(dim=-1).numpy() == pytest.approx(np.ones((5, 10)))
    assert torch.equal(directions[:, 0, 1], torch.zeros(5, dtype=torch.float64))
    assert directions[2, 3].numpy() == pytest.approx([math.cos(0.6 * math.pi), math.sin(0.6 * math.pi), 0.0])


def test_integrate_finds_the_second_moment():
    grid = make_grid("gl", 4)
    moments = grid.integrate(grid.directions().permute(2, 0, 1) ** 2)
    assert moments.numpy() == pytest.approx([4 * math.pi / 3] * 3)


def test_resampling_is_exact_for_trigonometric_polynomials():
    num = 7
    matrices = resampling_matrices(num).numpy()
    coarse, fine = make_grid("mw", num).theta.numpy(), make_grid("soft", num).theta.numpy()
    for k in range(num):
        assert matrices[0] @ np.cos(k * coarse) == pytest.approx(np.cos(k * fine), abs=1e-14)
        assert matrices[1] @ np.sin(k * coarse) == pytest.approx(np.sin(k * fine), abs=1e-14)
    assert np.abs(matrices[0] @ np.cos(num * coarse) - np.cos(num * fine)).max() > 0.1


def test_bad_arguments_are_named():
    with pytest.raises(ConfigError, match="`kind` must be one of gl, dh, soft, mw, got 'cc'"):
        make_grid("cc", 4)
    with pytest.raises(ConfigError, match="`bandlimit` must be at least 1, got 0"):
        make_grid("gl", 0)
    with pytest.raises(ConfigError, match="`nlon` must be at least 7 for band-limit 4, got 6"):
        make_grid("gl", 4, 6)
    with pytest.raises(ShapeError, match=r"must end in the axes \(4, 8\) of the grid gl of band-limit 4"):
        make_grid("gl", 4).check(torch.zeros(3, 8, 8))
    with pytest.raises(ShapeError, match="must end in the axes"):
        make_grid("gl", 4).integrate(torch.zeros(8, 8))


def test_memory_is_estimated_before_it_is_taken(monkeypatch):
    monkeypatch.setattr("geograph.sphere.operators.available_bytes", lambda device: 1 << 30)

    def build(*args):
        raise AssertionError("no matrix must be built")

    monkeypatch.setattr("geograph.sphere.grids._interpolation", build)
    with pytest.raises(ConfigError, match=r"grid mw of band-limit 20000 needs about 31.3 GiB .* `gl`"):
        make_grid("mw", 20000)
    with pytest.raises(
        ConfigError, match=r"resampling of the grid mw of band-limit 20000 needs about 37.3 GiB"
    ):
        resampling_matrices(20000)
    with pytest.raises(
        ConfigError, match=r"directions of the grid gl of band-limit 9000 needs about 6.0\d GiB"
    ):
        make_grid("gl", 9000).directions()


@pytest.mark.parametrize("make", [lambda: make_grid("mw", 601), lambda: resampling_matrices(601)])
def test_memory_estimates_are_the_peaks(make, monkeypatch):
    asked = []
    monkeypatch.setattr("geograph.sphere.grids.check_memory", lambda what, size, *rest: asked.append(size))
    tracemalloc.start()
    make()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.9 * asked[0] < peak <= 1.02 * asked[0]

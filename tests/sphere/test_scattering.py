"""Scattering on the sphere: an independent sum, energies, contraction, equivariance against oversampling."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y
from torch import Tensor

from geograph.algebra.harmonics import degrees
from geograph.algebra.wigner import random_rotation, rotate
from geograph.errors import ConfigError, ShapeError
from geograph.sphere.scattering import scatter, scattering, scattering_energy
from geograph.sphere.scattering_plan import ScatteringPlan
from geograph.sphere.wavelets import scaling_gain, wavelet_gains

EPS = torch.finfo(torch.float64).eps


def random_field(bandlimit: int, *batch: int, seed: int = 0, slope: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(*batch, bandlimit**2, dtype=torch.float64, generator=generator)
    return values / (1.0 + degrees(bandlimit)) ** slope


def real_harmonics(bandlimit: int, theta: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """Values [coefficients, directions] of the real harmonics, from SciPy's complex ones."""
    rows = []
    for degree in range(bandlimit):
        for order in range(-degree, degree + 1):
            values = sph_harm_y(degree, abs(order), theta, phi)
            factor = (-1) ** order * np.sqrt(2) if order else 1.0
            rows.append(factor * (values.imag if order < 0 else values.real))
    return np.stack(rows)


class Direct:
    """Moduli by sums over all harmonics and pixels, without fast transforms."""

    def __init__(self, plan: ScatteringPlan) -> None:
        self.plan = plan

    def modulus(self, harmonic: np.ndarray, scale: int, order: int) -> np.ndarray:
        plan, rings = self.plan, self.plan.grid(scale, order).bandlimit
        node, weight = np.polynomial.legendre.leggauss(rings)
        phi = 2 * np.pi * np.arange(2 * rings) / (2 * rings)
        theta, phi = (values.ravel() for values in np.meshgrid(np.arccos(node), phi, indexing="ij"))
        basis = real_harmonics(plan.bandlimit, theta, phi)
        gain = wavelet_gains(plan.bandlimit, plan.smallest_scale)[scale - plan.smallest_scale]
        values = np.abs((harmonic * gain.numpy()[degrees(plan.bandlimit)]) @ basis)
        return basis @ (values * np.repeat(weight, 2 * rings) * np.pi / rings)

    def __call__(self, harmonic: np.ndarray) -> np.ndarray:
        plan = self.plan
        low = scaling_gain(plan.bandlimit, plan.smallest_scale).numpy()[degrees(plan.bandlimit)]
        outputs = []
        for path in plan.list_paths():
            current = harmonic
            for order, scale in enumerate(path, start=1):
                current = self.modulus(current, scale, order)
            outputs.append((current * low)[: plan.bandlimit_out**2])
        return np.stack(outputs)


@pytest.mark.parametrize("oversampling", [1.0, 2.0])
def test_against_direct_sums(oversampling: float) -> None:
    plan = ScatteringPlan(8, 1, oversampling=oversampling)
    harmonic = random_field(8)
    expected = torch.from_numpy(Direct(plan)(harmonic.numpy()))
    error = (scatter(plan, harmonic) - expected).abs().max() / harmonic.norm()
    assert float(error) <= 1e-13


def test_first_order_of_a_zonal_field_in_closed_form() -> None:
    """Of Y_10: |f * psi| = psi_1 |Y_10|, whose mean over the sphere is half of sqrt(3 / 4 pi) psi_1."""
    harmonic = torch.zeros(16, dtype=torch.float64)
    harmonic[2] = 1.0
    plan = ScatteringPlan(4, 0, depth=1, oversampling=64.0)
    gain = wavelet_gains(4, 0)[:, 1]
    expected = gain * 0.5 * np.sqrt(3.0 / (4 * np.pi)) * np.sqrt(4 * np.pi)
    # The kink of the modulus leaves the quadrature an error of the second order in the spacing of the rings.
    assert float((scatter(plan, harmonic)[1:, 0] - expected).abs().max()) <= 1.0 / (2 * 64) ** 2


@pytest.mark.parametrize("oversampling", [1.0, 1.4, 2.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_contracts_distances(oversampling: float, seed: int) -> None:
    run = partial(scattering, smallest_scale=1, oversampling=oversampling)
    first, second = random_field(16, seed=seed), random_field(16, seed=seed + 10)
    for other in (second, first + 1e-3 * second, torch.zeros_like(first)):
        before, after = (first - other).norm(), (run(first) - run(other)).norm()
        assert float(after / before) <= 1.0 + 16 * EPS


def test_expansion_is_seen() -> None:
    """Negative control of the contraction: two low passes too many."""
    field = random_field(16, slope=3.0)
    outputs = scattering(field, smallest_scale=3)
    assert float(torch.cat([outputs, outputs[:1], outputs[:1]]).norm() / field.norm()) > 1.0


def test_first_layer_keeps_all_energy() -> None:
    plan = ScatteringPlan(24, 1, depth=0)
    captured, left = scattering_energy(plan, random_field(24, 3))
    assert float((captured + left - 1).abs().max()) <= 1e-12


def test_energy_of_all_paths_converges_geometrically() -> None:
    """A field of half the band-limit, so that its moduli have room: each order leaves less than half."""
    field = random_field(32, 4, slope=0.0) * (degrees(32) < 16)
    plan = ScatteringPlan(32, 2, depth=4, paths="all", oversampling=2.0)
    captured, left = scattering_energy(plan, field)
    assert bool((captured[..., 1:] > captured[..., :-1]).all())
    assert bool((left[..., 1:] < 0.5 * left[..., :-1]).all())
    assert bool((captured + left <= 1.0 + 1e-12).all())
    assert float((captured + left)[..., -1].min()) > 0.95
    descending, _ = scattering_energy(ScatteringPlan(32, 2, depth=4, oversampling=2.0), field)
    assert bool((descending[..., -1] < captured[..., -1]).all())


def test_energy_is_that_of_the_outputs() -> None:
    plan, field = ScatteringPlan(16, 1, depth=2), random_field(16, 2)
    captured, _ = scattering_energy(plan, field)
    expected = scatter(plan, field).square().sum(dim=(-1, -2)) / field.square().sum(dim=-1)
    # Beyond the output's band-limit nothing is analysed in one of them, on the same grid.
    assert float((captured[..., -1] - expected).abs().max()) <= 1e-12


@pytest.mark.parametrize(("bandlimit", "dilation", "smallest_scale"), [(2, 2.0, 1), (3, 7.0, 0), (5, 1.4, 3)])
def test_small_fields_and_paths_that_end_early(bandlimit: int, dilation: float, smallest_scale: int) -> None:
    """Where there are fewer scales than the depth asks for, the longest paths are shorter."""
    plan = ScatteringPlan(bandlimit, smallest_scale, dilation, depth=3)
    field = random_field(bandlimit, 2)
    outputs, (captured, left) = scatter(plan, field), scattering_energy(plan, field)
    assert outputs.shape == (2, len(plan.list_paths()), plan.bandlimit_out**2)
    assert bool((captured + left <= 1 + 1e-12).all())
    expected = outputs.square().sum(dim=(-1, -2)) / field.square().sum(dim=-1)
    assert float((captured[:, -1] - expected).abs().max()) <= 1e-12


def equivariance_error(plan: ScatteringPlan, order: int) -> float:
    """Relative L2 error of S(R f) = R S(f) over the paths of one length; the worst of three rotations."""
    generator = torch.Generator().manual_seed(2)
    field = random_field(plan.bandlimit, 3, 1)
    rotation = random_rotation(generator, 3)
    kept = [number for number, path in enumerate(plan.list_paths()) if len(path) == order]
    expected = rotate(scatter(plan, field), rotation)[:, :, kept]
    found = scatter(plan, rotate(field, rotation))[:, :, kept]
    return float(((found - expected).flatten(1).norm(dim=1) / expected.flatten(1).norm(dim=1)).max())


def test_order_zero_is_equivariant_to_rounding() -> None:
    assert equivariance_error(ScatteringPlan(32, 2, oversampling=1.0), 0) <= 4 * EPS * 32


def test_equivariance_against_oversampling() -> None:
    """Aliasing of the moduli: each doubling of the grid divides it by 3 or more.

    Measured for these fields, L = 32: order 1 6 %, 0.9 %, 0.15 %; order 2 13 %, 1.9 %, 0.3 %.
    """
    bounds = {1: (0.1, 0.015, 0.003), 2: (0.25, 0.03, 0.006)}
    for order, limits in bounds.items():
        errors = [equivariance_error(ScatteringPlan(32, 2, oversampling=k), order) for k in (1.0, 2.0, 4.0)]
        assert all(error < limit for error, limit in zip(errors, limits, strict=True)), errors
        assert errors[1] < errors[0] / 3
        assert errors[2] < errors[1] / 3
        # What is measured is an equivariance and no accident: far from rounding.
        assert errors[2] > 1e-6


def test_unrotated_output_is_far_off() -> None:
    """Negative control."""
    field = random_field(32, 1, 1)
    plan, rotation = ScatteringPlan(32, 2), random_rotation(torch.Generator().manual_seed(3), 1)
    before, after = scatter(plan, field), scatter(plan, rotate(field, rotation))
    assert float((before - after).norm() / before.norm()) > 0.1


def test_invariant_scale() -> None:
    """With J0 = 0 each output is a constant, which rotations leave alone."""
    assert scattering(random_field(16), smallest_scale=0).shape == (1 + 5 + 10, 1)


def test_limited_grids_change_only_the_finest_scales() -> None:
    field = random_field(32)
    plan = ScatteringPlan(32, 2, depth=1)
    limited = ScatteringPlan(32, 2, depth=1, max_grid_bandlimit=32)
    full, part = scatter(plan, field), scatter(limited, field)
    same = [bool(torch.equal(a, b)) for a, b in zip(full, part, strict=True)]
    assert dict(zip(plan.list_paths(), same, strict=True)) == {
        (): True, (2,): True, (3,): True, (4,): False, (5,): False,
    }  # fmt: skip


def test_backends_agree() -> None:
    pytest.importorskip("ducc0")
    field = random_field(24, 2)
    by_ducc, by_gemm = (scattering(field, smallest_scale=1, backend=name) for name in ("ducc", "gemm"))
    assert float((by_ducc - by_gemm).abs().max()) <= 1e-13 * 24


def test_batches_and_precision() -> None:
    field = random_field(16, 2, 3)
    run = partial(scattering, smallest_scale=2)
    together = run(field)
    assert together.shape == (2, 3, 7, 16)
    alone = torch.stack([run(field[0, 1]), run(field[1, 2])])
    assert float((alone - together[[0, 1], [1, 2]]).abs().max()) <= 1e-14
    single = run(field.float())
    assert single.dtype == torch.float32
    assert float((single - together).abs().max()) <= 64 * torch.finfo(torch.float32).eps * float(field.norm())


def test_gradients() -> None:
    field = random_field(4, seed=4).requires_grad_()
    run = partial(scattering, smallest_scale=1, oversampling=1.5, depth=2)
    assert torch.autograd.gradcheck(run, (field,), eps=1e-6, atol=1e-6)
    flat = torch.zeros(16, dtype=torch.float64, requires_grad=True)
    run(flat).sum().backward()
    assert flat.grad is not None
    assert bool(flat.grad.isfinite().all())


def test_errors() -> None:
    plan = ScatteringPlan(8, 1)
    with pytest.raises(ConfigError, match="`plan` is for band-limit 8, `harmonic` has 16 coefficients"):
        scatter(plan, torch.zeros(16))
    with pytest.raises(ConfigError, match="`plan` is for band-limit 8, `harmonic` has 16 coefficients"):
        scattering_energy(plan, torch.zeros(16))
    with pytest.raises(ShapeError, match=r"must end in an axis of L\^2 coefficients, got 15"):
        scattering(torch.zeros(15), smallest_scale=1)
    with pytest.raises(ConfigError, match="`smallest_scale` must lie between 0 and 3"):
        scattering(torch.zeros(64), smallest_scale=4)

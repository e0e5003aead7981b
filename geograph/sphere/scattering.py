r"""Scattering transform on the sphere: wavelets, moduli and low passes, at several resolutions.

U[()] f = f; U[p, j] f = |U[p] f * psi^j|; S[p] f = U[p] f * phi. A path p lists the scales of its wavelets.
The modulus moves energy to lower degrees, so that *descending* paths (each scale coarser than the one before)
hold nearly all that matters; *all* paths are there for proofs of energy.

Each U[p, j] is worked out at the band-limit of its wavelet, on a Gauss-Legendre grid of `oversampling` times
that band-limit. The modulus is not band-limited: what lies beyond the grid is aliased, which is the one
source of error of the equivariance S[p](R f) = R S[p] f. The transform contracts distances at every
oversampling, because the analysis on a Gauss-Legendre grid is an orthogonal projection.

References
----------
McEwen, Wallis and Mavor-Parker (2022), arXiv:2102.02828.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from geograph.algebra.harmonics import (
    bandlimit_of,
    num_harmonics,
    packed_degrees,
    packed_from_real,
    packed_orders,
    real_from_packed,
)
from geograph.algebra.tables import cached_tables
from geograph.errors import ConfigError
from geograph.sphere.scattering_plan import Path, Paths, ScatteringPlan
from geograph.sphere.sht import Backend, analysis_packed, synthesis_packed
from geograph.sphere.wavelets import scaling_gain, wavelet_gains


@dataclass(frozen=True)
class _Branch:
    """All U[p] f whose path ends in one scale: packed coefficients [*batch, paths, packed]."""

    paths: tuple[Path, ...]
    packed: Tensor
    bandlimit: int


@cached_tables(maxsize=128)
def _truncation(bandlimit: int, wanted: int) -> Tensor:
    """Places of the packed coefficients below a band-limit among those of a larger one."""
    degree, order = packed_degrees(wanted), packed_orders(wanted)
    return order * bandlimit - order * (order - 1) // 2 + degree - order


@cached_tables(maxsize=128)
def _packed_gain(
    bandlimit: int, smallest_scale: int, dilation: float, scale: int | None, wanted: int
) -> Tensor:
    """Gain of one filter (None: the scaling function) on each packed coefficient below a band-limit."""
    if scale is None:
        gain = scaling_gain(bandlimit, smallest_scale, dilation)
    else:
        gain = wavelet_gains(bandlimit, smallest_scale, dilation)[scale - smallest_scale]
    return gain[packed_degrees(wanted)]


def _filtered(plan: ScatteringPlan, branch: _Branch, scale: int | None) -> Tensor:
    """U[p] f * psi^j, or U[p] f * phi, at the band-limit of the filter."""
    wanted = plan.bandlimit_out if scale is None else plan.wavelet_bandlimit(scale)
    gain = _packed_gain(plan.bandlimit, plan.smallest_scale, float(plan.dilation), scale, wanted)
    packed = branch.packed
    if wanted < branch.bandlimit:
        packed = packed.index_select(-1, _truncation(branch.bandlimit, wanted).to(packed.device))
    return packed * gain.to(packed.device, packed.real.dtype)


def _modulus(plan: ScatteringPlan, filtered: Tensor, scale: int, order: int, backend: Backend) -> Tensor:
    """Packed coefficients of |f| for the fields with these packed coefficients."""
    grid = plan.grid(scale, order)
    values = synthesis_packed(filtered, grid, backend=backend)
    return analysis_packed(values.abs(), grid, plan.modulus_bandlimit(scale, order), backend=backend)


def _deeper(plan: ScatteringPlan, branches: list[_Branch], order: int, backend: Backend) -> list[_Branch]:
    """Branches of the next order: all paths that go on with the same scale are worked out together."""
    deeper = []
    for scale in plan.scales:
        parents = [branch for branch in branches if scale in plan.next_scales(branch.paths[0])]
        if parents:
            filtered = torch.cat([_filtered(plan, branch, scale) for branch in parents], dim=-2)
            paths = tuple((*path, scale) for branch in parents for path in branch.paths)
            packed = _modulus(plan, filtered, scale, order, backend)
            deeper.append(_Branch(paths, packed, plan.modulus_bandlimit(scale, order)))
    return deeper


def scattering(
    harmonic: Float[Tensor, "*batch coefficients"],
    *,
    smallest_scale: int,
    dilation: float = 2.0,
    depth: int = 2,
    oversampling: float = 2.0,
    max_grid_bandlimit: int | None = None,
    paths: Paths = "descending",
    backend: Backend = "auto",
) -> Float[Tensor, "*batch paths coefficients_out"]:
    r"""Scattering coefficients S[p] f of real fields, themselves fields of a low band-limit.

    Contracts distances: ||S f - S g|| <= ||f - g||. Equivariant under rotations up to the aliasing of the
    moduli (S[()] exactly). Differentiable; where a modulus is 0 its derivative is taken as 0.

    Parameters
    ----------
    harmonic
        Real coefficients.
    smallest_scale, dilation, depth, oversampling, max_grid_bandlimit, paths
        As in `ScatteringPlan`, whose `list_paths` gives the order of the outputs.
    backend
        Of the harmonic transforms (see `geograph.sphere.sht`).

    Raises
    ------
    ConfigError
        If a parameter is out of range.
    ShapeError
        If the last axis does not hold L^2 coefficients.

    References
    ----------
    McEwen, Wallis and Mavor-Parker (2022), arXiv:2102.02828, section 3.
    """
    plan = ScatteringPlan(
        bandlimit_of(harmonic.shape[-1]),
        smallest_scale,
        dilation,
        depth,
        oversampling,
        max_grid_bandlimit,
        paths,
    )
    return scatter(plan, harmonic, backend=backend)


def scatter(
    plan: ScatteringPlan, harmonic: Float[Tensor, "*batch coefficients"], *, backend: Backend = "auto"
) -> Float[Tensor, "*batch paths coefficients_out"]:
    """Do what `scattering` does, with a plan made beforehand.

    Parameters
    ----------
    plan
        Of the same band-limit as the fields.
    harmonic, backend
        As in `scattering`.

    Raises
    ------
    ConfigError
        If the plan is for another band-limit.
    """
    found: list[Path] = []
    outputs: list[Tensor] = []
    branches = [_root(plan, harmonic)]
    for order in range(plan.depth + 1):
        for branch in branches:
            found.extend(branch.paths)
            outputs.append(real_from_packed(_filtered(plan, branch, None), plan.bandlimit_out))
        if order < plan.depth:
            branches = _deeper(plan, branches, order + 1, backend)
    place = {path: number for number, path in enumerate(found)}
    wanted = torch.tensor([place[path] for path in plan.list_paths()], device=harmonic.device)
    return torch.cat(outputs, dim=-2).index_select(-2, wanted)


def _root(plan: ScatteringPlan, harmonic: Tensor) -> _Branch:
    if harmonic.shape[-1] != num_harmonics(plan.bandlimit):
        raise ConfigError(
            f"`plan` is for band-limit {plan.bandlimit}, `harmonic` has {harmonic.shape[-1]} coefficients."
        )
    return _Branch(((),), packed_from_real(harmonic)[..., None, :], plan.bandlimit)


def _energy(packed: Complex[Tensor, "*batch packed"], bandlimit: int) -> Float[Tensor, "*batch"]:
    twice = torch.where(packed_orders(bandlimit) == 0, 1.0, 2.0).to(packed.device, packed.real.dtype)
    return ((packed.real.square() + packed.imag.square()) * twice).sum(dim=-1)


def scattering_energy(
    plan: ScatteringPlan, harmonic: Float[Tensor, "*batch coefficients"], *, backend: Backend = "auto"
) -> tuple[Float[Tensor, "*batch orders"], Float[Tensor, "*batch orders"]]:
    """Energy in the outputs up to each order, and what wavelets of that order would still pass on.

    Both are fractions of ||f||^2, for the orders 0 ... depth. For all paths their sum falls short of 1 only
    by the part of the moduli beyond the band-limit L, and the second goes to 0 geometrically; descending
    paths leave more out.

    Parameters
    ----------
    plan
        Of the same band-limit as the fields.
    harmonic, backend
        As in `scattering`.

    Raises
    ------
    ConfigError
        If the plan is for another band-limit.
    """
    branches = [_root(plan, harmonic)]
    total = harmonic.square().sum(dim=-1)
    captured, left, so_far = [], [], torch.zeros_like(total)
    deep = ScatteringPlan(**{**plan.__dict__, "depth": plan.depth + 1})
    for order in range(plan.depth + 1):
        for branch in branches:
            low = _energy(_filtered(plan, branch, None), plan.bandlimit_out)
            so_far = so_far + low.sum(dim=-1)
        parts = [
            _energy(_filtered(plan, branch, scale), plan.wavelet_bandlimit(scale)).sum(dim=-1)
            for branch in branches
            for scale in plan.next_scales(branch.paths[0])
        ]
        captured.append(so_far / total)
        left.append(sum(parts, torch.zeros_like(total)) / total)
        if order < plan.depth:
            # One order more keeps the moduli of the last order at their full band-limit.
            branches = _deeper(deep, branches, order + 1, backend)
    return torch.stack(captured, dim=-1), torch.stack(left, dim=-1)

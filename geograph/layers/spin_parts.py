r"""Functions of any spin in real arithmetic: coefficients in two real parts, and their values on grids.

The value of a function of spin s picks up a phase exp(-i s angle) when the tangent frame at its point turns;
its coefficients a^s_lm (degrees l >= |s|) rotate by the same matrices D^l whatever the spin. Complex
coefficients of any field split into a = u + i v with u and v those of real fields, whose real coefficients
rotate by real matrices. So they are stored here: `[spheres, 2, channels, coefficients]` for one spin,
`[spheres, spins, 2, channels, coefficients]` for several, with the parts u and v on the axis of length 2.
Multiplication by i sends (u, v) to (-v, u).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from geograph.algebra.harmonics import bandlimit_of, num_harmonics, orders
from geograph.algebra.tables import cached_tables
from geograph.errors import ConfigError, ShapeError
from geograph.sphere.grids import Grid
from geograph.sphere.sht import analysis, synthesis
from geograph.sphere.spin import spin_analysis, spin_synthesis


def check_spins(spins: Sequence[int], bandlimit: int) -> tuple[int, ...]:
    """Spins as a tuple.

    Raises
    ------
    ConfigError
        If they do not start with 0, repeat, or have no degree below the band-limit.
    """
    if not spins or spins[0] != 0 or len(set(spins)) != len(spins):
        raise ConfigError(f"`spins` must start with 0 and differ from each other, got {list(spins)}.")
    if max(abs(spin) for spin in spins) >= bandlimit:
        raise ConfigError(f"`spins` must be smaller than the band-limit {bandlimit}, got {list(spins)}.")
    return tuple(spins)


@cached_tables(maxsize=64)
def _parts_tables(
    bandlimit: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Places in (u, v) of the two terms of each of (Re a_0, Im a_0, Re a_1, ...), their weights; and back.

    With u_m short for the real coefficient (l, m), and for m > 0,
    sqrt 2 a_m = (-1)^m (u_m + v_{-m} + i (v_m - u_{-m})) and sqrt 2 a_{-m} = u_m - v_{-m} + i (v_m + u_{-m}).
    """
    count, order = num_harmonics(bandlimit), orders(bandlimit)
    here = torch.arange(count)
    mirror = here - 2 * order
    sign = (1.0 - 2.0 * (order.abs() % 2)).double() * 0.5**0.5
    half = torch.full_like(sign, 0.5**0.5)
    plus, zero = order > 0, order == 0
    first = torch.where(order < 0, mirror, here)
    second = torch.where(order < 0, here, mirror)
    size = torch.where(plus, sign, half)
    places = torch.stack([first, count + second, count + first, second]).view(2, 2, count)
    weights = torch.stack([size, torch.where(plus, size, -size), size, torch.where(plus, -size, size)])
    weights = weights.view(2, 2, count)
    # m = 0: the first term alone; the second one repeats its place with weight nothing.
    places[:, 1] = torch.where(zero, places[:, 0], places[:, 1])
    weights[:, 0, zero], weights[:, 1, zero] = 1.0, 0.0
    place, weight = (table.permute(1, 2, 0).reshape(2, 2 * count) for table in (places, weights))
    # The map is orthogonal and every place occurs twice: its transpose leads back.
    sort = place.flatten().argsort(stable=True)
    place_back = (sort % (2 * count)).view(-1, 2).T.contiguous()
    weight_back = weight.flatten()[sort].view(-1, 2).T.contiguous()
    moved = (weight.to(device, dtype), weight_back.to(device, dtype))
    return place.to(device), moved[0], place_back.to(device), moved[1]


def _combined(x: Tensor, place: Tensor, weight: Tensor) -> Tensor:
    first = x.index_select(-1, place[0]) * weight[0]
    return torch.addcmul(first, x.index_select(-1, place[1]), weight[1])


def complex_from_parts(
    parts: Float[Tensor, "spheres 2 channels coefficients"],
) -> Complex[Tensor, "spheres channels coefficients"]:
    """Dense complex coefficients u + i v of functions of any spin from their two parts."""
    bandlimit = bandlimit_of(parts.shape[-1])
    place, weight, _, _ = _parts_tables(bandlimit, parts.dtype, parts.device)
    together = torch.cat(parts.unbind(1), dim=-1)
    return torch.view_as_complex(_combined(together, place, weight).unflatten(-1, (-1, 2)))


def parts_from_complex(
    dense: Complex[Tensor, "spheres channels coefficients"],
) -> Float[Tensor, "spheres 2 channels coefficients"]:
    """Parts u and v of dense complex coefficients; inverse of `complex_from_parts`."""
    values = torch.view_as_real(dense.resolve_conj()).flatten(-2)
    bandlimit = bandlimit_of(dense.shape[-1])
    _, _, place, weight = _parts_tables(bandlimit, values.dtype, values.device)
    return torch.stack(_combined(values, place, weight).chunk(2, dim=-1), dim=1)


def spin_samples(
    parts: Float[Tensor, "spheres 2 channels coefficients"], spin: int, grid: Grid
) -> Complex[Tensor, "spheres channels nlat nlon"]:
    """Values of functions of a spin on a grid."""
    if spin == 0:
        return torch.complex(*synthesis(parts, grid).unbind(1))
    return spin_synthesis(complex_from_parts(parts), spin, grid)


def spin_coefficients(
    values: Complex[Tensor, "spheres channels nlat nlon"], spin: int, grid: Grid, bandlimit: int
) -> Float[Tensor, "spheres 2 channels coefficients"]:
    """Coefficients of functions of a spin from their values."""
    if spin == 0:
        return analysis(torch.stack([values.real, values.imag], dim=1), grid, bandlimit)
    return parts_from_complex(spin_analysis(values, spin, grid, bandlimit))


def check_parts(parts: Tensor, spins: Sequence[int], bandlimit: int) -> None:
    """Raise a ShapeError if an array `[spheres, spins, 2, ...]` has other spins or another band-limit."""
    found = (parts.shape[1], bandlimit_of(parts.shape[-1]))
    if found != (len(spins), bandlimit):
        raise ShapeError(
            f"`parts` must have {len(spins)} spins and band-limit {bandlimit}, got {found[0]} and {found[1]}."
        )

r"""The conventions of spherical harmonics, frozen in one place; everything on the sphere follows them.

- Colatitude theta in [0, pi], longitude phi in [0, 2 pi). A direction is
  (sin theta cos phi, sin theta sin phi, cos theta).
- Y_lm is orthonormal on the unit sphere, with the Condon-Shortley phase. A band-limit L means the degrees
  l = 0 ... L - 1.
- Complex coefficients a_lm = int f conj(Y_lm) of a real field obey a_{l,-m} = (-1)^m conj(a_lm). *Packed*
  they keep only m >= 0, order by order (all l of m = 0, then all of m = 1, ...), as healpy and ducc0 do:
  L (L + 1) / 2 numbers. The inner product of real fields is sum_{m=0} |a|^2 + 2 sum_{m>0} |a|^2.
- *Dense* complex coefficients, of any field, stand at l^2 + l + m: L^2 numbers.
- *Real* coefficients belong to the orthonormal real harmonics S_l0 = Y_l0, S_lm = sqrt 2 (-1)^m Re Y_lm and
  S_{l,-m} = sqrt 2 (-1)^m Im Y_lm for m > 0, in the dense order. Then S_1 is proportional to (y, z, x), and
  the real coefficients of a real field rotate by orthogonal matrices. This is the form in which fields are
  stored and in which networks compute: the name of such an array is `harmonic`.
- Rotations are active, R = R_z(alpha) R_y(beta) R_z(gamma), and (R f)(x) = f(R^-1 x), so that
  (R f)_lm = sum_n D^l_mn(R) f_ln with D^l_mn = exp(-i m alpha) d^l_mn(beta) exp(-i n gamma).
"""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from geograph.algebra.tables import cached_tables
from geograph.errors import ShapeError

_SQRT_2 = 2.0**0.5


def num_harmonics(bandlimit: int) -> int:
    """Return the number of real or dense coefficients, L^2."""
    return bandlimit * bandlimit


def num_packed(bandlimit: int) -> int:
    """Return the number of packed coefficients, L (L + 1) / 2."""
    return bandlimit * (bandlimit + 1) // 2


def bandlimit_of(num_coefficients: int) -> int:
    """Band-limit of an array with that many real or dense coefficients.

    Raises
    ------
    ShapeError
        If the number is no square.
    """
    bandlimit = round(num_coefficients**0.5)
    if bandlimit < 1 or bandlimit * bandlimit != num_coefficients:
        raise ShapeError(f"`harmonic` must end in an axis of L^2 coefficients, got {num_coefficients}.")
    return bandlimit


def degrees(bandlimit: int) -> Int[Tensor, " coefficients"]:
    """Degree l of each dense or real coefficient."""
    every = torch.arange(bandlimit)
    return every.repeat_interleave(2 * every + 1)


def orders(bandlimit: int) -> Int[Tensor, " coefficients"]:
    """Order m of each dense or real coefficient."""
    degree = degrees(bandlimit)
    return torch.arange(num_harmonics(bandlimit)) - degree * degree - degree


def packed_degrees(bandlimit: int) -> Int[Tensor, " packed"]:
    """Degree l of each packed coefficient."""
    return torch.cat([torch.arange(order, bandlimit) for order in range(bandlimit)])


def packed_orders(bandlimit: int) -> Int[Tensor, " packed"]:
    """Order m of each packed coefficient."""
    every = torch.arange(bandlimit)
    return every.repeat_interleave(bandlimit - every)


@cached_tables(maxsize=32)
def _packed_tables(bandlimit: int) -> tuple[Tensor, Tensor, Tensor]:
    degree, order = packed_degrees(bandlimit), packed_orders(bandlimit)
    centre = degree * degree + degree
    sign = torch.where(order % 2 == 0, 1.0, -1.0).double()
    scale = torch.where(order == 0, 1.0, _SQRT_2 * sign)
    return centre + order, centre - order, scale


def real_from_packed(
    packed: Complex[Tensor, "*batch packed"], bandlimit: int
) -> Float[Tensor, "*batch coefficients"]:
    """Real coefficients of a real field from its packed complex ones; linear and orthogonal.

    Raises
    ------
    ShapeError
        If the last axis does not hold L (L + 1) / 2 numbers.
    """
    if packed.shape[-1] != num_packed(bandlimit):
        raise ShapeError(
            f"`packed` must hold {num_packed(bandlimit)} coefficients for band-limit {bandlimit}, "
            f"got {packed.shape[-1]}."
        )
    plus, minus, scale = (table.to(packed.device) for table in _packed_tables(bandlimit))
    scale = scale.to(packed.real.dtype)
    real = packed.real.new_zeros((*packed.shape[:-1], num_harmonics(bandlimit)))
    # m = 0 is written twice; the second time with the real part, which is what stands there.
    real = real.index_copy(-1, minus, -scale * packed.imag)
    return real.index_copy(-1, plus, scale * packed.real)


def packed_from_real(
    harmonic: Float[Tensor, "*batch coefficients"],
) -> Complex[Tensor, "*batch packed"]:
    """Packed complex coefficients of a real field from its real ones; inverse of `real_from_packed`."""
    plus, minus, scale = (
        table.to(harmonic.device) for table in _packed_tables(bandlimit_of(harmonic.shape[-1]))
    )
    scale = scale.to(harmonic.dtype)
    imaginary = torch.where(plus == minus, 0.0, -harmonic[..., minus] / scale)
    return torch.complex(harmonic[..., plus] / scale, imaginary.to(harmonic.dtype))


def dense_from_real(
    harmonic: Float[Tensor, "*batch coefficients"],
) -> Complex[Tensor, "*batch coefficients"]:
    """Dense complex coefficients a_lm, m = -l ... l, of a real field from its real ones."""
    bandlimit = bandlimit_of(harmonic.shape[-1])
    packed = packed_from_real(harmonic)
    plus, minus, _ = (table.to(harmonic.device) for table in _packed_tables(bandlimit))
    sign = torch.where(packed_orders(bandlimit).to(harmonic.device) % 2 == 0, 1.0, -1.0).to(harmonic.dtype)
    dense = torch.zeros(harmonic.shape, dtype=packed.dtype, device=harmonic.device)
    return dense.index_copy(-1, minus, sign * packed.conj()).index_copy(-1, plus, packed)


def real_from_dense(
    dense: Complex[Tensor, "*batch coefficients"],
) -> Float[Tensor, "*batch coefficients"]:
    """Real coefficients of the real part of a field from its dense complex ones."""
    bandlimit = bandlimit_of(dense.shape[-1])
    plus, minus, _ = (table.to(dense.device) for table in _packed_tables(bandlimit))
    sign = torch.where(packed_orders(bandlimit).to(dense.device) % 2 == 0, 1.0, -1.0).to(dense.real.dtype)
    packed = (dense[..., plus] + sign * dense[..., minus].conj()) / 2
    return real_from_packed(packed, bandlimit)


def power_spectrum(
    harmonic: Float[Tensor, "*batch coefficients"],
) -> Float[Tensor, "*batch bandlimit"]:
    """C_l = sum_m |a_lm|^2 / (2 l + 1): invariant under rotations."""
    bandlimit = bandlimit_of(harmonic.shape[-1])
    degree = degrees(bandlimit).to(harmonic.device)
    total = harmonic.new_zeros((*harmonic.shape[:-1], bandlimit))
    total = total.index_add(-1, degree, harmonic * harmonic)
    return total / (2 * torch.arange(bandlimit, device=harmonic.device) + 1)


def truncate(
    harmonic: Float[Tensor, "*batch coefficients"], bandlimit: int
) -> Float[Tensor, "*batch truncated"]:
    """Keep the degrees below a band-limit, or fill up with zeros where there are fewer."""
    wanted, given = num_harmonics(bandlimit), harmonic.shape[-1]
    bandlimit_of(given)
    if wanted <= given:
        return harmonic[..., :wanted]
    return torch.cat([harmonic, harmonic.new_zeros((*harmonic.shape[:-1], wanted - given))], dim=-1)

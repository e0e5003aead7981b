r"""Rotations of spherical harmonics: Wigner matrices, and a fast rotation of real coefficients.

The conventions are those of `geograph.algebra.harmonics`: (R f)(x) = f(R^-1 x), R = R_z(alpha) R_y(beta)
R_z(gamma), D^l_mn = exp(-i m alpha) d^l_mn(beta) exp(-i n gamma), rows and columns from -l to l.

A turn about z mixes only the orders m and -m, with cos(m alpha) and sin(m alpha). A turn about y is one about
z seen from a frame in which y points where z did: R_y(beta) = X R_z(beta) X^-1, X the fixed turn by -pi/2
about x. So any rotation is three elementwise turns with two fixed orthogonal matrices for each degree between
them, which stand in one padded table [L, 2 L - 1, 2 L - 1].
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from geograph.algebra.harmonics import bandlimit_of, degrees, num_harmonics, orders
from geograph.algebra.rotate_ducc import rotate_by_angles
from geograph.algebra.tables import cached_tables
from geograph.errors import ConfigError, ShapeError

#: Above this band-limit the padded table of `rotate` would take more than 70 MB, and ducc0 does the work.
MAX_BANDLIMIT = 128
#: A matrix whose product with its transpose differs from 1 by more than this is no rotation.
_ORTHOGONAL = 1e-4


def _check_degree(degree: int) -> None:
    if degree < 0:
        raise ConfigError(f"`degree` must be at least 0, got {degree}.")


def _check_matrices(rotation: Tensor) -> None:
    if tuple(rotation.shape[-2:]) != (3, 3):
        raise ShapeError(f"`rotation` must hold 3 x 3 matrices, got shape {tuple(rotation.shape)}.")


@cached_tables(maxsize=256)
def _turn_about_y(degree: int) -> tuple[Tensor, Tensor]:
    """Eigenvectors of J_y and its eigenvalues -l ... l, which are known exactly."""
    m = np.arange(-degree, degree, dtype=np.float64)
    raising = np.diag(np.sqrt(degree * (degree + 1) - m * (m + 1)), -1)
    _, vectors = np.linalg.eigh((raising - raising.T) / 2j)
    return torch.from_numpy(vectors), torch.arange(-degree, degree + 1, dtype=torch.float64)


def wigner_d(degree: int, beta: Float[Tensor, "*batch"] | float) -> Float[Tensor, "*batch rows columns"]:
    r"""Real matrices d^l_mn(beta) = <l m| exp(-i beta J_y) |l n>, in float64.

    From the eigenvectors of J_y, whose eigenvalues are the whole numbers from -l to l: orthogonal to a few
    units in the last place at every degree, which recursions over l are not.

    Parameters
    ----------
    degree
        l >= 0.
    beta
        Angles in radians.

    Raises
    ------
    ConfigError
        If the degree is negative.

    References
    ----------
    Feng, Wang, Yang and Jin (2015), arXiv:1507.04535, section III.
    """
    _check_degree(degree)
    angle = torch.as_tensor(beta, dtype=torch.float64)
    vectors, values = _turn_about_y(degree)
    vectors = vectors.to(angle.device)
    phase = torch.polar(torch.ones_like(angle)[..., None], -angle[..., None] * values.to(angle.device))
    return ((vectors * phase[..., None, :]) @ vectors.mH).real.contiguous()


def complex_wigner(
    degree: int,
    alpha: Float[Tensor, "*batch"] | float,
    beta: Float[Tensor, "*batch"] | float,
    gamma: Float[Tensor, "*batch"] | float,
) -> Complex[Tensor, "*batch rows columns"]:
    """Unitary matrices D^l_mn(alpha, beta, gamma), which rotate dense complex coefficients, in complex128.

    Parameters
    ----------
    degree
        l >= 0.
    alpha, beta, gamma
        Angles in radians of the turns about z, y and z; the last is done first.

    Raises
    ------
    ConfigError
        If the degree is negative.
    """
    small = wigner_d(degree, beta)
    m = torch.arange(-degree, degree + 1, dtype=torch.float64, device=small.device)
    left = torch.as_tensor(alpha, dtype=torch.float64).to(small.device)[..., None] * m
    right = torch.as_tensor(gamma, dtype=torch.float64).to(small.device)[..., None] * m
    one = torch.ones((), dtype=torch.float64, device=small.device)
    return torch.polar(one, -left)[..., :, None] * small * torch.polar(one, -right)[..., None, :]


@cached_tables(maxsize=256)
def _real_from_complex(degree: int) -> Tensor:
    """Unitary matrix of the change from dense complex coefficients to real ones."""
    size = 2 * degree + 1
    matrix = np.zeros((size, size), dtype=np.complex128)
    matrix[degree, degree] = 1
    for m in range(1, degree + 1):
        sign = (-1) ** m
        matrix[degree + m, degree + m] = sign / math.sqrt(2)
        matrix[degree + m, degree - m] = 1 / math.sqrt(2)
        matrix[degree - m, degree + m] = 1j * sign / math.sqrt(2)
        matrix[degree - m, degree - m] = -1j / math.sqrt(2)
    return torch.from_numpy(matrix)


@cached_tables(maxsize=256)
def _turn_about_x(degree: int) -> Tensor:
    """Orthogonal matrix of the turn by -pi/2 about x, which carries z to y, on real coefficients."""
    turn = complex_wigner(degree, -math.pi / 2, -math.pi / 2, math.pi / 2)
    change = _real_from_complex(degree)
    return (change @ turn @ change.mH).real.contiguous()


@cached_tables(maxsize=16)
def _tables(bandlimit: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Place of each coefficient in [degree, order], the padded turns about x, and the orders."""
    degree, order = degrees(bandlimit), orders(bandlimit)
    place = degree * (2 * bandlimit - 1) + bandlimit - 1 + order
    turns = torch.zeros(bandlimit, 2 * bandlimit - 1, 2 * bandlimit - 1, dtype=torch.float64)
    for each in range(bandlimit):
        inside = slice(bandlimit - 1 - each, bandlimit + each)
        turns[each, inside, inside] = _turn_about_x(each)
    m = torch.arange(1 - bandlimit, bandlimit, dtype=torch.float64)
    return place.to(device), turns.to(device=device, dtype=dtype), m.to(device)


def euler_angles(
    rotation: Float[Tensor, "*batch 3 3"],
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Angles (alpha, beta, gamma) in radians of R = R_z(alpha) R_y(beta) R_z(gamma), in float64.

    Accurate for every rotation: gamma comes from R_z(-alpha) R, so that the sum of alpha and gamma is right
    where beta is 0 and their difference where it is pi, although each by itself is arbitrary there.

    Raises
    ------
    ShapeError
        If the matrices are not 3 x 3.
    """
    _check_matrices(rotation)
    rotation = rotation.double()
    alpha = torch.atan2(rotation[..., 1, 2], rotation[..., 0, 2])
    beta = torch.atan2(torch.hypot(rotation[..., 0, 2], rotation[..., 1, 2]), rotation[..., 2, 2])
    cos, sin = alpha.cos(), alpha.sin()
    gamma = torch.atan2(
        cos * rotation[..., 1, 0] - sin * rotation[..., 0, 0],
        cos * rotation[..., 1, 1] - sin * rotation[..., 0, 1],
    )
    return alpha, beta, gamma


def _proper(rotation: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation part of orthogonal matrices in float64, and whether an inversion goes with it."""
    _check_matrices(rotation)
    rotation = rotation.double()
    excess = rotation @ rotation.mT - torch.eye(3, dtype=rotation.dtype, device=rotation.device)
    # Written so that NaN fails as well.
    if rotation.numel() and not bool(excess.abs().max() < _ORTHOGONAL):
        raise ShapeError(
            "`rotation` must hold orthogonal matrices, but one differs from its inverse transposed by "
            f"{float(excess.abs().max()):.1g}."
        )
    inverted = torch.linalg.det(rotation) < 0
    return torch.where(inverted[..., None, None], -rotation, rotation), inverted


def real_wigner(degree: int, rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch rows columns"]:
    """Orthogonal matrices that rotate the real coefficients of one degree.

    Computed in float64 and returned in the dtype of `rotation`. A matrix of determinant -1 acts as the
    rotation -R followed by x -> -x, which multiplies degree l by (-1)^l.

    Parameters
    ----------
    degree
        l >= 0.
    rotation
        Orthogonal matrices acting on (x, y, z).

    Raises
    ------
    ConfigError
        If the degree is negative.
    ShapeError
        If a matrix is not 3 x 3 or not orthogonal.
    """
    _check_degree(degree)
    proper, inverted = _proper(rotation)
    turn = complex_wigner(degree, *euler_angles(proper))
    change = _real_from_complex(degree).to(turn.device)
    matrix = (change @ turn @ change.mH).real
    sign = torch.where(inverted, float((-1) ** degree), 1.0)
    return (sign[..., None, None] * matrix).to(rotation.dtype)


def _turn_about_z(values: Tensor, angle: Tensor, m: Tensor) -> Tensor:
    """Turn [L, G, N, 2 L - 1] by an angle for each of G."""
    phase = angle[:, None, None] * m
    return phase.cos().to(values.dtype) * values - phase.sin().to(values.dtype) * values.flip(-1)


def rotate(
    harmonic: Float[Tensor, "items *channels coefficients"],
    rotation: Float[Tensor, "*rotations 3 3"],
) -> Float[Tensor, "items *channels coefficients"]:
    """Real coefficients of the rotated functions (R f)(x) = f(R^-1 x); a matrix for each item or one for all.

    Orthogonal, and differentiable in the coefficients. The angles are computed in float64, the products in
    the dtype of the coefficients. Determinant -1 is allowed: degree l is then multiplied by (-1)^l too.

    Parameters
    ----------
    harmonic
        Coefficients in the last axis; one function alone is an item too, of shape [1, L^2].
    rotation
        Orthogonal matrices acting on (x, y, z).

    Raises
    ------
    ShapeError
        If there is no axis of items, the last axis holds no square number of coefficients, or the matrices
        are not 3 x 3, not orthogonal or not as many as the items.
    MissingExtraError
        If the band-limit is above `MAX_BANDLIMIT`, and ducc0, which is used there, is not installed.

    References
    ----------
    Pinchon and Hoggan (2007), "Rotation matrices for real spherical harmonics: general rotations of atomic
    orbitals in space-fixed axes", J. Phys. A 40, 1597: the five factors.
    """
    if harmonic.dim() < 2:
        raise ShapeError(
            f"`harmonic` must have the axes (items, *channels, L^2), got shape {tuple(harmonic.shape)}; "
            "give a single function as one item, `harmonic[None]`."
        )
    _check_matrices(rotation)
    bandlimit = bandlimit_of(harmonic.shape[-1])
    items = harmonic.shape[0]
    if rotation.dim() > 2 and tuple(rotation.shape[:-2]) != (items,):
        raise ShapeError(
            f"`rotation` must be one matrix, or one for each of {items} items, "
            f"got {tuple(rotation.shape[:-2])}."
        )
    if harmonic.numel() == 0:
        return harmonic.clone()
    proper, inverted = _proper(rotation.to(harmonic.device).expand(items, 3, 3))
    angles = euler_angles(proper)
    flat = harmonic.reshape(items, -1, num_harmonics(bandlimit))
    if bandlimit > MAX_BANDLIMIT:
        rotated = rotate_by_angles(flat, torch.stack(angles, dim=-1))
    else:
        rotated = _rotate_by_tables(flat, *angles)
    if bool(inverted.any()):
        parity = 1.0 - 2.0 * (degrees(bandlimit).to(harmonic.device) % 2).to(harmonic.dtype)
        rotated = torch.where(inverted[:, None, None], rotated * parity, rotated)
    return rotated.reshape(harmonic.shape)


def _rotate_by_tables(harmonic: Tensor, alpha: Tensor, beta: Tensor, gamma: Tensor) -> Tensor:
    """Rotate [items, channels, L^2] in five steps, all degrees at once."""
    items, bandlimit = len(harmonic), bandlimit_of(harmonic.shape[-1])
    place, turns, m = _tables(bandlimit, harmonic.dtype, harmonic.device)
    size = 2 * bandlimit - 1
    flat = harmonic.new_zeros((items, harmonic.shape[1], bandlimit * size))
    flat = flat.index_copy(-1, place, harmonic)
    padded = flat.unflatten(-1, (bandlimit, size)).movedim(2, 0)
    padded = _turn_about_z(padded, gamma, m)
    padded = torch.bmm(padded.flatten(1, 2), turns).unflatten(1, (items, -1))
    padded = _turn_about_z(padded, beta, m)
    padded = torch.bmm(padded.flatten(1, 2), turns.mT).unflatten(1, (items, -1))
    padded = _turn_about_z(padded, alpha, m)
    return padded.movedim(0, 2).flatten(-2).index_select(-1, place)


def random_rotation(generator: torch.Generator, num: int) -> Float[Tensor, "num 3 3"]:
    """Random rotations, uniform in the Haar measure, in float64: from unit quaternions.

    Raises
    ------
    ConfigError
        If the number is negative.

    References
    ----------
    Shoemake (1992), "Uniform random rotations", Graphics Gems III: four Gaussian numbers, normalised.
    """
    if num < 0:
        raise ConfigError(f"`num` must be at least 0, got {num}.")
    quaternion = torch.randn(num, 4, generator=generator, dtype=torch.float64, device=generator.device)
    w, x, y, z = (quaternion / quaternion.norm(dim=1, keepdim=True)).unbind(1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], dim=1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], dim=1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], dim=1),
    ]
    return torch.stack(rows, dim=1)

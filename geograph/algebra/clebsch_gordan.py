r"""Clebsch-Gordan coefficients between real harmonics: how products of degrees decompose into degrees.

(u x v)_m = sum_{m1 m2} C_{m1 m2 m} u_m1 v_m2 of two fragments of degrees l1 and l2 is a fragment of degree
l3: turning u and v turns the product by the same rotation. The coefficients come from e3nn, whose real
harmonics are those of `geograph.algebra.harmonics` with the axes renamed: its polar axis is y, and its
(x, y, z) are our (y, z, x). A cyclic renaming is a rotation, so the coefficients -l ... l of a function are
the same numbers in both, and only vectors and rotation matrices change: `axes_of_e3nn` is that change.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from geograph.algebra.tables import cached_tables
from geograph.errors import ConfigError, MissingExtraError

#: Component i of a vector in e3nn's axes is this component of it in ours.
E3NN_AXES = (1, 2, 0)


def axes_of_e3nn(vectors: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Vectors in the axes of e3nn, from vectors in the axes of this project."""
    return vectors[..., list(E3NN_AXES)]


@cached_tables(maxsize=8192)
def _coefficients(l1: int, l2: int, l3: int) -> Tensor:
    try:
        from e3nn.o3 import wigner_3j
    except ImportError as error:
        raise MissingExtraError("products of spherical fragments", "e3nn", "sphere") from error
    symbol: Tensor = wigner_3j(l1, l2, l3, dtype=torch.float64)
    # Entries that selection rules make zero come out as rounding errors.
    symbol = torch.where(symbol.abs() > 1e-12, symbol, 0.0)
    return symbol * (2 * l3 + 1) ** 0.5


def clebsch_gordan(l1: int, l2: int, l3: int) -> Float[Tensor, "rows columns products"]:
    """Coefficients [2 l1 + 1, 2 l2 + 1, 2 l3 + 1] between real harmonics, in float64.

    Equivariant: contracting every axis with its Wigner matrix changes nothing. Orthonormal: the contraction
    of the first two axes of C with those of C is the unit matrix of size 2 l3 + 1. Exchanging l1 and l2
    transposes and multiplies by (-1)^(l1 + l2 + l3); where that sum is odd, the product has the other parity
    under inversion than a function of degree l3.

    Parameters
    ----------
    l1, l2, l3
        Degrees with |l1 - l2| <= l3 <= l1 + l2.

    Raises
    ------
    ConfigError
        If the degrees do not form a triangle.
    MissingExtraError
        If e3nn is not installed.

    References
    ----------
    Kondor, Lin and Trivedi (2018), arXiv:1806.09231, Eq. (8); Geiger and Smidt (2022), arXiv:2207.09453.
    """
    if min(l1, l2, l3) < 0 or not abs(l1 - l2) <= l3 <= l1 + l2:
        raise ConfigError(f"`l1`, `l2`, `l3` must obey |l1 - l2| <= l3 <= l1 + l2, got {l1}, {l2}, {l3}.")
    return _coefficients(l1, l2, l3).clone()

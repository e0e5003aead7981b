"""Minkowski products and Lorentz transformations.

Four-vectors are rows (E, px, py, pz) in GeV, signature (+, -, -, -); a matrix g acts as ``p @ g.T``.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from geograph.algebra.euclid import random_orthogonal
from geograph.errors import ConfigError, ShapeError

#: Diagonal of the metric.
METRIC: tuple[float, float, float, float] = (1.0, -1.0, -1.0, -1.0)


def _check_last_axis(name: str, value: Tensor) -> None:
    if value.ndim == 0 or value.shape[-1] != 4:
        raise ShapeError(
            f"`{name}` must have a last axis of length 4, got shape {tuple(value.shape)}; "
            "did the reader drop the energy column?"
        )


def minkowski_dot(p: Float[Tensor, "*p_shape"], q: Float[Tensor, "*q_shape"]) -> Float[Tensor, "*batch"]:
    """Inner product of two four-vectors, signature (+, -, -, -).

    Invariant under O(1, 3). Not clamped: space-like input gives a negative result.

    Parameters
    ----------
    p, q
        Four-momenta in GeV with shapes [..., 4] that broadcast.

    Returns
    -------
    Product in GeV^2, shape [...].

    Raises
    ------
    ShapeError
        If a last axis is not of length 4.
    """
    _check_last_axis("p", p)
    _check_last_axis("q", q)
    product = p * q
    # This order of additions, for massless input too, rounds like the released networks.
    return 2.0 * product[..., 0] - product.sum(dim=-1)


def minkowski_norm2(p: Float[Tensor, "*p_shape"]) -> Float[Tensor, "*batch"]:
    """Squared Minkowski norm E^2 - |p|^2 in GeV^2; negative for space-like vectors."""
    return minkowski_dot(p, p)


def boost(direction: Float[Tensor, " 3"], rapidity: float) -> Float[Tensor, "4 4"]:
    """Pure Lorentz boost along `direction`.

    Parameters
    ----------
    direction
        Spatial direction; its length does not matter.
    rapidity
        Artanh of the velocity; the Lorentz factor is its cosh.

    Raises
    ------
    ShapeError
        If the direction is the zero vector.
    """
    length = direction.norm()
    if float(length) == 0.0:
        raise ShapeError("`direction` must not be the zero vector: a boost needs a direction.")
    n = direction / length
    gamma, gamma_beta = math.cosh(rapidity), math.sinh(rapidity)
    matrix = torch.eye(4, dtype=direction.dtype)
    matrix[0, 0] = gamma
    matrix[0, 1:] = matrix[1:, 0] = gamma_beta * n
    matrix[1:, 1:] += (gamma - 1.0) * torch.outer(n, n)
    return matrix


def random_lorentz(
    generator: torch.Generator,
    max_rapidity: float = 2.0,
    proper: bool | None = None,
    dtype: torch.dtype = torch.float64,
) -> Float[Tensor, "4 4"]:
    """Random element of O(1, 3): boost, then rotation, then possibly spatial and time reflection.

    Parameters
    ----------
    generator
        Source of randomness.
    max_rapidity
        The rapidity is uniform in [0, max_rapidity]; conditioning grows like its exponential.
    proper
        True for the proper orthochronous group, False for a spatial reflection,
        None for any of the four components of O(1, 3).
    dtype
        Floating dtype of the result; the matrix is computed in float64.
    """
    if max_rapidity < 0:
        raise ConfigError(f"`max_rapidity` must not be negative, got {max_rapidity}.")
    draw = torch.rand(2, generator=generator, dtype=torch.float64)
    direction = torch.randn(3, generator=generator, dtype=torch.float64)
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[1:, 1:] = random_orthogonal(generator, 3, torch.float64, proper=proper)
    if proper is None and float(draw[1]) < 0.5:
        matrix[0, 0] = -1.0
    return (matrix @ boost(direction, float(draw[0]) * max_rapidity)).to(dtype)

"""Elements of the orthogonal and Euclidean groups.

Vectors are rows: a matrix g acts as ``x @ g.T``.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from geograph.errors import ConfigError, ShapeError


def random_orthogonal(
    generator: torch.Generator,
    dim: int = 3,
    dtype: torch.dtype = torch.float64,
    *,
    proper: bool | None = None,
) -> Float[Tensor, "dim dim"]:
    """Random orthogonal matrix, uniform in the Haar measure.

    Parameters
    ----------
    generator
        Source of randomness.
    dim
        Dimension of the space.
    dtype
        Floating dtype of the result; the matrix is computed in float64.
    proper
        True for a rotation, False for determinant -1, None for either with equal chance.

    References
    ----------
    Mezzadri (2007), arXiv:math-ph/0609050, section 5: QR with the signs of R's diagonal moved into Q.
    """
    if dim < 1:
        raise ConfigError(f"`dim` must be at least 1, got {dim}.")
    gaussian = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(gaussian)
    q = q * torch.where(r.diagonal() < 0, -1.0, 1.0)
    is_proper = bool(torch.linalg.det(q) > 0)
    if proper is not None and is_proper != proper:
        q = torch.cat([-q[:, :1], q[:, 1:]], dim=1)
    return q.to(dtype)


def random_translation(
    generator: torch.Generator, dim: int = 3, dtype: torch.dtype = torch.float64, scale: float = 1.0
) -> Float[Tensor, " dim"]:
    """Gaussian translation vector with standard deviation `scale` in each direction."""
    return scale * torch.randn(dim, generator=generator, dtype=torch.float64).to(dtype)


def rotation_about(axis: Float[Tensor, " 3"], angle: float) -> Float[Tensor, "3 3"]:
    """Rotation by `angle` radians about `axis`, counter-clockwise seen from its tip (Rodrigues).

    Raises
    ------
    ShapeError
        If the axis has no direction.
    """
    length = axis.norm()
    if float(length) == 0.0:
        raise ShapeError("`axis` must not be the zero vector: it has no direction.")
    x, y, z = (axis / length).unbind()
    zero = torch.zeros_like(x)
    cross = torch.stack([torch.stack([zero, -z, y]), torch.stack([z, zero, -x]), torch.stack([-y, x, zero])])
    turn = torch.as_tensor(angle, dtype=axis.dtype)
    eye = torch.eye(3, dtype=axis.dtype)
    return eye + turn.sin() * cross + (1 - turn.cos()) * (cross @ cross)

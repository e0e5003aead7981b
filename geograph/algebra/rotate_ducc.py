"""Rotation of real coefficients at high band-limits, by ducc0: time ~ L^3, memory ~ L^2."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from geograph.algebra.harmonics import bandlimit_of, packed_from_real, real_from_packed
from geograph.errors import MissingExtraError


def rotate_by_angles(
    harmonic: Float[Tensor, "items channels coefficients"], angles: Float[Tensor, "items 3"]
) -> Float[Tensor, "items channels coefficients"]:
    """Rotate by R_z(alpha) R_y(beta) R_z(gamma), differentiable once in the coefficients.

    Computed in float64 on the CPU.

    Parameters
    ----------
    harmonic
        Real coefficients, see `geograph.algebra.harmonics`.
    angles
        alpha, beta and gamma of each item, in radian.

    Raises
    ------
    MissingExtraError
        If ducc0 is not installed.
    """
    rotated: Tensor = _Rotation.apply(harmonic, angles)
    return rotated


class _Rotation(torch.autograd.Function):
    """Orthogonal and linear: the derivative is the rotation back."""

    @staticmethod
    def forward(ctx: Any, harmonic: Tensor, angles: Tensor) -> Tensor:
        ctx.save_for_backward(angles)
        return _rotate(harmonic, angles)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (angles,) = ctx.saved_tensors
        return _rotate(grad, -angles.flip(-1)), None


def _rotate(harmonic: Tensor, angles: Tensor) -> Tensor:
    try:
        from ducc0.sht import rotate_alm
    except ImportError as error:
        raise MissingExtraError("rotations at high band-limits", "ducc0", "sphere") from error
    bandlimit = bandlimit_of(harmonic.shape[-1])
    packed = packed_from_real(harmonic.detach().double().cpu()).numpy()
    rotated = np.empty_like(packed)
    for item, (alpha, beta, gamma) in enumerate(angles.tolist()):
        for channel, coefficients in enumerate(packed[item]):
            rotated[item, channel] = rotate_alm(coefficients, bandlimit - 1, gamma, beta, alpha, 1)
    return real_from_packed(torch.from_numpy(rotated), bandlimit).to(harmonic)

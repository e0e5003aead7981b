"""Functions on SO(3) in columns: random ones, their values, and their rotations."""

from __future__ import annotations

import torch
from torch import Tensor

from geograph.algebra.wigner import real_wigner
from geograph.sphere.so3 import degree_slice, num_so3_coefficients


def functions_on_so3(bandlimit: int, spheres: int, channels: int, seed: int = 2) -> Tensor:
    """Random real coefficients that fall with the degree, [coefficients, spheres, channels]."""
    generator = torch.Generator().manual_seed(seed)
    size = (num_so3_coefficients(bandlimit), spheres, channels)
    values = torch.randn(size, generator=generator, dtype=torch.float64)
    fall = torch.cat([torch.full(((2 * d + 1) ** 2,), 1.0 / (1 + d)) for d in range(bandlimit)])
    return values * fall[:, None, None]


def value_at(columns: Tensor, bandlimit: int, matrix: Tensor) -> Tensor:
    """Values at a rotation, [spheres, channels]."""
    total = columns.new_zeros(columns.shape[1:])
    for degree in range(bandlimit):
        turn = real_wigner(degree, matrix).flatten()
        total = total + torch.einsum("n,nsc->sc", turn, columns[degree_slice(degree)])
    return total


def rotate_columns(columns: Tensor, bandlimit: int, matrix: Tensor) -> Tensor:
    """F^l -> Delta^l F^l."""
    parts = []
    for degree in range(bandlimit):
        size = 2 * degree + 1
        block = columns[degree_slice(degree)].unflatten(0, (size, size))
        parts.append(torch.einsum("am,mnsc->ansc", real_wigner(degree, matrix), block).flatten(0, 1))
    return torch.cat(parts)

"""Tables of a Clifford algebra, computed from its metric with bit masks.

A blade is a bit mask of its basis vectors; the product of blades a and c is the blade a xor c up to a factor,
which is the parity of the swaps that sort the vectors times the squares of the vectors that meet.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class CliffordTables:
    """Every constant that the metric decides; the arrays are read-only.

    Attributes
    ----------
    masks
        Basis vectors of each blade as a bit mask, [blade].
    grades
        Grade of each blade, [blade].
    right
        The one right factor k with e_i e_k proportional to e_j, [left i, out j].
    signs
        Factor of that product: 1, -1, or 0 where the metric degenerates, [left i, out j].
    paths
        Grade triples (left, out, right) whose product is not identically zero, in lexical order.
    path_index
        Path that each product belongs to (0 where the sign is 0), [left i, out j].
    """

    masks: NDArray[np.int64]
    grades: NDArray[np.int64]
    right: NDArray[np.int64]
    signs: NDArray[np.float64]
    paths: tuple[tuple[int, int, int], ...]
    path_index: NDArray[np.int64]


def _blade_sign(a: int, b: int, metric: tuple[float, ...]) -> float:
    """Factor s in e_a e_b = s e_(a xor b), for blades given as bit masks."""
    swaps, shifted = 0, a >> 1
    while shifted:
        swaps += (shifted & b).bit_count()
        shifted >>= 1
    sign = -1.0 if swaps % 2 else 1.0
    return sign * math.prod(square for i, square in enumerate(metric) if (a & b) >> i & 1)


@cache
def clifford_tables(metric: tuple[float, ...]) -> CliffordTables:
    """Compute the tables of a diagonal metric whose entries are 1, -1 or 0."""
    dim = len(metric)
    masks = [
        sum(1 << i for i in blade)
        for grade in range(dim + 1)
        for blade in itertools.combinations(range(dim), grade)
    ]
    position = {mask: index for index, mask in enumerate(masks)}
    grades = np.array([mask.bit_count() for mask in masks])
    right = np.array([[position[a ^ c] for c in masks] for a in masks])
    signs = np.array([[_blade_sign(a, a ^ c, metric) for c in masks] for a in masks])
    triples = np.stack([*np.broadcast_arrays(grades[:, None], grades[None, :]), grades[right]], axis=-1)
    paths = tuple(sorted({(int(i), int(j), int(k)) for i, j, k in triples[signs != 0]}))
    number = {path: index for index, path in enumerate(paths)}
    path_index = np.array([[number.get((int(i), int(j), int(k)), 0) for i, j, k in row] for row in triples])
    tables = CliffordTables(np.array(masks), grades, right, signs, paths, path_index)
    for array in (tables.masks, grades, right, signs, path_index):
        array.setflags(write=False)
    return tables

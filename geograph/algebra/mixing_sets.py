"""Which pairs of degrees are multiplied to make each degree: all of them, or the edges of a cheap tree.

Products of degrees l1 and l2 contain degree l where |l1 - l2| <= l <= l1 + l2. Taking all pairs costs L^5
operations for a fragment. The pairs of one degree l are the edges of a graph on the degrees 0 ... L - 1; a
spanning tree of it still lets every degree act on every other, with L pairs in place of L^2.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, TypeAlias, get_args

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import minimum_spanning_tree

from geograph.errors import ConfigError

Mixing: TypeAlias = Literal["full", "mst", "rmst"]
#: Pairs (l1, l2), l1 <= l2.
Pairs: TypeAlias = tuple[tuple[int, int], ...]


def _all_pairs(degree: int, bandlimit: int) -> list[tuple[int, int]]:
    return [
        (l1, l2)
        for l1 in range(bandlimit)
        for l2 in range(l1, min(l1 + degree + 1, bandlimit))
        if l2 - l1 <= degree <= l1 + l2
    ]


def spanning_tree(degree: int, bandlimit: int) -> Pairs:
    """Edges of the minimum spanning tree of one degree: the cost of a pair is that of its product.

    Parameters
    ----------
    degree
        Degree l of the products; 0 has no edges, since only equal degrees give it.
    bandlimit
        The degrees below it are the nodes.

    References
    ----------
    Cobb et al. (2021), arXiv:2010.11661, section 3.2.
    """
    edges = [(l1, l2) for l1, l2 in _all_pairs(degree, bandlimit) if l1 != l2]
    if not edges:
        return ()
    first, second = np.array(edges).T
    cost = (2.0 * degree + 1) * (2 * first + 1) * (2 * second + 1)
    graph = csr_matrix((cost, (first, second)), shape=(bandlimit, bandlimit))
    tree = minimum_spanning_tree(graph).tocoo()
    found = zip(tree.row.tolist(), tree.col.tolist(), strict=True)
    return tuple(sorted((min(pair), max(pair)) for pair in found))


def _logarithmic(degree: int, bandlimit: int) -> set[int]:
    """Degrees l and l +- 2^k."""
    steps = [0, *(2**k for k in range(bandlimit.bit_length()))]
    return {degree + sign * step for step in steps for sign in (-1, 1)}


@lru_cache(maxsize=256)
def mixing_set(kind: str, bandlimit: int, num_degrees: int) -> tuple[Pairs, ...]:
    """Pairs of degrees whose products make each of the degrees 0 ... `num_degrees` - 1.

    `full` takes every pair. `mst` takes the edges of `spanning_tree` and the pairs (l1, l1) with l <= 2 l1.
    `rmst` keeps of these the edges that touch one of the degrees l, l +- 1, l +- 2, l +- 4 ..., and the pairs
    (l1, l1) of such degrees; degree 0, whose products cost nothing, keeps all.

    Parameters
    ----------
    kind
        full, mst or rmst.
    bandlimit
        Of the factors.
    num_degrees
        Band-limit of the products, at most 2 L - 1.

    Raises
    ------
    ConfigError
        If the kind is unknown, or products of the factors cannot have so high a degree.

    References
    ----------
    Cobb et al. (2021), arXiv:2010.11661, sections 3.2 and 3.3. The paper leaves open which nodes the reduced
    tree keeps beyond that they are spaced logarithmically; the rule here is this project's.
    """
    if kind not in get_args(Mixing):
        raise ConfigError(f"`mixing` must be one of {', '.join(get_args(Mixing))}, got {kind!r}.")
    if bandlimit < 1 or not 1 <= num_degrees <= 2 * bandlimit - 1:
        raise ConfigError(
            f"`bandlimit` of the products must be from 1 to {max(2 * bandlimit - 1, 1)} with factors of "
            f"band-limit {bandlimit}, got {num_degrees}."
        )
    if kind == "full":
        return tuple(tuple(_all_pairs(degree, bandlimit)) for degree in range(num_degrees))
    sets: list[Pairs] = []
    for degree in range(num_degrees):
        tree = list(spanning_tree(degree, bandlimit))
        equal = [(l1, l1) for l1 in range(bandlimit) if degree <= 2 * l1]
        if kind == "rmst" and degree:
            kept = _logarithmic(degree, bandlimit)
            tree = [pair for pair in tree if kept & set(pair)]
            equal = [pair for pair in equal if pair[0] in kept]
        sets.append(tuple(tree + equal))
    return tuple(sets)

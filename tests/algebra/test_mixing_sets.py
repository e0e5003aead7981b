"""Which pairs of degrees are multiplied."""

from __future__ import annotations

import itertools
import math

import pytest

from geograph.algebra.mixing_sets import mixing_set, spanning_tree
from geograph.errors import ConfigError


def reached(edges: tuple[tuple[int, int], ...]) -> set[int]:
    """Nodes that are connected with node 0."""
    found = {0}
    for _ in edges:
        found |= {node for edge in edges if found & set(edge) for node in edge}
    return found


def cost(degree: int, pairs: tuple[tuple[int, int], ...]) -> int:
    return sum((2 * degree + 1) * (2 * l1 + 1) * (2 * l2 + 1) for l1, l2 in pairs)


@pytest.mark.parametrize("bandlimit", [2, 5, 10, 17])
def test_tree_spans_all_degrees(bandlimit: int) -> None:
    for degree in range(1, bandlimit):
        tree = spanning_tree(degree, bandlimit)
        assert len(tree) == bandlimit - 1
        assert reached(tree) == set(range(bandlimit))
        assert all(l2 - l1 <= degree <= l1 + l2 and l1 < l2 for l1, l2 in tree)
    assert spanning_tree(0, bandlimit) == ()


def test_tree_is_the_cheapest() -> None:
    """By trying every set of 4 edges on 5 nodes."""
    for degree in range(1, 5):
        pairs = [pair for pair in mixing_set("full", 5, 5)[degree] if pair[0] != pair[1]]
        spanning = [each for each in itertools.combinations(pairs, 4) if len(reached(each)) == 5]
        assert cost(degree, spanning_tree(degree, 5)) == min(cost(degree, each) for each in spanning)


def test_full_is_every_triangle() -> None:
    sets = mixing_set("full", 4, 7)
    assert sets[0] == ((0, 0), (1, 1), (2, 2), (3, 3))
    assert sets[6] == ((3, 3),)
    assert sum(map(len, sets)) == sum(
        abs(l1 - l2) <= degree <= l1 + l2 for degree in range(7) for l1 in range(4) for l2 in range(l1, 4)
    )


@pytest.mark.parametrize("bandlimit", [3, 10, 20])
def test_sets_are_nested(bandlimit: int) -> None:
    full, mst, rmst = (mixing_set(kind, bandlimit, bandlimit) for kind in ("full", "mst", "rmst"))
    for degree in range(bandlimit):
        assert set(rmst[degree]) <= set(mst[degree]) <= set(full[degree])
        assert len(set(mst[degree])) == len(mst[degree])
        equal = {(l1, l1) for l1 in range(bandlimit) if degree <= 2 * l1}
        assert set(mst[degree]) == set(spanning_tree(degree, bandlimit)) | equal
        assert rmst[degree]


def test_growth_of_the_costs() -> None:
    """From L = 32 to 64: exponents near 5, 4 and, with a logarithm, 3, of the nonzero products."""
    exponents = {}
    for kind in ("full", "mst", "rmst"):
        costs = [
            sum(
                cost(degree, pairs) / (2 * degree + 1)
                for degree, pairs in enumerate(mixing_set(kind, limit, limit))
            )
            for limit in (32, 64)
        ]
        exponents[kind] = math.log2(costs[1] / costs[0])
    assert exponents["full"] == pytest.approx(5, abs=0.1)
    assert exponents["mst"] == pytest.approx(4, abs=0.1)
    assert 3 < exponents["rmst"] < 3.5


def test_errors() -> None:
    with pytest.raises(ConfigError, match="`mixing` must be one of full, mst, rmst, got 'tree'"):
        mixing_set("tree", 4, 4)
    with pytest.raises(ConfigError, match="from 1 to 7 with factors of band-limit 4, got 8"):
        mixing_set("mst", 4, 8)
    with pytest.raises(ConfigError, match="from 1 to 1 with factors of band-limit 0"):
        mixing_set("mst", 0, 1)

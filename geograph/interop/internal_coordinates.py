"""Bond lengths, bond angles and dihedral angles of many molecules at once, by the type of their atoms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Float, Int

#: Signs of the bond orders 0 (not assigned), 1, 2, 3 and 4 (aromatic).
ORDER_SIGNS = "?-=#:"
#: A dihedral angle is left out where three of its atoms are this close to a line, in degrees.
MIN_BEND_DEGREE = 5.0

_NUM_ELEMENTS = 119
_BASE, _ORDER_BASE = 128, 8
#: Place of each element in the alphabet: types are spelt in this order.
_RANK = np.empty(_NUM_ELEMENTS, dtype=np.int64)
_RANK[np.argsort(np.array(chemical_symbols[:_NUM_ELEMENTS]))] = np.arange(_NUM_ELEMENTS)


@dataclass(frozen=True)
class Coordinates:
    """Values of one kind, in the order of their atoms.

    Attributes
    ----------
    values
        Lengths in angstrom or angles in degrees.
    codes
        Type of each value, as a number that `type_name` spells.
    atoms
        One of the atoms, which tells the molecule.
    """

    values: Float[np.ndarray, " k"]
    codes: Int[np.ndarray, " k"]
    atoms: Int[np.ndarray, " k"]


def bond_lengths(
    z: Int[np.ndarray, " n"],
    pos: Float[np.ndarray, "n 3"],
    bonds: Int[np.ndarray, "b 2"],
    orders: Int[np.ndarray, " b"],
) -> Coordinates:
    """Length of every bond in angstrom; types are pairs of elements with the bond's order.

    Parameters
    ----------
    z
        Atomic numbers of all molecules, one after the other.
    pos
        Positions in angstrom.
    bonds
        Atom numbers of each bond, counted over all molecules.
    orders
        Order of each bond, 0 to 4 (4: aromatic).
    """
    first, second = bonds[:, 0], bonds[:, 1]
    a, b = z[first], z[second]
    swap = _RANK[a] > _RANK[b]
    a, b = np.where(swap, b, a), np.where(swap, a, b)
    lengths = np.linalg.norm(pos[first] - pos[second], axis=1)
    return Coordinates(lengths, (a * _BASE + b) * _ORDER_BASE + orders, first)


def bond_angles(
    z: Int[np.ndarray, " n"], pos: Float[np.ndarray, "n 3"], bonds: Int[np.ndarray, "b 2"]
) -> Coordinates:
    """Angle between every two bonds of an atom in degrees, 0 to 180; types are triples, centre second."""
    centre, neighbour, _, ptr = _neighbours(len(z), bonds, np.zeros(len(bonds), dtype=np.int64))
    later = ptr[centre + 1] - np.arange(len(centre)) - 1
    one = np.repeat(np.arange(len(centre)), later)
    two = one + 1 + _count_up(later)
    i, c, j = neighbour[one], centre[one], neighbour[two]
    a, b = z[i], z[j]
    swap = _RANK[a] > _RANK[b]
    a, b = np.where(swap, b, a), np.where(swap, a, b)
    degrees = _angle(pos[i] - pos[c], pos[j] - pos[c])
    return Coordinates(degrees, (a * _BASE + z[c]) * _BASE + b, c)


def dihedral_angles(
    z: Int[np.ndarray, " n"],
    pos: Float[np.ndarray, "n 3"],
    bonds: Int[np.ndarray, "b 2"],
    orders: Int[np.ndarray, " b"],
) -> Coordinates:
    """Dihedral angle of every chain of four bonded atoms in degrees, -180 to 180.

    Types are four elements with the order of the middle bond. Positive if the far bond is turned clockwise,
    seen along the middle one; the mirror image has the other sign. Chains with three atoms within
    `MIN_BEND_DEGREE` of a line, whose angle is not defined, are left out, and so are rings of three.
    """
    _, neighbour, _, ptr = _neighbours(len(z), bonds, orders)
    degree = np.diff(ptr)
    b, c = bonds[:, 0], bonds[:, 1]
    counts = degree[b] * degree[c]
    middle = np.repeat(np.arange(len(bonds)), counts)
    b, c, offset = b[middle], c[middle], _count_up(counts)
    a = neighbour[ptr[b] + offset // degree[c]]
    d = neighbour[ptr[c] + offset % degree[c]]
    near, axis, far = pos[b] - pos[a], pos[c] - pos[b], pos[d] - pos[c]
    bends = np.stack([_angle(-near, axis), _angle(-axis, far)])
    bent = ((bends > MIN_BEND_DEGREE) & (bends < 180.0 - MIN_BEND_DEGREE)).all(axis=0)
    keep = (a != c) & (d != b) & (a != d) & bent
    a, b, c, d, middle = a[keep], b[keep], c[keep], d[keep], middle[keep]
    degrees = _dihedral(near[keep], axis[keep], far[keep])
    forward, backward = _RANK[z[b]] * _BASE + _RANK[z[a]], _RANK[z[c]] * _BASE + _RANK[z[d]]
    swap = forward > backward
    outer, inner = np.where(swap, d, a), np.where(swap, c, b)
    inner_end, outer_end = np.where(swap, b, c), np.where(swap, a, d)
    head = (z[outer] * _BASE + z[inner]) * _ORDER_BASE + orders[middle]
    return Coordinates(degrees, (head * _BASE + z[inner_end]) * _BASE + z[outer_end], b)


def type_name(kind: str, code: int) -> str:
    """Spell the code of a type: `C=O`, `H-C-H` or `H-C-C-H`.

    Parameters
    ----------
    kind
        "bond", "angle" or "dihedral".
    code
        The code, as `bond_lengths`, `bond_angles` or `dihedral_angles` give it.
    """
    if kind == "bond":
        pair, order = divmod(code, _ORDER_BASE)
        return f"{_symbol(pair // _BASE)}{ORDER_SIGNS[order]}{_symbol(pair % _BASE)}"
    if kind == "angle":
        ends, last = divmod(code, _BASE)
        return f"{_symbol(ends // _BASE)}-{_symbol(ends % _BASE)}-{_symbol(last)}"
    rest, last = divmod(code, _BASE)
    head, inner = divmod(rest, _BASE)
    return f"{_symbol(head // _ORDER_BASE // _BASE)}-{type_name('bond', _tail(head, inner))}-{_symbol(last)}"


def _tail(head: int, inner: int) -> int:
    pair, order = divmod(head, _ORDER_BASE)
    return ((pair % _BASE) * _BASE + inner) * _ORDER_BASE + order


def _symbol(number: int) -> str:
    return str(chemical_symbols[number])


def _neighbours(
    num_atoms: int, bonds: np.ndarray, orders: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return both directions of every bond by first atom: atom, neighbour, order, row pointer."""
    centre, neighbour = np.concatenate([bonds, bonds[:, ::-1]]).T
    rank = np.argsort(centre, kind="stable")
    ptr = np.concatenate([[0], np.cumsum(np.bincount(centre, minlength=num_atoms))])
    return centre[rank], neighbour[rank], np.tile(orders, 2)[rank], ptr


def _count_up(counts: np.ndarray) -> np.ndarray:
    """0 .. count - 1 for each of the counts, one after the other."""
    starts = np.cumsum(counts) - counts
    return np.arange(int(counts.sum())) - np.repeat(starts, counts)


def _angle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(u, v), axis=1), (u * v).sum(axis=1)))


def _dihedral(near: np.ndarray, axis: np.ndarray, far: np.ndarray) -> np.ndarray:
    left, right = np.cross(near, axis), np.cross(axis, far)
    length = np.linalg.norm(axis, axis=1)
    return np.degrees(np.arctan2(length * (near * right).sum(axis=1), (left * right).sum(axis=1)))

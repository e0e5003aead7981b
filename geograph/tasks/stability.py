"""Bond-length stability rule of EDM: bond orders from distances, stable atoms, stable molecules.

Rule and margins: Hoogeboom et al. 2022 (arXiv:2203.17003), appendix on bond distances. The lengths are
standard bond lengths as listed at wiredchemist.com ("Common bond energies and lengths") and
chemistry-reference.com ("Bond lengths and enthalpies"), in pm. The margins were tuned by the authors on QM9.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from geograph.errors import ShapeError
from geograph.records import Molecule

#: Atomic numbers of the elements that the rule knows, in the order of the published list.
SYMBOL_NUMBERS = {
    "H": 1, "B": 5, "C": 6, "N": 7, "O": 8, "F": 9, "Al": 13, "Si": 14, "P": 15,
    "S": 16, "Cl": 17, "As": 33, "Br": 35, "I": 53, "Hg": 80, "Bi": 83,
}  # fmt: skip
#: Single, double and triple bond lengths in pm.
BOND_LENGTHS_PM: tuple[dict[str, int], ...] = (
    {
        "H-H": 74, "H-C": 109, "H-N": 101, "H-O": 96, "H-F": 92, "H-B": 119, "H-Si": 148, "H-P": 144,
        "H-As": 152, "H-S": 134, "H-Cl": 127, "H-Br": 141, "H-I": 161,
        "C-C": 154, "C-N": 147, "C-O": 143, "C-F": 135, "C-Si": 185, "C-P": 184, "C-S": 182, "C-Cl": 177,
        "C-Br": 194, "C-I": 214,
        "N-N": 145, "N-O": 140, "N-F": 136, "N-P": 177, "N-S": 168, "N-Cl": 175, "N-Br": 214, "N-I": 222,
        "O-O": 148, "O-F": 142, "O-Si": 163, "O-P": 163, "O-S": 151, "O-Cl": 164, "O-Br": 172, "O-I": 194,
        "F-F": 142, "F-Si": 160, "F-P": 156, "F-S": 158, "F-Cl": 166, "F-Br": 178, "F-I": 187,
        "B-Cl": 175,
        "Si-Si": 233, "Si-S": 200, "Si-Cl": 202, "Si-Br": 215, "Si-I": 243,
        "P-P": 221, "P-S": 210, "P-Cl": 203, "P-Br": 222,
        "S-S": 204, "S-Cl": 207, "S-Br": 225, "S-I": 234,
        "Cl-Cl": 199, "Cl-Br": 214, "Br-Br": 228, "I-I": 266,
    },
    {
        "C-C": 134, "C-N": 129, "C-O": 120, "C-S": 160, "N-N": 125, "N-O": 121, "O-O": 121,
        "O-P": 150, "P-S": 186,
    },
    {"C-C": 120, "C-N": 116, "C-O": 113, "N-N": 110},
)  # fmt: skip
#: Tolerances in pm added to single, double and triple bond lengths.
MARGINS_PM = (10, 5, 3)
#: Sums of bond orders that count as stable. H, C, N, O, F are the QM9 set, the rest the GEOM-drugs set.
ALLOWED_VALENCES: dict[str, tuple[int, ...]] = {
    "H": (1,), "C": (4,), "N": (3,), "O": (2,), "F": (1,), "B": (3,), "Al": (3,), "Si": (4,), "P": (3, 5),
    "S": (4,), "Cl": (1,), "As": (3,), "Br": (1,), "I": (1,), "Hg": (1, 2), "Bi": (3, 5),
}  # fmt: skip

_NUM_ELEMENTS = 119
_MAX_VALENCE = 8
#: Pairs handled at once: bounds the memory at about 100 MB.
_PAIRS_PER_BLOCK = 1_000_000


def _threshold_table() -> np.ndarray:
    """Return the distances in pm below which a pair is at least singly, doubly, triply bonded."""
    table = np.full((len(MARGINS_PM), _NUM_ELEMENTS, _NUM_ELEMENTS), -1.0)
    for order, (lengths, margin) in enumerate(zip(BOND_LENGTHS_PM, MARGINS_PM, strict=True)):
        for pair, length in lengths.items():
            first, second = (SYMBOL_NUMBERS[symbol] for symbol in pair.split("-"))
            table[order, first, second] = table[order, second, first] = length + margin
    return np.minimum.accumulate(table, axis=0)  # a higher order is looked for within the lower one only


def _valence_table() -> np.ndarray:
    table = np.zeros((_NUM_ELEMENTS, _MAX_VALENCE + 1), dtype=bool)
    for symbol, valences in ALLOWED_VALENCES.items():
        table[SYMBOL_NUMBERS[symbol], list(valences)] = True
    return table


_THRESHOLDS_PM, _ALLOWED = _threshold_table(), _valence_table()


@dataclass(frozen=True)
class Stability:
    """Outcome of the bond-length rule for a ragged list of molecules.

    Attributes
    ----------
    bonds
        Atom numbers of each perceived bond, counted over the whole list; the first is the smaller one.
        Sorted, so the bonds of one molecule stand together.
    orders
        Order of each bond: 1, 2 or 3.
    valence
        Sum of the bond orders of each atom.
    atom_stable
        Whether the valence is one of those allowed for the element.
    molecule_stable
        Whether all atoms of the molecule are stable.
    """

    bonds: Int[np.ndarray, "b 2"]
    orders: Int[np.ndarray, " b"]
    valence: Int[np.ndarray, " n"]
    atom_stable: Bool[np.ndarray, " n"]
    molecule_stable: Bool[np.ndarray, " m"]

    def fractions(self) -> dict[str, float]:
        """Return `atom_stability` and `molecule_stability`, the two published fractions (NaN if empty)."""
        parts = {"atom_stability": self.atom_stable, "molecule_stability": self.molecule_stable}
        return {name: float(part.mean()) if len(part) else float("nan") for name, part in parts.items()}


def stability(
    z: Int[np.ndarray, " n"] | Int[Tensor, " n"],
    pos: Float[np.ndarray, "n 3"] | Float[Tensor, "n 3"],
    ptr: Int[np.ndarray, " starts"] | Int[Tensor, " starts"],
) -> Stability:
    """Apply the published bond-length rule to many molecules at once.

    A pair is bonded if it is closer than the single-bond length plus 10 pm; within that it is a double
    bond if closer than the double-bond length plus 5 pm, and within that a triple bond if closer than the
    triple-bond length plus 3 pm. An atom is stable if the sum of its bond orders is allowed for its
    element. Invariant under E(3) and under permutation of the atoms of a molecule.

    Parameters
    ----------
    z
        Atomic numbers of all molecules, one after the other.
    pos
        Positions in angstrom; a pair with a position that is not finite is not bonded.
    ptr
        Row where each molecule begins, and the total at the end.

    Raises
    ------
    ShapeError
        If the lengths of `z`, `pos` and `ptr` do not agree.

    Notes
    -----
    A pair of elements without a published length is never bonded, as published. An element without a
    published valence, where the released program stops, is counted as unstable here. Delocalised and
    charged groups (aromatic rings, nitro, ammonium) may be counted as unstable: this is a property of the
    rule, and the reason why real QM9 molecules reach 95.2 %, not 100 %.

    References
    ----------
    Hoogeboom et al. (2022), arXiv:2203.17003, section 5.1 and appendix.
    """
    numbers, points, starts = (_numpy(values) for values in (z, pos, ptr))
    _check(numbers, points, starts)
    found = [_bonds_of_block(numbers, points, block) for block in _blocks(starts)]
    bonds = np.concatenate([bonds for bonds, _ in found]) if found else np.zeros((0, 2), dtype=np.int64)
    orders = np.concatenate([orders for _, orders in found]) if found else np.zeros(0, dtype=np.int64)
    rank = np.lexsort((bonds[:, 1], bonds[:, 0]))
    bonds, orders = bonds[rank], orders[rank]
    valence = np.bincount(bonds.ravel(), weights=np.repeat(orders, 2), minlength=len(numbers)).astype(
        np.int64
    )
    atom_stable = _ALLOWED[numbers, np.minimum(valence, _MAX_VALENCE)] & (valence <= _MAX_VALENCE)
    unstable_before = np.concatenate([[0], np.cumsum(~atom_stable)])
    molecule_stable = unstable_before[starts[1:]] == unstable_before[starts[:-1]]
    return Stability(bonds, orders, valence, atom_stable, molecule_stable)


def stable_fractions(
    molecules: Sequence[Molecule], *, num_lost: tuple[int, int] = (0, 0)
) -> dict[str, float]:
    """Return the two published fractions for a list of molecules.

    Parameters
    ----------
    molecules
        Records with `z` and `pos` in angstrom.
    num_lost
        Atoms and molecules that were asked for but could not be generated: they count as unstable.
    """
    sizes = [len(molecule.z) for molecule in molecules]
    if not sizes:
        return {"atom_stability": 0.0, "molecule_stability": 0.0}
    found = stability(
        np.concatenate([molecule.z for molecule in molecules]),
        np.concatenate([molecule.pos for molecule in molecules]),
        np.concatenate([[0], np.cumsum(sizes)]),
    )
    return {
        "atom_stability": float(found.atom_stable.sum() / (sum(sizes) + num_lost[0])),
        "molecule_stability": float(found.molecule_stable.sum() / (len(sizes) + num_lost[1])),
    }


def _numpy(values: np.ndarray | Tensor) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else values


def _check(z: np.ndarray, pos: np.ndarray, ptr: np.ndarray) -> None:
    if pos.shape != (len(z), 3):
        raise ShapeError(f"`pos` must have shape ({len(z)}, 3) to match `z`, got {pos.shape}")
    if len(ptr) < 1 or ptr[0] != 0 or ptr[-1] != len(z) or (np.diff(ptr) < 1).any():
        raise ShapeError(
            f"`ptr` must rise from 0 to the number of atoms ({len(z)}) without empty molecules, "
            f"got {len(ptr)} entries that end at {ptr[-1] if len(ptr) else None}"
        )
    if len(z) and (z.min() < 1 or z.max() >= _NUM_ELEMENTS):
        raise ShapeError(f"`z` must be atomic numbers from 1 to 118, got {int(z.min())} to {int(z.max())}")


def _blocks(ptr: np.ndarray) -> Iterator[np.ndarray]:
    """Yield atom numbers [molecules, size] of molecules of one size, so many that the pairs fit in memory."""
    sizes = np.diff(ptr)
    for size in np.unique(sizes):
        starts = ptr[:-1][sizes == size]
        step = max(1, _PAIRS_PER_BLOCK // max(1, int(size) * (int(size) - 1) // 2))
        for begin in range(0, len(starts), step):
            yield starts[begin : begin + step, None] + np.arange(size)


def _bonds_of_block(z: np.ndarray, pos: np.ndarray, atoms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.triu_indices(atoms.shape[1], k=1)
    i, j = atoms[:, first], atoms[:, second]
    points = pos[atoms].astype(np.float64)
    distance_pm = 100.0 * np.sqrt(((points[:, first] - points[:, second]) ** 2).sum(-1))
    near = distance_pm < _THRESHOLDS_PM[0].max()
    i, j, distance_pm = i[near], j[near], distance_pm[near]
    order = (distance_pm < _THRESHOLDS_PM[:, z[i], z[j]]).sum(0)
    bonded = order > 0
    return np.stack([i[bonded], j[bonded]], axis=1).astype(np.int64), order[bonded].astype(np.int64)

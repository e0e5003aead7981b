"""Lewis structures that RDKit perceives from atoms and positions, and the valences that follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Bool, Float, Int
from rdkit import Chem, rdBase
from rdkit.Chem import rdDetermineBonds

from geograph.interop.rdkit_molecules import (
    MAX_PERCEPTION_ITERATIONS,
    build_mol,
    connect,
    largest_fragment_smiles,
)

#: Number that stands for an aromatic bond among the bond orders 1, 2, 3 (0: no order was found).
AROMATIC = 4

_NO_BONDS, _NO_ORDERS = np.zeros((0, 2), dtype=np.int64), np.zeros(0, dtype=np.int64)
_NUM_ELEMENTS, _MAX_CHARGE, _MAX_VALENCE = 119, 4, 8
_ORDERS = {
    Chem.BondType.SINGLE: 1,
    Chem.BondType.DOUBLE: 2,
    Chem.BondType.TRIPLE: 3,
    Chem.BondType.AROMATIC: AROMATIC,
}
#: Outer electrons that an ion needs at least: fewer means an open octet, as in a carbocation.
_MIN_OUTER_ELECTRONS_OF_IONS = 4


@dataclass(frozen=True)
class Perception:
    """What RDKit finds in one molecule.

    Attributes
    ----------
    smiles
        Canonical SMILES of the largest fragment with explicit hydrogens and no stereo marks; empty if none.
    reason
        Why there is no SMILES; empty if there is one.
    is_connected
        Whether the bonds make one fragment.
    bonds
        Atom numbers of each bond.
    orders
        Order of each bond: 1, 2, 3, or `AROMATIC`; 0 where RDKit finds no structure.
    ring_sizes
        Number of atoms of each ring of a smallest set; none where RDKit finds no structure.
    atom_stable
        Whether the valence suits the element and its formal charge; False where there is no structure.
    """

    smiles: str
    reason: str
    is_connected: bool
    bonds: Int[np.ndarray, "b 2"]
    orders: Int[np.ndarray, " b"]
    ring_sizes: Int[np.ndarray, " r"]
    atom_stable: Bool[np.ndarray, " n"]


def perceive(z: Int[np.ndarray, " n"], pos: Float[np.ndarray, "n 3"], *, charge: int = 0) -> Perception:
    """Perceive the Lewis structure of a molecule and judge it.

    Atoms are bonded by their distances (`rdkit_molecules.connect`); RDKit then assigns bond orders and
    formal charges to these bonds (at most `MAX_PERCEPTION_ITERATIONS` assignments are tried) and sanitises
    the result. Invariant under E(3) up to rounding.

    Parameters
    ----------
    z
        Atomic numbers.
    pos
        Positions in angstrom.
    charge
        Total charge in elementary charges.

    References
    ----------
    The algorithm of RDKit: Kim and Kim, Bull. Korean Chem. Soc. 36, 1769 (2015).
    """
    mol, kekulized, reason = _assign(z, pos, charge)
    is_connected = len(Chem.GetMolFrags(mol)) == 1
    pairs = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in mol.GetBonds()]
    bonds = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    if kekulized is None:
        none, stable = np.zeros(len(bonds), dtype=np.int64), np.zeros(len(z), dtype=bool)
        return Perception("", reason, is_connected, bonds, none, _NO_ORDERS, stable)
    orders = np.array([_ORDERS.get(bond.GetBondType(), 0) for bond in mol.GetBonds()], dtype=np.int64)
    rings = np.array([len(ring) for ring in mol.GetRingInfo().AtomRings()], dtype=np.int64)
    stable = _atom_stable(z, kekulized)
    return Perception(largest_fragment_smiles(mol), "", is_connected, bonds, orders, rings, stable)


def lewis_structure(
    z: Int[np.ndarray, " n"], pos: Float[np.ndarray, "n 3"], *, charge: int = 0
) -> Chem.Mol | None:
    """Return the sanitised molecule with its conformer that `perceive` judges, or None if there is none."""
    mol, kekulized, _ = _assign(z, pos, charge)
    if kekulized is None:
        return None
    Chem.AssignStereochemistryFrom3D(mol)
    return mol


def _assign(z: np.ndarray, pos: np.ndarray, charge: int) -> tuple[Chem.Mol, Chem.Mol | None, str]:
    """Return the molecule with its bonds, its Kekulé structure (None where there is none), and why not."""
    mol = build_mol(z, _NO_BONDS, _NO_ORDERS, pos)
    with rdBase.BlockLogs():
        connect(mol)
        try:
            rdDetermineBonds.DetermineBondOrders(
                mol, charge=charge, maxIterations=MAX_PERCEPTION_ITERATIONS, embedChiral=False
            )
            kekulized = Chem.Mol(mol)
            Chem.SanitizeMol(mol)
        except (ValueError, RuntimeError) as error:  # no assignment; not sanitised; iterations used up
            return mol, None, " ".join(str(error).split()) or type(error).__name__
    return mol, kekulized, ""


def _atom_stable(z: np.ndarray, kekulized: Chem.Mol) -> np.ndarray:
    charges = np.array([atom.GetFormalCharge() for atom in kekulized.GetAtoms()], dtype=np.int64)
    orders = Chem.GetAdjacencyMatrix(kekulized, useBO=True)
    return valence_allowed(z, charges, np.rint(orders.sum(axis=1)).astype(np.int64))


def valence_allowed(
    z: Int[np.ndarray, " n"], charge: Int[np.ndarray, " n"], valence: Int[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    """Whether each atom's valence suits its element and its formal charge.

    An atom of atomic number Z and formal charge q may have the valences that RDKit's periodic table lists
    for the element Z - q, which has as many electrons (N+ like C: 4; O- like F: 1; O+ like N: 3). A charged
    atom must moreover be like an element of group 14 to 18, so that its octet is closed: a carbocation,
    which is like boron, is not allowed. Elements for which the table sets no limit are never allowed.

    Parameters
    ----------
    z
        Atomic numbers.
    charge
        Formal charges in elementary charges.
    valence
        Sums of the bond orders of a Kekulé structure, all hydrogens counted: whole numbers, so that no
        aromatic bond is rounded.
    """
    known = (np.abs(charge) <= _MAX_CHARGE) & (valence >= 0) & (valence <= _MAX_VALENCE)
    row = np.clip(charge, -_MAX_CHARGE, _MAX_CHARGE) + _MAX_CHARGE
    return known & _allowed_table()[z, row, np.clip(valence, 0, _MAX_VALENCE)]


@cache
def _allowed_table() -> np.ndarray:
    periodic = Chem.GetPeriodicTable()
    table = np.zeros((_NUM_ELEMENTS, 2 * _MAX_CHARGE + 1, _MAX_VALENCE + 1), dtype=bool)
    for number in range(1, _NUM_ELEMENTS):
        for charge in range(-_MAX_CHARGE, _MAX_CHARGE + 1):
            like = number - charge
            if not 1 <= like < _NUM_ELEMENTS:
                continue
            if charge and periodic.GetNOuterElecs(like) < _MIN_OUTER_ELECTRONS_OF_IONS:
                continue
            valences = [v for v in periodic.GetValenceList(like) if 0 <= v <= _MAX_VALENCE]
            table[number, charge + _MAX_CHARGE, valences] = True
    table.setflags(write=False)
    return table

"""Random molecular graphs in the spirit of QM9: grown atom by atom, filtered, written as canonical SMILES.

Conventions: neutral closed-shell molecules of C, N, O and F; hydrogens fill the normal valences. The
laws below are shares measured on QM9 (Ramakrishnan et al., Sci. Data 1, 140022, 2014); the histogram of
atom counts is that of the training part published with EDM (Hoogeboom et al., arXiv:2203.17003).
RDKit is imported inside the functions, so that the module costs nothing to import.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from rdkit.Chem import Mol

#: Free valences of an isolated atom.
VALENCE = {"C": 4, "N": 3, "O": 2, "F": 1}
#: Proposal laws, set so that what passes the filters resembles QM9 (which has, among the heavy atoms, 72 % C,
#: 12 % N, 16 % O): the filters remove hetero atoms, rings and pi bonds more often than their absence.
_ELEMENTS = ("C", "N", "O", "F")
_ELEMENT_SHARES = (0.64, 0.165, 0.191, 0.004)
#: Number of QM9 molecules (of the 114,581 with H, C, N, O alone) with 1, 2, ... 9 heavy atoms.
_HEAVY_COUNTS = (3, 5, 9, 29, 113, 527, 2757, 15655, 95483)
#: Proposed numbers of rings (0, 1, ...), ring sizes, and numbers of pi bonds (0, 1, ...).
_RING_COUNT_SHARES = (0.04, 0.18, 0.30, 0.30, 0.18)
_RING_SIZES = (3, 4, 5, 6, 7)
_RING_SIZE_SHARES = (0.22, 0.28, 0.36, 0.11, 0.03)
_PI_COUNT_SHARES = (0.08, 0.16, 0.30, 0.30, 0.16)

#: Atoms of a molecule (hydrogens included) -> number of molecules, in EDM's 100,000 training molecules.
QM9_ATOM_COUNTS = {
    3: 1, 4: 4, 5: 5, 6: 9, 7: 16, 8: 49, 9: 124, 10: 362, 11: 807, 12: 1689, 13: 3060, 14: 5136, 15: 7796,
    16: 10644, 17: 13025, 18: 13364, 19: 13832, 20: 9482, 21: 9970, 22: 3393, 23: 4848, 24: 539, 25: 1506,
    26: 48, 27: 266, 29: 25,
}  # fmt: skip

#: What may not stand in a molecule: name -> SMARTS. Mostly groups that fall apart or rearrange.
FILTERS = {
    "oxygen-oxygen bond": "[#8]~[#8]",
    "N-N-N chain": "[#7]~[#7]~[#7]",
    "N-N-O chain": "[#7]~[#7]~[#8]",
    "O-N-O chain": "[#8]~[#7]~[#8]",
    "N-O-N outside an aromatic ring": "[#7]~[OX2]~[#7]",
    "sp3 N-O": "[NX3;!$(N[CX3]=[O,N])]-[OX2]",
    "sp3 N-N": "[NX3;!$(N[CX3]=[O,N]);!$(N-N=C)]-[NX3;!$(N[CX3]=[O,N])]",
    "azo": "[NX2]=[NX2]",
    "two hetero atoms in a three-membered ring": "[#7,#8]1~[#7,#8]~*1",
    "fluorine on a hetero atom": "F~[!#6]",
    "cumulated double bonds": "*=*=*",
    "triple bond in a ring": "*#@*",
    "double bond in a three-membered ring": "*1=**1",
    "double bond in a four-membered ring": "*1=***1",
    "aromatic atom in a three-membered ring": "[a;r3]",
    "aromatic atom in a four-membered ring": "[a;r4]",
    "two fused three-membered rings": "*12~*~*1~*2",
    "enol": "[CX3;!a]=[CX3;!a]-[OX2H]",
    "enamine": "[CX3;!a]=[CX3;!a]-[NX3;H1,H2;!$(N[CX3]=O)]",
    "ynol or ynamine": "[CX2]#[CX2]-[$([OX2H]),$([NX3;H1,H2])]",
    "hemiaminal or gem-diol": "[OX2H,$([NX3H2])]-[CX4]-[#7,#8]",
    "nitroso": "[#7]=O",
    "three hetero atoms on one sp3 carbon": "[CX4]([#7,#8])([#7,#8])[#7,#8]",
    "carbonic or carbamic acid": "O=C([OX2H])[#7,#8]",
    "acyl fluoride on a hetero atom": "F-C([#7,#8])=O",
}


def heavy_atom_shares(max_heavy_atoms: int) -> np.ndarray:
    """Shares of molecules with 1, 2, ... `max_heavy_atoms` heavy atoms, as in QM9."""
    counts = np.asarray(_HEAVY_COUNTS[:max_heavy_atoms], dtype=np.float64)
    return counts / counts.sum()


class _Graph:
    """A growing heavy-atom graph: elements, bond orders and the valences that are still free."""

    def __init__(self, elements: list[str]) -> None:
        self.elements = elements
        self.free = [VALENCE[e] for e in elements]
        self.order: dict[tuple[int, int], int] = {}

    def bond(self, i: int, j: int) -> None:
        """Add one to the bond order between i and j."""
        key = (min(i, j), max(i, j))
        self.order[key] = self.order.get(key, 0) + 1
        self.free[i] -= 1
        self.free[j] -= 1

    def distances(self) -> np.ndarray:
        """Topological distances, by repeated multiplication with the adjacency matrix."""
        count = len(self.elements)
        adjacency = np.zeros((count, count), dtype=bool)
        for i, j in self.order:
            adjacency[i, j] = adjacency[j, i] = True
        distance = np.full((count, count), count, dtype=np.int64)
        reached = np.eye(count, dtype=bool)
        for step in range(count):
            distance[reached & (distance == count)] = step
            reached = reached | (reached @ adjacency)
        return distance


def _grow_tree(graph: _Graph, rng: np.random.Generator) -> bool:
    for new in range(1, len(graph.elements)):
        # The square root favours chains over stars, as in the molecules of GDB.
        weights = np.sqrt(np.asarray(graph.free[:new], dtype=np.float64))
        if not weights.any():
            return False
        graph.bond(int(rng.choice(new, p=weights / weights.sum())), new)
    return True


def _close_rings(graph: _Graph, count: int, rng: np.random.Generator) -> bool:
    for _ in range(count):
        size = int(rng.choice(_RING_SIZES, p=_RING_SIZE_SHARES))
        free = np.asarray(graph.free) > 0
        pairs = np.argwhere(np.triu((graph.distances() == size - 1) & free[:, None] & free[None, :]))
        if not len(pairs):
            return False
        i, j = pairs[rng.integers(len(pairs))]
        graph.bond(int(i), int(j))
    return True


def _pi_weight(graph: _Graph, bond: tuple[int, int], pi_atoms: set[int]) -> float:
    i, j = bond
    if min(graph.free[i], graph.free[j]) < 1 or graph.order[bond] > 2:
        return 0.0
    elements = {graph.elements[i], graph.elements[j]}
    weight = 4.0 if elements == {"C", "O"} else 1.0
    neighbours = {k for key in graph.order if i in key or j in key for k in key} - {i, j}
    return weight * (3.0 if neighbours & pi_atoms and not {i, j} & pi_atoms else 1.0)


def _add_pi_bonds(graph: _Graph, count: int, rng: np.random.Generator) -> bool:
    bonds = list(graph.order)
    for _ in range(count):
        pi_atoms = {k for bond, order in graph.order.items() if order > 1 for k in bond}
        weights = np.array([_pi_weight(graph, bond, pi_atoms) for bond in bonds])
        if not weights.any():
            return False
        graph.bond(*bonds[int(rng.choice(len(bonds), p=weights / weights.sum()))])
    return True


def _to_mol(graph: _Graph) -> Mol:
    from rdkit import Chem

    mol = Chem.RWMol()
    for element in graph.elements:
        mol.AddAtom(Chem.Atom(element))
    kinds = (Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE)
    for (i, j), order in graph.order.items():
        mol.AddBond(i, j, kinds[order - 1])
    Chem.SanitizeMol(mol)
    return mol.GetMol()


def random_graph(rng: np.random.Generator, max_heavy_atoms: int = 9) -> Mol | None:
    """One random molecular graph, or None where the drawn rings and bonds do not fit the valences."""
    shares = heavy_atom_shares(max_heavy_atoms)
    count = int(rng.choice(len(shares), p=shares)) + 1
    graph = _Graph([str(e) for e in rng.choice(_ELEMENTS, size=count, p=_ELEMENT_SHARES)])
    rings = int(rng.choice(len(_RING_COUNT_SHARES), p=_RING_COUNT_SHARES))
    pi_bonds = int(rng.choice(len(_PI_COUNT_SHARES), p=_PI_COUNT_SHARES))
    grown = _grow_tree(graph, rng) and _close_rings(graph, rings, rng) and _add_pi_bonds(graph, pi_bonds, rng)
    return _to_mol(graph) if grown else None


@cache
def _patterns() -> dict[str, Mol]:
    from rdkit import Chem

    return {name: Chem.MolFromSmarts(smarts) for name, smarts in FILTERS.items()}


def refusal(mol: Mol) -> str | None:
    """Name of the first filter that the sanitised molecule `mol` does not pass, or None.

    Bridgehead atoms with a double or aromatic bond are found from the rings (Bredt's rule: all bicycles of
    nine atoms are too small for one); the rest is `FILTERS`.
    """
    from rdkit.Chem import rdMolDescriptors

    for name, pattern in _patterns().items():
        if mol.HasSubstructMatch(pattern):
            return name
    bridgeheads: Any = []  # filled in place; the type stubs of RDKit name another type
    rdMolDescriptors.CalcNumBridgeheadAtoms(mol, atoms=bridgeheads)
    for index in bridgeheads:
        if any(bond.GetBondTypeAsDouble() > 1 for bond in mol.GetAtomWithIdx(index).GetBonds()):
            return "double bond at a bridgehead (Bredt)"
    return None


def grow_smiles(
    seed: int, chunk: int, pool_size: int, max_heavy_atoms: int = 9, max_tries: int = 40
) -> dict[str, int]:
    """Canonical SMILES of up to `pool_size` molecules that pass the filters, with their atom counts.

    Parameters
    ----------
    seed, chunk
        Together they seed the random numbers.
    pool_size
        How many molecules to look for.
    max_heavy_atoms
        Largest number of C, N, O, F atoms, 1 to 9.
    max_tries
        Give up after this many random graphs for each molecule looked for: small molecules run out.
    """
    from rdkit import Chem

    rng = np.random.default_rng([seed, chunk])
    found: dict[str, int] = {}
    for _ in range(max_tries * pool_size):
        if len(found) == pool_size:
            break
        mol = random_graph(rng, max_heavy_atoms)
        if mol is not None and refusal(mol) is None:
            hydrogens = sum(atom.GetTotalNumHs() for atom in mol.GetAtoms())
            found.setdefault(Chem.MolToSmiles(mol), mol.GetNumAtoms() + hydrogens)
    return found


def thin_to_qm9(pool: dict[str, int], count: int, rng: np.random.Generator) -> list[str]:
    """Choose `count` molecules of `pool` whose atom counts follow the QM9 histogram, if the pool allows.

    Each size gets its share of `count` (fractions rounded up or down at random); what a size cannot deliver
    is filled from the molecules left over. The order is random.

    References
    ----------
    Hoogeboom et al. (2022), arXiv:2203.17003: the histogram, from QM9's training part.
    """
    smiles = list(pool)
    order = rng.permutation(len(smiles))
    total = sum(QM9_ATOM_COUNTS.values())
    quota = Counter({n: int(count * share / total + rng.random()) for n, share in QM9_ATOM_COUNTS.items()})
    chosen, left = [], []
    for index in order:
        size = pool[smiles[index]]
        if quota[size] > 0:
            quota[size] -= 1
            chosen.append(smiles[index])
        else:
            left.append(smiles[index])
    chosen = (chosen + left)[:count]
    return [chosen[i] for i in rng.permutation(len(chosen))]

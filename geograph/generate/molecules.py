"""Small organic molecules made offline: random graphs, ETKDG and MMFF geometries, GFN2-xTB optima and labels.

The labels are those of GFN2-xTB, not of density functional theory: errors on them must not be compared
with published QM9 errors. RDKit, ASE and tblite are imported inside the functions.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from geograph.errors import ConfigError, DataError
from geograph.generate.molecular_graphs import grow_smiles, thin_to_qm9
from geograph.generate.xtb import OptimisationError, relax
from geograph.parallel import run_chunks
from geograph.records import Molecule

#: How many graphs are grown for each one that the histogram of atom counts lets through.
_POOL_FACTOR = 2
#: Candidates tried for each molecule still wanted: about one in six is rejected.
_CANDIDATES_PER_MOLECULE = 1.25
_MOLECULES_PER_JOB = 8
#: Two atoms count as bonded below this multiple of the sum of their covalent radii.
_BOND_FACTOR = 1.2
_MAX_HEAVY_ATOMS = 9


@dataclass(frozen=True)
class GeneratedMolecules:
    """What came out of one generation.

    Attributes
    ----------
    molecules
        The molecules, in the order of their candidates.
    rejected
        SMILES and reason of every candidate that was tried before the last molecule and failed.
    """

    molecules: list[Molecule]
    rejected: list[tuple[str, str]] = field(default_factory=list)

    def reject_counts(self) -> dict[str, int]:
        """Count the rejected candidates by reason, without the numbers in the reasons."""
        return dict(Counter(reason.split(":")[0] for _, reason in self.rejected))


@dataclass(frozen=True)
class Relaxation:
    """Settings of the geometry optimisation and of the checks that follow it.

    Attributes
    ----------
    fmax_ev_per_angstrom
        Largest force left on an atom.
    max_steps
        Largest number of energy evaluations.
    min_gap_ev
        Molecules with a smaller HOMO-LUMO gap are rejected.
    """

    fmax_ev_per_angstrom: float = 0.05
    max_steps: int = 200
    min_gap_ev: float = 1.5


def generate_molecules(
    num_molecules: int,
    *,
    seed: int,
    num_workers: int = 1,
    chunk_size: int = 100,
    max_heavy_atoms: int = _MAX_HEAVY_ATOMS,
    fmax_ev_per_angstrom: float = 0.05,
    max_steps: int = 200,
    min_gap_ev: float = 1.5,
) -> GeneratedMolecules:
    """Make exactly `num_molecules` different molecules with GFN2-xTB geometries and labels.

    The candidates are one stream of SMILES that `seed`, `chunk_size` and `max_heavy_atoms` determine; each
    geometry depends on its SMILES alone. The result is the first `num_molecules` of the stream that pass, so
    that it is the same for every `num_workers`. On another kind of processor the last bits can differ.

    Parameters
    ----------
    num_molecules
        How many molecules to make.
    seed
        Seed of the molecular graphs.
    num_workers
        Number of processes, one thread each.
    chunk_size
        Candidates drawn with one random generator.
    max_heavy_atoms
        Largest number of C, N, O, F atoms, 1 to 9.
    fmax_ev_per_angstrom
        Largest force left on an atom.
    max_steps
        Largest number of energy evaluations of one optimisation.
    min_gap_ev
        Molecules with a smaller HOMO-LUMO gap are rejected.

    Returns
    -------
    Molecules with the properties `energy_ev` (total GFN2 energy), `homo_ev`, `lumo_ev`, `gap_ev` and
    `dipole_debye` (magnitude), and the rejected candidates.

    Raises
    ------
    ConfigError
        If a parameter is out of range.
    DataError
        If there are not so many different molecules to be found.
    MissingExtraError
        If tblite is not installed.
    """
    _check(num_molecules, chunk_size, max_heavy_atoms, fmax_ev_per_angstrom)
    settings = Relaxation(fmax_ev_per_angstrom, max_steps, min_gap_ev)
    stream = _Candidates(seed, chunk_size, max_heavy_atoms, num_workers)
    molecules: list[Molecule] = []
    rejected: list[tuple[str, str]] = []
    while len(molecules) < num_molecules:
        wanted = math.ceil(_CANDIDATES_PER_MOLECULE * (num_molecules - len(molecules)))
        smiles = stream.take(wanted)
        starts = range(0, len(smiles), _MOLECULES_PER_JOB)
        jobs = [(smiles[start : start + _MOLECULES_PER_JOB], settings) for start in starts]
        results = run_chunks(relax_smiles, jobs, num_workers=num_workers, description="relaxing molecules")
        for text, outcome in zip(smiles, (one for part in results for one in part), strict=True):
            if len(molecules) == num_molecules:
                break
            if isinstance(outcome, Molecule):
                molecules.append(outcome)
            else:
                rejected.append((text, outcome))
    return GeneratedMolecules(molecules, rejected)


def _check(num_molecules: int, chunk_size: int, max_heavy_atoms: int, fmax: float) -> None:
    for name, value in (("num_molecules", num_molecules), ("chunk_size", chunk_size)):
        if value < 1:
            raise ConfigError(f"`{name}` must be at least 1, got {value}")
    if not 1 <= max_heavy_atoms <= _MAX_HEAVY_ATOMS:
        raise ConfigError(f"`max_heavy_atoms` must be 1 to {_MAX_HEAVY_ATOMS}, got {max_heavy_atoms}")
    if not fmax > 0:
        raise ConfigError(f"`fmax_ev_per_angstrom` must be positive, got {fmax}")


class _Candidates:
    """The stream of different SMILES, grown chunk by chunk."""

    def __init__(self, seed: int, chunk_size: int, max_heavy_atoms: int, num_workers: int) -> None:
        self._seed, self._chunk_size = seed, chunk_size
        self._max_heavy_atoms, self._num_workers = max_heavy_atoms, num_workers
        self._num_chunks = 0
        self._seen: set[str] = set()
        self._waiting: list[str] = []

    def take(self, count: int) -> list[str]:
        """Return the next `count` SMILES, or what there is before the molecules run out, never nothing."""
        while len(self._waiting) < count:
            missing = math.ceil((count - len(self._waiting)) / self._chunk_size)
            before = len(self._waiting)
            self._grow(missing)
            if len(self._waiting) == before:
                break
        if not self._waiting:
            raise DataError(
                f"no new molecule with at most {self._max_heavy_atoms} heavy atoms in the last chunk of"
                f" {self._chunk_size}, after {len(self._seen)} different ones",
                source="molecule generator",
                remedy="ask for fewer molecules or raise `max_heavy_atoms`",
            )
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken

    def _grow(self, num_chunks: int) -> None:
        first = self._num_chunks
        self._num_chunks += num_chunks
        jobs = [
            (self._seed, chunk, self._chunk_size, self._max_heavy_atoms)
            for chunk in range(first, self._num_chunks)
        ]
        chunks = run_chunks(
            candidate_chunk, jobs, num_workers=self._num_workers, description="growing molecular graphs"
        )
        for smiles in (text for chunk in chunks for text in chunk):
            if smiles not in self._seen:
                self._seen.add(smiles)
                self._waiting.append(smiles)


def candidate_chunk(seed: int, chunk: int, chunk_size: int, max_heavy_atoms: int) -> list[str]:
    """One chunk of candidate SMILES, thinned to the atom counts of QM9."""
    pool = grow_smiles(seed, chunk, _POOL_FACTOR * chunk_size, max_heavy_atoms)
    return thin_to_qm9(pool, chunk_size, np.random.default_rng([seed, chunk, 1]))


def relax_smiles(smiles: list[str], settings: Relaxation) -> list[Molecule | str]:
    """For each SMILES the relaxed molecule, or the reason why there is none."""
    return [_relax_one(text, settings) for text in smiles]


def _relax_one(smiles: str, settings: Relaxation) -> Molecule | str:
    embedded = embed(smiles)
    if embedded is None:
        return "no force-field geometry"
    z, pos, bonds = embedded
    try:
        relaxed = relax(
            z, pos, fmax_ev_per_angstrom=settings.fmax_ev_per_angstrom, max_steps=settings.max_steps
        )
    except OptimisationError as error:
        return f"not converged: {error}"
    if relaxed.gap_ev < settings.min_gap_ev:
        return f"small gap: {relaxed.gap_ev:.2f} eV"
    if not np.array_equal(bonded_pairs(z, relaxed.pos), bonds):
        return "connectivity changed"
    return Molecule(z, relaxed.pos, properties=relaxed.labels(), id=smiles, smiles=smiles)


def embed(
    smiles: str,
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 3"], Int[np.ndarray, "bonds 2"]] | None:
    """Atomic numbers, MMFF94 geometry (angstrom) and bonds of one conformer, or None where there is none.

    ETKDGv3 starts from a seed that is the MD5 sum of the SMILES, so the geometry depends on nothing else.

    References
    ----------
    ETKDGv3: Wang et al., J. Chem. Inf. Model. 60, 2044 (2020).
    MMFF94: Halgren, J. Comput. Chem. 17, 490 (1996).
    """
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

    with rdBase.BlockLogs():
        mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
        parameters = rdDistGeom.ETKDGv3()
        digest = hashlib.md5(smiles.encode(), usedforsecurity=False).digest()
        seed = int.from_bytes(digest[:4], "little") & 0x7FFFFFFF
        parameters.randomSeed = seed  # type: ignore[assignment]
        if rdDistGeom.EmbedMolecule(mol, parameters) != 0:
            return None
        # -1: no parameters. 1: not converged within the steps, still a fair start for GFN2-xTB.
        if rdForceFieldHelpers.MMFFOptimizeMolecule(mol, maxIters=1000) == -1:
            return None
    z = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()], dtype=np.int64)
    bonds = sorted(tuple(sorted((b.GetBeginAtomIdx(), b.GetEndAtomIdx()))) for b in mol.GetBonds())
    return z, mol.GetConformer().GetPositions(), np.array(bonds, dtype=np.int64).reshape(-1, 2)


def bonded_pairs(z: Int[np.ndarray, " n"], pos: Float[np.ndarray, "n 3"]) -> Int[np.ndarray, "bonds 2"]:
    """Pairs i < j of atoms closer than 1.2 times the sum of their covalent radii, in order."""
    from ase.data import covalent_radii

    radii = covalent_radii[z]
    distance = np.linalg.norm(pos[:, None] - pos[None], axis=-1)
    return np.argwhere(np.triu(distance < _BOND_FACTOR * (radii[:, None] + radii[None]), k=1))

"""Fragments of molecules in files: by atom numbers, by a SMARTS pattern, or all that the file has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rdkit import Chem, rdBase

from geograph.errors import ConfigError, DataError
from geograph.interop.molecule_files import read_molecule_files
from geograph.interop.rdkit_molecules import perceive_mol
from geograph.records import Molecule

_SDF_SUFFIXES = (".sdf", ".sd", ".mol")


def read_fragment(
    path: str | Path, *, atoms: Sequence[int] | None = None, smarts: str | None = None
) -> Molecule:
    """Read the atoms that a sampled molecule is to contain.

    Without a choice of atoms all molecules of the file are taken together, as pieces of one fragment: two
    records with their relative pose are two pieces to be linked.

    Parameters
    ----------
    path
        Molecule file with one molecule, or with the pieces; positions in angstrom.
    atoms
        Numbers of the atoms to take, from 0, in the order of the file.
    smarts
        Pattern of the atoms to take; it must match once. Bonds are those of an SDF, else perceived.
        Hydrogens are atoms like others: the pattern has to name them.

    Raises
    ------
    ConfigError
        If both choices are given, an atom does not exist or is named twice, or the pattern is no SMARTS.
    DataError
        If the file cannot be read, has several molecules to choose from, or the pattern does not match once.
    """
    if atoms is not None and smarts is not None:
        raise ConfigError("`atoms` and `smarts` both choose the atoms of the fragment; give one of them.")
    molecules = read_molecule_files(path)
    if atoms is None and smarts is None:
        z = np.concatenate([molecule.z for molecule in molecules])
        pos = np.concatenate([molecule.pos for molecule in molecules])
        return Molecule(z, pos, id=molecules[0].id)
    if len(molecules) > 1:
        raise DataError(
            f"{len(molecules)} molecules, of which one is to be chosen from",
            source=path,
            remedy="give a file with one molecule to choose atoms of it",
        )
    molecule = molecules[0]
    chosen = match_smarts(molecule, smarts, path) if smarts is not None else list(atoms or ())
    if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(range(len(molecule.z))):
        raise ConfigError(
            f"`atoms` must be different numbers from 0 to {len(molecule.z) - 1}, got {chosen}; count from 0."
        )
    return Molecule(molecule.z[chosen], molecule.pos[chosen], id=molecule.id)


def match_smarts(molecule: Molecule, smarts: str, path: str | Path) -> list[int]:
    """Find the atoms that match a pattern, in its order.

    Parameters
    ----------
    molecule
        The molecule.
    smarts
        The pattern.
    path
        File that it was read from; an SDF is asked for its bonds.

    Raises
    ------
    ConfigError
        If the pattern is no SMARTS.
    DataError
        If the molecule has no bonds that RDKit accepts, or the pattern does not match exactly once.
    """
    with rdBase.BlockLogs():
        pattern = Chem.MolFromSmarts(smarts)
    if pattern is None or pattern.GetNumAtoms() == 0:
        raise ConfigError(f"`smarts` must be a SMARTS pattern, got {smarts!r}; RDKit cannot read it.")
    matches = _with_bonds(molecule, Path(path)).GetSubstructMatches(pattern, uniquify=True)
    if len(matches) == 1:
        return list(matches[0])
    if not matches:
        raise DataError(
            f"the pattern {smarts} does not match", source=path, remedy="check it, or choose atoms by number"
        )
    found = "; ".join(",".join(map(str, match)) for match in matches[:5])
    more = "" if len(matches) <= 5 else "; ..."
    raise DataError(
        f"the pattern {smarts} matches {len(matches)} times (atoms {found}{more})",
        source=path,
        remedy="make it more specific, or choose atoms by number",
    )


def _with_bonds(molecule: Molecule, path: Path) -> Chem.Mol:
    """RDKit molecule with bonds and aromaticity, its atoms in the order of the record."""
    if path.suffix.lower() in _SDF_SUFFIXES:
        with rdBase.BlockLogs():
            mol = Chem.MolFromMolBlock(path.read_text(encoding="utf-8", errors="replace"), removeHs=False)
        if mol is not None and mol.GetNumBonds() and mol.GetNumAtoms() == len(molecule.z):
            return mol
    mol, is_perceived = perceive_mol(molecule.z, molecule.pos)
    if not is_perceived:
        raise DataError(
            "RDKit finds no bonds to match a pattern against",
            source=path,
            remedy="give an SDF with bonds, or choose atoms by number",
        )
    with rdBase.BlockLogs():
        Chem.SanitizeMol(mol)
    return mol

"""Fragments from files: all pieces, atoms by number, atoms by SMARTS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule as ase_molecule

from geograph.errors import ConfigError, DataError
from geograph.interop.fragments import read_fragment
from geograph.interop.molecule_files import write_molecules
from geograph.records import Molecule


def record(name: str, shift: float = 0.0) -> Molecule:
    atoms = ase_molecule(name)
    return Molecule(atoms.numbers.astype(np.int64), atoms.positions + shift, id=name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_molecules(tmp_path / "acetamide.sdf", [record("CH3CONH2")])
    write_molecules(tmp_path / "acetamide.extxyz", [record("CH3CONH2")])
    write_molecules(tmp_path / "pieces.sdf", [record("H2O"), record("CH4", shift=6.0)])
    return tmp_path


def test_all_records_are_pieces_of_one_fragment(folder: Path) -> None:
    fragment = read_fragment(folder / "pieces.sdf")
    assert fragment.z.tolist() == [8, 1, 1, 6, 1, 1, 1, 1]
    expected = np.concatenate([record("H2O").pos, record("CH4", shift=6.0).pos])
    np.testing.assert_allclose(fragment.pos, expected, atol=5.1e-5)


def test_atoms_are_taken_by_number_in_the_order_asked(folder: Path) -> None:
    whole = record("CH3CONH2")
    fragment = read_fragment(folder / "acetamide.extxyz", atoms=[2, 0])
    assert fragment.z.tolist() == whole.z[[2, 0]].tolist()
    assert np.array_equal(fragment.pos, whole.pos[[2, 0]])


@pytest.mark.parametrize("suffix", ["sdf", "extxyz"])
def test_atoms_are_taken_by_pattern_in_its_order(folder: Path, suffix: str) -> None:
    fragment = read_fragment(folder / f"acetamide.{suffix}", smarts="[NX3]C(=O)[CH3]")
    assert fragment.z.tolist() == [7, 6, 8, 6]
    distances = np.linalg.norm(fragment.pos - fragment.pos[1], axis=1)
    np.testing.assert_allclose(distances, [1.38, 0.0, 1.22, 1.52], atol=0.04)


def test_bonds_of_an_sdf_are_believed(folder: Path) -> None:
    write_molecules(folder / "ethene.sdf", [record("C2H4")])
    text = (folder / "ethene.sdf").read_text()
    assert text.count("\n  1  2  2") == 1
    (folder / "single.sdf").write_text(text.replace("\n  1  2  2", "\n  1  2  1"))
    assert len(read_fragment(folder / "ethene.sdf", smarts="C=C").z) == 2
    assert len(read_fragment(folder / "single.sdf", smarts="C-C").z) == 2
    with pytest.raises(DataError, match="single.sdf: the pattern C=C does not match; check it, or choose"):
        read_fragment(folder / "single.sdf", smarts="C=C")


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("acetamide.sdf", {"atoms": [0], "smarts": "C"}, ConfigError, "`atoms` and `smarts` both choose"),
        (
            "acetamide.sdf",
            {"atoms": [0, 9]},
            ConfigError,
            r"`atoms` must be .* 0 to 8, got \[0, 9\]",
        ),
        ("acetamide.sdf", {"atoms": [0, 0]}, ConfigError, r"`atoms` must be different .* got \[0, 0\]"),
        ("acetamide.sdf", {"atoms": [-1]}, ConfigError, r"`atoms` must be different .* got \[-1\]"),
        ("acetamide.sdf", {"atoms": []}, ConfigError, r"`atoms` must be different .* got \[\]"),
        ("acetamide.sdf", {"smarts": "C(("}, ConfigError, "`smarts` must be a SMARTS pattern, got 'C"),
        ("acetamide.sdf", {"smarts": ""}, ConfigError, "`smarts` must be a SMARTS pattern, got ''"),
        ("acetamide.sdf", {"smarts": "F"}, DataError, "acetamide.sdf: the pattern F does not match; check"),
        ("acetamide.sdf", {"smarts": "[#1]"}, DataError, r"matches 5 times \(atoms .*;.*\); make it more"),
        ("pieces.sdf", {"atoms": [0]}, DataError, "pieces.sdf: 2 molecules, of which one is to be chosen"),
        ("none.sdf", {}, DataError, "none.sdf: no such file"),
    ],
)
def test_bad_choice_is_named(
    folder: Path, name: str, options: dict, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        read_fragment(folder / name, **options)


def test_a_file_without_bonds_is_named(tmp_path: Path) -> None:
    # Far apart, with open valences: RDKit assigns no bonds.
    broken = Molecule(np.array([6, 6, 6]), np.array([[0.0, 0, 0], [1.4, 0, 0], [2.8, 0, 0]]))
    write_molecules(tmp_path / "broken.xyz", [broken])
    with pytest.raises(DataError, match="RDKit finds no bonds to match a pattern against; give an SDF with"):
        read_fragment(tmp_path / "broken.xyz", smarts="CC")


def test_empty_and_corrupt_fragments_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.sdf").write_text("")
    with pytest.raises(DataError, match="empty.sdf"):
        read_fragment(tmp_path / "empty.sdf")
    (tmp_path / "cut.sdf").write_text("title\n\n\n  3  2  0  0  0  0  0  0  0  0999 V2000\n")
    with pytest.raises(DataError, match="cut.sdf.*M  END"):
        read_fragment(tmp_path / "cut.sdf")

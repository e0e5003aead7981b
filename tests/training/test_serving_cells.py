from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from geograph.errors import ConfigError
from geograph.training.serving_cells import molecule_columns, parsed_list

Z, POS = [8, 1, 1], [[0.0, 0.0, 0.1], [0.0, 0.8, -0.5], [0.0, -0.8, -0.5]]
XYZ = "3\nwater\nO 0.0 0.0 0.1\nh 0.0 0.8 -0.5\nH 0.0 -0.8 -0.5\n"


def mol_block() -> str:
    from geograph.interop.rdkit_molecules import mol_block

    return mol_block(np.array(Z), np.array(POS), "water")


@pytest.mark.parametrize(
    "columns",
    [
        {"z": [Z], "pos": [POS]},
        {"z": [json.dumps(Z)], "pos": [json.dumps(POS)]},
        {"z": [np.array(Z)], "pos": [np.array(POS)], "smiles": ["ignored"]},
        {"z": [None], "pos": [float("nan")], "xyz": [XYZ], "smiles": ["ignored"]},
        {"z": [[str(z) for z in Z]], "pos": [[[str(x) for x in place] for place in POS]]},
        {"molblock": [mol_block()], "xyz": [""]},
        {"xyz": [XYZ.replace("\n", "\r\n")]},
    ],
    ids=["lists", "JSON", "arrays", "xyz beside empty cells", "texts", "mol block", "other line ends"],
)
def test_every_way_gives_the_same_molecule(columns: dict[str, list[Any]]) -> None:
    assert molecule_columns(columns) == {"z": [Z], "pos": [POS]}


def test_smiles_get_hydrogens_and_a_geometry_of_their_seed() -> None:
    first, again, other = (molecule_columns({"smiles": ["CO"]}, seed) for seed in (0, 0, 1))
    assert first["z"] == [[6, 8, 1, 1, 1, 1]]
    assert first == again
    assert first["pos"] != other["pos"]
    carbon, oxygen = np.array(first["pos"][0])[:2]
    assert 1.3 < np.linalg.norm(carbon - oxygen) < 1.55


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [1]}, "the table must have the columns `z` and `pos`, or one of molblock, xyz, smiles, got a"),
        ({"z": [None], "smiles": [None]}, "row 0: no molecule in any of the columns z, pos, molblock, xyz,"),
        ({"z": [Z], "pos": [None]}, "row 0: the column `pos` is empty or missing; give both"),
        ({"z": ["8, 1"], "pos": [POS]}, r"row 0: the column `z` must hold a list or the JSON text .*'8, 1'"),
        ({"z": ["8"], "pos": [POS]}, "row 0: the column `z` must hold a list, got 8"),
        ({"z": [[8.5, 1, 1]], "pos": [POS]}, "row 0: the column `z` must list atomic numbers, got"),
        ({"z": [[8, 1, 0]], "pos": [POS]}, "row 0: the column `z` must list atomic numbers from 1 to 118"),
        (
            {"z": [Z], "pos": [[[0, 0]] * 3]},
            "row 0: the column `pos` must list three finite coordinates .* atom 0",
        ),
        ({"z": [Z], "pos": ["[[0, 0, NaN]]"]}, "three finite coordinates for each atom"),
        ({"z": [Z, [1, 1]], "pos": [POS, POS]}, "row 1: `pos` must have 2 entries like `z`, got 3"),
        ({"smiles": ["C", "C(C"]}, "row 1: the column `smiles` holds no molecule .*cannot parse the SMILES"),
        ({"smiles": ["*"]}, "row 0: the column `smiles` holds no molecule .*dummy atoms"),
        (
            {"molblock": ["text"]},
            "row 0: the column `molblock` holds no molecule .*cannot read the mol block",
        ),
        ({"molblock": [mol_block().replace("3D", "2D")]}, "row 0: the column `molblock` .*a 2-D drawing"),
        ({"xyz": ["2\n\nO 0 0 0\n"]}, "row 0: the column `xyz` .*2 atoms announced, 1 lines of atoms"),
        ({"xyz": ["1\n\nQq 0 0 0\n"]}, "row 0: the column `xyz` .*unknown element 'Qq'"),
        ({"xyz": ["1\n\nO 0 0 nan\n"]}, "row 0: the column `xyz` .*a coordinate is not finite"),
        ({"xyz": ["water"]}, "row 0: the column `xyz` holds no molecule that can be read .*invalid literal"),
    ],
)
def test_errors_name_row_and_column(columns: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        molecule_columns(columns)


def test_a_seed_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match="`seed` must be from 0 to 2147483646, got -1"):
        molecule_columns({"smiles": ["C"]}, -1)


def test_a_list_is_a_list() -> None:
    assert parsed_list("[1, 2]", 0, "z") == [1, 2]
    assert parsed_list(np.arange(2), 0, "z") == [0, 1]
    with pytest.raises(ConfigError, match="row 3: the column `z` must hold a list, got an empty cell"):
        parsed_list("  ", 3, "z")

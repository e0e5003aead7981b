from __future__ import annotations

import pickle
from functools import partial

import numpy as np
import pytest

from geograph.errors import ConfigError, DataError
from geograph.featurize.sphere_atoms import pair_harmonic, potential_harmonic
from geograph.featurize.sphere_molecule import molecule_sphere, smallest_distance
from geograph.readers.qm7 import read_qm7
from geograph.records import Molecule


def _water(**options) -> Molecule:
    pos = np.array([[0.0, 0, 0.119], [0, 0.763, -0.477], [0, -0.763, -0.477]])
    return Molecule(
        np.array([8, 1, 1]), pos, **({"id": "water", "properties": {"energy_ev": -9.5}} | options)
    )


def test_smallest_distance():
    lone = Molecule(np.array([2]), np.zeros((1, 3)), id="helium")
    close = Molecule(np.array([1, 1]), np.array([[0.0, 0, 0], [0, 0, 0.74]]), id="hydrogen")
    assert smallest_distance(iter([lone, _water(), close])) == pytest.approx(0.74)
    with pytest.raises(DataError, match="no molecule has two atoms"):
        smallest_distance([lone])
    with pytest.raises(DataError, match="record broken: two atoms coincide"):
        smallest_distance([Molecule(np.array([1, 1]), np.zeros((2, 3)), id="broken")])


@pytest.mark.parametrize(
    ("options", "num_channels"),
    [
        ({"radius_angstrom": 0.4}, 5),
        ({"radius_angstrom": [0.2, 0.4], "power": [1, 2]}, 20),
        ({"radius_angstrom": 0.4, "power": 2, "form": "sampled", "grid": "soft"}, 5),
        ({"kind": "pairs"}, 10),
        ({"kind": "pairs", "power": 4.0, "elements": [1, 8]}, 2),
    ],
)
def test_fields(options: dict, num_channels: int):
    fields = molecule_sphere(_water(), bandlimit=6, **options)
    assert set(fields) == {"harmonic", "z", "y"}
    assert (fields["harmonic"].shape, fields["harmonic"].dtype) == ((3, num_channels, 36), np.float32)
    np.testing.assert_array_equal(fields["z"], [8, 1, 1])
    np.testing.assert_allclose(fields["y"], [-9.5])
    assert "y" not in molecule_sphere(_water(), bandlimit=2, targets=(), **options)
    made = pickle.loads(pickle.dumps(partial(molecule_sphere, bandlimit=6, **options)))
    assert made(_water())["harmonic"].tobytes() == fields["harmonic"].tobytes()


def test_values_are_those_of_the_closed_forms():
    water = _water()
    fields = molecule_sphere(water, bandlimit=4, radius_angstrom=0.4, power=(1, 2))
    exact = potential_harmonic(water.z, water.pos, bandlimit=4, radii_angstrom=(0.4,), powers=(1, 2))
    np.testing.assert_allclose(fields["harmonic"], exact, rtol=1e-6, atol=1e-6)
    pairs = molecule_sphere(water, bandlimit=4, kind="pairs", cut_degrees=30.0, unit_angstrom=0.95)
    exact = pair_harmonic(water.z, water.pos, bandlimit=4, cut_degrees=30.0, unit_angstrom=0.95)
    np.testing.assert_allclose(pairs["harmonic"], exact, rtol=1e-6, atol=1e-7)


def test_sampling_more_finely_tends_to_the_closed_form():
    closed = molecule_sphere(_water(), bandlimit=6, radius_angstrom=0.4)["harmonic"]
    errors = [
        np.abs(
            molecule_sphere(_water(), bandlimit=6, radius_angstrom=0.4, form="sampled", grid_bandlimit=size)[
                "harmonic"
            ]
            - closed
        ).max()
        for size in (None, 12, 20)
    ]
    assert errors[0] > 10 * errors[1]
    assert errors[2] < 1e-5


def test_one_atom_has_an_empty_sphere():
    lone = Molecule(np.array([6]), np.ones((1, 3)), id="carbon")
    for options in ({"radius_angstrom": 0.4, "power": [1, 2]}, {"kind": "pairs"}):
        assert not molecule_sphere(lone, bandlimit=3, targets=(), **options)["harmonic"].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "field"}, "`kind` must be potential or pairs, got 'field'"),
        ({"form": "exact"}, "`form` must be closed or sampled, got 'exact'"),
        ({"elements": [1, 1]}, r"`elements` must hold distinct atomic numbers, got \[1, 1\]"),
        ({"power": 3}, r"`power` must be 1, 2 or both, got \[3\]"),
        ({"power": []}, r"`power` must be 1, 2 or both, got \[\]"),
        ({"kind": "pairs", "power": []}, "`power` must be one number or several"),
        ({"kind": "pairs", "form": "sampled"}, "`form` must be closed for `kind` pairs"),
        ({"radius_angstrom": None}, "`radius_angstrom` must be positive for `kind` potential, got None"),
        ({"radius_angstrom": [0.3, -1]}, r"got \[0.3, -1\]; half the smallest distance"),
    ],
)
def test_wrong_options(options: dict, message: str):
    options = {"radius_angstrom": 0.4} | options
    with pytest.raises(ConfigError, match=message):
        getattr(molecule_sphere, "__wrapped__", molecule_sphere)(_water(), bandlimit=3, **options)


def test_wrong_molecules():
    options = {"bandlimit": 3, "radius_angstrom": 0.4}
    with pytest.raises(DataError, match="record water: no property `gap_ev`; choose targets among"):
        molecule_sphere(_water(), targets=("gap_ev",), **options)
    with pytest.raises(DataError, match="record water: periodic cells"):
        molecule_sphere(_water(is_periodic=True), **options)
    with pytest.raises(DataError, match="record water: atom 0 has atomic number 8"):
        molecule_sphere(_water(), elements=(1, 6), **options)
    with pytest.raises(DataError, match="record water: .* the squared potential is singular"):
        molecule_sphere(_water(), bandlimit=3, radius_angstrom=0.97, power=2)


def test_qm7(shared_data):
    molecules = list(read_qm7(shared_data / "qm7" / "qm7_folds0-3.npz"))[::60]
    radius = smallest_distance(molecules) / 2
    assert 0.4 < radius < 0.6
    for molecule in molecules:
        fields = molecule_sphere(
            molecule, bandlimit=10, radius_angstrom=radius, targets=("atomization_energy_kcal_mol",)
        )
        assert fields["harmonic"].shape == (len(molecule.z), 5, 100)
        assert np.isfinite(fields["harmonic"]).all()
        # The constant part alone is the electrostatic energy of the nuclei, twice.
        offset = molecule.pos[:, None] - molecule.pos[None] + np.eye(len(molecule.z))[..., None]
        distance = np.linalg.norm(offset, axis=-1)
        energy = (molecule.z[:, None] * molecule.z / distance)[~np.eye(len(molecule.z), dtype=bool)].sum()
        assert fields["harmonic"][:, :, 0].sum() / np.sqrt(4 * np.pi) == pytest.approx(energy, rel=1e-5)

from __future__ import annotations

import numpy as np
import pytest

from geograph.datasets.records import read_records, read_text, write_records
from geograph.errors import DataError
from geograph.records import Jet, Mesh, Molecule, ParticleSystem

RNG = np.random.default_rng(0)


def _molecule(number, **properties):
    return Molecule(np.array([8, 1, 1]), RNG.normal(size=(3, 3)), properties, f"m{number}", "O")


EXAMPLES = {
    "molecules": [_molecule(0, energy_ev=-1.5, gap_ev=3.0), _molecule(1, energy_ev=-2.5, gap_ev=4.0)],
    "jets": [
        Jet(np.array([[5.0, 3.0, 0.0, 4.0]]), 1, "a"),
        Jet(np.array([[5.0, 0.0, 3.0, 4.0], [1.0, 0.0, 0.0, 1.0]]), None, "b", has_beam_frame=False),
    ],
    "meshes": [Mesh(np.eye(4)[:, :3] * 1.0, np.array([[0, 1, 2], [0, 1, 3]]), 2, "tetra")],
    "systems": [
        ParticleSystem(*RNG.normal(size=(2, 5, 3)), charge=np.ones(5), pos_target=np.zeros((5, 3)), id="s")
    ],
}


@pytest.mark.parametrize("kind", EXAMPLES)
def test_records_round_trip(tmp_path, kind):
    write_records(tmp_path / "r", EXAMPLES[kind], {"name": kind})
    for read, written in zip(read_records(tmp_path / "r"), EXAMPLES[kind], strict=True):
        assert type(read) is type(written)
        for name, value in vars(written).items():
            if isinstance(value, np.ndarray):
                np.testing.assert_allclose(getattr(read, name), value, rtol=1e-7)
            elif name == "properties":
                assert dict(getattr(read, name)) == dict(value)
            else:
                assert getattr(read, name) == value
    assert read_text(tmp_path / "r")["id"] == [record.id for record in EXAMPLES[kind]]


def test_mixed_kinds_are_refused(tmp_path):
    with pytest.raises(DataError, match="record b: Jet among Molecules"):
        write_records(tmp_path / "r", [EXAMPLES["molecules"][0], EXAMPLES["jets"][1]], {})


def test_differing_properties_are_refused(tmp_path):
    records = [_molecule(0, energy_ev=1.0), _molecule(1, gap_ev=1.0)]
    with pytest.raises(DataError, match=r"record m1: properties \['gap_ev'\] differ"):
        write_records(tmp_path / "r", records, {})


def test_no_records_is_an_error(tmp_path):
    with pytest.raises(DataError, match="the data source gave no records; check its path"):
        write_records(tmp_path / "r", [], {})

from __future__ import annotations

import numpy as np
import pytest

from geograph.errors import DataError
from geograph.records import Jet, Mesh, Molecule, ParticleSystem

POS = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Molecule(np.array([], int), np.zeros((0, 3)), id="m"), "record m: empty molecule"),
        (lambda: Molecule(np.array([1, 119]), POS, id="m"), "unknown element: atom 1 has atomic number 119"),
        (lambda: Molecule(np.array([1, 0]), POS, id="m"), "unknown element: atom 1 has atomic number 0"),
        (lambda: Molecule(np.array([1, 1]), POS * np.nan, id="m"), "`pos` of row 0 is not finite"),
        (lambda: Jet(np.zeros((0, 4)), id="j"), "record j: empty jet"),
        (lambda: Jet(np.array([[1.0, 2.0, 0.0, 0.0]]), id="j"), "constituent 0 has E < |p| by 1 GeV; check"),
        (lambda: Jet(np.array([[np.inf, 0.0, 0.0, 0.0]]), id="j"), "`p4` of row 0 is not finite"),
        (lambda: Jet(np.array([[1.0, 0.0, 0.0, 0.0]]), -2, "j"), "label -2 is out of range"),
        (lambda: Mesh(POS, np.zeros((0, 3), int), id="s"), "empty mesh"),
        (lambda: Mesh(POS, np.array([[0, 1, 2]]), id="s"), "a face names vertex 2, but there are 2 vertices"),
        (lambda: Mesh(POS * np.inf, np.array([[0, 1, 1]]), id="s"), "`vertices` of row 0 is not finite"),
        (lambda: ParticleSystem(POS, POS, np.zeros(3), id="n"), "2 positions but 3 rows of `charge`"),
        (lambda: ParticleSystem(POS, POS * np.nan, np.zeros(2), id="n"), "`vel` of row 0 is not finite"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_bad_records_are_refused(make, message):
    with pytest.raises(DataError) as error:
        make()
    assert message in str(error.value)


def test_error_is_completed_with_its_place():
    error = DataError("empty jet", record=3, remedy="remove it").at(source="train.h5", record=9)
    assert str(error) == "train.h5, record 3: empty jet; remove it."


def test_massless_jets_rounded_to_float32_pass():
    momentum = np.random.default_rng(0).normal(scale=100, size=(1000, 3))
    energy = np.linalg.norm(momentum, axis=1, keepdims=True)
    p4 = np.concatenate([energy, momentum], axis=1).astype(np.float32).astype(np.float64)
    assert len(Jet(p4).p4) == 1000

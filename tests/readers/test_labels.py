from __future__ import annotations

import numpy as np
import pytest

from geograph.errors import DataError
from geograph.readers.labels import finite_properties, with_unit
from geograph.records import Molecule


@pytest.mark.parametrize(
    ("name", "value", "unit", "expected"),
    [
        ("u0", 1.0, "Ha", ("u0_ev", 27.211386245988)),
        ("u0", 1.0, "eV", ("u0_ev", 1.0)),
        ("u0_ev", 500.0, "meV", ("u0_ev", 0.5)),
        # 1 eV = 23.0605 kcal/mol = 96.4853 kJ/mol.
        ("u0", 23.0605, "kcal/mol", ("u0_ev", pytest.approx(1.0, rel=1e-5))),
        ("u0", 96.4853, "kJ/mol", ("u0_ev", pytest.approx(1.0, rel=1e-5))),
        ("mu", 2.0, "D", ("mu_debye", 2.0)),
        ("odd", 2.0, "furlong", ("odd", 2.0)),
        ("odd", 2.0, None, ("odd", 2.0)),
    ],
)
def test_units(name, value, unit, expected):
    assert with_unit(name, value, unit) == expected


def test_finite_properties():
    molecule = Molecule(np.array([1]), np.zeros((1, 3)), {"a": 1.0, "b": np.nan})
    assert finite_properties(molecule, ["a"]).properties == {"a": 1.0}
    assert finite_properties(molecule, []).properties == {"a": 1.0}
    with pytest.raises(DataError, match="property `b` is not finite; leave the record out"):
        finite_properties(molecule, None)
    with pytest.raises(DataError, match="property `c` is not there"):
        finite_properties(molecule, ["c"])

"""Equivariance errors against oversampling."""

from __future__ import annotations

import pytest

from geograph.algebra.harmonics import power_spectrum
from pipelines.sphere_errors import OVERSAMPLING, SUBJECTS, error_of, markdown

_ROUNDING = 1e-12


def test_exact_functions_have_rounding_errors() -> None:
    assert error_of(power_spectrum, False) < _ROUNDING
    assert error_of(lambda harmonic: 2 * harmonic, True) < _ROUNDING


def test_functions_without_the_symmetry_are_found() -> None:
    assert error_of(lambda harmonic: harmonic, False) > 0.1
    assert error_of(lambda harmonic: harmonic.abs(), True) > 0.1


@pytest.mark.parametrize("name", SUBJECTS)
def test_oversampling_helps(name: str) -> None:
    make, is_equivariant = SUBJECTS[name]
    coarse, fine = (error_of(make(value), is_equivariant, num_rotations=1) for value in (1.0, 3.0))
    assert fine < 0.2 * coarse


@pytest.mark.parametrize("name", ["zonal, quadratic", "spin, squared collapse"])
def test_polynomial_nonlinearities_are_exact_on_a_grid_that_carries_them(name: str) -> None:
    make, is_equivariant = SUBJECTS[name]
    assert error_of(make(1.5), is_equivariant, num_rotations=1) < _ROUNDING


def test_table() -> None:
    text = markdown([{"subject": "one", "errors": [0.1] * len(OVERSAMPLING)}])
    assert text.splitlines()[0] == "| oversampling | 1 | 1.5 | 2 | 3 | 4 |"
    assert "| one | 1.0e-01 |" in text

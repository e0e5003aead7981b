"""The power spectrum: the committed table against the published one and CAMB, files, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from geograph.errors import ConfigError, DataError, MissingExtraError
from geograph.generate.cmb_spectrum import TABLE, load_spectrum, write_table

PLANCK = "COM_PowerSpect_CMB-base-plikHM-TTTEEE-lowl-lowE-lensing-minimum-theory_R3.01.txt"


def test_units_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "table.txt"
    path.write_text("# a comment\n L TT TE\n 2 6.0 1\n 3 24.0 1\n\n 4 0.0 1\n")
    expected = np.array([0.0, 0.0, 2 * np.pi, 4 * np.pi, 0.0])
    assert np.allclose(load_spectrum(path, 5), expected, rtol=1e-15)
    assert np.allclose(load_spectrum(path, 3), expected[:3], rtol=1e-15)


def test_tables_may_start_below_the_quadrupole(tmp_path: Path) -> None:
    path = tmp_path / "table.txt"
    path.write_text("0 9\n1 9\n2 6\n")
    assert np.allclose(load_spectrum(path, 3), [0, 0, 2 * np.pi])


def test_committed_table_is_that_of_planck(shared_data: Path) -> None:
    """The published theory spectrum has 6 digits; versions of CAMB differ by 0.3 % at the largest degrees."""
    ours, published = (load_spectrum(source, 2509) for source in ("planck", shared_data / "cmb" / PLANCK))
    assert np.abs(ours[2:] / published[2:] - 1).max() < 4e-3
    assert np.abs(ours[30:2000] / published[30:2000] - 1).max() < 2e-3


def test_rms_of_the_sky() -> None:
    """Fluctuations of about 110 microkelvin, with the first acoustic peak at l = 220."""
    spectrum = load_spectrum("planck", 2509)
    degree = np.arange(2509)
    assert np.sqrt(((2 * degree + 1) * spectrum).sum() / (4 * np.pi)) == pytest.approx(112, abs=1)
    assert np.argmax(degree * (degree + 1) * spectrum) == pytest.approx(220, abs=3)


@pytest.mark.slow
def test_committed_table_is_what_camb_gives(tmp_path: Path) -> None:
    pytest.importorskip("camb")
    write_table(tmp_path / "again.txt", 60)
    again, table = (load_spectrum(path, 61) for path in (tmp_path / "again.txt", TABLE))
    # How far CAMB computes moves the small degrees in the fifth digit.
    assert np.abs(again[2:] / table[2:] - 1).max() < 1e-3


def test_camb_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "camb", None)
    with pytest.raises(MissingExtraError, match=r"needs the package `camb`.*geograph\[generate\]"):
        load_spectrum("camb", 16)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2 one\n3 two\n", "not a table of numbers"),
        ("2 1.0\n3\n", "not a table of numbers"),
        ("2\n3\n", "no table of two columns"),
        ("", "no table of two columns"),
        ("2 1.0\n4 1.0\n", "degrees do not rise by 1 from 2 or below"),
        ("5 1.0\n6 1.0\n", "degrees do not rise by 1 from 2 or below"),
        ("2 1.0\n3 -1.0\n", "a power is negative or not finite"),
        ("2 1.0\n3 nan\n", "a power is negative or not finite"),
    ],
)
def test_bad_tables(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "table.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        load_spectrum(path, 4)


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"missing\.txt: no such text file.*must be planck or camb or name a file"
    ):
        load_spectrum(tmp_path / "missing.txt", 8)
    with pytest.raises(ConfigError, match="`bandlimit` must be at least 3"):
        load_spectrum("planck", 2)
    with pytest.raises(
        ConfigError, match="`bandlimit` 3000 needs the spectrum up to l = 2999, .* ends at l = 2508"
    ):
        load_spectrum("planck", 3000)

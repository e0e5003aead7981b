"""PoseBusters' checks on a good molecule, a crushed one and one without a Lewis structure."""

from __future__ import annotations

import numpy as np
import pytest

from geograph.errors import MissingExtraError
from geograph.interop.posebusters_checks import CHECKS, failed_checks, require_posebusters, summarise

ANGLES = np.arange(6) * np.pi / 3
RING = np.stack([np.cos(ANGLES), np.sin(ANGLES), 0 * ANGLES], axis=1)
BENZENE_Z, BENZENE = np.array([6] * 6 + [1] * 6), np.concatenate([1.39 * RING, 2.48 * RING])
METHYL = np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1]]) * 1.09 / np.sqrt(3)


def test_good_crushed_and_without_structure() -> None:
    pytest.importorskip("posebusters", reason="posebusters is not installed")
    crushed = 0.7 * BENZENE
    z = np.concatenate([BENZENE_Z, BENZENE_Z, [6, 1, 1, 1]])
    pos = np.concatenate([BENZENE, crushed, METHYL])
    good, bad, none = failed_checks(z, pos, np.array([0, 12, 24, 28]))
    assert good == ()
    assert "bond_lengths" in bad
    assert none == CHECKS


def test_summary() -> None:
    pytest.importorskip("posebusters", reason="posebusters is not installed")
    found = summarise([(), ("bond_lengths",), (), CHECKS], num_resamples=200, seed=1)
    assert (found.num_checked, found.seed, found.all_passed) == (4, 1, 0.5)
    assert (found.checks["bond_lengths"], found.checks["internal_energy"]) == (0.5, 0.75)
    assert list(found.checks) == list(CHECKS)
    low, high = found.intervals["all_passed"]
    assert 0.0 <= low < 0.5 < high <= 1.0


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geograph.interop.posebusters_checks.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"needs the package `posebusters`.*geograph\[chem\]"):
        require_posebusters()

"""Our networks compute the function of the authors' released implementations, for every golden file."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

GOLDEN = Path(os.environ.get("GEOGRAPH_GOLDEN", Path(__file__).parent))
FAMILIES = ("case_egnn", "case_lorentznet", "case_cgenn", "case_edm")
FILES = sorted(GOLDEN.glob("*.npz"))


def cases() -> dict[str, Callable[[Path], None]]:
    """Check function of each file-name prefix."""
    return {
        prefix: check
        for family in FAMILIES
        for prefix, check in import_module(f"golden.{family}").CASES.items()
    }


def test_golden_files_are_present() -> None:
    assert FILES, f"no golden file in {GOLDEN}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_agrees_with_released(path: Path) -> None:
    table = cases()
    prefixes = [prefix for prefix in table if path.name.startswith(prefix)]
    if not prefixes:
        pytest.fail(f"{path.name}: no case knows this prefix; known are {', '.join(sorted(table))}")
    table[max(prefixes, key=len)](path)


def test_unknown_prefix_has_no_case() -> None:
    assert not any("unknown_model.npz".startswith(prefix) for prefix in cases())

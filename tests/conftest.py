"""Fixtures and run-time type checking shared by all tests."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

# One thread for each process, before any library counts the cores: small tensors gain nothing from more, and
# parallel test processes would fight for them.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import pytest
import torch
from jaxtyping import install_import_hook

# Triton decides when it is first imported, which other packages may do, how its kernels run. Without a CUDA
# device that is in Python; no test but those of the kernels sees the variable.
if find_spec("triton") is not None and not torch.cuda.is_available():
    with pytest.MonkeyPatch.context() as _patch:
        _patch.setenv("TRITON_INTERPRET", "1")
        import triton.language  # noqa: F401

# Shapes and dtypes in the annotations are checked in tests only.
install_import_hook("geograph", "beartype.beartype")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data; tests that need it are skipped where it is missing."""
    folder = Path(os.environ.get("GEOGRAPH_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not present: no folder {folder}")
    return folder

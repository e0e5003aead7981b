"""Kernels in the Triton language, run in Python on the CPU unless there is a CUDA device."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

INTERPRET = "TRITON_INTERPRET"

# Triton decides when it is first imported how its kernels run. No test elsewhere sees the variable.
if find_spec("triton") is not None and not torch.cuda.is_available():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(INTERPRET, "1")
        from geograph.kernels.triton import backward, clifford, moments, pair  # noqa: F401


@pytest.fixture(autouse=True)
def _interpret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton imports parts of itself at the first launch, which must find the variable too."""
    if not torch.cuda.is_available():
        monkeypatch.setenv(INTERPRET, "1")

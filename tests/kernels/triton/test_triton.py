"""What the backend says about itself; needs no Triton."""

from __future__ import annotations

import pytest
import torch

from geograph.kernels import triton as backend


def test_reason_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "find_spec", lambda name: None)
    assert "the package triton is not installed" in str(backend.unavailable())


def test_reason_without_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv(backend.INTERPRET, raising=False)
    assert "there is no CUDA device" in str(backend.unavailable())
    monkeypatch.setenv(backend.INTERPRET, "1")
    assert backend.unavailable() is None
    monkeypatch.delenv(backend.INTERPRET)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert backend.unavailable() is None

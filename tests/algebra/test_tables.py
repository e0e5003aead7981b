"""Tables that outlive inference mode."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from torch import Tensor

from geograph.algebra.tables import cached_tables


def _train_after_inference(make) -> Tensor:
    with torch.inference_mode():
        make(3)
    weight = torch.ones(3, requires_grad=True)
    (make(3) * weight).sum().backward()
    return weight.grad


def test_can_be_saved_for_a_derivative_after_inference() -> None:
    made = []

    @cached_tables(4)
    def table(size: int) -> Tensor:
        made.append(size)
        return torch.arange(float(size))

    assert torch.equal(_train_after_inference(table), torch.arange(3.0))
    assert made == [3]


def test_a_plain_cache_cannot() -> None:
    """Negative control."""
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
        _train_after_inference(lru_cache(lambda size: torch.arange(float(size))))

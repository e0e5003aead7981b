"""Pooling of node features."""

from __future__ import annotations

import pytest
import torch

from geograph.errors import ConfigError
from geograph.layers.readout import GraphReadout


def test_extensive_prediction_is_the_sum_of_node_predictions() -> None:
    torch.manual_seed(0)
    readout = GraphReadout(4, 2, is_extensive=True).double()
    h = torch.randn(5, 4, dtype=torch.float64)
    out = readout(h, torch.tensor([0, 2, 2, 5]), torch.tensor([0, 0, 2, 2, 2]))
    nodes = readout.node_mlp(h)
    expected = torch.stack([nodes[:2].sum(0), torch.zeros(2, dtype=torch.float64), nodes[2:].sum(0)])
    assert torch.allclose(out, expected)


def test_mean_pooling_does_not_see_the_size() -> None:
    torch.manual_seed(0)
    readout = GraphReadout(4, 1, pooling="mean").double()
    h = torch.randn(1, 4, dtype=torch.float64)
    one = readout(h, torch.tensor([0, 1]), torch.tensor([0]))
    three = readout(h.expand(3, 4), torch.tensor([0, 3]), torch.zeros(3, dtype=torch.int64))
    assert torch.allclose(one, three)


def test_unknown_pooling() -> None:
    with pytest.raises(ConfigError, match="`pooling` must be sum or mean, got 'max'"):
        GraphReadout(4, 1, pooling="max")

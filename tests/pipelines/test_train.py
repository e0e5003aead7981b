"""The loaders of a training follow its parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from geograph.datasets.loader import GraphLoader
from geograph.datasets.memory import MemoryStore
from geograph.datasets.splits import Split
from geograph.fields import FIELDS
from geograph.training.loaders import Prefetch
from pipelines.datasets import GraphData
from pipelines.params import Run
from pipelines.train import make_loaders


def data() -> GraphData:
    records = [{"pos": np.zeros((size, 3))} for size in (2, 9, 3, 8, 4, 7, 5)]
    store = MemoryStore.from_records(records, {"pos": FIELDS["pos"]}, {"edges": "complete"})
    parts = [np.arange(6), np.array([6]), np.array([], dtype=int)]
    return GraphData("seven", store, Split("all", *parts), None)


def run(**training: Any) -> Run:
    return Run.model_validate(
        {
            "dataset": "seven",
            "task": {"kind": "generation"},
            "model": {"name": "edm-dynamics"},
            "training": {"max_epochs": 1, "batch_size": 2, **training},
            "seed": 3,
        }
    )


def records_of(loader: GraphLoader | Prefetch) -> list[list[int]]:
    return [batch.record_index.tolist() for batch in loader]


def test_default_is_shuffled_and_without_a_thread_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    loader, validation = make_loaders(run(), data())
    assert isinstance(loader, GraphLoader)
    assert (loader.shuffle, loader.seed, loader.balance_edges, loader.max_edges) == (True, 3, False, None)
    assert records_of(validation) == [[6]]


def test_prefetch_serves_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    ahead, _ = make_loaders(run(prefetch=3), data())
    assert isinstance(ahead, Prefetch)
    assert (ahead.depth, ahead.device) == (3, None)
    assert records_of(ahead) == records_of(make_loaders(run(prefetch=0), data())[0])


def test_prefetch_goes_to_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    ahead, _ = make_loaders(run(), data())
    assert isinstance(ahead, Prefetch)
    assert (ahead.depth, ahead.device) == (2, torch.device("cuda"))
    assert isinstance(make_loaders(run(prefetch=0), data())[0], GraphLoader)


def test_balanced_batches_reach_training_alone() -> None:
    loader, validation = make_loaders(run(balance_edges=True, prefetch=0), data())
    assert {frozenset(batch) for batch in records_of(loader)} == {
        frozenset(p) for p in ([1, 0], [3, 2], [5, 4])
    }
    assert not validation.balance_edges


def test_max_edges_bounds_both_parts() -> None:
    for loader in make_loaders(run(max_edges=30, prefetch=0), data()):
        assert all(batch.edge_index.shape[1] <= 30 or batch.num_graphs == 1 for batch in loader)

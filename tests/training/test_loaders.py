"""Batches made ahead: the same batches, the same training, and a thread that ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_training import TinyLoader, molecule_batch, register, train
from torch_geometric.data import Data

from geograph import models
from geograph.errors import ConfigError
from geograph.training.checkpoint import read_plain
from geograph.training.loaders import Loader, Prefetch


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def served(loader: Loader) -> list[list[int]]:
    return [batch.record_index.tolist() for batch in loader]


class Failing(TinyLoader):
    """Breaks at its second batch."""

    def __iter__(self) -> Iterator[Data]:
        yield molecule_batch([0])
        raise OSError("the disk is gone")


class Counting(TinyLoader):
    """Counts the batches that were asked of it."""

    made = 0

    def __iter__(self) -> Iterator[Data]:
        for batch in super().__iter__():
            self.made += 1
            yield batch


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_same_batches_in_the_same_order(depth: int) -> None:
    plain, ahead = TinyLoader(), Prefetch(TinyLoader(), depth=depth)
    assert isinstance(ahead, Loader)
    assert len(ahead) == len(plain)
    for epoch in (0, 1, 0):
        plain.set_epoch(epoch)
        ahead.set_epoch(epoch)
        assert served(ahead) == served(plain)
    assert threads() == []


def test_batches_are_made_while_the_present_one_is_worked_on() -> None:
    loader = Counting()
    passing = iter(Prefetch(loader, depth=2))
    next(passing)
    limit = time.monotonic() + 10
    while loader.made < 3 and time.monotonic() < limit:
        time.sleep(0.001)
    assert loader.made == 3
    assert len(list(passing)) == 2


def test_error_comes_where_its_batch_is_asked_for() -> None:
    passing = iter(Prefetch(Failing(), depth=2))
    assert next(passing).record_index.tolist() == [0]
    with pytest.raises(OSError, match="the disk is gone"):
        next(passing)
    assert threads() == []
    assert list(passing) == []


def test_pass_that_is_left_early_ends_the_thread() -> None:
    loader = Prefetch(TinyLoader(count=400), depth=3)
    for _ in loader:
        break
    passing = iter(loader)
    next(passing)
    assert len(threads()) >= 1
    passing.close()
    assert threads() == []
    assert served(loader) == served(TinyLoader(count=400))


def test_device() -> None:
    batch = next(iter(Prefetch(TinyLoader(), device="meta")))
    assert batch.pos.device.type == "meta"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_arrive_on_the_gpu() -> None:
    plain = list(TinyLoader(count=400))
    for batch, expected in zip(Prefetch(TinyLoader(count=400), device="cuda"), plain, strict=True):
        assert batch.pos.is_cuda
        assert torch.equal(batch.pos.cpu(), expected.pos)
        assert batch.num_graphs == expected.num_graphs


def test_depth_is_checked() -> None:
    with pytest.raises(ConfigError, match="`depth` must be at least 1, got 0"):
        Prefetch(TinyLoader(), depth=0)


def test_training_and_resume_are_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = dict(models.MODELS)
    register(table)
    monkeypatch.setattr(models, "MODELS", table)
    whole = train(tmp_path / "plain", TinyLoader())
    cut = train(tmp_path / "cut", Prefetch(TinyLoader()), max_steps=9, max_epochs=4)
    ahead = train(tmp_path / "ahead", Prefetch(TinyLoader()))
    assert cut.stopped_by == "max_steps"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TinyLoader, "__iter__", failing_in(TinyLoader.__iter__, epoch=2))
        with pytest.raises(OSError, match="interrupted"):
            train(tmp_path / "resumed", Prefetch(TinyLoader()))
    resumed = train(tmp_path / "resumed", Prefetch(TinyLoader()))
    for result in (ahead, resumed):
        one, other = read_plain(whole.final)["weights"], read_plain(result.final)["weights"]
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert threads() == []


def failing_in(passes: object, epoch: int) -> object:
    """Let the training pass of an epoch break at its last batch."""

    def broken(self: TinyLoader) -> Iterator[Data]:
        for number, batch in enumerate(passes(self)):
            if self.shuffle and self.epoch == epoch and number == 2:
                raise OSError("interrupted")
            yield batch

    return broken

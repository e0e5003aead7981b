"""A tiny model, task and loader for the tests of training; also a script that is killed on purpose."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from geograph import models
from geograph.models import ModelSpec
from geograph.tasks import build_task
from geograph.tasks.base import Task


class TinyModel(nn.Module):
    """Sum over nodes of a small network; dropout draws random numbers, the norm has running buffers."""

    def __init__(self, num_outputs: int = 1, width: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        self.node = nn.Sequential(nn.Linear(2, width), nn.SiLU())
        self.norm = nn.BatchNorm1d(width)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, num_outputs))

    def forward(self, batch: Data) -> Tensor:
        radius = batch.pos.square().sum(dim=1)
        features = self.node(torch.stack([batch.z.to(radius.dtype) / 8, radius], dim=1))
        pooled = features.new_zeros(batch.num_graphs, features.shape[1]).index_add_(0, batch.batch, features)
        return self.head(self.norm(pooled))


class Fixed(nn.Module):
    """Gives the same output whatever comes in."""

    def __init__(self, output: list[list[float]]) -> None:
        super().__init__()
        self.register_buffer("output", torch.tensor(output))

    def forward(self, batch: Data) -> Tensor:
        return self.output


class Drift(nn.Module):
    """Moves every particle along its velocity for a time that is learned."""

    def __init__(self, time: float = 0.0) -> None:
        super().__init__()
        self.time = nn.Parameter(torch.tensor(time))

    def forward(self, batch: Data) -> Tensor:
        return batch.pos + self.time.to(batch.pos.dtype) * batch.vel


def register(table: dict[str, ModelSpec]) -> None:
    table["tiny"] = ModelSpec("tiny", TinyModel, "E(3)", ("z", "pos"), True, "graph")
    table["tiny-lorentz"] = ModelSpec("tiny-lorentz", TinyModel, "O(1,3)", ("z", "pos"), False, "graph")
    table["drift"] = ModelSpec("drift", Drift, "E(3)", ("pos", "vel"), True, "node_position")


def molecule_batch(index: list[int]) -> Data:
    """Molecules that are a function of their number alone; the target is a sum over atoms."""
    z, pos, batch, y = [], [], [], []
    for row, number in enumerate(index):
        generator = torch.Generator().manual_seed(number)
        size = 2 + number % 4
        z.append(torch.tensor([1, 6, 7, 8])[torch.randint(0, 4, (size,), generator=generator)])
        pos.append(torch.randn(size, 3, generator=generator))
        batch.append(torch.full((size,), row))
        y.append((pos[-1].square().sum() + 0.3 * z[-1].sum()).float())
    data = Data(z=torch.cat(z), pos=torch.cat(pos), batch=torch.cat(batch))
    data.num_nodes, data.num_graphs = len(data.z), len(index)
    data.y = torch.stack(y)[:, None]
    data.record_index = torch.tensor(index)
    return data


class TinyLoader:
    """Batches of molecules in an order that is a function of seed and epoch."""

    def __init__(self, count: int = 12, batch_size: int = 4, *, shuffle: bool = True) -> None:
        self.count, self.batch_size, self.shuffle = count, batch_size, shuffle
        self.epoch = 0
        self.begun: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def __iter__(self) -> Iterator[Data]:
        self.begun.append(self.epoch)
        generator = torch.Generator().manual_seed(1000 + self.epoch)
        order = torch.randperm(self.count, generator=generator) if self.shuffle else torch.arange(self.count)
        for part in order.split(self.batch_size):
            yield molecule_batch(part.tolist())


STATISTICS: dict[str, Any] = {
    "target_mean": [9.0],
    "target_std": [4.0],
    "target_names": ["energy"],
    "target_units": ["ev"],
}


def tiny_task(model: str = "tiny", optimizer: dict[str, Any] | None = None, **params: Any) -> Task:
    torch.manual_seed(7)
    settings = {"lr": 0.01, "schedule": "cosine"} if optimizer is None else optimizer
    return build_task(
        "regression", model=model, model_params=params, optimizer=settings, statistics=STATISTICS
    )


class Killed(TinyLoader):
    """Kills its process without any farewell in the middle of an epoch."""

    def __init__(self, at_epoch: int) -> None:
        super().__init__()
        self.at_epoch = at_epoch

    def __iter__(self) -> Iterator[Data]:
        for number, batch in enumerate(super().__iter__()):
            if self.epoch == self.at_epoch and number == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch


def train(folder: Path, loader: TinyLoader, **settings: Any) -> Any:
    from geograph.training.fit import fit

    return fit(
        tiny_task(),
        loader,
        TinyLoader(6, shuffle=False),
        out_dir=folder,
        **{"max_epochs": 4, "seed": 3, "ema_decay": 0.9, "accelerator": "cpu", **settings},
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    register(models.MODELS)
    train(Path(sys.argv[1]), Killed(int(sys.argv[2])))

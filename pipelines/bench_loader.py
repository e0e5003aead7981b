"""The speed of the loader beside PyTorch Geometric's, and its share of a training step."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch_geometric.data import Data, InMemoryDataset
from torch_geometric.loader import DataLoader

from geograph.datasets.loader import GraphLoader
from geograph.datasets.store import Store, write_store
from geograph.fields import FIELDS, Field, Level
from geograph.models import build_model
from pipelines.bench_cases import molecule_sizes
from pipelines.bench_rows import Row, row_of

BATCH_SIZE = 64
#: Backend that the speed-ups are against.
BASELINE = "pyg_inmemory"
_ELEMENTS = (1, 6, 7, 8, 9)
_STEP_MODEL = {"inputs": "molecule", "num_hidden": 128, "num_layers": 7}


def random_molecules(count: int, folder: Path) -> Store:
    """Write fully connected molecules of QM9's sizes with one target, as the stage featurize stores them.

    Parameters
    ----------
    count
        Number of molecules.
    folder
        Folder of the store.
    """
    rng = np.random.default_rng(0)
    records = (
        {
            "z": rng.choice(_ELEMENTS, size),
            "pos": rng.standard_normal((size, 3)).astype(np.float32),
            "y": rng.standard_normal(1).astype(np.float32),
        }
        for size in molecule_sizes(count, rng)
    )
    fields = {"z": FIELDS["z"], "pos": FIELDS["pos"], "y": Field(Level.GRAPH, "float32", (1,), "eV")}
    return write_store(folder, records, fields, {"edges": "complete"})


class Collated(InMemoryDataset):
    """PyTorch Geometric's own data set: collated, saved and read back.

    Parameters
    ----------
    root
        Folder of the file.
    graphs
        Graphs to collate.
    """

    def __init__(self, root: Path, graphs: list[Data]) -> None:
        self._graphs = graphs
        super().__init__(str(root), log=False)
        self.load(self.processed_paths[0])

    @property
    def processed_file_names(self) -> str:
        """Name of the file."""
        return "graphs.pt"

    def process(self) -> None:
        """Collate and save."""
        self.save(self._graphs, self.processed_paths[0])


def seconds(loader: Iterable[Data], epoch: int) -> float:
    """Wall time of one pass."""
    if isinstance(loader, GraphLoader):
        loader.set_epoch(epoch)
    start = time.perf_counter()
    for _ in loader:
        pass
    return time.perf_counter() - start


def seconds_of_step(batch: Data, rounds: int) -> float:
    """Median wall time of a training step of a published EGNN (128 wide, 7 layers) on this batch."""
    torch.manual_seed(0)
    model = build_model("egnn", **_STEP_MODEL)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-6)
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        (model(batch) - batch.y).square().mean().backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def loader_share(row: Row) -> float:
    """Time of a batch over the time of the training step that it feeds."""
    return float(row["forward_s"] / row["step_s"])


def bench_loader(count: int, epochs: int) -> list[Row]:
    """Graphs per second of `GraphLoader` and of PyTorch Geometric's loader, on the same shuffled molecules.

    PyTorch Geometric gets the molecules with their edges made beforehand: as a list of objects, and as an
    `InMemoryDataset`. Ours reads a memory-mapped store and makes the edges of every batch. All take turns in
    this process; medians count. `forward_s` is the time of one batch, `step_s` that of a training step on
    such a batch, and speed-ups are against the `InMemoryDataset`.

    Parameters
    ----------
    count
        Number of molecules.
    epochs
        Passes of every loader.
    """
    with tempfile.TemporaryDirectory() as folder:
        store = random_molecules(count, Path(folder) / "store")
        ours = GraphLoader(store, range(count), batch_size=BATCH_SIZE, shuffle=True)
        graphs = ours.as_list()
        data_sets = {BASELINE: Collated(Path(folder) / "collated", graphs), "pyg_list": graphs}
        loaders: dict[str, Iterable[Data]] = {
            name: DataLoader(data, batch_size=BATCH_SIZE, shuffle=True) for name, data in data_sets.items()
        }
        loaders["geograph"] = ours
        times: dict[str, list[float]] = {name: [] for name in loaders}
        for epoch in range(epochs):
            for name, loader in loaders.items():
                times[name].append(seconds(loader, epoch))
        step_s = seconds_of_step(next(iter(ours)), rounds=min(epochs, 3))
    median = {name: statistics.median(values) for name, values in times.items()}
    return [
        row_of(
            "loader",
            name,
            "cpu",
            forward_s=taken / len(ours),
            step_s=step_s,
            speedup_forward=median[BASELINE] / taken,
            graphs_per_s=count / taken,
            batch=BATCH_SIZE,
        )
        for name, taken in median.items()
    ]

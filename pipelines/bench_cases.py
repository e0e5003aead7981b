"""What the benchmark measures: models on random graphs of realistic size; how time and memory are taken."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from geograph.datasets.loader import complete_graph_edges
from geograph.kernels import use_backend
from geograph.models import build_model
from pipelines.cost import peak_memory_mb, reset_peak_memory

_ELEMENTS = (1, 6, 7, 8, 9)
_NUM_FEATURES = len(_ELEMENTS) + 1
_MIN_ROUNDS, _MAX_ROUNDS = 3, 25


def molecule_sizes(num_graphs: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers of atoms about as in QM9: 18 on average, 29 at most."""
    return np.clip(np.round(rng.normal(18, 3, num_graphs)), 3, 29).astype(np.int64)


def assemble(sizes: np.ndarray, **fields: np.ndarray) -> Data:
    """Batch of complete graphs with the given node fields, in the layout of `GraphLoader`."""
    edge_index, edge_ptr = complete_graph_edges(sizes)
    data = Data(**{name: torch.from_numpy(values) for name, values in fields.items()})
    data.edge_index, data.edge_ptr = torch.from_numpy(edge_index), torch.from_numpy(edge_ptr)
    data.batch = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes))
    data.ptr = torch.from_numpy(np.concatenate([[0], np.cumsum(sizes)]))
    data.num_graphs, data.num_nodes = len(sizes), int(sizes.sum())
    return data


def _positions(num_nodes: int, rng: np.random.Generator, scale: float = 1.8) -> np.ndarray:
    return (scale * rng.standard_normal((num_nodes, 3))).astype(np.float32)


def noisy_molecules(num_graphs: int, rng: np.random.Generator) -> Data:
    """States of a diffusion half-way: positions, one-hot elements and charge, all with noise."""
    sizes = molecule_sizes(num_graphs, rng)
    state = rng.standard_normal((int(sizes.sum()), 3 + _NUM_FEATURES)).astype(np.float32)
    data = assemble(sizes, state=state)
    data.time = torch.from_numpy(rng.random(num_graphs).astype(np.float32))
    return data


def molecules(num_graphs: int, rng: np.random.Generator) -> Data:
    """Molecules with random elements and positions (angstrom)."""
    sizes = molecule_sizes(num_graphs, rng)
    z = rng.choice(_ELEMENTS, int(sizes.sum()))
    return assemble(sizes, z=z, pos=_positions(len(z), rng))


def jets(num_graphs: int, rng: np.random.Generator) -> Data:
    """Jets of evenly spread 20 to 80 constituents around pT 600 GeV; momenta in GeV."""
    sizes = rng.permutation(np.linspace(20, 80, num_graphs).round().astype(np.int64))
    total = int(sizes.sum())
    pt = rng.exponential(np.repeat(600 / sizes, sizes)) + 0.5
    eta, phi = rng.normal(0, 0.3, (2, total))
    momentum = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=1)
    energy = np.sqrt((momentum**2).sum(axis=1) + 0.14**2)
    p4 = np.concatenate([energy[:, None], momentum], axis=1).astype(np.float32)
    return assemble(sizes, p4=p4, is_beam=np.zeros(total, dtype=np.int64))


def particles(num_graphs: int, rng: np.random.Generator) -> Data:
    """Return systems of five charged particles."""
    sizes = np.full(num_graphs, 5)
    total = 5 * num_graphs
    charge = rng.choice([-1.0, 1.0], total).astype(np.float32)
    return assemble(sizes, pos=_positions(total, rng, 1.0), vel=_positions(total, rng, 0.3), charge=charge)


@dataclass(frozen=True)
class Case:
    """One model on one kind of batch.

    Attributes
    ----------
    name
        Name in the table.
    model, params
        Name in the table of models, and keyword parameters.
    make
        Makes a batch of so many graphs.
    num_graphs, num_quick
        Graphs in a batch, and with `--quick`.
    """

    name: str
    model: str
    make: Callable[[int, np.random.Generator], Data]
    num_graphs: int
    num_quick: int
    params: dict[str, Any] = field(default_factory=dict)

    def batch(self, num_graphs: int, device: str) -> Data:
        """Return the batch, the same on every call."""
        return self.make(num_graphs, np.random.default_rng(0)).to(device)

    def build(self, device: str) -> nn.Module:
        """Build the model with seeded weights."""
        torch.manual_seed(0)
        return build_model(self.model, **self.params).to(device)


#: Models at their published sizes.
CASES = (
    Case(
        "EDM denoiser", "edm-dynamics", noisy_molecules, 64, 8,
        {"num_features": _NUM_FEATURES, "num_hidden": 256, "num_layers": 9},
    ),
    Case("EGNN", "egnn", molecules, 96, 16, {"inputs": "molecule", "num_hidden": 128, "num_layers": 7}),
    Case("LorentzNet", "lorentznet", jets, 32, 4, {"num_hidden": 72, "num_layers": 6}),
    Case(
        "CGENN top", "cgenn-lorentz", jets, 8, 1,
        {"num_hidden": 72, "num_multivectors": 8, "num_layers": 4},
    ),
    Case("CGENN n-body", "cgenn-nbody", particles, 100, 20),
)  # fmt: skip


class _Trainee:
    """A model with its batch and optimizer, in one backend after another."""

    def __init__(self, case: Case, num_graphs: int, device: str) -> None:
        self.model, self.batch = case.build(device), case.batch(num_graphs, device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-6)
        self.device = device

    def forward(self) -> None:
        """Predict, in evaluation mode."""
        self.model.eval()
        with torch.no_grad():
            self.model(self.batch)

    def step(self) -> None:
        """Forward, backward and one step of the optimizer; the loss is a plain sum of squares."""
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        out: Tensor = self.model(self.batch)
        out.square().mean().backward()
        self.optimizer.step()

    def seconds(self, function: Callable[[], None]) -> float:
        """Wall time of one call."""
        self._wait()
        start = time.perf_counter()
        function()
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def time_case(
    case: Case,
    backends: list[str],
    num_graphs: int,
    device: str,
    budget_s: float,
    on_round: Callable[[int], None] = lambda _: None,
) -> dict[str, tuple[float, float]]:
    """Median seconds of a forward pass and of a training step for each backend.

    The backends take turns in every round, so that a change of the load of the machine meets all of them.

    Parameters
    ----------
    case, num_graphs
        What to time.
    backends
        Names of kernel backends.
    device
        `cpu` or `cuda`.
    budget_s
        Rounds begin until so many seconds have passed, three at least and 25 at most.
    on_round
        Called with the number of rounds done.
    """
    warm = _Trainee(case, 1, device)
    trainee = _Trainee(case, num_graphs, device)
    for backend in backends:
        with use_backend(backend):
            warm.forward()
            warm.step()
    times: dict[str, list[tuple[float, float]]] = {backend: [] for backend in backends}
    start = time.perf_counter()
    for number in range(_MAX_ROUNDS):
        if number >= _MIN_ROUNDS and time.perf_counter() - start > budget_s:
            break
        for backend in backends:
            with use_backend(backend):
                times[backend].append((trainee.seconds(trainee.forward), trainee.seconds(trainee.step)))
        on_round(number + 1)
    return {
        backend: (
            statistics.median(forward for forward, _ in rounds),
            statistics.median(step for _, step in rounds),
        )
        for backend, rounds in times.items()
    }


def peak_of_step(case: Case, backend: str, num_graphs: int, device: str) -> float:
    """Peak memory in MB of one training step above what the process held before it.

    To be called in a fresh process: what the allocator kept from earlier work would hide the peak. The
    libraries are woken up before by a step of a model that is too small to count.
    """
    layer = nn.Linear(8, 8).to(device)
    layer(torch.ones(8, 8, device=device)).square().mean().backward()
    torch.optim.Adam(layer.parameters()).step()
    with use_backend(backend):
        trainee = _Trainee(case, num_graphs, device)
        reset_peak_memory()
        before = peak_memory_mb()
        trainee.step()
        return max(peak_memory_mb() - before, 0.0)

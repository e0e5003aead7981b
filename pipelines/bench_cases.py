"""What the benchmark measures: models at their published sizes on random graphs of realistic sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch_geometric.data import Data

from geograph.datasets.loader import complete_graph_edges
from geograph.models import build_model

_ELEMENTS = (1, 6, 7, 8, 9)
_NUM_FEATURES = len(_ELEMENTS) + 1

Fields = dict[str, np.ndarray]


def molecule_sizes(num_graphs: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers of atoms about as in QM9: 18 on average, 29 at most."""
    return np.clip(np.round(rng.normal(18, 3, num_graphs)), 3, 29).astype(np.int64)


def jet_sizes(num_graphs: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers of constituents, evenly spread from 20 to 80."""
    return rng.permutation(np.linspace(20, 80, num_graphs).round().astype(np.int64))


def five_each(num_graphs: int, rng: np.random.Generator) -> np.ndarray:
    """Five particles in every system."""
    return np.full(num_graphs, 5)


def _positions(num_nodes: int, rng: np.random.Generator, scale: float = 1.8) -> np.ndarray:
    return (scale * rng.standard_normal((num_nodes, 3))).astype(np.float32)


def noisy_molecules(sizes: np.ndarray, rng: np.random.Generator) -> Fields:
    """States of a diffusion half-way: positions, one-hot elements and charge, all with noise."""
    state = rng.standard_normal((int(sizes.sum()), 3 + _NUM_FEATURES)).astype(np.float32)
    return {"state": state, "time": rng.random(len(sizes)).astype(np.float32)}


def molecules(sizes: np.ndarray, rng: np.random.Generator) -> Fields:
    """Molecules with random elements and positions (angstrom)."""
    z = rng.choice(_ELEMENTS, int(sizes.sum()))
    return {"z": z, "pos": _positions(len(z), rng)}


def jets(sizes: np.ndarray, rng: np.random.Generator) -> Fields:
    """Jets around pT 600 GeV; momenta in GeV."""
    total = int(sizes.sum())
    pt = rng.exponential(np.repeat(600 / sizes, sizes)) + 0.5
    eta, phi = rng.normal(0, 0.3, (2, total))
    momentum = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=1)
    energy = np.sqrt((momentum**2).sum(axis=1) + 0.14**2)
    p4 = np.concatenate([energy[:, None], momentum], axis=1).astype(np.float32)
    return {"p4": p4, "is_beam": np.zeros(total, dtype=np.int64)}


def particles(sizes: np.ndarray, rng: np.random.Generator) -> Fields:
    """Return charged particles."""
    total = int(sizes.sum())
    charge = rng.choice([-1.0, 1.0], total).astype(np.float32)
    return {"pos": _positions(total, rng, 1.0), "vel": _positions(total, rng, 0.3), "charge": charge}


def assemble(sizes: np.ndarray, fields: Fields, edges: tuple[np.ndarray, np.ndarray]) -> Data:
    """Batch of graphs with node fields and (edge_index, edge_ptr), in the layout of `GraphLoader`."""
    data = Data(**{name: torch.from_numpy(values) for name, values in fields.items()})
    data.edge_index, data.edge_ptr = torch.from_numpy(edges[0]), torch.from_numpy(edges[1])
    data.batch = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes))
    data.ptr = torch.from_numpy(np.concatenate([[0], np.cumsum(sizes)]))
    data.num_graphs, data.num_nodes = len(sizes), int(sizes.sum())
    return data


def padded_edges(num_graphs: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """All size x size pairs of each graph, self-loops included, sorted by target, and their pointer."""
    first = size * np.arange(num_graphs)[:, None, None]
    target, source = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    edge_index = np.stack([(first + source).ravel(), (first + target).ravel()])
    return edge_index, size * np.arange(num_graphs * size + 1)


@dataclass(frozen=True)
class Case:
    """One model on one kind of batch.

    Attributes
    ----------
    name
        Name in the table.
    model
        Name in the table of models, or a class of modules.
    sizes
        Draws the number of nodes of so many graphs.
    fields
        Draws the fields of graphs of these sizes.
    num_graphs, num_quick
        Graphs in a batch, and with `--quick`.
    params
        Keyword parameters of the model.
    edges
        Makes (edge_index, edge_ptr) of graphs of these sizes.
    is_long
        Whether it takes minutes, because of its reference and of the padded layout.
    """

    name: str
    model: str | Callable[..., nn.Module]
    sizes: Callable[[int, np.random.Generator], np.ndarray]
    fields: Callable[[np.ndarray, np.random.Generator], Fields]
    num_graphs: int
    num_quick: int
    params: dict[str, Any] = field(default_factory=dict)
    edges: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] = complete_graph_edges
    is_long: bool = False

    def batch(self, num_graphs: int, device: str, *, is_padded: bool = False) -> Data:
        """Return the batch, the same on every call.

        Parameters
        ----------
        num_graphs
            Graphs in it.
        device
            Where it lies.
        is_padded
            Give every graph as many nodes as the largest has, and all pairs of them as edges.
        """
        rng = np.random.default_rng(0)
        sizes = self.sizes(num_graphs, rng)
        if is_padded:
            sizes = np.full(num_graphs, sizes.max())
        edges = padded_edges(num_graphs, int(sizes[0])) if is_padded else self.edges(sizes)
        return assemble(sizes, self.fields(sizes, rng), edges).to(device)

    def num_edges(self, num_graphs: int) -> int:
        """Count the edges of the batch."""
        return self.edges(self.sizes(num_graphs, np.random.default_rng(0)))[0].shape[1]

    def build(self, device: str) -> nn.Module:
        """Build the model with seeded weights."""
        torch.manual_seed(0)
        if isinstance(self.model, str):
            return build_model(self.model, **self.params).to(device)
        return self.model(**self.params).to(device)


#: Models at their published sizes.
CASES = (
    Case(
        "EDM denoiser", "edm-dynamics", molecule_sizes, noisy_molecules, 64, 8,
        {"num_features": _NUM_FEATURES, "num_hidden": 256, "num_layers": 9},
    ),
    Case(
        "EGNN", "egnn", molecule_sizes, molecules, 96, 16,
        {"inputs": "molecule", "num_hidden": 128, "num_layers": 7},
    ),
    Case("LorentzNet", "lorentznet", jet_sizes, jets, 32, 4, {"num_hidden": 72, "num_layers": 6}),
    Case("CGENN n-body", "cgenn-nbody", five_each, particles, 100, 20, {"num_hidden": 28, "num_layers": 3}),
    Case(
        "CGENN top", "cgenn-lorentz", jet_sizes, jets, 8, 1,
        {"num_hidden": 72, "num_multivectors": 8, "num_layers": 4}, is_long=True,
    ),
)  # fmt: skip

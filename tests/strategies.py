"""Random batches and hypothesis strategies shared by the tests."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.data import Data

from geograph.algebra.euclid import random_orthogonal
from geograph.algebra.harmonics import degrees
from geograph.algebra.minkowski import boost

KINDS = ("molecule", "jet", "mesh", "nbody", "sphere", "atom_spheres")


def ragged_sizes(num_graphs: int, generator: torch.Generator, smallest: int, largest: int) -> list[int]:
    """Sizes that differ from graph to graph as far as the range allows."""
    span = largest - smallest + 1
    order = torch.randperm(span, generator=generator)
    return [smallest + int(order[i % span]) for i in range(num_graphs)]


def complete_edges(sizes: list[int]) -> Tensor:
    """All ordered pairs i != j of each graph, sorted by target."""
    blocks, start = [torch.zeros(2, 0, dtype=torch.int64)], 0
    for size in sizes:
        target, source = (~torch.eye(size, dtype=torch.bool)).nonzero(as_tuple=True)
        blocks.append(torch.stack([source, target]) + start)
        start += size
    return torch.cat(blocks, dim=1)


def ring_edges(sizes: list[int], generator: torch.Generator) -> Tensor:
    """Return a ring and some chords for each graph, both directions, sorted by target."""
    blocks, start = [torch.zeros(2, 0, dtype=torch.int64)], 0
    for size in sizes:
        adjacency = torch.rand(size, size, generator=generator) < 0.2
        index = torch.arange(size)
        adjacency[index, (index + 1) % size] = True
        adjacency = (adjacency | adjacency.T) & ~torch.eye(size, dtype=torch.bool)
        target, source = adjacency.nonzero(as_tuple=True)
        blocks.append(torch.stack([source, target]) + start)
        start += size
    return torch.cat(blocks, dim=1)


def cumulative(counts: Tensor) -> Tensor:
    """CSR pointer [len(counts) + 1] from row counts."""
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def assemble(sizes: list[int], edge_index: Tensor, **fields: Tensor) -> Data:
    """Build a batch by the contract from node counts, edges sorted by target, and fields."""
    counts = torch.tensor(sizes, dtype=torch.int64)
    num_nodes = int(counts.sum())
    data = Data(**fields)
    data.num_nodes = num_nodes
    data.num_graphs = len(sizes)
    data.ptr = cumulative(counts)
    data.batch = torch.repeat_interleave(torch.arange(len(sizes)), counts)
    data.edge_index = edge_index
    data.edge_ptr = cumulative(torch.bincount(edge_index[1], minlength=num_nodes))
    data.record_index = torch.arange(len(sizes))
    return data


def make_batch(
    kind: str,
    num_graphs: int = 3,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    *,
    single_node: bool = False,
    has_beams: bool = False,
    sizes: list[int] | None = None,
) -> Data:
    """Make a random batch by the batch contract; complete graphs except for meshes.

    Parameters
    ----------
    kind
        One of `KINDS`.
    num_graphs
        Number of graphs; sizes differ.
    seed
        Seed of every random number.
    dtype
        Floating dtype of all fields.
    single_node
        Give the first graph a single node (and so no edge).
    has_beams
        Jets only: put the two beam particles first in each graph.
    sizes
        Node counts, where the test wants its own (beams not counted).
    """
    generator = torch.Generator().manual_seed(seed)
    sizes = list(sizes) if sizes is not None else ragged_sizes(num_graphs, generator, 3, 7)
    if single_node:
        sizes[0] = 1
    if kind == "jet":
        return _jets(sizes, generator, dtype, has_beams)
    if kind == "sphere" and not single_node and 1 not in sizes:
        sizes = [1] * len(sizes)
    make = {
        "molecule": _molecules,
        "mesh": _meshes,
        "nbody": _bodies,
        "sphere": _spheres,
        "atom_spheres": _atom_spheres,
    }[kind]
    return make(sizes, generator, dtype)


def _normal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64)


def _molecules(sizes: list[int], generator: torch.Generator, dtype: torch.dtype) -> Data:
    n = sum(sizes)
    elements = torch.tensor([1, 6, 7, 8, 9])
    return assemble(
        sizes,
        complete_edges(sizes),
        z=elements[torch.randint(len(elements), (n,), generator=generator)],
        pos=(1.5 * _normal(n, 3, generator)).to(dtype),
        y=_normal(len(sizes), 1, generator).to(torch.float32),
    )


def _jets(sizes: list[int], generator: torch.Generator, dtype: torch.dtype, has_beams: bool) -> Data:
    n = sum(sizes)
    noise = _normal(n, 3, generator)
    pt = 10.0 + 100.0 * torch.rand(n, generator=generator, dtype=torch.float64)
    eta, phi = 0.5 + 0.3 * noise[:, 0], 1.0 + 0.3 * noise[:, 1]
    mass = 1.0 + 5.0 * noise[:, 2].abs()
    momentum = torch.stack([pt * phi.cos(), pt * phi.sin(), pt * eta.sinh()], dim=1)
    energy = (momentum.square().sum(1) + mass.square()).sqrt()
    p4 = torch.cat([energy[:, None], momentum], dim=1)
    is_beam = torch.zeros(n, dtype=torch.int64)
    if has_beams:
        beams = torch.tensor([[math.sqrt(2), 0, 0, 1], [math.sqrt(2), 0, 0, -1]], dtype=torch.float64)
        p4 = torch.cat([torch.cat([beams, part]) for part in p4.split(sizes)])
        is_beam = torch.cat(
            [torch.cat([torch.ones(2, dtype=torch.int64), part]) for part in is_beam.split(sizes)]
        )
        sizes = [size + 2 for size in sizes]
    y = torch.arange(len(sizes)) % 2
    return assemble(sizes, complete_edges(sizes), p4=p4.to(dtype), is_beam=is_beam, y=y)


def _meshes(sizes: list[int], generator: torch.Generator, dtype: torch.dtype) -> Data:
    n = sum(sizes)
    normal = _normal(n, 3, generator)
    return assemble(
        sizes,
        ring_edges(sizes, generator),
        pos=_normal(n, 3, generator).to(dtype),
        normal=(normal / normal.norm(dim=1, keepdim=True)).to(dtype),
        area=(0.1 + torch.rand(n, generator=generator, dtype=torch.float64)).to(dtype),
        y=torch.arange(len(sizes)) % 2,
    )


def _bodies(sizes: list[int], generator: torch.Generator, dtype: torch.dtype) -> Data:
    n = sum(sizes)
    pos, vel = _normal(n, 3, generator), 0.5 * _normal(n, 3, generator)
    charge = 2.0 * torch.randint(2, (n,), generator=generator).to(torch.float64) - 1.0
    target = pos + vel + 0.1 * _normal(n, 3, generator)
    fields = {"pos": pos, "vel": vel, "charge": charge, "pos_target": target}
    return assemble(sizes, complete_edges(sizes), **{name: value.to(dtype) for name, value in fields.items()})


def harmonic_coefficients(
    spheres: int, channels: int, bandlimit: int, generator: torch.Generator, dtype: torch.dtype
) -> Tensor:
    """Random functions whose spectrum falls with the degree."""
    degree = degrees(bandlimit).double()
    values = torch.randn(spheres, channels, bandlimit**2, generator=generator, dtype=torch.float64)
    return (values / (1 + degree)).to(dtype)


#: Channels and band-limit of the batches of kinds `sphere` and `atom_spheres`.
SPHERE_CHANNELS, SPHERE_BANDLIMIT = 3, 6


def _spheres(sizes: list[int], generator: torch.Generator, dtype: torch.dtype) -> Data:
    harmonic = harmonic_coefficients(sum(sizes), SPHERE_CHANNELS, SPHERE_BANDLIMIT, generator, dtype)
    y = torch.arange(len(sizes)) % 2
    return assemble(sizes, torch.zeros(2, 0, dtype=torch.int64), harmonic=harmonic, y=y)


def _atom_spheres(sizes: list[int], generator: torch.Generator, dtype: torch.dtype) -> Data:
    data = _molecules(sizes, generator, dtype)
    harmonic = harmonic_coefficients(sum(sizes), SPHERE_CHANNELS, SPHERE_BANDLIMIT, generator, dtype)
    return assemble(sizes, torch.zeros(2, 0, dtype=torch.int64), harmonic=harmonic, z=data.z, y=data.y)


def take_graph(batch: Data, graph: int) -> Data:
    """One graph of a batch as a batch of its own, with the same values bit for bit."""
    start, stop = int(batch.ptr[graph]), int(batch.ptr[graph + 1])
    mask = (batch.edge_index[1] >= start) & (batch.edge_index[1] < stop)
    names = [name for name in ("z", "pos", "vel", "charge", "normal", "area", "p4", "is_beam", "pos_target")]
    names.append("harmonic")
    fields = {name: batch[name][start:stop] for name in names if name in batch}
    if "y" in batch:
        fields["y"] = batch.y[graph : graph + 1]
    return assemble([stop - start], batch.edge_index[:, mask] - start, **fields)


# Hypothesis strategies ------------------------------------------------------------------------------

seeds = st.integers(min_value=0, max_value=2**31 - 1)


@st.composite
def orthogonal_matrices(draw: st.DrawFn, dim: int = 3, proper: bool | None = None) -> Tensor:
    """Rotations (proper=True), improper elements (False) or either (None), float64."""
    generator = torch.Generator().manual_seed(draw(seeds))
    wanted = draw(st.booleans()) if proper is None else proper
    return random_orthogonal(generator, dim, torch.float64, proper=wanted)


@st.composite
def boosts(draw: st.DrawFn, max_rapidity: float = 2.0) -> Tensor:
    """Pure boosts of bounded rapidity, float64 [4, 4]."""
    generator = torch.Generator().manual_seed(draw(seeds))
    rapidity = draw(st.floats(min_value=-max_rapidity, max_value=max_rapidity, allow_nan=False))
    # Below the smallest normal number the matrix has entries whose LU factors, and so the minors of the
    # outermorphism, are not numbers; a boost as small as that is none.
    rapidity = 0.0 if abs(rapidity) < 1e-100 else rapidity
    return boost(torch.randn(3, generator=generator, dtype=torch.float64), rapidity)


@st.composite
def permutations(draw: st.DrawFn, size: int) -> Tensor:
    """Random orders of `size` things."""
    return torch.randperm(size, generator=torch.Generator().manual_seed(draw(seeds)))


def graph_sizes(max_graphs: int = 4, smallest: int = 1, largest: int = 6) -> st.SearchStrategy[list[int]]:
    """Ragged node counts, single-node graphs among them."""
    return st.lists(st.integers(smallest, largest), min_size=1, max_size=max_graphs)

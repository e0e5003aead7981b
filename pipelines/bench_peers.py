"""What the benchmark runs: a model in a kernel backend, and the same model as others would run it.

Peers of the backends are:

`padded`
    The layout of the released codes: every graph has as many nodes as the largest one of the batch, and all
    pairs of them as edges; backend `reference`. The multiplications by masks, which a real run needs besides,
    are left out.
`pyg_message_passing`
    The same layers, with the same weights, as a `MessagePassing` of PyTorch Geometric.
`torch_compile`
    Backend `reference`, each layer compiled by `torch.compile`.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import MessagePassing

from geograph.kernels import dispatch, reference, use_backend
from geograph.layers.egcl import EGCL
from pipelines.bench_cases import Case
from pipelines.bench_process import Job, Subject
from pipelines.bench_roofline import Products
from pipelines.cost import peak_memory_mb, reset_peak_memory

#: Name of the row that measures the matrix products alone.
PRODUCTS = "matrix products"
#: The backend that all others are compared with.
REFERENCE = "reference"


class Trainee:
    """A model with its batch and optimizer, in one backend."""

    def __init__(self, model: nn.Module, batch: Data, device: str, backend: str) -> None:
        self.model, self.batch, self.device, self.backend = model, batch, device, backend
        self.optimizer = torch.optim.Adam(model.parameters(), lr=1e-6)

    def forward(self) -> None:
        """Predict, in evaluation mode."""
        self.model.eval()
        with torch.no_grad():
            self.model(self.batch)

    def step(self) -> None:
        """Forward, backward and one step of the optimizer; the loss is a plain mean of squares."""
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        out: Tensor = self.model(self.batch)
        out.square().mean().backward()
        self.optimizer.step()

    def first(self) -> tuple[float, tuple[float, float]]:
        """Peak memory in MB of one training step above what the process held, and the times of a round."""
        with use_backend(self.backend):
            reset_peak_memory()
            before = peak_memory_mb()
            step_s = seconds(self.step, self.device)
            peak = max(peak_memory_mb() - before, 0.0)
            return peak, (seconds(self.forward, self.device), step_s)

    def round(self) -> tuple[float, float]:
        """Seconds of a forward pass and of a training step."""
        with use_backend(self.backend):
            return seconds(self.forward, self.device), seconds(self.step, self.device)


def seconds(function: Callable[[], object], device: str) -> float:
    """Time of one call: between two events of the GPU there, wall time elsewhere."""
    if device == "cuda":
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        start.record()
        function()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1e3
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


# What can be run --------------------------------------------------------------------------------------------


def in_backend(job: Job) -> Subject:
    """Make the model in the kernel backend that the job is named after."""
    return _trainee(job, job.name)


def padded(job: Job) -> Subject:
    """Make the model on the padded batch."""
    return _trainee(job, REFERENCE, is_padded=True)


def compiled(job: Job) -> Subject:
    """Make the model with compiled layers; equal layers share their code.

    The choice of a backend is fixed, because the compiler would break the graph at its context variable.
    """
    dispatch.selected = lambda *_: REFERENCE
    for name in ("implementation", "_module"):
        if hasattr(dispatch, name):
            setattr(dispatch, name, lambda _: reference)
    trainee = _trainee(job, REFERENCE)
    for layer in _layers(trainee.model):
        layer.compile(dynamic=False)
    return trainee


def with_pyg(job: Job) -> Subject:
    """Make the model with PyTorch Geometric's message passing."""
    trainee = _trainee(job, REFERENCE)
    to_pyg(trainee.model)
    return trainee


def products(job: Job) -> Subject:
    """Make the matrix products that the model cannot avoid."""
    case, device = job.case, job.device
    return Products(case.build(device), case.batch(job.num_graphs, device), device, seconds)


def _trainee(job: Job, backend: str, *, is_padded: bool = False) -> Trainee:
    _wake(job, backend)
    case, device = job.case, job.device
    batch = case.batch(job.num_graphs, device, is_padded=is_padded)
    return Trainee(case.build(device), batch, device, backend)


def _wake(job: Job, backend: str) -> None:
    """Load code and workspaces by a step on one graph, and give the memory back.

    What a process loads once would count as memory of its first step, and memory that the allocator kept
    would hide some of it.
    """
    small = Trainee(job.case.build(job.device), job.case.batch(1, job.device), job.device, backend)
    with use_backend(backend):
        small.step()
        small.forward()
    del small
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _layers(model: nn.Module) -> list[nn.Module]:
    """Return the members of the outermost lists of modules."""
    found: list[nn.Module] = []
    for child in model.children():
        found += list(child) if isinstance(child, nn.ModuleList) else _layers(child)
    return found


class PygEGCL(MessagePassing):
    """An EGNN layer whose positions stay fixed, written as users of PyTorch Geometric write it.

    Parameters
    ----------
    layer
        Layer whose sizes and weights it takes.

    References
    ----------
    Satorras et al. (2021), arXiv:2102.09844, Eqs. (3), (5), (6) and (8).
    """

    def __init__(self, layer: EGCL) -> None:
        super().__init__(aggr="sum")
        self.edge_linear, self.edge_mlp = layer.edge_linear, layer.edge_mlp
        self.attention, self.node_mlp = layer.attention, layer.node_mlp

    def forward(
        self, h: Tensor, pos: Tensor, edge_index: Tensor, edge_ptr: Tensor, *unused: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return updated features, and the positions."""
        total = self.propagate(edge_index, h=h, pos=pos)
        if self.node_mlp is not None:
            h = h + self.node_mlp(torch.cat([h, total], dim=1))
        return h, pos

    def message(self, h_i: Tensor, h_j: Tensor, pos_i: Tensor, pos_j: Tensor) -> Tensor:
        """Message of each edge."""
        radial = (pos_i - pos_j).square().sum(dim=1, keepdim=True)
        pair = torch.cat([h_i, h_j, radial], dim=1)
        message = self.edge_mlp(nn.functional.linear(pair, self.edge_linear.weight, self.edge_linear.bias))
        if self.attention is not None:
            message = message * torch.sigmoid(self.attention(message))
        return message


def to_pyg(model: nn.Module) -> None:
    """Replace the EGNN layers of a model by `PygEGCL`."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, EGCL):
                setattr(parent, name, PygEGCL(child))


# Which of them a case gets ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Peer:
    """One way to run a model that is no backend.

    Attributes
    ----------
    name
        What stands in the column `backend`.
    make
        Makes the subject.
    cases, quick_cases
        Names of the cases that get it, without and with `--quick`; None for all.
    """

    name: str
    make: Callable[[Job], Subject]
    cases: tuple[str, ...] | None = None
    quick_cases: tuple[str, ...] | None = None


#: Peers that take turns with the backends, and those whose long start comes after everything else.
PEERS = (Peer("padded", padded), Peer("pyg_message_passing", with_pyg, ("EGNN",), ("EGNN",)))
LATE_PEERS = (Peer("torch_compile", compiled, None, ("EGNN",)),)


def jobs_of(
    case: Case, names: Sequence[str], device: str, *, quick: bool, reserve_s: float = 0.0
) -> list[Job]:
    """List the subjects of one case that take turns: backends, matrix products, peers.

    Parameters
    ----------
    case
        Model and batch.
    names
        Backends.
    device
        `cpu` or `cuda`.
    quick
        Take the small batch and fewer peers.
    reserve_s
        Seconds that must be left to the deadline for a peer to be started.
    """
    num_graphs = case.num_quick if quick else case.num_graphs
    jobs = [Job(case, name, in_backend, num_graphs, device) for name in names]
    jobs.append(Job(case, PRODUCTS, products, num_graphs, device))
    for peer in _peers_of(PEERS, case, quick):
        jobs.append(Job(case, peer.name, peer.make, num_graphs, device, minimum=1, reserve_s=reserve_s))
    return jobs


def late_jobs_of(case: Case, device: str, *, quick: bool, limit_s: float) -> list[Job]:
    """List the subjects of one case that come at the end, each after the reference to compare it with.

    Parameters
    ----------
    case, device, quick
        As for `jobs_of`.
    limit_s
        Seconds that the start and the first step may take.
    """
    num_graphs = case.num_quick if quick else case.num_graphs
    jobs = [
        Job(
            case,
            peer.name,
            peer.make,
            num_graphs,
            device,
            minimum=1,
            first_limit_s=limit_s,
            reserve_s=1.0,
            first_counts=False,
        )  # fmt: skip
        for peer in _peers_of(LATE_PEERS, case, quick)
    ]
    return (
        [*jobs, Job(case, REFERENCE, in_backend, num_graphs, device, minimum=1, reserve_s=1.0)]
        if jobs
        else []
    )


def _peers_of(peers: Sequence[Peer], case: Case, quick: bool) -> list[Peer]:
    named = [(peer, peer.quick_cases if quick else peer.cases) for peer in peers]
    return [peer for peer, cases in named if cases is None or case.name in cases]

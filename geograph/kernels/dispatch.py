"""Choice of the backend that runs the graph kernels, and the checked entry points that layers call.

A backend is chosen by, in this order: the argument `backend`, the context manager `use_backend`, the
environment variable GEOGRAPH_KERNELS, else "auto": the fused backend of the tensors' device where it works
and knows their type, else `native`. A backend that was asked for by name runs or raises; it is never
replaced.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geograph.errors import BackendError, ConfigError, ShapeError

#: Environment variable that names the backend.
ENVIRONMENT = "GEOGRAPH_KERNELS"

#: Modules that implement `segment_reduce`, `pair_linear`, `gather_scatter` and `unavailable`, by name of the
#: backend. A new backend is one module and one row.
BACKENDS: dict[str, str] = {
    "reference": "geograph.kernels.reference",
    "native": "geograph.kernels.native",
    "torch_scatter": "geograph.kernels.scatter",
    "cpu": "geograph.kernels.cpu",
    "triton": "geograph.kernels.triton",
}

#: Backends that run whole edge networks, by name, with the type of device that they run on.
FUSED = {"cpu": "cpu", "triton": "cuda"}

_FALLBACK = "native"
_FUSED_TYPES = {"cpu": (torch.float32, torch.float64), "cuda": (torch.float32, torch.float64, torch.bfloat16)}
_REDUCTIONS = ("sum", "mean", "max")
_CHOICE: ContextVar[str | None] = ContextVar("geograph_kernel_backend", default=None)


@dataclass(frozen=True)
class BackendStatus:
    """Whether a backend can run here, and if not why."""

    name: str
    is_available: bool
    reason: str


def backends() -> list[BackendStatus]:
    """Status of every backend, for `geograph doctor`."""
    rows = []
    for name in BACKENDS:
        reason = _module(name).unavailable()
        rows.append(BackendStatus(name, reason is None, reason or ""))
    return rows


def selected(backend: str | None = None, tensor: Tensor | None = None) -> str:
    """Name of the backend that a call made here and now would use.

    Parameters
    ----------
    backend
        Name, or None for the choice of context and environment.
    tensor
        Input of the call; None asks for the device that a training would use here.

    Raises
    ------
    BackendError
        If the name is unknown or the backend cannot run here or on the device of the tensor.
    """
    name = backend or _CHOICE.get() or os.environ.get(ENVIRONMENT) or "auto"
    device = tensor.device.type if tensor is not None else "cuda" if torch.cuda.is_available() else "cpu"
    if name == "auto":
        return _automatic(device, torch.float32 if tensor is None else tensor.dtype)
    if name not in BACKENDS:
        raise BackendError(f"`backend` must be one of auto, {', '.join(BACKENDS)}, got {name!r}.")
    reason = _module(name).unavailable()
    if reason is None and tensor is not None and not _runs_on(name, device):
        reason = f"it runs on {FUSED[name]}, the data are on {device}"
    if reason is not None:
        raise BackendError(f"The kernel backend {name!r} was asked for but cannot run here: {reason}.")
    return name


def _runs_on(name: str, device: str) -> bool:
    """Whether a backend takes tensors of a device; Triton's interpreter takes those of the CPU."""
    return FUSED.get(name, device) == device or (name == "triton" and "TRITON_INTERPRET" in os.environ)


def _automatic(device: str, dtype: torch.dtype) -> str:
    is_mixed = torch.is_autocast_enabled(device)
    for name, place in FUSED.items():
        fits = place == device and name in BACKENDS and dtype in _FUSED_TYPES[place] and not is_mixed
        if fits and _module(name).unavailable() is None:
            return name
    return _FALLBACK


def implementation(name: str) -> ModuleType:
    """Return the module of a backend."""
    return _module(name)


@contextmanager
def use_backend(name: str) -> Iterator[str]:
    """Run the kernels called inside the block with one backend.

    Raises
    ------
    BackendError
        If the name is unknown or the backend cannot run here.
    """
    chosen = selected(name)
    token = _CHOICE.set(name)
    try:
        yield chosen
    finally:
        _CHOICE.reset(token)


def segment_reduce(
    src: Float[Tensor, " rows *features"],
    ptr: Int[Tensor, " segments_plus_one"],
    reduce: str = "sum",
    *,
    index: Int[Tensor, " rows"] | None = None,
    backend: str | None = None,
) -> Float[Tensor, " segments *features"]:
    """Reduce consecutive segments of rows; an empty segment gives zero.

    Parameters
    ----------
    src
        Rows, sorted by segment.
    ptr
        CSR pointer: segment n is the rows ptr[n] to ptr[n + 1]; the last entry is the number of rows.
    reduce
        "sum", "mean" or "max".
    index
        Segment of each row where it is at hand; computed from `ptr` otherwise.
    backend
        Name of a backend for this call.
    """
    _check_reduce(reduce)
    if index is None:
        index = segment_index(ptr, src.shape[0])
    result: Tensor = _module(selected(backend, src)).segment_reduce(src, ptr, index, reduce)
    return result


def segment_index(ptr: Int[Tensor, " segments_plus_one"], rows: int) -> Int[Tensor, " rows"]:
    """Segment number of each row from a CSR pointer.

    Raises
    ------
    ShapeError
        If the pointer does not end at the number of rows.
    """
    counts = ptr.diff()
    if ptr.device.type == "cpu" and int(ptr[-1]) != rows:
        raise ShapeError(f"`ptr` must end at the number of rows {rows}, got {int(ptr[-1])}.")
    numbers = torch.arange(counts.shape[0], device=ptr.device)
    return torch.repeat_interleave(numbers, counts, output_size=rows)


def pair_linear(
    h: Float[Tensor, "nodes features"],
    edge_attr: Float[Tensor, "edges scalars"] | None,
    weight: Float[Tensor, "outputs columns"],
    bias: Float[Tensor, " outputs"] | None,
    edge_index: Int[Tensor, "2 edges"],
    *,
    backend: str | None = None,
) -> Float[Tensor, "edges outputs"]:
    """Linear map of the concatenation [h_i, h_j, e_ij] on every edge j -> i.

    Parameters
    ----------
    h
        Node features.
    edge_attr
        Edge scalars, or None.
    weight
        Columns in the order: target features, source features, edge scalars.
    bias
        Added to every edge.
    edge_index
        Row 0 the source j, row 1 the target i.
    backend
        Name of a backend for this call.

    Raises
    ------
    ShapeError
        If the weight has the wrong number of columns.
    """
    columns = 2 * h.shape[1] + (0 if edge_attr is None else edge_attr.shape[1])
    if weight.shape[1] != columns:
        raise ShapeError(
            f"`weight` must have {columns} columns (two nodes and their edge), got {weight.shape[1]}."
        )
    result: Tensor = _module(selected(backend, h)).pair_linear(h, edge_attr, weight, bias, edge_index)
    return result


def gather_scatter(
    values: Float[Tensor, " nodes *features"],
    edge_weight: Float[Tensor, " edges"],
    edge_index: Int[Tensor, "2 edges"],
    ptr: Int[Tensor, " targets_plus_one"],
    reduce: str = "sum",
    *,
    backend: str | None = None,
) -> Float[Tensor, " targets *features"]:
    """Reduce the weighted source rows w_ij v_j onto each target i; no edge gives zero.

    Parameters
    ----------
    values
        Rows to send.
    edge_weight
        Weight of each edge.
    edge_index
        Row 0 the source j, row 1 the target i, sorted by target.
    ptr
        CSR pointer of the edges over targets.
    reduce
        "sum", "mean" or "max".
    backend
        Name of a backend for this call.
    """
    _check_reduce(reduce)
    module = _module(selected(backend, values))
    result: Tensor = module.gather_scatter(values, edge_weight, edge_index, ptr, reduce)
    return result


def _check_reduce(reduce: str) -> None:
    if reduce not in _REDUCTIONS:
        raise ConfigError(f"`reduce` must be one of {', '.join(_REDUCTIONS)}, got {reduce!r}.")


def _module(name: str) -> ModuleType:
    return import_module(BACKENDS[name])

"""A linear map with its transpose as one differentiable function, and the memory that it may take."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from threading import RLock
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from geograph.errors import ConfigError

Map = Callable[[Tensor], Tensor]
_Plan = TypeVar("_Plan")
_GIB = 2.0**30
#: Below so many bytes nobody asks how much memory is free.
_SMALL_BYTES = 1 << 26


class _Linear(torch.autograd.Function):
    """y = A x with the gradient A^T g; differentiable any number of times."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, forward_map: Map, transpose: Map) -> Tensor:
        ctx.maps = forward_map, transpose
        with torch.autocast(x.device.type, enabled=False):
            return forward_map(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None]:
        forward_map, transpose = ctx.maps
        return _Linear.apply(gradients[0], transpose, forward_map), None, None


def apply_linear(x: Tensor, forward_map: Map, transpose: Map) -> Tensor:
    """Apply a linear map whose gradient is given by its transpose (complex: its adjoint).

    Parameters
    ----------
    x
        Argument.
    forward_map, transpose
        The two maps; neither is differentiated.
    """
    result: Tensor = _Linear.apply(x, forward_map, transpose)
    return result


def apply_batched(
    x: Tensor, forward_map: Map, transpose: Map, *, num_axes: int, tail: tuple[int, ...], dtype: torch.dtype
) -> Tensor:
    """Apply a linear map of one batch axis to any number of them, also to none and to empty ones.

    Parameters
    ----------
    x
        Argument; its last `num_axes` axes are those of one item.
    forward_map, transpose
        As `apply_linear`, from [batch, *item] to [batch, *tail] and back.
    num_axes
        Axes of one item of the argument.
    tail
        Axes of one item of the result.
    dtype
        Of the result.
    """
    batch, item = x.shape[:-num_axes], x.shape[-num_axes:]
    if not batch.numel():  # the sum keeps the result a function of the argument
        return torch.zeros((*batch, *tail), dtype=dtype, device=x.device) + x.real.sum()
    return apply_linear(x.reshape(-1, *item), forward_map, transpose).reshape(*batch, *tail)


def _address_space_bytes() -> list[int]:
    """Bytes left below the limit of this process's address space (`ulimit -v`), if there is one."""
    table = Path("/proc/self/statm")
    if not table.exists():
        return []
    import resource  # not on Windows, which has no such table either

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return []
    return [limit - int(table.read_text().split()[0]) * resource.getpagesize()]


def available_bytes(device: torch.device) -> int:
    """Memory that is free now: of the GPU, or of the machine and the limits that are set for this process."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = _address_space_bytes()
    table = Path("/proc/meminfo")
    if table.exists():
        rows = dict(line.split(":", 1) for line in table.read_text().splitlines() if ":" in line)
        free.append(int(rows.get("MemAvailable", "0 kB").split()[0]) * 1024)
    limit, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    if limit.exists() and used.exists() and (text := limit.read_text().strip()) != "max":
        free.append(int(text) - int(used.read_text()))
    return min(free) if free and min(free) > 0 else 1 << 62


def check_memory(what: str, num_bytes: int, device: torch.device, remedy: str) -> None:
    """Refuse what does not fit into the free memory, before anything is allocated.

    Parameters
    ----------
    what
        What needs the memory.
    num_bytes
        How much.
    device
        Where.
    remedy
        What the user can do.

    Raises
    ------
    ConfigError
        If it does not fit; with both figures.
    """
    if num_bytes < _SMALL_BYTES:
        return
    free = available_bytes(device)
    if num_bytes > free:
        raise ConfigError(
            f"{what} needs about {num_bytes / _GIB:.3g} GiB of memory, but {free / _GIB:.3g} GiB are free on "
            f"{device}; {remedy}."
        )


class PlanCache(Generic[_Plan]):
    """Tables that were built before, the latest ones up to a number of bytes.

    Parameters
    ----------
    max_bytes
        Older tables are dropped beyond it; the latest one always stays.
    """

    def __init__(self, max_bytes: int = 1 << 30) -> None:
        self.max_bytes = max_bytes
        self._plans: OrderedDict[Hashable, tuple[_Plan, int]] = OrderedDict()
        self._lock = RLock()

    def get(self, key: Hashable, build: Callable[[], tuple[_Plan, int]]) -> _Plan:
        """Return the tables of a key; `build` makes them and tells their size in bytes."""
        with self._lock:
            if key not in self._plans:
                self._plans[key] = build()
                while len(self._plans) > 1 and sum(size for _, size in self._plans.values()) > self.max_bytes:
                    self._plans.popitem(last=False)
            self._plans.move_to_end(key)
            return self._plans[key][0]

"""Choices made on the host before a kernel starts: types, tile sizes, and whether it can run at all.

Tile sizes depend on shapes and types alone, and nothing is tuned by timing, so that the order of every sum
is the same in every run.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from geograph.errors import BackendError

#: Widest hidden layer whose tile fits into the registers and the shared memory of one multiprocessor.
MAX_WIDTH = 512
#: Elements of the tile of messages that a program holds in registers. Exact float32 products hold each factor
#: as two parts, bfloat16 ones as half a register. Compiled for compute capability 9.0, float32 widths up to
#: 128 and bfloat16 widths up to 256 take no local memory with these.
_TILES = {torch.float32: 1 << 11, torch.float64: 1 << 11, torch.bfloat16: 1 << 13}
#: Options of every launch: products and sums may be fused, whatever a version of Triton takes as default.
OPTIONS = {"enable_fp_fusion": True}
_TYPES = (torch.float32, torch.float64, torch.bfloat16)


@triton.jit
def _probe() -> None:
    """Do nothing: tells how this process compiles kernels."""


#: Whether the kernels of this process run in Python; decided by TRITON_INTERPRET at the first import.
INTERPRETED = not isinstance(_probe, triton.JITFunction)


def check(first: Tensor, *others: Tensor | None) -> None:
    """Refuse tensors that the kernels cannot read.

    Raises
    ------
    BackendError
        If the tensors are not on a CUDA device, have different types, or a type without a kernel.
    """
    if not (first.is_cuda or INTERPRETED):
        raise BackendError(f"The triton kernels need tensors on a CUDA device, got one on {first.device}.")
    types = {tensor.dtype for tensor in (first, *others) if tensor is not None}
    if len(types) > 1 or first.dtype not in _TYPES:
        names = ", ".join(sorted(str(dtype) for dtype in types))
        raise BackendError(f"The triton kernels need float32, float64 or bfloat16 throughout, got {names}.")


def check_width(**widths: int) -> None:
    """Refuse layers that are too wide for one tile.

    Raises
    ------
    BackendError
        If a width exceeds `MAX_WIDTH`.
    """
    for name, width in widths.items():
        if width > MAX_WIDTH:
            raise BackendError(
                f"The triton kernels need `{name}` of at most {MAX_WIDTH} outputs, got {width}; "
                "choose the backend native."
            )


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """Type of sums and of activations: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def types(dtype: torch.dtype) -> dict[str, Any]:
    """Constants ACC, DOT and PRECISION of a kernel: types of sums and of factors, and how float32 is split.

    With them come the `OPTIONS`.

    Where PyTorch is set to exact float32 products ("highest", its default), each is taken as three products
    of TensorFloat-32 parts, which keeps 22 bits of each factor and runs on tensor cores; else as one.
    """
    if dtype == torch.float64:
        return {"ACC": tl.float64, "DOT": tl.float64, "PRECISION": "ieee", **OPTIONS}
    is_exact = torch.get_float32_matmul_precision() == "highest"
    # The interpreter has no product of bfloat16 arrays.
    is_half = dtype == torch.bfloat16 and not INTERPRETED
    return {
        "ACC": tl.float32,
        "DOT": tl.bfloat16 if is_half else tl.float32,
        "PRECISION": "tf32x3" if is_exact else "tf32",
        **OPTIONS,
    }


def padded(width: int) -> int:
    """Width of a tile that holds `width` columns: a power of two, at least 16."""
    return max(16, triton.next_power_of_2(width))


def block_edges(width: int, dtype: torch.dtype) -> int:
    """Edges of one tile of `width` padded columns: 16 or 32."""
    return min(32, max(16, _TILES[dtype] // width))


def step(width: int, dtype: torch.dtype) -> int:
    """Columns of the other factor that a matrix product loads at once."""
    return min(32, max(16, _TILES[dtype] // width))


def plain(tensor: Tensor | None, instead: Tensor) -> Tensor:
    """Contiguous form of a tensor; another one stands for a part that is left out and never read."""
    return (instead if tensor is None else tensor).contiguous()

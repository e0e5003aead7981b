"""What the benchmark ran on: processor, threads, versions, and how fast the device copies and multiplies."""

from __future__ import annotations

import platform
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch_geometric

from pipelines.bench_peers import seconds
from pipelines.bench_process import apart

_CPU_INFO = Path("/proc/cpuinfo")
_REPEATS = 5
#: Bytes of the array that is copied, and side of the square matrices, by device.
_COPIED = {"cpu": 1 << 28, "cuda": 1 << 31}
_SIDE = {"cpu": 2048, "cuda": 8192}


def machine(device: str) -> dict[str, Any]:
    """Describe machine and libraries; the GPU is "not measured" without one.

    Parameters
    ----------
    device
        Device of the benchmark, `cpu` or `cuda`.
    """
    return {
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_geometric": torch_geometric.__version__,
        "device": device,
        "gpu": "not measured",
        **apart(rates, device),
    }


def processor() -> str:
    """Model of the processor."""
    if _CPU_INFO.exists():
        for line in _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine() or sys.platform


def rates(device: str) -> dict[str, Any]:
    """Measure copies (bytes read and written, GB/s) and square products (GFLOP/s) of a device."""
    found: dict[str, Any] = {}
    if device == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
    source = torch.ones(_COPIED[device] // 4, device=device)
    target = torch.empty_like(source)
    found["copy_gb_per_s"] = 2 * _COPIED[device] / 1e9 / _median(partial(target.copy_, source), device)
    side = _SIDE[device]
    for dtype in (torch.float32, torch.bfloat16) if device == "cuda" else (torch.float32,):
        factor = torch.randn(side, side, device=device).to(dtype)
        product = torch.empty_like(factor)
        taken = _median(partial(torch.mm, factor, factor, out=product), device)
        found[f"matrix_gflop_per_s_{str(dtype).removeprefix('torch.')}"] = 2 * side**3 / 1e9 / taken
    return found


def _median(function: Callable[[], object], device: str) -> float:
    function()
    return statistics.median(seconds(function, device) for _ in range(_REPEATS))

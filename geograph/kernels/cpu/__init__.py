"""Fused kernels in C++ for the CPU: OpenMP, vectorised for the machine that they are compiled on."""

from geograph.kernels.cpu.build import reason_unavailable as unavailable
from geograph.kernels.cpu.messages import (
    check_edges,
    messages_backward,
    messages_forward,
    moments_backward,
    moments_forward,
)
from geograph.kernels.native import gather_scatter, pair_linear, segment_reduce

__all__ = [
    "check_edges",
    "gather_scatter",
    "messages_backward",
    "messages_forward",
    "moments_backward",
    "moments_forward",
    "pair_linear",
    "segment_reduce",
    "unavailable",
]

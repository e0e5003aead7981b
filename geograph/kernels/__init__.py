"""Graph kernels: a specification, faster backends, and the dispatcher that chooses between them by name."""

from geograph.kernels.dispatch import (
    BackendStatus,
    backends,
    gather_scatter,
    pair_linear,
    segment_index,
    segment_reduce,
    selected,
    use_backend,
)

__all__ = [
    "BackendStatus",
    "backends",
    "gather_scatter",
    "pair_linear",
    "segment_index",
    "segment_reduce",
    "selected",
    "use_backend",
]

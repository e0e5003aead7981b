"""Orders of the edges: the target of each edge, and the edges of each source.

Both are recomputed from the edge list by a search and a stable sort, without a copy to the host, and kept for
the edge lists of the last few batches, since every layer of a network asks for the same ones.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

_ENTRIES = 8
_KEPT: OrderedDict[tuple[Any, ...], tuple[StorageWeakRef, Any]] = OrderedDict()
#: The backward pass runs in a thread of its own.
_LOCK = threading.Lock()


def edge_targets(edge_ptr: Tensor, num_edges: int) -> Tensor:
    """Target of each edge from the CSR pointer over targets."""

    def compute() -> Tensor:
        edges = torch.arange(num_edges, device=edge_ptr.device)
        return torch.searchsorted(edge_ptr[1:].contiguous(), edges, right=True)

    result: Tensor = _kept("target", edge_ptr, (num_edges,), compute)
    return result


def source_order(edge_source: Tensor, num_nodes: int, chunk: int) -> tuple[Tensor, Tensor]:
    """Edges sorted by (chunk of edges, source), and the CSR pointer over these pairs.

    Within a source the edges keep their order. Chunk c is the edges c * chunk to (c + 1) * chunk - 1, and its
    pointer is the part c * num_nodes to (c + 1) * num_nodes inclusive of the result.
    """

    def compute() -> tuple[Tensor, Tensor]:
        num_edges = edge_source.shape[0]
        chunks = max(1, -(-num_edges // chunk))
        numbers = torch.arange(num_edges, device=edge_source.device)
        keys, edges = torch.sort((numbers // chunk) * num_nodes + edge_source, stable=True)
        bounds = torch.arange(chunks * num_nodes + 1, device=edge_source.device)
        return edges, torch.searchsorted(keys, bounds)

    result: tuple[Tensor, Tensor] = _kept("source", edge_source, (num_nodes, chunk), compute)
    return result


def _kept(name: str, tensor: Tensor, sizes: tuple[int, ...], compute: Callable[[], Any]) -> Any:
    """Look up what was computed from the same memory with the same contents, else compute it.

    The key holds a weak reference to the memory, so that its address cannot come back as another tensor, and
    the version counter, which every change in place advances. While a CUDA graph records, the work must be
    part of the graph.
    """
    if tensor.is_inference() or (tensor.is_cuda and torch.cuda.is_current_stream_capturing()):
        return compute()
    memory = StorageWeakRef(tensor.untyped_storage())
    key = (
        name,
        memory.cdata,
        tensor.data_ptr(),
        tuple(tensor.shape),
        tensor.stride(),
        tensor._version,
        sizes,
    )
    with _LOCK:
        if key in _KEPT:
            _KEPT.move_to_end(key)
            return _KEPT[key][1]
        for old in [old for old, (reference, _) in _KEPT.items() if reference.expired()]:
            del _KEPT[old]
        result = compute()
        _KEPT[key] = memory, result
        while len(_KEPT) > _ENTRIES:
            _KEPT.popitem(last=False)
        return result

"""Which molecules go through the network together, and what happens when they do not fit into memory."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from geograph.errors import ConfigError

#: Pairs of atoms of a batch, unless one molecule alone has more: 64 molecules of 64 atoms.
MAX_EDGES = 64 * 64 * 63

_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")


def plan_batches(sizes: Sequence[int], batch_size: int, max_edges: int = MAX_EDGES) -> list[list[int]]:
    """Group molecules by their number of atoms, largest first.

    Parameters
    ----------
    sizes
        Number of atoms of each molecule.
    batch_size
        Most molecules of a batch.
    max_edges
        Most ordered pairs of atoms of a batch; a molecule that has more goes alone.

    Returns
    -------
    Numbers of the molecules of each batch.

    Raises
    ------
    ConfigError
        If a limit is below 1.
    """
    if batch_size < 1:
        raise ConfigError(f"`batch_size` must be at least 1, got {batch_size}.")
    if max_edges < 1:
        raise ConfigError(f"`max_edges` must be at least 1, got {max_edges}.")
    # As many batches as the limit asks for, and these alike: no small rest.
    num_batches = -(-len(sizes) // batch_size)
    limit = -(-len(sizes) // max(num_batches, 1))
    batches: list[list[int]] = []
    room = 0
    for index in sorted(range(len(sizes)), key=lambda k: (-sizes[k], k)):
        edges = sizes[index] * (sizes[index] - 1)
        if not batches or len(batches[-1]) >= limit or edges > room:
            batches.append([])
            room = max_edges
        batches[-1].append(index)
        room -= edges
    return batches


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on an accelerator, in torch's CPU allocator or in Python."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    texts = ("DefaultCPUAllocator: can't allocate memory", "DefaultCPUAllocator: not enough memory")
    return isinstance(error, RuntimeError) and any(text in str(error) for text in texts)


def run_batches(
    batches: Sequence[Sequence[int]], sizes: Sequence[int], run: Callable[[list[int]], _Result]
) -> Iterator[tuple[list[int], _Result]]:
    """Run batches one after the other; one that does not fit into memory is halved and run again.

    Parameters
    ----------
    batches
        Numbers of the molecules of each batch.
    sizes
        Number of atoms of each molecule.
    run
        Runs a batch from its beginning, whatever an earlier attempt did.

    Raises
    ------
    ConfigError
        If one molecule alone does not fit.
    """
    waiting = [list(batch) for batch in reversed(batches)]
    too_many = float("inf")
    while waiting:
        batch = waiting.pop()
        edges = sum(sizes[index] * (sizes[index] - 1) for index in batch)
        # What is as large as one that failed is not tried again.
        if len(batch) > 1 and edges >= too_many:
            waiting += _halves(batch)
            continue
        try:
            result = run(batch)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise ConfigError(
                    f"`sizes`: memory is too small for molecule {batch[0]} with {sizes[batch[0]]} atoms "
                    "by itself; ask for fewer atoms or use a device with more memory."
                ) from error
        else:
            yield batch, result
            continue
        # Outside of the handler: the error held on to the tensors of the attempt.
        too_many = min(too_many, edges)
        _logger.warning(
            "memory ran out with %d molecules in a batch; they are sampled in two halves", len(batch)
        )
        waiting += _halves(batch)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _halves(batch: list[int]) -> list[list[int]]:
    middle = (len(batch) + 1) // 2
    return [batch[middle:], batch[:middle]]

"""Which records go into which batch: by number of graphs, by a bound on the edges, or of even size."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int


def even_bounds(num_records: int, batch_size: int) -> list[int]:
    """Bounds of batches of `batch_size` records; the last one may be smaller."""
    return [*range(0, num_records, batch_size), num_records]


def bounds_by_edges(num_edges: Int[np.ndarray, " r"], batch_size: int, max_edges: int) -> list[int]:
    """Bounds of consecutive batches that hold at most `max_edges` edges and `batch_size` records.

    A record that has more edges alone makes a batch of its own.

    Parameters
    ----------
    num_edges
        Number of edges of each record, in the order in which they are served.
    batch_size
        Records in a batch at most.
    max_edges
        Edges in a batch at most.
    """
    total = np.concatenate([[0], np.cumsum(num_edges)])
    bounds = [0]
    while bounds[-1] < len(num_edges):  # one step for each batch
        fits = int(np.searchsorted(total, total[bounds[-1]] + max_edges, side="right")) - 1
        bounds.append(min(max(fits, bounds[-1] + 1), bounds[-1] + batch_size, len(num_edges)))
    return bounds


def balance(
    num_edges: Int[np.ndarray, " r"], batch_size: int, generator: np.random.Generator | None
) -> tuple[Int[np.ndarray, " r"], list[int]]:
    """Deal records to batches of about equal numbers of edges.

    The records are dealt from the largest to the smallest, in rounds that give every batch one record: the
    larger of a round goes to the batch that has fewer edges so far. There are as many batches as without
    balance, and their numbers of records differ by one at most.

    Parameters
    ----------
    num_edges
        Number of edges of each record. Records with equal numbers are dealt in the order given here.
    batch_size
        Records in a batch at most.
    generator
        Shuffles the batches; without it they keep the order in which they were dealt.

    Returns
    -------
    tuple
        Positions of the records, batch by batch, and the bounds of the batches. Inside a batch the positions
        ascend.
    """
    num_records = len(num_edges)
    num_batches = -(-num_records // batch_size)
    descending = np.argsort(-num_edges, kind="stable")
    totals = np.zeros(num_batches, dtype=np.int64)
    batch_of = np.empty(num_records, dtype=np.int64)
    for start in range(0, num_records, num_batches):  # one step for each place in a batch
        dealt = descending[start : start + num_batches]
        taker = np.argsort(totals, kind="stable")[: len(dealt)]
        batch_of[dealt] = taker
        totals[taker] += num_edges[dealt]
    if generator is not None:
        batch_of = generator.permutation(num_batches)[batch_of]
    sizes = np.bincount(batch_of, minlength=num_batches)
    return np.argsort(batch_of, kind="stable"), [0, *np.cumsum(sizes).tolist()]

"""Random numbers of a batch of molecules: one stream for each molecule, so that no neighbour matters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from geograph.diffusion.ragged import RaggedBatch
from geograph.diffusion.sizes import NOISE_STREAM, random_stream

#: Most draws of a molecule that are made ahead, and most numbers of a batch that are kept for them.
_MAX_DRAWS, _MAX_NUMBERS = 32, 4_000_000


#: Next noise of all atoms of a batch: standard normal, float64, positions with zero centre of mass.
Draw: TypeAlias = Callable[[], Tensor]


class MoleculeNoise:
    """Standard normal noise, each molecule's from the stream of its own seed.

    Several draws of a molecule are made at once; its numbers are the same as one by one.

    Parameters
    ----------
    seeds
        Seed of each molecule.
    graph
        Layout of the molecules.
    width
        Length of one row of the state.
    """

    def __init__(self, seeds: Sequence[int], graph: RaggedBatch, width: int) -> None:
        self.graph, self.width = graph, width
        self.streams = [random_stream(seed, NOISE_STREAM) for seed in seeds]
        self.sizes: list[int] = graph.sizes.tolist()
        self.block = min(_MAX_DRAWS, max(1, _MAX_NUMBERS // (len(graph.batch) * width)))
        self.ahead: list[Tensor] = []

    def draw(self) -> Float[Tensor, "n f"]:
        """Next noise of every molecule, float64 on the layout's device, centred."""
        if not self.ahead:
            # A stream for each molecule is the point here, hence the loop.
            pairs = zip(self.streams, self.sizes, strict=True)
            parts = [stream.standard_normal((self.block, size, self.width)) for stream, size in pairs]
            values = torch.from_numpy(np.concatenate(parts, axis=1)).to(self.graph.batch.device)
            self.ahead = list(values.unbind(0))[::-1]
        return self.graph.centered_positions(self.ahead.pop())

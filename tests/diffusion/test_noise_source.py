from __future__ import annotations

import numpy as np
import torch

from geograph.diffusion.noise_source import MoleculeNoise
from geograph.diffusion.ragged import RaggedBatch
from geograph.diffusion.sizes import NOISE_STREAM, random_stream

SIZES, SEEDS, WIDTH = [3, 1, 4], [7, 8, 9], 5


def test_draws_ahead_are_the_draws_one_by_one() -> None:
    graph = RaggedBatch.from_sizes(SIZES)
    noise = MoleculeNoise(SEEDS, graph, WIDTH)
    streams = [random_stream(seed, NOISE_STREAM) for seed in SEEDS]
    for _ in range(noise.block + 2):
        parts = [stream.standard_normal((size, WIDTH)) for stream, size in zip(streams, SIZES, strict=True)]
        assert torch.equal(noise.draw(), graph.centered_positions(torch.from_numpy(np.concatenate(parts))))


def test_draws_do_not_depend_on_the_neighbours() -> None:
    together = MoleculeNoise(SEEDS, RaggedBatch.from_sizes(SIZES), WIDTH)
    alone = MoleculeNoise(SEEDS[2:], RaggedBatch.from_sizes(SIZES[2:]), WIDTH)
    # A large batch draws less ahead; that must not show either.
    alone.block = 1
    for _ in range(3):
        torch.testing.assert_close(together.draw()[4:], alone.draw(), rtol=0, atol=1e-15)

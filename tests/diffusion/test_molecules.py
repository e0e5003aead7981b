from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from geograph.diffusion.molecules import sample_molecules
from geograph.diffusion.process import DiffusionProcess
from geograph.diffusion.ragged import RaggedBatch
from geograph.diffusion.schedule import build_schedule
from geograph.errors import ConfigError

PROCESS = DiffusionProcess(build_schedule("polynomial_2", 50), num_types=3)
REQUEST = {"atomic_numbers": [1, 6, 8], "num_steps": 5}


def towards_zero(state: Tensor, time: Tensor, graph: RaggedBatch) -> Tensor:
    return 0.5 * state


def explode(state: Tensor, time: Tensor, graph: RaggedBatch) -> Tensor:
    return torch.where((graph.sizes == 2)[graph.batch][:, None], torch.inf, 0.5 * state)


def test_records_come_in_the_order_of_the_request() -> None:
    calls: list[tuple[int, int]] = []
    samples = sample_molecules(
        towards_zero,
        PROCESS,
        [3, 1, 5, 2, 4],
        seeds=[11, 12, 13, 14, 15],
        batch_size=2,
        progress=lambda done, total: calls.append((done, total)),
        **REQUEST,
    )
    assert [len(molecule.z) for molecule in samples.molecules] == [3, 1, 5, 2, 4]
    assert samples.molecules[2].id == "sample-13"
    assert {int(z) for molecule in samples.molecules for z in molecule.z} <= {1, 6, 8}
    assert max(np.abs(molecule.pos.mean(0)).max() for molecule in samples.molecules) < 1e-12
    assert calls == [(k, 18) for k in range(1, 19)]
    assert samples.frames == []
    assert samples.failures == []


def test_failures_are_dropped_with_their_seed() -> None:
    samples = sample_molecules(
        explode, PROCESS, [3, 2, 4, 2], seeds=[1, 2, 3, 4], batch_size=3, frame_every=2, **REQUEST
    )
    assert [molecule.id for molecule in samples.molecules] == ["sample-1", "sample-3"]
    assert [(failure.index, failure.seed) for failure in samples.failures] == [(1, 2), (3, 4)]
    words = "molecule 1 (seed 2, 2 atoms) became infinite or NaN at diffusion time 40"
    assert str(samples.failures[0]) == words
    assert [len(frames) for frames in samples.frames] == [4, 4]
    assert np.array_equal(samples.frames[1][-1].pos, samples.molecules[1].pos)


def test_frames_survive_when_all_molecules_fail() -> None:
    samples = sample_molecules(explode, PROCESS, [2], seeds=[1], frame_every=1, **REQUEST)
    assert samples.molecules == []
    assert samples.frames == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be at least 1, got 0"),
        ({"atomic_numbers": [1]}, r"`atomic_numbers` must name 3 elements, got \[1\]"),
        ({"seeds": [1, 2]}, "`seeds` must hold one seed for each of 1 molecules, got 2"),
    ],
)
def test_bad_request_is_named(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sample_molecules(towards_zero, PROCESS, [3], **{"seeds": [1], **REQUEST, **change})

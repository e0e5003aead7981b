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
    # Five molecules, six evaluations each, in batches of two at most.
    assert calls == [(done, 30) for done in (*range(2, 25, 2), *range(25, 31))]
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


def test_molecules_do_not_depend_on_the_order_or_the_limits_of_a_batch() -> None:
    sizes, seeds = [3, 1, 5, 2, 4, 5], [11, 12, 13, 14, 15, 16]
    order = [4, 2, 0, 5, 3, 1]
    request = {**REQUEST, "dtype": torch.float64, "sampler": "sde-dpm-solver++"}
    whole = sample_molecules(towards_zero, PROCESS, sizes, seeds=seeds, **request).molecules
    for limits in ({"batch_size": 1}, {"batch_size": 4}, {"max_edges": 21}):
        parts = sample_molecules(
            towards_zero,
            PROCESS,
            [sizes[k] for k in order],
            seeds=[seeds[k] for k in order],
            **request,
            **limits,
        ).molecules
        for k, molecule in zip(order, parts, strict=True):
            assert molecule.id == whole[k].id == f"sample-{seeds[k]}"
            assert np.array_equal(molecule.z, whole[k].z)
            np.testing.assert_allclose(molecule.pos, whole[k].pos, rtol=0, atol=1e-10)


def test_each_molecule_has_its_own_row_of_context() -> None:
    sizes = [3, 1, 5, 2, 4]
    seen: list[tuple[float, float]] = []

    def predict(state: Tensor, time: Tensor, graph: RaggedBatch) -> Tensor:
        assert graph.context is not None
        seen.extend(zip(graph.sizes.tolist(), graph.context[:, 0].tolist(), strict=True))
        return 0.5 * state

    context = torch.tensor(sizes, dtype=torch.float32)[:, None] * torch.tensor([10.0, 1.0])
    sample_molecules(predict, PROCESS, sizes, seeds=range(5), context=context, batch_size=2, **REQUEST)
    assert len(seen) == 6 * 5
    assert all(value == 10.0 * size for size, value in seen)


def test_frames_carry_their_time() -> None:
    samples = sample_molecules(
        towards_zero, PROCESS, [3, 4], seeds=[1, 2], frame_every=2, sampler="dpm-solver++", **REQUEST
    )
    for chain, molecule in zip(samples.frames, samples.molecules, strict=True):
        times = [frame.properties.get("diffusion_time") for frame in chain]
        assert times[0] == 1.0
        assert times[-1] is None
        assert sorted(times[:-1], reverse=True) == times[:-1]
        assert chain[-1] is molecule


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be at least 1, got 0"),
        ({"atomic_numbers": [1]}, r"`atomic_numbers` must name 3 elements, got \[1\]"),
        ({"seeds": [1, 2]}, "`seeds` must hold one seed for each of 1 molecules, got 2"),
        ({"context": torch.zeros(2, 1)}, "`context` must have one row for each of 1 molecules, got 2"),
        ({"sampler": "euler"}, "`sampler` must be one of ancestral, ddim"),
        ({"max_edges": 0}, "`max_edges` must be at least 1, got 0"),
    ],
)
def test_bad_request_is_named(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sample_molecules(towards_zero, PROCESS, [3], **{"seeds": [1], **REQUEST, **change})

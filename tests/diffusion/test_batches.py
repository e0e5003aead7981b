"""Batches by size, and what happens when memory runs out."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import Tensor

from geograph.diffusion.batches import is_out_of_memory, plan_batches, run_batches
from geograph.diffusion.molecules import Samples, sample_molecules
from geograph.diffusion.process import DiffusionProcess
from geograph.diffusion.ragged import RaggedBatch
from geograph.diffusion.schedule import build_schedule
from geograph.errors import ConfigError

PROCESS = DiffusionProcess(build_schedule("polynomial_2", 20), num_types=2)


def test_batches_have_like_sizes_and_keep_the_limits() -> None:
    sizes = [int(size) for size in np.random.default_rng(0).integers(1, 30, size=101)]
    batches = plan_batches(sizes, 10, max_edges=2000)
    assert sorted(index for batch in batches for index in batch) == list(range(101))
    ordered = [sizes[index] for batch in batches for index in batch]
    assert ordered == sorted(sizes, reverse=True)
    assert max(map(len, batches)) <= 10
    assert all(sum(sizes[k] * (sizes[k] - 1) for k in batch) <= 2000 for batch in batches)


def test_batches_are_even_and_a_large_molecule_goes_alone() -> None:
    assert [len(batch) for batch in plan_batches([5] * 65, 64)] == [33, 32]
    assert plan_batches([3, 100, 3], 64, max_edges=50) == [[1], [0, 2]]
    assert plan_batches([], 4) == []


@pytest.mark.parametrize(
    ("limits", "message"),
    [((0, 10), "`batch_size` must be at least 1, got 0"), ((1, 0), "`max_edges` must be at least 1, got 0")],
)
def test_bad_limits_are_named(limits: tuple[int, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_batches([1], *limits)


def test_real_errors_of_the_allocators_are_recognised() -> None:
    # Far more than the address space has.
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator") as torch_error:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(torch_error.value)
    with pytest.raises(MemoryError) as numpy_error:
        np.empty(2**60, dtype=np.uint8)
    assert is_out_of_memory(numpy_error.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("DefaultCPUAllocator: can't allocate memory"))


def test_what_is_as_large_as_a_failure_is_not_tried() -> None:
    tried: list[int] = []

    def run(batch: list[int]) -> int:
        tried.append(len(batch))
        if len(batch) > 2:
            raise MemoryError
        return len(batch)

    done = list(run_batches([list(range(8)), list(range(8, 16))], [4] * 16, run))
    assert [index for batch, _ in done for index in batch] == list(range(16))
    assert tried == [8, 4] + [2] * 8


def sampled(max_molecules: int, sizes: list[int], **options: object) -> Samples:
    def predict(state: Tensor, time: Tensor, graph: RaggedBatch) -> Tensor:
        # Half-way through, so that the attempt has drawn noise and counted evaluations.
        if graph.num_graphs > max_molecules and time[0] < 0.5:
            torch.empty(2**60, dtype=torch.uint8)
        return 0.3 * state

    request = {
        "seeds": range(len(sizes)),
        "atomic_numbers": [1, 6],
        "num_steps": 4,
        "frame_every": 1,
        **options,
    }
    return sample_molecules(predict, PROCESS, sizes, **request)


def test_split_batches_give_the_same_molecules(caplog: pytest.LogCaptureFixture) -> None:
    sizes = [3, 7, 2, 5, 5, 4, 3]
    progress: list[tuple[int, int]] = []
    whole = sampled(7, sizes)
    assert caplog.records == []
    with caplog.at_level(logging.WARNING):
        split = sampled(2, sizes, progress=lambda done, total: progress.append((done, total)))
    assert "memory ran out with 7 molecules in a batch; they are sampled in two halves" in caplog.text
    for first, second in zip(whole.molecules, split.molecules, strict=True):
        assert first.id == second.id
        assert np.array_equal(first.z, second.z)
        assert np.array_equal(first.pos, second.pos)
    assert [len(chain) for chain in split.frames] == [5] * 7
    assert progress[-1] == (35, 35)
    assert {total for _, total in progress} == {35}


def test_a_molecule_that_does_not_fit_alone_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"memory is too small for molecule 1 with 9 atoms by itself; ask for"
    ):
        sampled(0, [3, 9])


def test_other_errors_are_not_swallowed() -> None:
    def broken(state: Tensor, time: Tensor, graph: RaggedBatch) -> Tensor:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        sample_molecules(broken, PROCESS, [3], seeds=[0], atomic_numbers=[1, 6])

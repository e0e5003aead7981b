from __future__ import annotations

import pytest
import torch
from strategies import complete_edges

from geograph.diffusion.ragged import RaggedBatch
from geograph.errors import ConfigError


@pytest.mark.parametrize("sizes", [[1], [4], [1, 3, 1, 5], [2, 2]])
def test_edges_are_all_pairs_sorted_by_target(sizes: list[int]) -> None:
    graph = RaggedBatch.from_sizes(sizes)
    edge_index, edge_ptr = graph.edges
    assert torch.equal(edge_index, complete_edges(sizes))
    assert torch.equal(edge_ptr.diff(), torch.bincount(edge_index[1], minlength=sum(sizes)))
    assert graph.sizes.tolist() == sizes
    assert graph.num_graphs == len(sizes)


def test_noise_has_no_centre_of_mass_and_lives_in_the_subspace() -> None:
    graph = RaggedBatch.from_sizes([1, 2, 7] * 300)
    noise = graph.noise(5, torch.Generator().manual_seed(0), torch.float64)
    assert graph.sum(noise[:, :3]).abs().max() < 1e-14
    assert graph.subspace_dim().tolist() == [0.0, 3.0, 18.0] * 300
    # |x|^2 of a standard normal in d dimensions has mean d and variance 2 d.
    positions = graph.total(noise[:, :3].square()).sum().item()
    dimension = graph.subspace_dim().sum().item()
    assert abs(positions - dimension) < 5 * (2 * dimension) ** 0.5


def test_sums_do_not_depend_on_the_neighbours() -> None:
    values = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    alone = RaggedBatch.from_sizes([4]).centered(values[3:7])
    together = RaggedBatch.from_sizes([3, 4, 2]).centered(values)[3:7]
    assert torch.equal(alone, together)


@pytest.mark.parametrize("sizes", [[], [3, 0]])
def test_bad_sizes_are_named(sizes: list[int]) -> None:
    with pytest.raises(ConfigError, match="`sizes` must be one or more numbers of atoms >= 1"):
        RaggedBatch.from_sizes(sizes)

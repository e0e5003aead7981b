from __future__ import annotations

import math

import pytest
import torch

from geograph.diffusion.sizes import NOISE_STREAM, SizeDistribution, molecule_seeds, random_stream
from geograph.errors import ConfigError


def test_seeds_depend_on_run_and_number_alone() -> None:
    assert molecule_seeds(7, 5)[2:] == molecule_seeds(7, 3, first=2)
    many = molecule_seeds(7, 2000) + molecule_seeds(8, 2000)
    assert len(set(many)) == 4000


def test_streams_of_one_seed_are_independent_and_repeatable() -> None:
    draws = [random_stream(3, branch).standard_normal(4).tolist() for branch in (0, 1, 1)]
    assert draws[1] == draws[2] != draws[0]
    assert random_stream(4, NOISE_STREAM).standard_normal(4).tolist() != draws[1]


def test_sizes_follow_the_histogram() -> None:
    counts = {"3": 10, "5": 60, "17": 30}
    sizes = SizeDistribution.from_histogram(counts).sample(molecule_seeds(0, 4000))
    for size, count in counts.items():
        p = count / 100
        assert abs(sizes.count(int(size)) - 4000 * p) < 5 * math.sqrt(4000 * p * (1 - p))
    assert set(sizes) == {3, 5, 17}
    assert SizeDistribution({9: 1}).sample([5]) == [9]


def test_log_prob_is_the_share_and_unseen_counts_once() -> None:
    distribution = SizeDistribution.from_histogram({"3": 10, "5": 90})
    sizes = torch.tensor([3, 5, 4, 99])
    expected = [math.log(0.1), math.log(0.9), math.log(0.01), math.log(0.01)]
    assert distribution.log_prob(sizes).tolist() == pytest.approx(expected)
    assert distribution.is_known(sizes).tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("counts", [{}, {0: 3}, {4: 0}])
def test_bad_histogram_is_named(counts: dict[int, int]) -> None:
    with pytest.raises(ConfigError, match="`size_histogram` must map numbers of atoms >= 1"):
        SizeDistribution(counts)


def test_negative_seed_is_named() -> None:
    with pytest.raises(ConfigError, match="`seed`, `num` and `first` must not be negative, got -1"):
        molecule_seeds(-1, 2)

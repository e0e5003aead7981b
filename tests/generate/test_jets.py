"""Generated jets: cuts, determinism whatever the number of workers, seeds, and refused arguments."""

from __future__ import annotations

import hashlib
import sys
from typing import Any

import numpy as np
import pytest

from geograph.errors import ConfigError, MissingExtraError
from geograph.generate.jets import chunk_seed, generate_jets
from geograph.records import Jet

SMALL = {"seed": 11, "chunk_size": 100, "pt_hat_min_gev": 550.0, "pt_hat_max_gev": 700.0}


def digest(jets: list[Jet]) -> str:
    content = hashlib.sha256()
    for jet in jets:
        content.update(f"{jet.id} {jet.label}".encode() + jet.p4.tobytes())
    return content.hexdigest()


@pytest.fixture(scope="module")
def jets() -> list[Jet]:
    for module in ("pythia8mc", "fastjet", "awkward"):
        pytest.importorskip(module, reason=f"{module} (extra `generate`) is not installed")
    return generate_jets(60, 50, num_workers=1, **SMALL)


def test_numbers_labels_and_ids(jets: list[Jet]) -> None:
    assert [jet.label for jet in jets] == [0] * 60 + [1] * 50
    assert len({jet.id for jet in jets}) == 110
    assert all(jet.has_beam_frame for jet in jets)


def test_jets_pass_the_published_cuts(jets: list[Jet]) -> None:
    total = np.array([jet.p4.sum(axis=0) for jet in jets])
    pt = np.hypot(total[:, 1], total[:, 2])
    eta = np.arcsinh(total[:, 3] / pt)
    assert pt.min() > 550 * (1 - 1e-6)
    assert pt.max() < 650 * (1 + 1e-6)
    assert np.abs(eta).max() < 2
    for jet in jets:
        assert 1 <= len(jet.p4) <= 200
        np.testing.assert_array_equal(jet.p4.astype(np.float32), jet.p4)
        assert np.all(np.diff(np.hypot(jet.p4[:, 1], jet.p4[:, 2])) <= 1e-4)


def test_tops_are_heavier_and_have_more_constituents(jets: list[Jet]) -> None:
    total = np.array([jet.p4.sum(axis=0) for jet in jets])
    mass = np.sqrt(total[:, 0] ** 2 - np.sum(total[:, 1:] ** 2, axis=1))
    is_top = np.array([jet.label == 1 for jet in jets])
    counts = np.array([len(jet.p4) for jet in jets])
    assert 165 < np.median(mass[is_top]) < 185  # top mass 172.5 GeV in Pythia
    assert 50 < np.median(mass[~is_top]) < 110
    assert counts[is_top].mean() > counts[~is_top].mean() + 4


def test_same_bytes_for_two_workers(jets: list[Jet]) -> None:
    assert digest(generate_jets(60, 50, num_workers=2, **SMALL)) == digest(jets)


def test_smaller_request_is_the_beginning_of_a_larger_one(jets: list[Jet]) -> None:
    few = generate_jets(20, 10, **SMALL)
    assert digest(few) == digest(jets[:20] + jets[60:70])


def test_another_seed_gives_other_jets(jets: list[Jet]) -> None:
    other = generate_jets(5, 0, **{**SMALL, "seed": 12})
    assert not {jet.p4.tobytes() for jet in other} & {jet.p4.tobytes() for jet in jets}


def test_seeds_are_valid_and_never_shared() -> None:
    seeds = [chunk_seed(seed, label, chunk) for seed in (0, 1, 2) for label in (0, 1) for chunk in range(500)]
    assert len(set(seeds)) == len(seeds)
    assert 1 <= min(seeds) <= max(seeds) <= 900_000_000


@pytest.mark.parametrize(
    ("numbers", "options", "message"),
    [
        ((-1, 2), {}, "`num_background` must not be negative, got -1"),
        ((1, -2), {}, "`num_signal` must not be negative, got -2"),
        ((1, 1), {"seed": -3}, "`seed` must not be negative, got -3"),
        ((1, 1), {"chunk_size": 0}, "`chunk_size` must be at least 1, got 0"),
        (
            (1, 1),
            {"pt_hat_min_gev": 800.0, "pt_hat_max_gev": 700.0},
            "`pt_hat_min_gev` must be positive and below `pt_hat_max_gev`, got 800.0 and 700.0",
        ),
        (
            (1, 1),
            {"pt_min_gev": 0.0},
            "`pt_min_gev` must be positive and below `pt_max_gev`, got 0.0 and 650.0",
        ),
    ],
)
def test_arguments_out_of_range(numbers: tuple[int, int], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        generate_jets(*numbers, **{"seed": 0, **options})


def test_nothing_asked_nothing_done() -> None:
    pytest.importorskip("pythia8mc", reason="pythia8mc (extra `generate`) is not installed")
    assert generate_jets(0, 0, seed=0) == []


@pytest.mark.parametrize("module", ["pythia8mc", "fastjet", "awkward"])
def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"Generating jets needs the package .*geograph\[generate\]"):
        generate_jets(1, 1, seed=0)


def test_hopeless_window_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pythia8mc", reason="pythia8mc (extra `generate`) is not installed")
    monkeypatch.setattr("geograph.generate.jets._HOPELESS_EVENTS", 20)
    with pytest.raises(
        ConfigError, match=r"no qcd jet passed the cuts in 20 events .*bring `pt_hat_min_gev`"
    ):
        generate_jets(1, 0, seed=0, chunk_size=20, pt_hat_min_gev=50.0, pt_hat_max_gev=60.0)

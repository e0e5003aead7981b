"""The latency study: its protocol, its rows and its table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from geograph.errors import ConfigError
from pipelines.cost import num_parameters
from pipelines.latency import PUBLISHED, app, markdown, measure, times_s
from pipelines.latency_subjects import SUBJECTS, Subject, build, chosen, digits, take

SMALL = Subject("small", "s2cnn", {"features": [2], "bandlimits": [3]})


def test_calls_are_counted_after_a_warm_up() -> None:
    calls = []
    found = times_s(lambda: calls.append(len(calls)), warm_up=20, repeats=100, device="cpu")
    assert len(calls) == 120
    assert len(found) == 100
    assert all(value >= 0 for value in found)


def test_rows_hold_median_and_quartiles() -> None:
    notes: list[str] = []
    rows = measure([SMALL], bandlimit=4, batches=(1, 3), warm_up=1, repeats=9, note=notes.append)
    assert [row["batch"] for row in rows] == [1, 3]
    assert notes == ["small, 1", "small, 3"]
    for row in rows:
        assert 0 < row["lower_quartile_ms"] <= row["median_ms"] <= row["upper_quartile_ms"]
        assert row["iqr_ms"] == pytest.approx(row["upper_quartile_ms"] - row["lower_quartile_ms"])
        assert row["median_ms_per_sphere"] == pytest.approx(row["median_ms"] / row["batch"])
        assert row["parameters"] == num_parameters(build(SMALL, 4))


def test_planar_network_has_the_budget_of_the_s2cnn() -> None:
    s2cnn, planar = (num_parameters(build(each, 30)) for each in chosen(["s2cnn", "planar-cnn"]))
    assert 0.9 * s2cnn < planar <= s2cnn


def test_spherical_networks_have_about_as_many() -> None:
    pytest.importorskip("e3nn", reason="Clebsch-Gordan coefficients need e3nn")
    s2cnn = num_parameters(build(SUBJECTS[0], 30))
    counts = {each.name: num_parameters(build(each, 30)) for each in SUBJECTS}
    assert all(0.75 * s2cnn < count < 1.25 * s2cnn for count in counts.values()), counts


def test_fewer_digits_are_the_first_ones() -> None:
    batch = digits(3, 4)
    first = take(batch, 2)
    assert torch.equal(first.harmonic, batch.harmonic[:2])
    assert (first.num_graphs, first.ptr.tolist(), first.batch.tolist()) == (2, [0, 1, 2], [0, 1])


def test_table_by_hand() -> None:
    protocol = {
        "bandlimit": 30,
        "batches": [1, 8],
        "warm_up": 20,
        "repeats": 100,
        "threads": 1,
        "device": "cpu",
        "processor": "X",
    }
    row = {"model": "a", "parameters": 7, "iqr_ms": 0.25}
    rows = [{**row, "batch": 1, "median_ms": 2.0}, {**row, "batch": 8, "median_ms": 3.5}]
    text = markdown({"protocol": protocol, "rows": rows, "published": list(PUBLISHED)})
    assert "| a | 7 | 2.00 (0.25) | 3.50 (0.25) |" in text
    assert "| S2CNN, published, NVIDIA T4 | - | 111 (0.6) | - |" in text


def test_file_is_printed(tmp_path: Path) -> None:
    out = tmp_path / "latency.json"
    facts = dict.fromkeys(("bandlimit", "warm_up", "repeats", "threads", "device", "processor"), 1)
    report = {"protocol": {**facts, "batches": [1]}, "rows": [], "published": []}
    out.write_text(json.dumps(report), encoding="utf-8")
    result = CliRunner().invoke(app, ["--table", "--out", str(out)])
    assert result.exit_code == 0
    assert "| model | parameters | batch 1 (ms) |" in result.stdout


def test_short_protocols_and_unknown_models_are_refused() -> None:
    with pytest.raises(ConfigError, match="`--only` must be one of s2cnn, .* got 'vgg'"):
        chosen(["vgg"])
    assert chosen(None) == list(SUBJECTS)
    assert CliRunner().invoke(app, ["--repeats", "50"]).exit_code == 2
    assert CliRunner().invoke(app, ["--warm-up", "5"]).exit_code == 2


def test_missing_file_is_one_line() -> None:
    result = CliRunner().invoke(app, ["--table", "--out", "/nowhere/latency.json"])
    assert result.exit_code == 1
    assert "no such file; `python -m pipelines.latency` writes it" in result.stderr

"""The page of molecules as a file: what it holds, how it is packed, what hostile names cannot do."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geograph.errors import DataError, ShapeError
from geograph.interop.molecule_metrics import evaluate_molecules
from geograph.interop.molecule_page import write_page
from geograph.interop.molecule_page_content import MAX_FRAMES, formula_of
from geograph.interop.molecule_page_summary import CHECKS, check_entry, outcome_of, rank_of
from geograph.records import Molecule
from geograph.tasks.stability import stability

HOSTILE = "</script><script>alert(1)</script><!-- \"'&\u2028 <img src=x onerror=alert(2)>"


def water(shift: float = 0.0, **fields: Any) -> Molecule:
    pos = np.array([[0.0, 0.0, 0.12], [0.0, 0.76, -0.48], [0.0, -0.76, -0.48 - shift]])
    return Molecule(np.array([8, 1, 1]), pos, **fields)


def chain_of(molecule: Molecule, num_frames: int, seed: int = 0) -> list[Molecule]:
    """Frames from noise to the molecule; early ones have other elements."""
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal(molecule.pos.shape)
    found = []
    for time in np.linspace(1, 0, num_frames)[:-1]:
        z = np.full_like(molecule.z, 6) if time > 0.5 else molecule.z
        found.append(Molecule(z, (1 - time) * molecule.pos + time * noise))
    return [*found, molecule]


class Reader(HTMLParser):
    """Collects scripts, their types, and every tag and attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[str | None, str]] = []
        self.title = ""
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append((dict(attrs).get("type"), ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            kind, before = self.scripts[-1]
            self.scripts[-1] = (kind, before + data)
        elif self._inside == "title":
            self.title += data


def read_page(path: Path) -> tuple[Reader, dict[str, Any]]:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader, json.loads(reader.scripts[0][1])


def unpack(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype=dtype)


@pytest.fixture(scope="module")
def molecules() -> list[Molecule]:
    return [
        water(id="good", properties={"gap_ev": 7.5}),
        water(shift=2.0, id="torn", properties={"gap_ev": float("nan"), "dipole_debye": 1.85}),
        Molecule(np.array([92]), np.zeros((1, 3)), id="uranium"),
    ]


def test_page_holds_positions_bonds_and_outcomes(tmp_path: Path, molecules: list[Molecule]) -> None:
    path = tmp_path / "new" / "page.html"
    write_page(path, molecules, title="Three")
    reader, content = read_page(path)
    assert reader.title == content["title"] == "Three"
    for molecule, entry in zip(molecules, content["molecules"], strict=True):
        np.testing.assert_array_equal(unpack(entry["z"], "u1"), molecule.z)
        pos = unpack(entry["pos"], "<f4").reshape(-1, 3)
        np.testing.assert_array_equal(pos, molecule.pos.astype(np.float32))
        rule = stability(molecule.z, molecule.pos, np.array([0, len(molecule.z)]))
        np.testing.assert_array_equal(unpack(entry["bonds"][0], "<u2").reshape(-1, 2), rule.bonds)
        assert entry["bonds"][1] == "".join(map(str, rule.orders))
        assert entry["bad"] == np.flatnonzero(~rule.atom_stable).tolist()
        assert entry["chain"] is None
        assert np.linalg.norm(entry["turn"]) == pytest.approx(1, abs=1e-3)
    keys = [check["key"] for check in content["checks"]]
    outcomes = [dict(zip(keys, entry["checks"], strict=True)) for entry in content["molecules"]]
    assert (outcomes[0]["stable"], outcomes[0]["valid"], outcomes[0]["connected"]) == (1, 1, 1)
    assert (outcomes[1]["stable"], outcomes[1]["connected"]) == (0, 0)
    assert content["elements"]["92"]["symbol"] == "U"
    assert "valence" in content["molecules"][1]["reason"]


def test_unknown_values_are_null(tmp_path: Path, molecules: list[Molecule]) -> None:
    write_page(tmp_path / "page.html", molecules)
    _, content = read_page(tmp_path / "page.html")
    labels = [entry["label"] for entry in content["properties"]]
    values = [dict(zip(labels, entry["values"], strict=True)) for entry in content["molecules"]]
    assert [row["atoms"] for row in values] == [3, 3, 1]
    assert [row["gap_ev"] for row in values] == [7.5, None, None]
    assert [row["dipole_debye"] for row in values] == [None, 1.85, None]


def test_figures_of_the_report_are_shown(tmp_path: Path, molecules: list[Molecule]) -> None:
    report = evaluate_molecules(molecules, reference=[water(id="known")])
    write_page(tmp_path / "page.html", molecules, report=report)
    _, content = read_page(tmp_path / "page.html")
    shown = {entry["label"]: entry for entry in content["summary"]}
    assert shown["molecules"]["value"] == "3"
    stable = shown["molecule stability"]
    assert (stable["value"], stable["share"]) == ("33.3 %", pytest.approx(1 / 3))
    low, high = report.intervals["molecule_stability"]
    assert stable["note"] == f"95 %: {100 * low:.1f} to {100 * high:.1f}\nreference 100.0 %"
    assert any("Wasserstein" in entry["note"] or "variation" in entry["note"] for entry in shown.values())


@pytest.mark.parametrize("num_frames", [2, 5, 90])
def test_chain_is_kept_to_the_milliangstrom(tmp_path: Path, num_frames: int) -> None:
    molecule = water(id="a")
    chain = chain_of(molecule, num_frames)
    write_page(tmp_path / "page.html", [molecule, water(id="b")], frames=[chain, []])
    _, content = read_page(tmp_path / "page.html")
    packed = content["molecules"][0]["chain"]
    kept = chain if num_frames <= MAX_FRAMES else [chain[k] for k in packed_numbers(num_frames)]
    assert len(packed["bonds"]) == len(kept) - 1
    pos = packed["unit"] * unpack(packed["pos"], "<i2").reshape(len(kept) - 1, 3, 3)
    np.testing.assert_allclose(pos, np.stack([frame.pos for frame in kept[:-1]]), rtol=0, atol=5.01e-4)
    z = unpack(packed["z"], "u1").reshape(len(kept) - 1, 3)
    np.testing.assert_array_equal(z, np.stack([frame.z for frame in kept[:-1]]))
    for frame, (pairs, orders) in zip(kept[:-1], packed["bonds"], strict=True):
        rule = stability(frame.z, frame.pos, np.array([0, 3]))
        np.testing.assert_array_equal(unpack(pairs, "<u2").reshape(-1, 2), rule.bonds)
        assert orders == "".join(map(str, rule.orders))
    assert content["molecules"][1]["chain"] is None
    assert "6" in content["elements"]  # an element of the chain alone has a name too


def packed_numbers(num_frames: int) -> list[int]:
    return np.linspace(0, num_frames - 1, MAX_FRAMES).round().astype(int).tolist()


def test_wide_frames_are_kept_more_coarsely(tmp_path: Path) -> None:
    molecule = water()
    wide = Molecule(molecule.z, 500.0 * molecule.pos / np.abs(molecule.pos).max())
    write_page(tmp_path / "page.html", [molecule], frames=[[wide, molecule]])
    packed = read_page(tmp_path / "page.html")[1]["molecules"][0]["chain"]
    assert packed["unit"] == pytest.approx(500 / 32767)
    assert packed["z"] == ""
    np.testing.assert_allclose(
        packed["unit"] * unpack(packed["pos"], "<i2").reshape(3, 3), wide.pos, atol=packed["unit"]
    )


def test_times_of_a_chain_are_kept(tmp_path: Path) -> None:
    molecule = water(id="a")
    chain = [water(shift, properties={"diffusion_time": time}) for shift, time in ((1.0, 1.0), (0.5, 0.25))]
    write_page(
        tmp_path / "page.html", [molecule, molecule], frames=[[*chain, molecule], [water(1.0), molecule]]
    )
    _, content = read_page(tmp_path / "page.html")
    assert [entry["chain"]["times"] for entry in content["molecules"]] == [[1.0, 0.25], None]


def test_not_being_new_is_no_failure(tmp_path: Path) -> None:
    report = evaluate_molecules([water(id="old")], reference=[water(id="known")])
    write_page(tmp_path / "page.html", [water(id="old")], report=report)
    _, content = read_page(tmp_path / "page.html")
    informs = {check["key"]: check["informs"] for check in content["checks"]}
    assert informs["novel"]
    assert not informs["valid"]
    found = dict(zip(informs, content["molecules"][0]["checks"], strict=True))
    assert (found["novel"], found["stable"]) == (0, 1)
    assert outcome_of(report.rows[0])[0] == "all passed"


def test_hundred_molecules_with_chains_stay_small(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    z = generator.choice([1, 6, 7, 8], 19)
    molecules = [
        Molecule(z, 2 * generator.standard_normal((19, 3)), id=f"sample-{number}") for number in range(100)
    ]
    chains = [chain_of(molecule, 20, seed) for seed, molecule in enumerate(molecules)]
    write_page(tmp_path / "page.html", molecules, frames=chains)
    assert (tmp_path / "page.html").stat().st_size < 2_000_000


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    molecule = water(id=HOSTILE, properties={HOSTILE: 1.0})
    write_page(tmp_path / "hostile.html", [molecule], title=HOSTILE)
    write_page(tmp_path / "harmless.html", [water(id="a", properties={"b": 1.0})], title="c")
    hostile, content = read_page(tmp_path / "hostile.html")
    harmless, _ = read_page(tmp_path / "harmless.html")
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in harmless.tags]
    assert hostile.title == content["title"] == content["molecules"][0]["id"] == HOSTILE
    assert [kind for kind, _ in hostile.scripts] == ["application/json", None, None]
    assert hostile.scripts[1:] == harmless.scripts[1:]


def test_policy_allows_these_scripts_and_no_request(tmp_path: Path, molecules: list[Molecule]) -> None:
    write_page(tmp_path / "page.html", molecules)
    reader, _ = read_page(tmp_path / "page.html")
    policy = next(a["content"] for tag, a in reader.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    rules = {part.split()[0]: part.split()[1:] for part in policy.split(";")}
    assert rules["default-src"] == ["'none'"]
    hashes = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for _, text in reader.scripts[1:]
    ]
    assert rules["script-src"] == [f"'sha256-{value}'" for value in hashes]
    assert set(rules) == {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"}
    assert not [tag for tag, attributes in reader.tags if {"src", "onload", "onerror"} & attributes.keys()]
    assert not [a for tag, a in reader.tags if tag == "link"]


def test_vendored_library_is_the_file_that_was_published() -> None:
    folder = files("geograph.interop").joinpath("page", "vendor")
    digest = hashlib.sha256(folder.joinpath("3Dmol-min.js").read_bytes()).hexdigest()
    assert digest in folder.joinpath("README.md").read_text(encoding="utf-8")
    assert "University of Pittsburgh" in folder.joinpath("LICENSE-3Dmol").read_text(encoding="utf-8")


def test_own_scripts_end_no_element_and_ask_for_nothing() -> None:
    folder = files("geograph.interop").joinpath("page")
    for name in ("decode.js", "draw.js", "filter.js", "grid.js", "detail.js", "main.js", "page.css"):
        text = folder.joinpath(name).read_text(encoding="utf-8")
        assert not re.search(r"</(script|style)|innerHTML|https?:|localStorage|document\.cookie", text), name


def test_refuses_what_does_not_fit(tmp_path: Path, molecules: list[Molecule]) -> None:
    path = tmp_path / "page.html"
    with pytest.raises(DataError, match="no molecules to (show|evaluate)"):
        write_page(path, [])
    report = evaluate_molecules(molecules)
    with pytest.raises(ShapeError, match="`report` must have one row for each of 1 molecules, got 3"):
        write_page(path, molecules[:1], report=report)
    with pytest.raises(ShapeError, match="`frames` must hold a chain, .* for each of 3 molecules, got 1"):
        write_page(path, molecules, frames=[[]])
    with pytest.raises(ShapeError, match="`frames` of molecule 'uranium' must have 1 atoms, got 3"):
        write_page(path, molecules, frames=[[], [], [water()]])
    huge = Molecule(np.ones(65536, dtype=np.int64), np.arange(3.0 * 65536).reshape(-1, 3) * 10, id="huge")
    with pytest.raises(DataError, match="at most 65535 atoms, this one has 65536"):
        write_page(path, [huge], report=evaluate_molecules(molecules[:1]))
    assert not path.exists()


def test_formula_is_in_the_order_of_hill() -> None:
    assert formula_of(np.array([8, 6, 1, 1, 7, 6])) == "C2H2NO"
    assert formula_of(np.array([8, 1, 1])) == "H2O"
    assert formula_of(np.array([17, 11])) == "ClNa"


def test_first_failed_check_gives_the_colour() -> None:
    rows = evaluate_molecules([water(id="good"), water(shift=2.0, id="torn")]).rows
    assert outcome_of(rows[0])[0] == "all passed"
    assert outcome_of(rows[1]) == (CHECKS["connected"][1], CHECKS["connected"][2])
    order = ["novel", "bond_angles", "valid", "stable", "internal_energy"]
    assert sorted(order, key=rank_of) == ["valid", "stable", "novel", "bond_angles", "internal_energy"]
    assert check_entry("bond_angles")["about"] == "PoseBusters' check of bond angles"

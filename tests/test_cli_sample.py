"""`geograph sample`: its options, what it writes, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import molecule as ase_molecule
from typer.testing import CliRunner, Result

from geograph.cli import app
from geograph.cli_sample_options import SampleOptions, parse_atoms, parse_formula, parse_sweep, parse_targets
from geograph.cli_sample_outputs import frame_interval
from geograph.diffusion.condition import fit_properties
from geograph.diffusion.start import Start
from geograph.errors import BackendError, ConfigError, GeographError
from geograph.interop.molecule_files import read_molecule_files, write_molecules
from geograph.records import Molecule
from geograph.tasks.generation import GenerationTask
from geograph.training.checkpoint import save_checkpoint

HISTOGRAM = {"3": 2, "9": 1, "12": 3, "13": 1}


def record(name: str) -> Molecule:
    atoms = ase_molecule(name)
    return Molecule(atoms.numbers.astype(np.int64), atoms.positions + 3.0, id=name)


def small_task(**statistics: object) -> GenerationTask:
    torch.manual_seed(0)
    return GenerationTask(
        model_params={"num_hidden": 8, "num_layers": 1},
        statistics={"atomic_numbers": [1, 6, 7, 8], "size_histogram": HISTOGRAM, **statistics},
        num_steps=40,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    save_checkpoint(folder / "models/plain.pt", small_task())
    sizes = torch.tensor([3, 9, 12, 13])
    properties = fit_properties(["gap_ev"], torch.tensor([[1.0], [2.0], [4.0], [3.0]]), sizes)
    save_checkpoint(folder / "models/conditional.pt", small_task(**properties))
    write_molecules(folder / "benzene.sdf", [record("C6H6")])
    write_molecules(folder / "pieces.sdf", [record("H2O")])
    write_molecules(folder / "two.extxyz", [record("H2O"), record("CH3CH2OH")])
    write_molecules(folder / "chlorine.sdf", [record("CH3Cl")])
    return folder


@pytest.fixture(autouse=True)
def _inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def call(*arguments: str, run: str = "plain") -> Result:
    return CliRunner().invoke(app, ["sample", "--run", run, "--steps", "4", *arguments])


def draw(*arguments: str, run: str = "plain") -> list[Molecule]:
    result = call("--out", "made.extxyz", *arguments, run=run)
    assert result.exit_code == 0, result.output
    return read_molecule_files("made.extxyz")


@pytest.mark.parametrize("options", [["ddim", "--eta", "0.5"], ["dpm-solver++"], ["sde-dpm-solver++"]])
def test_every_sampler_by_name(options: list[str]) -> None:
    assert len(draw("-n", "2", "--sampler", *options)) == 2


def test_composition_fixes_the_elements() -> None:
    made = draw("-n", "2", "--composition", "CH4O", "--resamplings", "1")
    assert [molecule.z.tolist() for molecule in made] == [[8, 6, 1, 1, 1, 1]] * 2


def test_fragment_by_pattern_by_number_and_whole() -> None:
    benzene = read_molecule_files("benzene.sdf")[0]
    common = ["-n", "3", "--resamplings", "1", "--fragment", "benzene.sdf"]
    ring = draw(*common, "--smarts", "c1ccccc1")
    # Sizes come from the training part, of those that leave room for more atoms.
    assert {len(molecule.z) for molecule in ring} <= {9, 12, 13}
    for molecule in ring:
        assert np.array_equal(molecule.pos[:6], benzene.pos[:6])
    chosen = draw(*common, "--fragment-atoms", "6,0", "--sizes", "4")
    for molecule in chosen:
        assert np.array_equal(molecule.pos[:2], benzene.pos[[6, 0]])
        assert molecule.z[:2].tolist() == [1, 6]
    for molecule in draw(*common):
        assert len(molecule.z) == 13
        assert np.array_equal(molecule.pos[:12], benzene.pos)


def test_start_takes_each_molecule_in_its_turn() -> None:
    given = read_molecule_files("two.extxyz")
    made = draw("-n", "5", "--start", "two.extxyz", "--noise-level", "0.1")
    assert [len(molecule.z) for molecule in made] == [3, 9, 3, 9, 3]
    for index, molecule in enumerate(made):
        np.testing.assert_allclose(molecule.pos.mean(0), given[index % 2].pos.mean(0), atol=1e-6)


def test_targets_and_sweeps_are_recorded() -> None:
    aimed = draw("-n", "2", "--target", "gap_ev=2.5", "--guidance", "1", run="conditional")
    assert [molecule.properties["target_gap_ev"] for molecule in aimed] == [2.5, 2.5]
    swept = draw("-n", "2", "--sweep", "gap_ev=1:3:3", run="conditional")
    assert [molecule.properties["target_gap_ev"] for molecule in swept] == [1, 1, 2, 2, 3, 3]
    assert len({molecule.id for molecule in swept}) == 6


def test_trajectory_and_page() -> None:
    result = call(
        "-n", "2", "--sizes", "3", "--out", "made.sdf", "--out", "made2.extxyz",
        "--trajectory", "way.extxyz", "--frames", "3", "--page", "page.html",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    for text in ("2 molecules written to made.sdf", "6 frames written to way.extxyz", "written to page.html"):
        assert text in result.output
    frames = read_molecule_files("way.extxyz")
    times = [frame.properties.get("diffusion_time", 0.0) for frame in frames]
    assert times == [1.0, 0.5, 0.0, 1.0, 0.5, 0.0]
    final = read_molecule_files("made2.extxyz")
    assert np.array_equal(frames[2].pos, final[0].pos)
    assert np.array_equal(frames[5].pos, final[1].pos)
    assert "<html" in Path("page.html").read_text(encoding="utf-8")[:500]


def test_frame_interval_keeps_to_the_number_of_frames() -> None:
    for steps in (1, 7, 50, 1000):
        for frames in (2, 5, 50):
            interval = frame_interval({"num_steps": steps}, 1000, frames)
            assert len({*range(0, steps, interval), steps}) <= frames
    start = Start([record("H2O")], 0.5)
    assert frame_interval({"num_steps": None, "start": start}, 1000, 6) == 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sampler", "euler"], "`sampler` must be one of ancestral, ddim, dpm-solver.*got 'euler'"),
        (["--eta", "0.5"], "`eta` belongs to the sampler ddim, but `sampler` is ancestral"),
        (["--steps", "41"], "`num_steps` must be between 1 and 40, got 41"),
        (["--smarts", "C"], "`--fragment-atoms` and `--smarts` choose atoms of `--fragment`; give its file"),
        (["--fragment-atoms", "0"], "`--fragment-atoms` and `--smarts` choose atoms of `--fragment`"),
        (
            ["--fragment", "benzene.sdf", "--fragment-atoms", "0", "--smarts", "c"],
            "`atoms` and `smarts` both choose the atoms",
        ),
        (["--fragment", "benzene.sdf", "--fragment-atoms", "a"], "`--fragment-atoms` must be whole .* 'a'"),
        (["--fragment", "benzene.sdf", "--sizes", "11"], "`fragment` has 12 atoms, more than the 11 atoms"),
        (["--fragment", "chlorine.sdf"], "`fragment` has atomic numbers 17, but the model knows 1, 6, 7, 8"),
        (
            ["--fragment", "benzene.sdf", "--start", "two.extxyz", "--noise-level", "0.5"],
            "`--start` noises whole molecules and contradicts `--fragment` and `--composition`",
        ),
        (["--composition", "CH4", "--sizes", "6"], "`sizes` must be the 5 atoms of `composition`, got 6"),
        (["--composition", "CH4", "--fragment", "pieces.sdf"], "`composition` must contain the atoms of"),
        (["--composition", "CCl4"], "`composition` has atomic numbers 17, but the model knows 1, 6, 7, 8"),
        (["--composition", "Xx2"], "`--composition` 'Xx2' has unknown elements: Xx"),
        (["--composition", "c6h6"], "`--composition` must be a formula such as C6H6, got 'c6h6'"),
        (["--composition", "CH0"], "`--composition` must be a formula such as C6H6, got 'CH0'"),
        (["--resamplings", "2"], "`--resamplings` belongs to `--fragment` or `--composition`"),
        (["--start", "two.extxyz"], "`--start` and `--noise-level` belong together; give both or none"),
        (["--noise-level", "0.5"], "`--start` and `--noise-level` belong together"),
        (
            ["--start", "two.extxyz", "--noise-level", "2"],
            "`noise_level` must be above 0 and at most 1",
        ),
        (
            ["--start", "two.extxyz", "--noise-level", "0.5", "-n", "1"],
            "has 2 molecules, but `--num` asks for 1",
        ),
        (
            ["--start", "two.extxyz", "--noise-level", "0.5", "--sizes", "3", "-n", "2"],
            "`sizes` asks for 3 atoms in molecule 1, but `start` has 9",
        ),
        (["--start", "none.xyz", "--noise-level", "0.5"], "none.xyz: no such file"),
        (["--target", "gap_ev=1"], "`targets` and `guidance` need a model that is conditioned"),
        (["--target", "gap_ev"], "`--target` must be NAME=VALUE with numbers, got 'gap_ev'"),
        (["--target", "=1"], "`--target` must be NAME=VALUE, each name once, got '=1'"),
        (["--target", "a=1", "--target", "a=2"], "`--target` must be NAME=VALUE, each name once, got 'a=2'"),
        (["--target", "a=1", "--sweep", "a=1:2:3"], "`--sweep` and `--target` both set a"),
        (["--sweep", "a=1:2"], "`--sweep` must be NAME=FROM:TO:COUNT with COUNT >= 1, got 'a=1:2'"),
        (["--sweep", "a=1:2:0"], "`--sweep` must be NAME=FROM:TO:COUNT with COUNT >= 1"),
        (["--sweep", "a=1:inf:2"], "`--sweep` must be NAME=FROM:TO:COUNT with finite numbers"),
        (["--out", "made.pdf"], "`--out` must end in one of .sdf, .xyz, .extxyz, .db, got 'made.pdf'"),
        (["--trajectory", "way.xyz"], "`--trajectory` must end in .extxyz, got 'way.xyz'"),
        (["--page", "page.pdf"], "`--page` must end in .html, got 'page.pdf'"),
        (["--device", "abacus"], "`--device` must be cpu, cuda or cuda:NUMBER, got 'abacus'"),
    ],
)
def test_contradictions_are_refused_before_any_work(arguments: list[str], message: str) -> None:
    result = call("-n", "3", *arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, GeographError)
    with pytest.raises(type(result.exception), match=message):
        raise result.exception
    assert len(str(result.exception).splitlines()) == 1


def test_missing_device_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = call("--device", "cuda")
    assert isinstance(result.exception, BackendError)
    with pytest.raises(BackendError, match="`--device` cuda: torch finds no CUDA device here; use cpu"):
        raise result.exception


def test_old_database_is_not_touched(folder: Path) -> None:
    (folder / "old.db").write_bytes(b"precious")
    result = call("--out", "old.db")
    assert isinstance(result.exception, ConfigError)
    with pytest.raises(ConfigError, match="`--out` must be a new database, but old.db is there"):
        raise result.exception
    assert (folder / "old.db").read_bytes() == b"precious"


def test_fragment_without_room_needs_sizes() -> None:
    write_molecules("large.xyz", [record("C3H8"), record("CH4")])
    with pytest.raises(ConfigError, match="`--fragment` has 16 atoms, as many as the largest .*`--sizes`"):
        SampleOptions(1, 0, fragment=Path("large.xyz")).request(small_task())


def test_texts_are_read() -> None:
    assert parse_formula("C2H6O") == [8, 6, 6, 1, 1, 1, 1, 1, 1]
    assert parse_formula("HCl") == [17, 1]
    assert parse_atoms("0, 3,2") == [0, 3, 2]
    assert parse_targets(["gap_ev=1e-1", "mu=-2"]) == {"gap_ev": 0.1, "mu": -2.0}
    assert parse_sweep("gap_ev=-1:1:3") == ("gap_ev", [-1.0, 0.0, 1.0])
    assert parse_sweep("a=5:9:1") == ("a", [5.0])

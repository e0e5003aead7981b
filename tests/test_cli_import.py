"""`geograph import-checkpoint`, and sampling from what it makes."""

from __future__ import annotations

import json
import os
import pickle
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from geograph import cli
from geograph.interop.molecule_files import read_molecule_files
from geograph.interop.molecule_writers import write_molecules
from geograph.interop.released_edm import released_name
from geograph.models.denoiser import EDMDynamics
from geograph.records import Molecule


def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path
) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["geograph", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    printed = capsys.readouterr()
    return int(stopped.value.code or 0), printed.out, printed.err


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files of an EDM training with a small untrained network, and a file of its training data."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    state = {
        f"dynamics.{released_name(name)}": value for name, value in EDMDynamics(6, 8, 2).state_dict().items()
    }
    arguments: dict[str, Any] = {
        "diffusion_steps": 20, "diffusion_noise_schedule": "polynomial_2", "diffusion_noise_precision": 1e-5,
        "normalize_factors": [1, 4, 10], "include_charges": True, "n_layers": 2, "nf": 8, "attention": True,
        "tanh": True, "norm_constant": 1, "inv_sublayers": 1, "dataset": "qm9",
    }  # fmt: skip
    released = tmp_path / "released"
    released.mkdir()
    torch.save(state, released / "generative_model_ema.npy")
    (released / "args.pickle").write_bytes(pickle.dumps(Namespace(**arguments)))
    water = Molecule(np.array([8, 1, 1]), np.eye(3), id="water")
    write_molecules(tmp_path / "train.xyz", [water])
    return released


def test_imported_model_samples(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(
        monkeypatch, capsys, "import-checkpoint", folder, "--out", "edm.pt", "--size-data", "train.xyz"
    )
    assert (code, err) == (0, "")
    assert out.startswith("edm-dynamics: ")
    assert "written to edm.pt (generation)" in out
    code, _, err = call(
        monkeypatch, capsys, "sample", "--run", "edm.pt", "-n", "2", "--out", "m.xyz", "--seed", "1"
    )
    assert code == 0, err
    assert [len(molecule.z) for molecule in read_molecule_files("m.xyz")] == [3, 3]


def test_sizes_and_elements_from_options(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("sizes.json").write_text(json.dumps({"4": 1}))
    command = ("import-checkpoint", folder / "generative_model_ema.npy", "--sizes", "sizes.json")
    assert call(monkeypatch, capsys, *command, "--elements", "H,C,N,O,S", "--out", "a.pt")[0] == 0
    code, _, err = call(monkeypatch, capsys, *command, "--size-data", "train.xyz")
    assert (code, err) == (1, "error: `--sizes` and `--size-data` exclude each other: give one of them.\n")
    for elements in ("H,Q", "H,H"):
        code, _, err = call(monkeypatch, capsys, *command, "--elements", elements)
        assert code == 1
        assert err.startswith("error: `--elements` must be different symbols such as H,C,N,O,F, got")
    code, _, err = call(monkeypatch, capsys, *command, "--option", "c_weight")
    assert (code, err) == (1, "error: `--option` must be NAME=VALUE, got 'c_weight'.\n")
    code, _, err = call(monkeypatch, capsys, "import-checkpoint", folder)
    assert code == 1
    assert err.startswith("error: `size_histogram` must be given")


class Payload:
    """Runs a command when it is unpickled without care."""

    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


def test_a_payload_is_named_and_not_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "args.pickle").write_bytes(pickle.dumps(Namespace(nf=Payload())))
    code, out, err = call(monkeypatch, capsys, "import-checkpoint", folder, "--size-data", "train.xyz")
    assert (code, out) == (1, "")
    assert "refused, it asks for posix.system; only plain values and argparse.Namespace are read" in err
    assert len(err.splitlines()) == 1
    assert not Path("ran").exists()


def test_jets_take_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from geograph.interop.released_lorentznet import released_name as jet_name
    from geograph.models.lorentznet import LorentzNet

    monkeypatch.chdir(tmp_path)
    network = LorentzNet(2, 8, 2)
    torch.save({jet_name(name): value for name, value in network.state_dict().items()}, "jets.pt")
    code, out, err = call(
        monkeypatch, capsys, "import-checkpoint", "jets.pt", "--out", "a.pt", "--option", "c_weight=0.001"
    )
    assert (code, err) == (0, "")
    assert "note: the released code divides the sum over nodes by the padded length" in out
    from geograph.training.checkpoint import load_checkpoint

    assert load_checkpoint("a.pt").task.settings["model_params"]["c_weight"] == 0.001

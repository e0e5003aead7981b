"""Parameters are checked whole before anything runs, and the models of a known file only once."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import pipelines
from geograph.errors import ConfigError
from pipelines import stage, validate
from pipelines.params import Params
from pipelines.validate import load_checked, load_known

REPOSITORY = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "lightning", "torch_geometric", "mlflow")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Root of a repository of DVC with parameters."""
    (tmp_path / ".dvc").mkdir()
    text = (REPOSITORY / "tests" / "pipelines" / "params_tiny.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files whose models were checked, one entry for each time."""
    seen: list[Path] = []
    check = validate.check_models

    def counted(path: Path, params: Params) -> None:
        seen.append(path)
        check(path, params)

    monkeypatch.setattr(validate, "check_models", counted)
    return seen


def change(path: Path, key: str, value: object) -> None:
    """Set the value at a dotted path."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    place = content
    *parents, last = key.split(".")
    for parent in parents:
        place = place[parent]
    place[last] = value
    path.write_text(yaml.safe_dump(content), encoding="utf-8")


def test_models_are_checked_once(root: Path, checks: list[Path]) -> None:
    path = root / "params.yaml"
    assert load_known(path) == load_known(path) == load_checked(path)
    assert checks == [path, path]  # the first reading, and the one that always checks
    change(path, "runs.jets-egnn.seed", 5)
    load_known(path)
    assert len(checks) == 3


def test_changed_code_is_checked_again(
    root: Path, checks: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root / "params.yaml"
    load_known(path)
    monkeypatch.setattr(validate, "digest", lambda files: "another code")
    load_known(path)
    assert len(checks) == 2


def test_broken_model_stops_every_stage(root: Path, checks: list[Path]) -> None:
    path = root / "params.yaml"
    change(path, "runs.nbody-cgenn.model.num_hiden", 8)
    for _ in range(2):  # no mark is left by a failure
        with pytest.raises(ConfigError, match=r"runs\.nbody-cgenn\.model: .*num_hiden.* is no parameter"):
            load_known(path)
    assert len(checks) == 2


def test_broken_schema_is_found_in_spite_of_the_mark(root: Path) -> None:
    path = root / "params.yaml"
    load_known(path)
    change(path, "runs.jets-egnn.training.batch_size", 0)
    with pytest.raises(ConfigError, match=r"runs\.jets-egnn\.training\.batch_size: .*, got 0"):
        load_known(path)


def test_without_a_folder_of_dvc_nothing_is_kept(root: Path, checks: list[Path]) -> None:
    (root / ".dvc").rmdir()
    for _ in range(2):
        load_known(root / "params.yaml")
    assert len(checks) == 2
    assert sorted(path.name for path in root.iterdir()) == ["params.yaml"]


def test_unknown_backend(root: Path) -> None:
    change(root / "params.yaml", "kernels.backend", "fast")
    with pytest.raises(
        ConfigError, match=r"params\.yaml: kernels\.backend: `backend` must be .*, got 'fast'"
    ):
        load_checked(root / "params.yaml")


def test_data_stages_start_without_the_model_column(root: Path) -> None:
    """Half of the stages read and write arrays; the imports of the others take many seconds."""
    load_known(root / "params.yaml")
    code = (
        "import sys, pathlib, pipelines.prepare, pipelines.featurize\n"
        "from pipelines.validate import load_known\n"
        "from geograph.training.provenance import run_tags\n"
        "load_known(pathlib.Path('params.yaml')), run_tags()\n"
        f"print(*(name for name in {HEAVY} if name in sys.modules))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert (answer.returncode, answer.stdout.strip()) == (0, ""), answer.stderr


@pytest.mark.parametrize("has_triton", [False, True])
def test_garbage_is_collected_as_usual_after_the_start(
    has_triton: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if has_triton:
        monkeypatch.setitem(sys.modules, "triton", ModuleType("triton"))
    else:
        monkeypatch.delitem(sys.modules, "triton", raising=False)
    monkeypatch.setattr(sys, "argv", ["stage", "nothing", "--params", "missing.yaml"])
    before = gc.get_threshold()
    try:
        with pytest.raises(SystemExit):
            stage.main(lambda params, name: None)
        assert gc.get_threshold() == pipelines.USUAL_THRESHOLD
        assert (gc.get_freeze_count() == 0) == has_triton
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
    assert "missing.yaml: parameter file not found" in capsys.readouterr().err

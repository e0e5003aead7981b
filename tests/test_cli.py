"""The command `geograph`: doctor, validate, and errors in one line."""

from __future__ import annotations

import json
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from typer.testing import CliRunner

from geograph import cli

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _declared_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offer the plugins that pyproject.toml declares, whatever an older installation says."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = project["entry-points"]

    def declared(group: str) -> list[EntryPoint]:
        return [EntryPoint(name, value, group) for name, value in groups[group].items()]

    monkeypatch.setattr(cli, "entry_points", declared)


def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str, str]:
    """Run the command as the console script does; return exit code, output and errors."""
    monkeypatch.setattr("sys.argv", ["geograph", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    printed = capsys.readouterr()
    return int(stopped.value.code or 0), printed.out, printed.err


def test_doctor_prints_backends_and_versions() -> None:
    result = CliRunner().invoke(cli.app, ["doctor"])
    assert result.exit_code == 0, result.output
    for word in ("reference", "native", "torch_scatter", "selected", "threads, CUDA:", "torch-geometric"):
        assert word in result.output


def test_doctor_as_json() -> None:
    result = CliRunner().invoke(cli.app, ["doctor", "--json"])
    report = json.loads(result.output)
    assert set(report) == {
        "selected_backend", "backends", "cpu_kernels", "num_threads", "cuda", "versions",
    }  # fmt: skip
    names = ["reference", "native", "torch_scatter", "cpu", "triton"]
    assert [entry["name"] for entry in report["backends"]] == names
    assert set(report["cpu_kernels"]) == {"compiler", "library", "vector_bytes"}
    assert all(set(entry) == {"name", "is_available", "reason"} for entry in report["backends"])
    assert {"python", "geograph", "torch", "mlflow", "dvc"} <= set(report["versions"])
    assert all(report["versions"][name] for name in ("python", "torch"))


def test_doctor_says_why_a_backend_is_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geograph.kernels.scatter.find_spec", lambda _: None)
    report = json.loads(CliRunner().invoke(cli.app, ["doctor", "--json"]).output)
    scatter = {entry["name"]: entry for entry in report["backends"]}["torch_scatter"]
    assert scatter["is_available"] is False
    assert "pip install 'geograph[scatter]'" in scatter["reason"]


def test_validate_accepts_the_committed_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(monkeypatch, capsys, "validate", str(REPOSITORY / "params.yaml"))
    assert (code, err) == (0, "")
    assert "params.yaml: valid; 6 data sets, 7 projections, 20 runs" in out
    assert "jets-lorentznet: classification with lorentznet on jets, " in out


def bad_params(folder: Path) -> Path:
    path = folder / "params.yaml"
    path.write_text("data: {}\nruns: {}\nkernel: {backend: auto}\n", encoding="utf-8")
    return path


def bad_checkpoint(folder: Path) -> Path:
    path = folder / "model.pt"
    path.write_bytes(b"no checkpoint")
    return path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["validate", "{params}"], "error: {params}: kernel: Extra inputs are not permitted"),
        (["validate", "none.yaml"], "error: none.yaml: parameter file not found; run from"),
        (["sample", "--run", "none"], "error: `--run` 'none': neither a checkpoint file nor"),
        (["sample", "--run", "{checkpoint}"], "error: {checkpoint}: "),
        (["evaluate", "molecules", "none.sdf"], "error: none.sdf: no such file; check the path."),
    ],
)
def test_errors_are_one_line_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {"params": bad_params(tmp_path), "checkpoint": bad_checkpoint(tmp_path)}
    code, out, err = call(monkeypatch, capsys, *(text.format(**files) for text in arguments))
    assert code == 1
    assert out == ""
    assert err.startswith(message.format(**files))
    assert len(err.splitlines()) == 1


def test_wrong_option_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(monkeypatch, capsys, "sample", "--run", "x", "-n", "0")
    assert code == 2
    assert "Invalid value" in err


@pytest.mark.parametrize("name", ["doctor", "sample", "evaluate"])
def test_a_plugin_cannot_take_the_place_of_a_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    # Loading this entry point would fail: there is no such module.
    monkeypatch.setattr(cli, "entry_points", lambda group: [EntryPoint(name, "no_such_module:run", group)])
    code, _, err = call(monkeypatch, capsys, name, "--help")
    assert (code, err) == (0, "")


def test_help_lists_the_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(monkeypatch, capsys, "--help")
    assert code == 0
    for word in ("doctor", "sample", "evaluate", "validate"):
        assert word in out

"""The DVC files against code and parameters: exact source files, complete runs, sound outputs."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from geograph.models import MODELS
from pipelines import closure, stages
from pipelines.params import Params, load_params
from pipelines.stage import stage_files

REPOSITORY = Path(__file__).resolve().parents[1]


def filled(stage: dict[str, Any], entry: str) -> Iterator[str]:
    """Return an entry with every combination of the matrix filled in."""
    axes = stage.get("matrix", {})
    for values in itertools.product(*axes.values()):
        text = entry
        for key, value in zip(axes, values, strict=True):
            text = text.replace("${item." + key + "}", value)
        yield text


def entries(stage: dict[str, Any], key: str) -> list[tuple[str, dict[str, Any]]]:
    """Paths under a key with their options, matrix filled in."""
    found = []
    for entry in stage.get(key, []):
        path, options = next(iter(entry.items())) if isinstance(entry, dict) else (entry, {})
        found += [(text, options) for text in filled(stage, path)]
    return found


def outputs(stage: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [entry for key in ("outs", "metrics", "plots") for entry in entries(stage, key)]


class Pipeline:
    """One DVC file with the parameters beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content = yaml.safe_load(path.read_text(encoding="utf-8"))
        self.stages: dict[str, dict[str, Any]] = self.content["stages"]
        self.params = load_params(path.with_name("params.yaml"))

    def items_of(self, module: str) -> list[str]:
        """Items on which the stages run a module."""
        ran = [pair for name, stage in self.stages.items() for pair in stages.items(name, stage)]
        return [item for found, item in ran if found == module]

    def made(self) -> list[str]:
        """Paths of all outputs."""
        return [path for stage in self.stages.values() for path, _ in outputs(stage)]


PIPELINES = {path.relative_to(REPOSITORY).as_posix(): Pipeline(path) for path in stages.dvc_files()}
MAIN = PIPELINES["dvc.yaml"]
STAGES = MAIN.stages
EVERY_STAGE = [
    pytest.param(pipeline, name, id=f"{file}:{name}")
    for file, pipeline in PIPELINES.items()
    for name in pipeline.stages
]
EVERY_PIPELINE = [pytest.param(pipeline, id=file) for file, pipeline in PIPELINES.items()]
COMPARING = [pytest.param(pipe, id=file) for file, pipe in PIPELINES.items() if "compare" in pipe.stages]


@pytest.fixture(scope="module")
def params() -> Params:
    return MAIN.params


# Source files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pipeline", "name"), EVERY_STAGE)
def test_source_files_are_exactly_those_that_the_stage_uses(pipeline: Pipeline, name: str) -> None:
    stage = pipeline.stages[name]
    paths = [(pipeline.path.parent / path).resolve() for path in stages.listed(stage)]
    wanted = stages.source_deps(name, stage, pipeline.params)
    assert [path.relative_to(REPOSITORY).as_posix() for path in paths] == wanted
    assert all(path.is_file() for path in paths)


_IMPORTED = """
import sys
from importlib import import_module
from unittest.mock import MagicMock

def ours():
    return {name: m for name, m in sys.modules.items() if name.split(".")[0] in ("geograph", "pipelines")}

for line in sys.stdin.read().splitlines():
    modules = line.split()
    for name in ours():
        del sys.modules[name]
    # The boundary (command line, tracking) is replaced: what only it imports is no part of a stage.
    for name in ("pipelines.stage", "geograph.training.tracking"):
        sys.modules[name] = MagicMock()
    for name in modules:
        import_module(name)
    files = [getattr(module, "__file__", None) for module in ours().values()]
    print(modules[0], *(file for file in files if isinstance(file, str)))
"""


def test_what_python_really_imports_is_listed(params: Params) -> None:
    """Independent of the syntax trees: import each stage with its models in a fresh interpreter."""
    wanted: dict[str, set[str]] = {}
    lines = []
    for module in ("prepare", "featurize", "train", "evaluate", "sample", "steer", "compare"):
        files: set[str] = set()
        chosen: set[str] = set()
        for item in MAIN.items_of(module):
            files |= set(stage_files(module, params, item))
            if item in params.runs:
                run = params.runs[item]
                chosen |= closure.model_choice(run.model.name, run.task.kind)
                if module == "steer":
                    judge = params.runs[params.steer[item].judge]
                    chosen |= closure.model_choice(judge.model.name, judge.task.kind)
            elif module == "prepare":
                chosen |= closure.source_choice(params.data[item].domain)
        wanted[f"pipelines.{module}"] = files
        here = {name for name in chosen if str(closure.module_path(name).relative_to(REPOSITORY)) in files}
        lines.append(" ".join([f"pipelines.{module}", *sorted(here)]))
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _IMPORTED],
        input="\n".join(lines),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    found = [line.split() for line in answer.stdout.splitlines() if line.startswith("pipelines.")]
    assert [module for module, *_ in found] == list(wanted)
    for module, *files in found:
        imported = {Path(file).relative_to(REPOSITORY).as_posix() for file in files}
        assert f"{module.replace('.', '/')}.py" in imported
        assert imported <= wanted[module], f"{module}: {sorted(imported - wanted[module])} not listed"


def test_check_refuses_a_missing_file_and_write_restores_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "dvc.yaml"
    text = (REPOSITORY / "dvc.yaml").read_text(encoding="utf-8")
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    monkeypatch.setattr(stages, "REPOSITORY", tmp_path)
    monkeypatch.setattr(stages, "dvc_files", lambda: [copy])
    copy.write_text(text, encoding="utf-8")
    stages.main(check=True)
    assert "list exactly the files" in capsys.readouterr().out
    line = "    - geograph/generate/nbody.py\n"
    assert text.count(line) == 1
    copy.write_text(text.replace(line, ""), encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        stages.main(check=True)
    assert stopped.value.code == 1
    printed = capsys.readouterr().out
    assert "dvc.yaml: stale deps of prepare-nbody\nrun python -m pipelines.stages --write" in printed
    stages.main(write=True)
    assert yaml.safe_load(copy.read_text(encoding="utf-8")) == yaml.safe_load(text)
    assert copy.read_text(encoding="utf-8").startswith("# prepare -> featurize -> train")


@pytest.fixture
def repository_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Copy of the sources that `closure` reads instead of the real ones."""
    skip = shutil.ignore_patterns("__pycache__", "experiments")
    for package in ("geograph", "pipelines"):
        shutil.copytree(REPOSITORY / package, tmp_path / package, ignore=skip)
    monkeypatch.setattr(closure, "REPOSITORY", tmp_path)
    closure.references.cache_clear()
    yield tmp_path
    closure.references.cache_clear()


def test_a_new_import_changes_the_closure(repository_copy: Path, params: Params) -> None:
    before = stage_files("featurize", params, "nbody")
    assert before == stages.listed(STAGES["featurize"])  # identity control: the copy gives the same list
    path = repository_copy / "geograph" / "featurize" / "nbody.py"
    path.write_text(path.read_text() + "\n\ndef late() -> None:\n    import geograph.algebra.euclid\n")
    closure.references.cache_clear()
    added = set(stage_files("featurize", params, "nbody")) - set(before)
    assert added == {"geograph/algebra/__init__.py", "geograph/algebra/euclid.py"}


def test_a_changed_byte_changes_the_digest(repository_copy: Path, params: Params) -> None:
    files = stage_files("train", params, "nbody-egnn")
    before = closure.digest(files)
    assert closure.digest(files) == before
    outside = repository_copy / "geograph" / "models" / "lorentznet.py"
    outside.write_text(outside.read_text() + "\n")
    assert "geograph/models/lorentznet.py" not in files
    assert closure.digest(files) == before
    inside = repository_copy / "geograph" / "models" / "egnn.py"
    inside.write_text(inside.read_text() + "\n")
    assert closure.digest(files) != before


# Items and parameters ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("pipeline", EVERY_PIPELINE)
def test_everything_in_the_parameters_is_run_once(pipeline: Pipeline) -> None:
    params = pipeline.params
    used = {run.dataset for run in params.runs.values()}
    wanted = {"prepare": params.data, "featurize": used & params.data.keys(), "project": params.projections}
    wanted |= {"sample": params.sample, "steer": params.steer}
    wanted |= dict.fromkeys(("train", "evaluate"), params.runs)
    for module, names in wanted.items():
        assert sorted(pipeline.items_of(module)) == sorted(names), module


@pytest.mark.parametrize("pipeline", EVERY_PIPELINE)
def test_run_uses_the_data_set_of_its_stage(pipeline: Pipeline) -> None:
    for name, stage in pipeline.stages.items():
        for module, item in stages.items(name, stage):
            if module in ("train", "evaluate"):
                used = {path for path, _ in entries(stage, "deps")}
                run = pipeline.params.runs[item]
                assert f"data/processed/{run.dataset}" in used
                build = MODELS[run.model.name].build
                assert any(path.endswith(f"{build.module.replace('.', '/')}.py") for path in used)


@pytest.mark.parametrize(("pipeline", "name"), EVERY_STAGE)
def test_parameter_keys_exist(pipeline: Pipeline, name: str) -> None:
    content = yaml.safe_load(pipeline.path.with_name("params.yaml").read_text(encoding="utf-8"))
    stage = pipeline.stages[name]
    for key in (key for entry in stage["params"] for key in filled(stage, entry)):
        place = content
        for part in key.split("."):
            assert part in place, f"{key}: no {part!r}"
            place = place[part]


@pytest.mark.parametrize("pipeline", COMPARING)
def test_compare_depends_on_every_run(pipeline: Pipeline) -> None:
    params, deps = pipeline.params, set(pipeline.stages["compare"]["deps"])
    for name, run in params.runs.items():
        wanted = {f"metrics/{part}/{name}.json" for part in ("train", "evaluate")}
        wanted.add(f"plots/history/{name}.csv")
        if run.task.kind in ("regression", "classification"):
            wanted.add(f"models/{name}-predictions.npz")
        assert wanted <= deps, f"{sorted(wanted - deps)} missing"
    for name in params.sample:
        assert {f"metrics/sample/{name}.json", f"samples/{name}"} <= deps
    for name in params.steer:
        assert {f"metrics/steer/{name}.json", f"plots/steer/{name}.png"} <= deps


# Outputs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pipeline", EVERY_PIPELINE)
def test_every_dependency_is_made_by_a_stage_or_committed(pipeline: Pipeline) -> None:
    made = pipeline.made()
    for name, stage in pipeline.stages.items():
        for path, _ in entries(stage, "deps"):
            is_made = any(path == out or path.startswith(f"{out}/") for out in made)
            assert is_made or (pipeline.path.parent / path).is_file(), f"{name}: {path} comes from nowhere"


@pytest.mark.parametrize("pipeline", EVERY_PIPELINE)
def test_no_output_is_made_twice(pipeline: Pipeline) -> None:
    assert len(pipeline.made()) == len(set(pipeline.made()))


@pytest.mark.parametrize(("pipeline", "name"), EVERY_STAGE)
def test_metrics_and_plots_are_not_cached(pipeline: Pipeline, name: str) -> None:
    metrics, plots = (entries(pipeline.stages[name], key) for key in ("metrics", "plots"))
    assert name == "compare" or metrics
    assert all(options.get("cache") is False for _, options in metrics + plots)


def test_figures_of_dvc_are_drawn_from_outputs() -> None:
    drawn = [path for plot in MAIN.content["plots"] for about in plot.values() for path in about["y"]]
    assert drawn
    assert set(drawn) <= set(MAIN.made())


@pytest.mark.parametrize(("pipeline", "name"), EVERY_STAGE)
def test_training_state_survives_a_restart_of_the_stage(pipeline: Pipeline, name: str) -> None:
    stage = pipeline.stages[name]
    states = [options for path, options in entries(stage, "outs") if path.endswith("-state")]
    assert bool(states) == name.startswith("train")
    assert all(options.get("persist") is True for options in states)


@pytest.mark.parametrize(("pipeline", "name"), EVERY_STAGE)
def test_command_is_a_module_of_the_pipeline(pipeline: Pipeline, name: str) -> None:
    words = pipeline.stages[name]["cmd"].split()
    assert words[:2] == ["python", "-m"]
    assert closure.module_path(words[2]) is not None

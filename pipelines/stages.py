"""List the source files of the stages in the DVC files: `python -m pipelines.stages --write` or `--check`."""

from __future__ import annotations

import io
import itertools
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from ruamel.yaml import YAML

from pipelines.closure import REPOSITORY, SOURCES
from pipelines.params import Params, load_params
from pipelines.stage import stage_files

DVC_FILE = REPOSITORY / "dvc.yaml"


def dvc_files() -> list[Path]:
    """Return the pipeline and the experiments."""
    return [DVC_FILE, *sorted(REPOSITORY.glob("pipelines/experiments/*/dvc.yaml"))]


def items(name: str, stage: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (stage module, item) of every combination that an entry of `dvc.yaml` stands for."""
    module, item = str(stage["cmd"]).split()[2:4]
    axes = stage.get("matrix", {})
    combinations = itertools.product(*axes.values())
    found = []
    for values in combinations:
        text = item
        for key, value in zip(axes, values, strict=True):
            text = text.replace("${item." + key + "}", value)
        found.append((module.removeprefix("pipelines."), text))
    return found


def source_deps(name: str, stage: Mapping[str, Any], params: Params) -> list[str]:
    """Source files that any item of an entry uses."""
    return sorted({file for module, item in items(name, stage) for file in stage_files(module, params, item)})


def listed(stage: Mapping[str, Any]) -> list[str]:
    """Source files that an entry lists."""
    return [dep for dep in stage["deps"] if dep.endswith(SOURCES)]


def refresh(path: Path, content: Mapping[str, Any]) -> list[str]:
    """Put the right source files into the stages of a DVC file; return the stages that were stale."""
    params = load_params(path.with_name("params.yaml"))
    up = os.path.relpath(REPOSITORY, path.parent)
    stale = []
    for name, stage in content["stages"].items():
        wanted = [os.path.normpath(os.path.join(up, file)) for file in source_deps(name, stage, params)]
        if listed(stage) != wanted:
            stale.append(name)
            stage["deps"] = [*(dep for dep in stage["deps"] if not dep.endswith(SOURCES)), *wanted]
    return stale


def main(
    write: Annotated[bool, typer.Option("--write", help="Rewrite the DVC files.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only compare; exit 1 on a difference.")] = False,
) -> None:
    """Compare or rewrite the source files that the pipeline and the experiments list."""
    yaml = YAML()
    yaml.width = 110
    found = {}
    for path in dvc_files():
        content = yaml.load(path.read_text(encoding="utf-8"))
        stale = refresh(path, content)
        if stale:
            found[str(path.relative_to(REPOSITORY))] = stale
        if stale and write and not check:
            stream = io.StringIO()
            yaml.dump(content, stream)
            path.write_text(stream.getvalue(), encoding="utf-8")
    for name, stale in found.items():
        print(f"{name}: stale deps of {', '.join(stale)}")
    if not found:
        print("the stages list exactly the files that they use")
    elif write and not check:
        print("rewritten")
    else:
        print("run python -m pipelines.stages --write")
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)

"""List the source files of every stage in `dvc.yaml`: `python -m pipelines.stages --write`, or `--check`."""

from __future__ import annotations

import io
import itertools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from ruamel.yaml import YAML

from pipelines.closure import REPOSITORY
from pipelines.params import Params, load_params
from pipelines.stage import stage_files

DVC_FILE = REPOSITORY / "dvc.yaml"


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
    return [dep for dep in stage["deps"] if dep.endswith(".py")]


def main(
    write: Annotated[bool, typer.Option("--write", help="Rewrite dvc.yaml.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only compare; exit 1 on a difference.")] = False,
) -> None:
    """Compare or rewrite the source files that `dvc.yaml` lists."""
    yaml = YAML()
    yaml.width = 110
    content = yaml.load(DVC_FILE.read_text(encoding="utf-8"))
    params = load_params(REPOSITORY / "params.yaml")
    stale = []
    for name, stage in content["stages"].items():
        wanted = source_deps(name, stage, params)
        if listed(stage) != wanted:
            stale.append(name)
            data = [dep for dep in stage["deps"] if not dep.endswith(".py")]
            stage["deps"] = [*data, *wanted]
    if not stale:
        print("dvc.yaml lists exactly the files that its stages use")
    elif write and not check:
        stream = io.StringIO()
        yaml.dump(content, stream)
        Path(DVC_FILE).write_text(stream.getvalue(), encoding="utf-8")
        print(f"rewrote the deps of {', '.join(stale)}")
    else:
        print(f"dvc.yaml is stale for {', '.join(stale)}; run python -m pipelines.stages --write")
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)

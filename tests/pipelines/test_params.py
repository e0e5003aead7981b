"""Parameter files: the committed ones are valid, every mistake is named by file and dotted path."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from geograph.errors import ConfigError
from pipelines.params import load_params
from pipelines.validate import load_checked

REPOSITORY = Path(__file__).resolve().parents[2]
COMMITTED = [
    REPOSITORY / "params.yaml",
    Path(__file__).with_name("params_tiny.yaml"),
    *sorted((REPOSITORY / "pipelines" / "experiments").glob("*/params.yaml")),
]

Change = Callable[[dict[str, Any]], None]


def committed() -> dict[str, Any]:
    """Content of the committed parameter file, to be spoiled."""
    return yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))


def spoil(path: str, value: Any) -> Change:
    """Return a change that sets the value at a dotted path."""

    def change(content: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for key in parents:
            content = content[key]
        content[last] = value

    return change


def drop(path: str) -> Change:
    """Return a change that removes the key at a dotted path."""

    def change(content: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for key in parents:
            content = content[key]
        del content[last]

    return change


def write(folder: Path, *changes: Change) -> Path:
    """Write the committed parameters with changes."""
    content = copy.deepcopy(committed())
    for change in changes:
        change(content)
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_committed_files_are_valid(path: Path) -> None:
    params = load_checked(path)
    assert params.runs
    assert {run.dataset for run in params.runs.values()} <= {*params.data, *params.projections}


def test_tiny_file_has_the_same_names() -> None:
    tiny, full = load_params(COMMITTED[1]), load_params(COMMITTED[0])
    assert tiny.data.keys() == full.data.keys()
    assert tiny.projections.keys() == full.projections.keys()
    assert tiny.runs.keys() == full.runs.keys()
    assert tiny.sample.keys() == full.sample.keys()
    for name, run in full.runs.items():
        sizes = {"validation_samples", "validation_steps"}
        assert tiny.runs[name].dataset == run.dataset
        assert tiny.runs[name].task.model_dump(exclude=sizes) == run.task.model_dump(exclude=sizes)
        assert tiny.runs[name].model.name == run.model.name


def test_unchanged_copy_is_valid(tmp_path: Path) -> None:
    """Identity control: what the tests below write is valid before it is spoiled."""
    assert load_checked(write(tmp_path)) == load_checked(REPOSITORY / "params.yaml")


JETS = "runs.jets-egnn"
MOLECULES = "data.molecules"
SPHERES = "projections.meshes-sphere"
ZONAL = "runs.meshes-sphere-zonal"


@pytest.mark.parametrize(
    ("change", "where", "what"),
    [
        # unknown keys
        (spoil("colour", 1), "colour", "not permitted"),
        (spoil(f"{MOLECULES}.source.num_atoms", 3), f"{MOLECULES}.source.num_atoms", "not permitted"),
        (spoil(f"{MOLECULES}.graph.cutoff", 3.0), f"{MOLECULES}.graph.cutoff", "not permitted"),
        (spoil(f"{JETS}.training.epochs", 3), f"{JETS}.training.epochs", "not permitted"),
        (drop(f"{JETS}.training.max_epochs"), f"{JETS}.training.max_epochs", "required"),
        # wrong types
        (spoil(f"{MOLECULES}.source.num_molecules", "many"), f"{MOLECULES}.source.num_molecules", "'many'"),
        (spoil(f"{MOLECULES}.source.num_molecules", 10.0), f"{MOLECULES}.source.num_molecules", "got 10.0"),
        (spoil(f"{JETS}.training.batch_size", "32"), f"{JETS}.training.batch_size", "got '32'"),
        (spoil(f"{JETS}.optimizer.lr", "1e-3"), f"{JETS}.optimizer.lr", "got '1e-3'"),
        (spoil("tracking.enabled", "yes"), "tracking.enabled", "got 'yes'"),
        (spoil("runs", []), "runs", "dictionary"),
        # out of range
        (
            spoil(f"{MOLECULES}.source.num_molecules", 0),
            f"{MOLECULES}.source.num_molecules",
            "greater than 0",
        ),
        (spoil(f"{JETS}.training.batch_size", -1), f"{JETS}.training.batch_size", "got -1"),
        (spoil(f"{JETS}.training.prefetch", -1), f"{JETS}.training.prefetch", "got -1"),
        (
            spoil(
                f"{JETS}.training", {"max_epochs": 1, "batch_size": 2, "max_edges": 9, "balance_edges": True}
            ),
            f"{JETS}.training",
            "balance_edges and max_edges exclude each other",
        ),
        (spoil(f"{JETS}.training.precision", "8"), f"{JETS}.training.precision", "got '8'"),
        (spoil(f"{MOLECULES}.split.val", 1.5), f"{MOLECULES}.split.val", "less than 1"),
        (spoil(f"{MOLECULES}.split.test", 0.95), f"{MOLECULES}.split", "leave a share for train"),
        (spoil(f"{MOLECULES}.split.kind", "qm7-folds"), f"{MOLECULES}.split", "test_fold is required"),
        (spoil("data.jets.source.pt_hat_max_gev", 400.0), "data.jets.source", "must exceed pt_hat_min_gev"),
        # names that point nowhere
        (spoil(f"{MOLECULES}.domain", "crystals"), MOLECULES, "molecules"),
        (spoil(f"{MOLECULES}.source.kind", "web"), f"{MOLECULES}.source", "reference"),
        (spoil(f"{JETS}.dataset", "jet"), f"{JETS}.dataset", "no data set 'jet'; there are .*'jets'"),
        (spoil(f"{JETS}.task.kind", "ranking"), f"{JETS}.task.kind", "got 'ranking'"),
        (
            spoil("sample.jets-egnn", {"num_molecules": 1}),
            "sample.jets-egnn",
            "not a run of kind generation",
        ),
        # models
        (spoil(f"{JETS}.model", {"name": "egn"}), f"{JETS}.model", "one of .*egnn.*, got 'egn'"),
        (spoil(f"{JETS}.model.num_hiden", 8), f"{JETS}.model", "num_hiden.* is no parameter of egnn"),
        (spoil(f"{JETS}.model.num_layers", 0), f"{JETS}.model", "num_layers"),
        (spoil(f"{JETS}.model.inputs", "fish"), f"{JETS}.model", "fish"),
        (drop(f"{JETS}.model.inputs"), f"{JETS}.model", "inputs.* is required by egnn"),
        (
            spoil(f"{JETS}.model", {"name": "egnn-dynamics"}),
            f"{JETS}.model",
            "egnn-dynamics predicts node_position, a classification task needs graph",
        ),
        (
            spoil("runs.molecules-edm.model", {"name": "egnn", "inputs": "molecule"}),
            "runs.molecules-edm.model",
            "egnn predicts graph, a generation task needs noise",
        ),
        # targets
        (
            drop("runs.molecules-egnn.task.targets"),
            "runs.molecules-egnn.task",
            "targets: needed for regression",
        ),
        (spoil(f"{JETS}.task.targets", ["energy_ev"]), f"{JETS}.task", "no place elsewhere"),
        (
            spoil(f"{MOLECULES}.graph.targets", ["gap_ev"]),
            "runs.molecules-egnn.task.targets",
            rf"{MOLECULES}.graph.targets has only \['gap_ev'\]",
        ),
        # functions on spheres
        (spoil("data.cmb.source.kind", "noise"), "data.cmb.source", "'cmb', 'digits', 'files'"),
        (spoil(f"{SPHERES}.kind", "shadows"), SPHERES, "'rays'"),
        (spoil(f"{SPHERES}.bandlimit", 0), f"{SPHERES}.bandlimit", "greater than 0"),
        (spoil(f"{SPHERES}.channels", ["depth"]), f"{SPHERES}.channels.0", "got 'depth'"),
        (
            spoil(SPHERES, {"kind": "celestial", "bandlimit": 8}),
            f"{SPHERES}.kind",
            "celestial is for jets, but meshes holds meshes",
        ),
        (
            spoil("projections.stars-sphere", {"kind": "maps", "bandlimit": 8}),
            "projections.stars-sphere",
            "must be called after its data set",
        ),
        (spoil(f"{ZONAL}.dataset", "cmb"), f"{ZONAL}.dataset", "no data set 'cmb'; there are .*'cmb-sphere'"),
        (
            spoil("runs.cmb-low-efficient.dataset", "meshes"),
            "runs.cmb-low-efficient.model",
            "takes functions on spheres",
        ),
        (spoil(f"{JETS}.dataset", "jets-sphere"), f"{JETS}.model", "egnn takes graphs"),
        (spoil(f"{JETS}.rotations", {"train": "so3"}), f"{JETS}.rotations", "jets is no projection"),
        (
            spoil(f"{ZONAL}.rotations", {"copies": 3}),
            f"{ZONAL}.rotations",
            "copies needs train: z or so3",
        ),
        (
            spoil("projections.molecules-sphere.targets", ["gap_ev"]),
            "runs.molecules-sphere-efficient.task.targets",
            r"projections.molecules-sphere.targets has only \['gap_ev'\]",
        ),
    ],
)
def test_mistake_is_named(tmp_path: Path, change: Change, where: str, what: str) -> None:
    path = write(tmp_path, change)
    with pytest.raises(ConfigError, match=rf"^{re.escape(str(path))}: .*{re.escape(where)}\b.*{what}"):
        load_checked(path)


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, spoil(f"{JETS}.training.batch_size", 0), spoil("parallel.num_workers", 0))
    with pytest.raises(ConfigError, match=rf"parallel\.num_workers: .*; {JETS}\.training\.batch_size: "):
        load_params(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none.yaml: parameter file not found; run from the folder"):
        load_params(tmp_path / "none.yaml")


@pytest.mark.parametrize("text", ["data: [", "data: {a: 1\nruns: }", "\tdata: 1"])
def test_invalid_yaml(tmp_path: Path, text: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"params.yaml: not valid YAML \("):
        load_params(path)


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"params.yaml: \(top level\): "):
        load_params(path)

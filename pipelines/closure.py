"""Which source files a stage really uses: the closure of its imports, read from the syntax trees.

Imports inside functions count. Tables that name modules in strings (models, tasks, kernels) are followed too,
but of models, tasks and data sources only those that the stage uses.

Not followed is what surrounds every stage (`BOUNDARY`): command line, validation, tracking. It cannot change
what a stage writes to its outputs, and a change there must not train every model anew.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Collection
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
_PACKAGES = ("geograph", "pipelines")

#: Endings of source files.
SOURCES = (".py", ".cpp", ".h", ".js", ".css", ".html")

#: Modules whose references are followed only where they are in the choice of the stage.
TABLES = (
    "geograph.models",
    "geograph.tasks",
    "pipelines.sources",
    "pipelines.prepare",
    "pipelines.datasets",
    "pipelines.projections",
)

#: Modules that are left out, with all that only they need.
BOUNDARY = ("pipelines.stage", "geograph.training.tracking")

#: Folders of files that a module compiles or writes into its pages.
_FOLDERS = {
    "geograph.kernels.cpu.build": "geograph/kernels/cpu/src",
    "geograph.interop.molecule_page": "geograph/interop/page",
}

_SOURCES = {
    "molecules": ["generate.molecules", "readers.qm7", "readers.qm9", "readers.atoms"],
    "jets": ["generate.jets", "readers.top_tagging", "readers.jetclass"],
    "meshes": ["generate.meshes", "readers.meshes"],
    "nbody": ["generate.nbody", "readers.nbody"],
    "maps": ["generate.cmb", "generate.digits", "readers.sphere_maps"],
}

_PROJECTIONS = {
    "potential": "sphere_molecule",
    "pairs": "sphere_molecule",
    "rays": "sphere_mesh",
    "celestial": "sphere_jet",
    "maps": "sphere_map",
    "scattering": "scattering",
}


def module_path(name: str) -> Path | None:
    """Return the file of a module of ours, or None."""
    base = REPOSITORY / Path(*name.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@cache
def references(name: str) -> frozenset[str]:
    """Modules of ours that a module imports or names in a string, anywhere in its text."""
    path = module_path(name)
    if path is None:
        return frozenset()
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return frozenset(
        module
        for module in found
        if module.split(".")[0] in _PACKAGES and " " not in module and module_path(module) is not None
    )


def closure(entry: str, choice: Collection[str]) -> list[str]:
    """Files that a module needs, relative to the repository, sorted.

    Parameters
    ----------
    entry
        Module where the stage begins.
    choice
        Modules that are followed from the tables (see `TABLES`).
    """
    seen: set[str] = set()
    todo = [entry]
    while todo:
        name = todo.pop()
        if name in seen or name.startswith(BOUNDARY):
            continue
        seen.add(name)
        parents = [".".join(name.split(".")[:depth]) for depth in range(1, name.count(".") + 1)]
        following = references(name)
        if name in TABLES:
            following = frozenset(m for m in following if m in choice or _is_common(m))
        todo += [module for module in (*following, *parents) if module not in seen]
    paths = {module_path(name) for name in seen}
    for name, folder in _FOLDERS.items():
        if name in seen:
            paths.update(path for path in (REPOSITORY / folder).rglob("*") if path.suffix in SOURCES)
    return sorted(str(path.relative_to(REPOSITORY)) for path in paths if path is not None)


def _is_common(module: str) -> bool:
    """Whether a table may always be followed to this module, because it is no row of it."""
    rows = ("geograph.models.", "geograph.tasks.", "geograph.generate.", "geograph.readers.")
    special = (
        "geograph.datasets.download",
        "geograph.datasets.published_splits",
        *(f"geograph.featurize.{name}" for name in _PROJECTIONS.values()),
    )
    return module == "geograph.tasks.base" or not (module.startswith(rows) or module in special)


def source_choice(domain: str) -> set[str]:
    """Modules that make or read the records of a domain."""
    modules = {f"geograph.{name}" for name in _SOURCES[domain]}
    extra = {"geograph.datasets.published_splits"} if domain == "molecules" else set()
    return modules | extra | {"geograph.datasets.download"}


def projection_choice(kind: str) -> set[str]:
    """Return the module that projects records to spheres in this way."""
    return {f"geograph.featurize.{_PROJECTIONS[kind]}"}


def model_choice(model: str, task: str) -> set[str]:
    """Modules that hold a model and its task."""
    from geograph.models import MODELS

    build = MODELS[model].build
    module = getattr(build, "module", None) or build.__module__
    common = ("symmetry", "metrics", "rotations", "retrieval")
    return {module, f"geograph.tasks.{task}", *(f"geograph.tasks.{name}" for name in common)}


def digest(files: Collection[str]) -> str:
    """Return one sha256 over the contents of source files."""
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(name.encode())
        total.update(hashlib.sha256((REPOSITORY / name).read_bytes()).digest())
    return total.hexdigest()

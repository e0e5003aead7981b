"""Tasks: where model, loss and metric meet. `TASKS` is the one table of kinds."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from geograph.errors import ConfigError

if TYPE_CHECKING:
    from geograph.tasks.base import Task

_PLACES = {
    "regression": ("geograph.tasks.regression", "RegressionTask"),
    "classification": ("geograph.tasks.classification", "ClassificationTask"),
    "trajectory": ("geograph.tasks.trajectory", "TrajectoryTask"),
    "generation": ("geograph.tasks.generation", "GenerationTask"),
}


class _LazyTable(Mapping[str, "type[Task]"]):
    """Kind -> class of task; a task's module is imported when it is first asked for."""

    def __getitem__(self, kind: str) -> type[Task]:
        module, name = _PLACES[kind]
        task: type[Task] = getattr(import_module(module), name)
        return task

    def __iter__(self) -> Iterator[str]:
        return iter(_PLACES)

    def __len__(self) -> int:
        return len(_PLACES)


TASKS: Mapping[str, type[Task]] = _LazyTable()


def build_task(kind: str, **params: Any) -> Task:
    """Build a task by the name of its kind.

    Raises
    ------
    ConfigError
        If no task of that name exists, or it has no such parameter.
    """
    if kind not in TASKS:
        raise ConfigError(f"`kind` must be one of {', '.join(TASKS)}, got {kind!r}.")
    task = TASKS[kind]
    try:
        inspect.signature(task).bind(**params)
    except TypeError as error:
        raise ConfigError(f"a {kind} task cannot be built from these parameters: {error}.") from error
    return task(**params)


def __getattr__(name: str) -> Any:
    """Import the base class when it is first asked for: the metrics beside it need no Lightning."""
    if name != "Task":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from geograph.tasks.base import Task

    return Task


__all__ = ["TASKS", "Task", "build_task"]

"""The whole of `params.yaml` as checked types; nothing runs before all of it is valid."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Field, ValidationError, model_validator

from geograph.errors import ConfigError
from pipelines.params_data import Count, Dataset, Fraction, Positive, PositiveFloat, Strict
from pipelines.params_projections import DOMAIN_OF, Projection

# --- training runs -------------------------------------------------------------------------------------


class Model(Strict):
    """A model by its name in the table of models, and its keyword parameters."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    name: str

    @property
    def params(self) -> dict[str, Any]:
        """Keyword parameters of the model."""
        return dict(self.model_extra or {})


class Task(Strict):
    """What is learned."""

    kind: Literal["regression", "classification", "trajectory", "generation"]
    targets: list[str] = []  # regression, or what generation is conditioned on: e.g. energy_ev
    # regression: subtract a fit on element counts, linear (true) or by a small network
    composition_baseline: bool | Literal["linear", "mlp"] = False
    loss: str | None = None
    balance_classes: bool = False  # classification: weight classes by their inverse frequency
    schedule: str | None = None  # generation: noise schedule
    num_steps: Positive | None = None  # generation: steps of the schedule
    norm_values: Annotated[list[PositiveFloat], Field(min_length=3, max_length=3)] | None = None  # generation
    has_charge: bool | None = None  # generation: the atomic number as a feature beside the element
    property_dropout: Annotated[float, Field(ge=0, lt=1)] | None = None  # generation: hidden properties
    validation_samples: Count | None = None  # generation: molecules generated at each validation
    validation_steps: Positive | None = None  # generation: reverse steps of these

    @property
    def options(self) -> dict[str, Any]:
        """Keyword parameters of the task."""
        sampling = ("property_dropout", "validation_samples", "validation_steps")
        names = ("loss", "schedule", "num_steps", "norm_values", "has_charge", *sampling)
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return given | ({"class_weights": "balanced"} if self.balance_classes else {})

    @model_validator(mode="after")
    def _target(self) -> Task:
        allowed = {"regression": (True,), "generation": (False, True)}.get(self.kind, (False,))
        if bool(self.targets) not in allowed:
            raise ValueError("targets: needed for regression, allowed for generation, no place elsewhere")
        return self


class Optimizer(Strict):
    """Optimizer and learning-rate schedule (see `geograph.training.optimizers`)."""

    name: Literal["adam", "adamw"] = "adamw"
    lr: PositiveFloat = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    amsgrad: bool = False
    schedule: Literal["constant", "cosine", "cosine_restarts", "one_cycle"] = "cosine"
    warmup_fraction: Fraction = 0.0  # share of all steps
    final_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    cycles: Positive = 1
    peak_at: Annotated[float, Field(gt=0, lt=1)] = 0.3  # one_cycle: share of all steps
    div_factor: Annotated[float, Field(ge=1)] = 25.0


class Training(Strict):
    """Everything that the Trainer needs."""

    max_epochs: Positive
    max_minutes: PositiveFloat | None = None
    batch_size: Positive
    max_edges: Positive | None = None  # bound for each batch
    balance_edges: bool = False  # training batches of about equal numbers of edges
    prefetch: Count | None = None  # training batches made ahead in a thread; null: 2 on a GPU, else none
    max_steps: Positive | None = None
    gradient_clip: PositiveFloat | Literal["adaptive"] | None = None
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    early_stopping_patience: Positive | None = None
    precision: Literal["32", "64", "bf16", "16"] = "32"
    naive_amp: bool = False
    monitor: str = "val/loss"
    mode: Literal["min", "max"] = "min"
    val_every: Positive = 1
    checkpoint_minutes: Annotated[float, Field(ge=0)] = 5.0  # states kept within an epoch, to resume from

    @model_validator(mode="after")
    def _batches(self) -> Training:
        if self.balance_edges and self.max_edges is not None:
            raise ValueError("balance_edges and max_edges exclude each other")
        return self


class Rotations(Strict):
    """Functions on spheres: how training data are rotated, and on what rotated test data a run is judged."""

    train: Literal["none", "z", "so3"] = "none"
    copies: Positive | None = None  # rotated copies of each record; null: new rotations in each epoch
    test: list[Literal["z", "so3"]] = []

    @model_validator(mode="after")
    def _copies(self) -> Rotations:
        if self.copies is not None and self.train == "none":
            raise ValueError("copies needs train: z or so3")
        return self


class Run(Strict):
    """One training run."""

    dataset: str  # name under `data` (its graphs) or under `projections`
    task: Task
    model: Model
    rotations: Rotations | None = None
    # functions on spheres: what is scaled alike; covariance: the channels of each degree are made white
    input_scale: Literal["degree", "channel", "covariance"] = "degree"
    optimizer: Optimizer = Optimizer()
    training: Training
    seed: int = 1


class Quality(Strict):
    """Quality against sampling steps: every sampler with every number of steps."""

    samplers: Annotated[list[str], Field(min_length=1)]
    steps: Annotated[list[Positive], Field(min_length=1)]
    num_molecules: Positive


class Sampling(Strict):
    """Molecules drawn from a trained diffusion model, and how they are judged and shown."""

    num_molecules: Positive
    batch_size: Positive = 64
    num_steps: Positive | None = None
    sampler: str = "ancestral"
    eta: Annotated[float, Field(ge=0, le=1)] | None = None  # ddim: share of the ancestral noise
    targets: dict[str, float] | None = None  # conditional models: value of a property by its name
    guidance: float = 0.0  # conditional models: scale of the guidance towards the properties
    seed: int = 1
    num_chains: Count = 24  # molecules whose way from noise is shown on the page
    num_reference: Positive = 10000  # training molecules at most that the samples are compared with
    num_posebusters: Count = 0  # molecules that PoseBusters checks, a second each
    num_strain: Count = 0  # molecules that GFN2-xTB relaxes
    quality: Quality | None = None


class Steering(Strict):
    """Molecules made for chosen values of a property, and judged by a model that predicts it."""

    target: str  # property that the diffusion model is conditioned on
    judge: str  # run of kind regression with that target
    size: Positive  # atoms of every molecule, so that the size cannot stand in for the property
    num_values: Positive = 8  # quantiles of the property among training molecules of about that size
    num_molecules: Positive = 16  # for each value
    guidance: list[float] = [0.0]
    num_steps: Positive | None = None
    sampler: str = "ancestral"
    seed: int = 1


class Parallel(Strict):
    """Processes for generation and conversion; results do not depend on it."""

    num_workers: Positive = 2


class Tracking(Strict):
    """MLflow; the address defaults to a database in the root of the repository."""

    enabled: bool = True
    uri: str | None = None


class Kernels(Strict):
    """Which implementation of the scatter operations computes."""

    backend: str = "auto"


class Params(Strict):
    """The root of `params.yaml`."""

    parallel: Parallel = Parallel()
    tracking: Tracking = Tracking()
    kernels: Kernels = Kernels()
    data: dict[str, Dataset]
    projections: dict[str, Projection] = {}
    runs: dict[str, Run]
    sample: dict[str, Sampling] = {}
    steer: dict[str, Steering] = {}

    def records_of(self, dataset: str) -> str:
        """Name of the records that graphs or a projection are made from: `meshes-sphere` -> `meshes`."""
        if dataset in self.data:
            return dataset
        owners = [name for name in self.data if dataset.startswith(f"{name}-")]
        return max(owners, key=len, default="")

    @model_validator(mode="after")
    def _projections(self) -> Params:
        for name, projection in self.projections.items():
            owner = self.records_of(name)
            if name in self.data or not owner:
                raise ValueError(
                    f"projections.{name}: must be called after its data set, as in "
                    f"{min(self.data, default='meshes')}-sphere; data sets are {sorted(self.data)}"
                )
            domain, wanted = self.data[owner].domain, DOMAIN_OF[projection.kind]
            if domain != wanted:
                raise ValueError(
                    f"projections.{name}.kind: {projection.kind} is for {wanted}, but {owner} holds {domain}"
                )
        return self

    def _made_targets(self, dataset: str) -> tuple[str, list[str]]:
        """Where the targets of a data set are named, and which there are."""
        if dataset in self.projections:
            return f"projections.{dataset}.targets", getattr(self.projections[dataset], "targets", [])
        graph = getattr(self.data[dataset], "graph", None)
        return f"data.{dataset}.graph.targets", getattr(graph, "targets", [])

    @model_validator(mode="after")
    def _names(self) -> Params:
        with_graphs = [name for name, data in self.data.items() if hasattr(data, "graph")]
        known = sorted([*with_graphs, *self.projections])
        for name, run in self.runs.items():
            if run.dataset not in known:
                raise ValueError(f"runs.{name}.dataset: no data set {run.dataset!r}; there are {known}")
            where, made = self._made_targets(run.dataset)
            if not set(run.task.targets) <= set(made):
                raise ValueError(f"runs.{name}.task.targets: {where} has only {made}")
            if run.rotations is not None and run.dataset not in self.projections:
                raise ValueError(f"runs.{name}.rotations: {run.dataset} is no projection")
        for name in self.sample:
            if name not in self.runs or self.runs[name].task.kind != "generation":
                raise ValueError(f"sample.{name}: not a run of kind generation; runs are {sorted(self.runs)}")
        for name, steering in self.steer.items():
            for used, kind in ((name, "generation"), (steering.judge, "regression")):
                task = self.runs[used].task if used in self.runs else None
                if task is None or task.kind != kind or steering.target not in task.targets:
                    raise ValueError(f"steer.{name}: {used} is no run of kind {kind} with {steering.target}")
        return self


def _describe(error: ValidationError, source: Path) -> str:
    lines = []
    for item in error.errors():
        path = ".".join(str(part) for part in _dotted(item["loc"])) or "(top level)"
        got = "" if item["type"] in ("missing", "extra_forbidden") else f", got {item['input']!r}"
        lines.append(f"{path}: {item['msg']}{got if len(got) < 80 else ''}")
    return f"{source}: " + "; ".join(lines)


_TAGS = {"molecules", "jets", "meshes", "nbody", "maps", "generated", "files", "reference", "cmb", "digits"}


def _dotted(location: Sequence[int | str]) -> list[int | str]:
    """Drop the tags that pydantic puts behind a discriminated key: `data.x.molecules.y` -> `data.x.y`."""
    kept: list[int | str] = []
    for position, part in enumerate(location):
        is_domain = position == 2 and location[0] == "data"
        is_projection = position == 2 and location[0] == "projections" and part in DOMAIN_OF
        is_source = position > 2 and location[position - 1] == "source"
        if not (part in _TAGS and (is_domain or is_source)) and not is_projection:
            kept.append(part)
    return kept


def load_params(path: str | PathLike[str] = "params.yaml") -> Params:
    """Read and check a parameter file; `pipelines.validate` checks the models in it besides.

    Raises
    ------
    ConfigError
        With the dotted path of every bad key and what was expected there.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path}: parameter file not found; run from the folder that holds it.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML ({error}).") from error
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise ConfigError(_describe(error, path)) from error

"""The table of models: each is chosen by name and takes plain keyword parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Literal, TypeAlias

from torch import nn

from geograph.errors import ConfigError

Symmetry: TypeAlias = Literal["E(3)", "E(4)", "O(1,3)", "SO(3)", "S(n)"]
Output: TypeAlias = Literal["graph", "node_position", "noise"]


@dataclass(frozen=True)
class LazyModel:
    """A model class that is imported when it is first built, so that the table costs nothing."""

    module: str
    name: str

    def resolve(self) -> type[nn.Module]:
        """Import the module and return the class."""
        model_class: type[nn.Module] = getattr(import_module(self.module), self.name)
        return model_class

    def __call__(self, **params: Any) -> nn.Module:
        """Build the model."""
        return self.resolve()(**params)


@dataclass(frozen=True)
class ModelSpec:
    """One row of the table of models.

    Attributes
    ----------
    name
        Name in parameter files and on the command line.
    build
        Makes the module from keyword parameters.
    symmetry
        Group under which the output is invariant (graph) or covariant (node_position, noise);
        permutations of the nodes are part of every one.
    fields
        Node fields of the batch that the model reads.
    allows_amp
        Whether mixed precision is safe. False where Minkowski products cancel large numbers.
    output
        What forward(batch) returns: [G, num_outputs], [N, 3] positions, or predicted noise.
    """

    name: str
    build: Callable[..., nn.Module]
    symmetry: Symmetry
    fields: tuple[str, ...]
    allows_amp: bool
    output: Output


def _on_spheres(name: str, module: str, model: str, symmetry: Symmetry = "SO(3)") -> ModelSpec:
    """Row of a model of functions on spheres."""
    return ModelSpec(name, LazyModel(module, model), symmetry, ("harmonic",), True, "graph")


_ROWS: tuple[ModelSpec, ...] = (
    ModelSpec(
        "egnn",
        LazyModel("geograph.models.egnn_graph", "EGNNGraph"),
        "E(3)",
        ("z", "pos"),
        True,
        "graph",
    ),
    ModelSpec(
        "egnn-dynamics",
        LazyModel("geograph.models.egnn", "EGNNDynamics"),
        "E(3)",
        ("pos", "vel", "charge"),
        True,
        "node_position",
    ),
    ModelSpec(
        "lorentznet",
        LazyModel("geograph.models.lorentznet", "LorentzNetGraph"),
        "O(1,3)",
        ("p4", "is_beam"),
        False,
        "graph",
    ),
    ModelSpec(
        "deep-sets",
        LazyModel("geograph.models.deep_sets", "DeepSets"),
        "S(n)",
        ("p4", "is_beam"),
        True,
        "graph",
    ),
    ModelSpec(
        "cgenn-lorentz",
        LazyModel("geograph.models.cgenn_lorentz", "CGENNLorentzGraph"),
        "O(1,3)",
        ("p4", "is_beam"),
        False,
        "graph",
    ),
    ModelSpec(
        "cgenn-nbody",
        LazyModel("geograph.models.cgenn_nbody", "CGENNNBodyDynamics"),
        "E(3)",
        ("pos", "vel", "charge"),
        False,
        "node_position",
    ),
    ModelSpec(
        "edm-dynamics",
        LazyModel("geograph.models.denoiser", "EDMDynamics"),
        "E(3)",
        ("state", "time"),
        True,
        "noise",
    ),
    _on_spheres("zonal-cnn", "geograph.models.zonal_cnn", "ZonalCNNGraph"),
    _on_spheres("spin-weighted-cnn", "geograph.models.spin_weighted_cnn", "SpinWeightedCNNGraph"),
    _on_spheres("s2cnn", "geograph.models.s2cnn", "S2CNNGraph"),
    _on_spheres("clebsch-gordan-net", "geograph.models.clebsch_gordan_net", "ClebschGordanNetGraph"),
    _on_spheres("efficient-spherical", "geograph.models.efficient_spherical", "EfficientSphericalGraph"),
    _on_spheres("hybrid-spherical", "geograph.models.hybrid_spherical", "HybridSphericalGraph"),
    _on_spheres("power-spectrum", "geograph.models.power_spectrum", "PowerSpectrumGraph"),
    _on_spheres("planar-cnn", "geograph.models.planar_cnn", "PlanarCNNGraph", symmetry="S(n)"),
)

#: Every model by its name.
MODELS: dict[str, ModelSpec] = {row.name: row for row in _ROWS}

#: The parameter `inputs` of `egnn` decides what it reads and therefore its group.
_EGNN_INPUTS: dict[str, tuple[Symmetry, tuple[str, ...]]] = {
    "molecule": ("E(3)", ("z", "pos")),
    "mesh": ("E(3)", ("pos", "normal", "area")),
    "jet": ("E(4)", ("p4", "is_beam")),
}


def model_spec(name: str, params: Mapping[str, Any] | None = None) -> ModelSpec:
    """Row of a model, with symmetry and fields as its parameters decide them.

    Raises
    ------
    ConfigError
        If there is no model of that name.
    """
    if name not in MODELS:
        raise ConfigError(f"`model.name` must be one of {', '.join(sorted(MODELS))}, got {name!r}.")
    spec = MODELS[name]
    if spec.fields == ("harmonic",) and (params or {}).get("head") == "atoms":
        return replace(spec, fields=("harmonic", "z"))
    inputs = (params or {}).get("inputs")
    if name == "egnn" and inputs in _EGNN_INPUTS:
        symmetry, fields = _EGNN_INPUTS[inputs]
        return replace(spec, symmetry=symmetry, fields=fields)
    return spec


def build_model(name: str, **params: Any) -> nn.Module:
    """Build a model by its name.

    Parameters
    ----------
    name
        A key of `MODELS`.
    **params
        Keyword parameters of that model.

    Raises
    ------
    ConfigError
        If the name or a parameter is unknown, a parameter is missing, or a value is out of range.
    """
    spec = model_spec(name, params)
    target = spec.build.resolve() if isinstance(spec.build, LazyModel) else spec.build
    signature = inspect.signature(target)
    known = [key for key in signature.parameters if key != "self"]
    unknown = sorted(set(params) - set(known))
    if unknown:
        raise ConfigError(f"`model.{unknown[0]}` is no parameter of {name}; it has {', '.join(known)}.")
    missing = [
        key
        for key, value in signature.parameters.items()
        if value.default is value.empty and key not in params
    ]
    if missing:
        raise ConfigError(f"`model.{missing[0]}` is required by {name} and was not given.")
    return target(**params)

"""The table of models."""

from __future__ import annotations

import pytest

from geograph.errors import ConfigError
from geograph.models import MODELS, LazyModel, build_model, model_spec


def test_every_row_resolves_to_a_class() -> None:
    for name, spec in MODELS.items():
        assert spec.name == name
        assert isinstance(spec.build, LazyModel)
        assert spec.build.resolve().__name__ == spec.build.name


def test_unknown_model_lists_what_exists() -> None:
    with pytest.raises(ConfigError, match="`model.name` must be one of .*lorentznet.*, got 'transformer'"):
        build_model("transformer")


def test_unknown_parameter_lists_what_exists() -> None:
    with pytest.raises(
        ConfigError, match=r"`model.width` is no parameter of lorentznet; it has .*num_hidden"
    ):
        build_model("lorentznet", width=3)


def test_missing_parameter_is_named() -> None:
    with pytest.raises(ConfigError, match="`model.inputs` is required by egnn"):
        build_model("egnn")


def test_symmetry_of_egnn_follows_its_inputs() -> None:
    assert model_spec("egnn", {"inputs": "jet"}).symmetry == "E(4)"
    assert model_spec("egnn", {"inputs": "mesh"}).fields == ("pos", "normal", "area")
    assert model_spec("egnn", {"inputs": "molecule"}).symmetry == "E(3)"


@pytest.mark.parametrize(("name", "count"), [("lorentznet", 224_072), ("deep-sets", 82_558)])
def test_published_parameter_counts(name: str, count: int) -> None:
    assert sum(value.numel() for value in build_model(name).parameters()) == count

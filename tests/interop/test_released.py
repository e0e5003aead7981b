"""Errors of the way in for released parameters; agreement of values is in tests/golden."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from geograph.errors import CheckpointError, ConfigError
from geograph.interop.released import FAMILIES, family, from_released
from geograph.interop.transfer import required
from geograph.models.lorentznet import LorentzNet

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


@pytest.fixture
def egnn_params() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "egnn_attention_edgeattr.npz") as arrays:
        return {
            name.removeprefix("param/"): arrays[name] for name in arrays.files if name.startswith("param/")
        }


def test_sizes_follow_from_shapes(egnn_params: dict[str, np.ndarray]) -> None:
    model = from_released("egnn", egnn_params)
    assert next(model.parameters()).dtype is torch.float64
    assert len(model.layers) == 2
    assert model.layers[0].attention is not None


def test_float32_and_parallel_prefix(egnn_params: dict[str, np.ndarray]) -> None:
    params = {f"module.{name}": torch.from_numpy(value).float() for name, value in egnn_params.items()}
    model = from_released("egnn", params)
    assert next(model.parameters()).dtype is torch.float32


def test_names_round_trip() -> None:
    """Every parameter of ours has a released name of its own."""
    module = LorentzNet(2, 8, 2)
    names = [family("lorentznet").released_name(name) for name in module.state_dict()]
    assert len(set(names)) == len(names)
    assert "LGEBs.0.phi_e.1.running_var" in names


def test_unconsumed_parameters_are_listed(egnn_params: dict[str, np.ndarray]) -> None:
    egnn_params["gcl_0.extra.weight"] = np.zeros(3)
    egnn_params["unknown"] = np.zeros(3)
    with pytest.raises(CheckpointError, match=r"2 released parameters .* egnn: gcl_0.extra.weight, unknown"):
        from_released("egnn", egnn_params)


def test_missing_parameter_is_named(egnn_params: dict[str, np.ndarray]) -> None:
    del egnn_params["gcl_1.node_mlp.0.bias"]
    with pytest.raises(CheckpointError, match="`gcl_1.node_mlp.0.bias` is missing"):
        from_released("egnn", egnn_params)
    with pytest.raises(CheckpointError, match="`embedding_in.weight` is missing"):
        required({}, "embedding_in.weight")


def test_wrong_shape_is_named(egnn_params: dict[str, np.ndarray]) -> None:
    egnn_params["gcl_1.node_mlp.0.bias"] = np.zeros(3)
    with pytest.raises(
        CheckpointError, match=r"`gcl_1.node_mlp.0.bias` has shape \(3,\), but .* needs \(16,\)"
    ):
        from_released("egnn", egnn_params)


def test_unknown_family_lists_what_exists() -> None:
    with pytest.raises(ConfigError, match=f"`name` must be one of {', '.join(FAMILIES)}, got 'schnet'"):
        from_released("schnet", {})

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from geograph.errors import CheckpointError
from geograph.interop.released import from_released
from geograph.interop.released_edm import build, network_params, released_name
from geograph.models.denoiser import EDMDynamics

GOLDEN = Path(__file__).parents[1] / "golden" / "edm_dynamics.npz"


@pytest.fixture
def params() -> dict[str, Tensor]:
    with np.load(GOLDEN, allow_pickle=False) as file:
        return {
            name.removeprefix("param/"): torch.from_numpy(file[name])
            for name in file.files
            if name.startswith("param/")
        }


def test_sizes_come_from_the_shapes(params: dict[str, Tensor]) -> None:
    model = from_released("edm-dynamics", params)
    assert isinstance(model, EDMDynamics)
    assert (model.num_features, len(model.blocks)) == (6, 3)
    assert {released_name(name) for name in model.state_dict()} == set(params)
    assert next(model.parameters()).dtype == torch.float64


def test_several_message_layers_and_no_attention() -> None:
    model = EDMDynamics(4, 8, 2, num_message_layers=3, has_attention=False, num_context=1)
    state = {released_name(name): value for name, value in model.state_dict().items()}
    again = build(state, num_context=1)
    for name, value in again.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])


def test_whole_diffusion_checkpoint_is_unwrapped(params: dict[str, Tensor]) -> None:
    whole = {f"dynamics.{name}": value for name, value in params.items()}
    whole |= {"gamma.gamma": torch.zeros(1001), "buffer": torch.zeros(1)}
    assert network_params(whole).keys() == params.keys()


def test_missing_and_unknown_parameters_are_named(params: dict[str, Tensor]) -> None:
    less = {name: value for name, value in params.items() if name != "egnn.e_block_1.gcl_0.att_mlp.0.bias"}
    with pytest.raises(CheckpointError, match=r"lacks egnn\.e_block_1\.gcl_0\.att_mlp\.0\.bias"):
        build(less)
    with pytest.raises(CheckpointError, match=r"has the unknown egnn\.extra"):
        build({**params, "egnn.extra": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="is this a checkpoint of another model"):
        build({"weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="`head.weight` is no parameter of the diffusion network"):
        released_name("head.weight")


def test_wrong_shape_is_named(params: dict[str, Tensor]) -> None:
    params["egnn.embedding.bias"] = torch.zeros(3, dtype=torch.float64)
    with pytest.raises(CheckpointError, match=r"`egnn.embedding.bias` must have shape \(24,\), got \(3,\)"):
        build(params)

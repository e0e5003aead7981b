from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from equivariance import assert_equivariant, equivariance_errors, tolerance
from model_suite import ModelSuite
from strategies import make_batch
from torch import Tensor, nn
from torch_geometric.data import Data

from geograph.errors import ConfigError, ShapeError
from geograph.fields import Level, Representation
from geograph.models import build_model
from geograph.models.denoiser import EDMDynamics

LAWS = {
    "noise_pos": (Level.NODE, Representation.VECTOR),
    "noise_features": (Level.NODE, Representation.SCALAR),
}


class OnMolecules(nn.Module):
    """The network on clean molecules, their scaled atomic numbers as the one feature."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Data) -> Tensor:
        noisy = batch.clone()
        noisy.state = torch.cat([batch.pos, batch.z[:, None].to(batch.pos.dtype) / 10], dim=1)
        noisy.time = torch.linspace(0.2, 0.9, batch.num_graphs, dtype=batch.pos.dtype)
        if batch.num_graphs == 1:  # a graph taken out of a batch keeps its time
            noisy.time = batch.get("time", noisy.time)
        return self.network(noisy)


def parts(model: nn.Module, batch: Data) -> dict[str, Tensor]:
    out = model(batch)
    return {"noise_pos": out[:, :3], "noise_features": out[:, 3:]}


class TestEDMDynamics(ModelSuite):
    name = "edm-dynamics"
    kind = "molecule"
    params: ClassVar = {"num_features": 1, "num_hidden": 16, "num_layers": 2}
    learning_rate = 3e-3

    def model(self, dtype: torch.dtype = torch.float64) -> nn.Module:
        model = OnMolecules(super().model(dtype))
        for block in model.network.blocks:  # moves as large as after training
            nn.init.xavier_uniform_(block.move_length.weight, gain=0.3)
        return model

    def loss(self, out: Tensor, batch: Data) -> Tensor:
        away = batch.pos - batch.pos.mean(0)
        return (out[:, :3] - away).square().mean() + (out[:, 3] - batch.z / 10).square().mean()

    @pytest.mark.parametrize("seed", [0, 1])
    def test_has_its_symmetry(self, seed: int) -> None:
        model = self.model()
        assert_equivariant(
            lambda batch: parts(model, batch), self.batch(seed=seed), "E(3)", LAWS, depth=4, seed=seed
        )

    def test_permutes(self) -> None:
        model = self.model()
        assert_equivariant(lambda batch: parts(model, batch), self.batch(), "S(n)", LAWS, depth=4)

    def test_symmetry_check_has_teeth(self) -> None:
        def tilted(batch: Data) -> dict[str, Tensor]:
            return {"noise_pos": batch.pos * torch.tensor([1.0, 2.0, 3.0]).double()}

        laws = {"noise_pos": LAWS["noise_pos"]}
        errors = equivariance_errors(tilted, self.batch(), "E(3)", laws)
        assert errors["noise_pos"] > 1e6 * tolerance(4)

    def test_result_does_not_depend_on_batch_neighbours(self) -> None:
        model, sizes = self.model().network, [1, 5, 3]
        batch = self.batch(sizes=sizes)
        state = torch.cat([batch.pos, batch.z[:, None] / 10], dim=1)
        time = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
        with torch.no_grad():
            together = model.noise(state, time, batch.batch, batch.edge_index, batch.edge_ptr)
            alone = []
            for graph, (start, stop) in enumerate(zip(batch.ptr[:-1], batch.ptr[1:], strict=True)):
                one = make_batch("molecule", sizes=[sizes[graph]])
                alone.append(
                    model.noise(
                        state[start:stop], time[graph : graph + 1], one.batch, one.edge_index, one.edge_ptr
                    )
                )
        assert float((together - torch.cat(alone)).abs().max()) <= tolerance(4)

    def test_position_noise_has_no_centre_of_mass(self) -> None:
        batch = self.batch()
        noise = self.model()(batch)[:, :3].detach()
        total = torch.zeros(batch.num_graphs, 3).double().index_add(0, batch.batch, noise)
        assert float(total.abs().max()) < tolerance(4)

    def test_time_matters(self) -> None:
        batch, network = self.batch(), self.model().network
        state = torch.cat([batch.pos, batch.z[:, None] / 10], dim=1)
        early, late = (
            network.noise(state, torch.full((3,), t).double(), batch.batch, batch.edge_index, batch.edge_ptr)
            for t in (0.1, 0.9)
        )
        assert float((early - late).detach().abs().max()) > 1e-4


def test_published_size() -> None:
    count = sum(value.numel() for value in build_model("edm-dynamics", num_features=6).parameters())
    # Per layer, by hand: edge MLP, its gate, node MLP, coordinate MLP, each with biases but the very last.
    h = 256
    layer = (2 * h + 2) * h + h + h * h + h + (h + 1) + (2 * h * h + h + h * h + h)
    layer += (2 * h + 2) * h + h + h * h + h + h
    assert count == 9 * layer + (7 * h + h) + (h * 7 + 7) == 5_339_920


def test_context_is_an_input() -> None:
    torch.manual_seed(0)
    model = EDMDynamics(1, 8, 1, num_context=2).double()
    batch = make_batch("molecule")
    state = torch.cat([batch.pos, batch.z[:, None] / 10], dim=1)
    time = torch.full((3,), 0.5).double()
    layout = (batch.batch, batch.edge_index, batch.edge_ptr)
    zero, one = (
        model.noise(state, time, *layout, torch.full((len(state), 2), c).double()) for c in (0.0, 1.0)
    )
    assert zero.shape == state.shape
    assert float((zero - one).detach().abs().max()) > 1e-4
    batch.state, batch.time, batch.context = state, time, torch.ones(len(state), 2).double()
    torch.testing.assert_close(model(batch), one)
    with pytest.raises(ShapeError, match="`context` must have 2 columns, got 0"):
        model.noise(state, time, *layout)


def test_wrong_number_of_features_is_named() -> None:
    batch = make_batch("molecule")
    model = EDMDynamics(6, 8, 1).double()
    with pytest.raises(
        ShapeError, match="`state` must have 9 columns .* got 3; was the network made for other"
    ):
        model.noise(batch.pos, torch.zeros(3).double(), batch.batch, batch.edge_index, batch.edge_ptr)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"num_layers": 0}, "`num_layers` must be positive, got 0"),
        ({"normalization_factor": -1.0}, "`normalization_factor` must be positive"),
        ({"num_context": -1}, "`num_context` must not be negative, got -1"),
    ],
)
def test_bad_parameter_is_named(params: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_model("edm-dynamics", num_features=6, **params)

"""LorentzNet."""

from __future__ import annotations

import pytest
import torch
from equivariance import assert_equivariant, equivariance_errors, mass_condition
from hypothesis import given, settings
from model_suite import ModelSuite
from strategies import boosts, make_batch, orthogonal_matrices
from torch import Tensor
from torch_geometric.data import Data

from geograph.errors import ConfigError
from geograph.fields import Level, Representation
from geograph.models.lorentznet import LorentzNet, LorentzNetGraph, mass_scalars
from geograph.tasks.symmetry import equivariance_error, transform_batch

SMALL = {"num_hidden": 16, "num_layers": 3}


class TestLorentzNet(ModelSuite):
    name = "lorentznet"
    params = {**SMALL, "dropout": 0.0}
    kind = "jet"
    batch_options = {"has_beams": True}
    num_steps = 40

    def condition(self, batch: Data) -> float:
        return mass_condition(batch.p4)


def test_jets_without_beams_are_invariant_too() -> None:
    model, batch = LorentzNetGraph(2, **SMALL).double().eval(), make_batch("jet", single_node=True)
    assert_equivariant(model, batch, "O(1,3)", depth=3, condition=mass_condition(batch.p4))


def test_features_are_invariant_and_four_vectors_covariant() -> None:
    torch.manual_seed(0)
    model = LorentzNet(2, 16, 4, c_weight=1.0).double().eval()
    batch = make_batch("jet", has_beams=True)

    def run(jets: Data) -> dict[str, Tensor]:
        scalars = mass_scalars(jets.p4, jets.is_beam)
        h, x = model.encode(scalars, jets.p4, jets.edge_index, jets.edge_ptr)
        return {"h": h, "x": x}

    assert not torch.allclose(run(batch)["x"], batch.p4, rtol=1e-6)
    laws = {"h": (Level.NODE, Representation.SCALAR), "x": (Level.NODE, Representation.FOUR_VECTOR)}
    assert_equivariant(run, batch, "O(1,3)", laws, depth=4, condition=mass_condition(batch.p4))


@settings(max_examples=15, deadline=None)
@given(boost=boosts(), rotation=orthogonal_matrices())
def test_logits_do_not_change_under_boosts_and_rotations(boost: Tensor, rotation: Tensor) -> None:
    torch.manual_seed(0)
    model = LorentzNetGraph(2, **SMALL).double().eval()
    batch = make_batch("jet", has_beams=True)
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[1:, 1:] = rotation
    with torch.no_grad():
        before, after = model(batch), model(transform_batch(batch, "O(1,3)", boost @ matrix))
    assert float((after - before).abs().max()) <= 1e-8 * float(before.abs().max())


def test_leaking_the_energy_breaks_the_group() -> None:
    """Negative control."""
    model = LorentzNet(3, 16, 2).double().eval()

    def leaking(jets: Data) -> Tensor:
        scalars = torch.cat([mass_scalars(jets.p4, jets.is_beam), jets.p4[:, :1].abs().log1p()], dim=1)
        return model(scalars, jets.p4, jets.edge_index, jets.edge_ptr, jets.ptr)

    assert equivariance_errors(leaking, make_batch("jet"), "O(1,3)")["out"] > 1e-4


def test_pool_divisor_replaces_the_true_count() -> None:
    torch.manual_seed(0)
    model = LorentzNet(2, 8, 2).double().eval()
    batch = make_batch("jet")
    arguments = (mass_scalars(batch.p4, batch.is_beam), batch.p4, batch.edge_index, batch.edge_ptr, batch.ptr)
    counts = batch.ptr.diff().double()
    assert torch.equal(model(*arguments), model(*arguments, pool_divisor=counts))
    assert not torch.allclose(model(*arguments), model(*arguments, pool_divisor=counts + 2))


def test_scalars_sit_in_the_column_of_their_type() -> None:
    p4 = torch.tensor([[5.0, 0, 0, 3], [2.0**0.5, 0, 0, -1], [3.0, 0, 0, 5]], dtype=torch.float64)
    scalars = mass_scalars(p4, torch.tensor([0, 1, 0]))
    expected = torch.tensor([[5.0, 1.0], [1.0, 2.0], [5.0, 1.0]], dtype=torch.float64).log()
    assert torch.allclose(scalars, expected)


def test_sizes_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"`dropout` in \[0, 1\), got 2, 72, 6, 2 and 1.0"):
        LorentzNet(dropout=1.0)


def test_bound_on_the_update_breaks_invariance_where_it_acts():
    """The released bound of 100 GeV acts on hard jets; without it the logits are invariant."""
    batch = make_batch("jet", num_graphs=2, seed=3, dtype=torch.float64)
    batch.p4 = 1000 * batch.p4
    errors = {}
    for clamp in (100.0, 1e12):
        torch.manual_seed(0)
        model = LorentzNetGraph(num_hidden=8, num_layers=3, c_weight=0.1, clamp=clamp).double().eval()
        with torch.no_grad():
            for layer in model.network.layers[:-1]:
                layer.vector_mlp[-1].weight.fill_(0.5)
        generator = torch.Generator().manual_seed(1)
        errors[clamp] = equivariance_error(model, batch, "O(1,3)", generator, max_rapidity=1.0)
    assert errors[1e12] < 1e-10 < 1e-6 < errors[100.0]

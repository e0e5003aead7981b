"""CGENN for jets and for n-body dynamics."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from equivariance import COVARIANT_POSITION, assert_equivariant, equivariance_errors, mass_condition
from hypothesis import given, settings
from model_suite import ModelSuite
from strategies import boosts, make_batch, orthogonal_matrices
from torch import Tensor
from torch_geometric.data import Data

from geograph.errors import ConfigError
from geograph.fields import Level, Representation
from geograph.kernels import use_backend
from geograph.models import build_model
from geograph.models.cgenn_lorentz import CGENNLorentz, CGENNLorentzGraph
from geograph.models.cgenn_nbody import CGENNNBody, CGENNNBodyDynamics
from geograph.models.lorentznet import mass_scalars
from geograph.tasks.symmetry import transform_batch

SMALL_JET: dict[str, Any] = {"num_hidden": 12, "num_multivectors": 3, "num_layers": 2, "num_decoder": 16}
SMALL_BODY: dict[str, Any] = {"num_hidden": 6, "num_layers": 2}


class TestCGENNLorentz(ModelSuite):
    name = "cgenn-lorentz"
    params = {**SMALL_JET, "dropout": 0.0}
    kind = "jet"
    batch_options = {"has_beams": True}
    num_steps = 50
    learning_rate = 1e-2

    def condition(self, batch: Data) -> float:
        return mass_condition(batch.p4)


class TestCGENNLorentzElementwise(TestCGENNLorentz):
    params = {
        **SMALL_JET,
        "dropout": 0.0,
        "product": "elementwise",
        "normalization_init": 0.0,
        "is_residual": True,
    }
    batch_options = {}
    num_steps = 80


class TestCGENNNBody(ModelSuite):
    name = "cgenn-nbody"
    params = SMALL_BODY
    kind = "nbody"
    laws = COVARIANT_POSITION
    num_steps = 30
    learning_rate = 1e-2


class TestCGENNNBodyFullyConnected(TestCGENNNBody):
    params: ClassVar[dict[str, Any]] = {
        **SMALL_BODY,
        "product": "fully_connected",
        "normalization_init": None,
    }


@pytest.mark.parametrize(("name", "count"), [("cgenn-lorentz", 320_594), ("cgenn-nbody", 134_625)])
def test_published_parameter_counts(name: str, count: int) -> None:
    assert sum(value.numel() for value in build_model(name).parameters()) == count


@settings(max_examples=5, deadline=None)
@given(boost=boosts(max_rapidity=2.0), rotation=orthogonal_matrices())
def test_logits_do_not_change_under_boosts_and_rotations(boost: Tensor, rotation: Tensor) -> None:
    torch.manual_seed(0)
    model = CGENNLorentzGraph(2, **SMALL_JET).double().eval()
    batch = make_batch("jet", has_beams=True)
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[1:, 1:] = rotation
    with torch.no_grad():
        before, after = model(batch), model(transform_batch(batch, "O(1,3)", boost @ matrix))
    assert float((after - before).abs().max()) <= 1e-8 * float(before.abs().max())


def test_features_are_invariant_and_vectors_covariant() -> None:
    torch.manual_seed(0)
    model = CGENNLorentz(**SMALL_JET).double().eval()
    batch = make_batch("jet", has_beams=True)

    def run(jets: Data) -> dict[str, Tensor]:
        scalars = mass_scalars(jets.p4, jets.is_beam)
        h, x = model.encode(scalars, jets.p4, jets.edge_index, jets.edge_ptr)
        return {"h": h, "x": model.algebra.take(x, 1)[:, 0]}

    laws = {"h": (Level.NODE, Representation.SCALAR), "x": (Level.NODE, Representation.FOUR_VECTOR)}
    assert_equivariant(run, batch, "O(1,3)", laws, depth=4, condition=mass_condition(batch.p4))


def test_a_bias_on_vectors_breaks_the_euclidean_group() -> None:
    """Negative control: biases may stand on scalars only."""
    torch.manual_seed(0)
    model = CGENNNBodyDynamics(**SMALL_BODY).double().eval()
    batch = make_batch("nbody")
    assert equivariance_errors(model, batch, "E(3)", COVARIANT_POSITION)["out"] < 1e-9
    bias = model.network.algebra.embed(torch.ones(1, 3, dtype=torch.float64), 1)
    model.network.layers[0].register_forward_hook(lambda module, inputs, output: output + bias)
    assert equivariance_errors(model, batch, "E(3)", COVARIANT_POSITION)["out"] > 1e-4


def test_the_wrong_metric_breaks_the_lorentz_group() -> None:
    """Negative control: Euclidean products of four-momenta are not invariant."""
    torch.manual_seed(0)
    model = CGENNLorentzGraph(2, metric=(1, 1, 1, 1), **SMALL_JET).double().eval()
    assert equivariance_errors(model, make_batch("jet"), "O(1,3)")["out"] > 1e-4


def test_pool_divisor_replaces_the_true_count_and_weights_hide_padding() -> None:
    torch.manual_seed(0)
    model = CGENNLorentz(**SMALL_JET).double().eval()
    batch = make_batch("jet")
    arguments = (mass_scalars(batch.p4, batch.is_beam), batch.p4, batch.edge_index, batch.edge_ptr, batch.ptr)
    counts = batch.ptr.diff().double()
    assert torch.equal(model(*arguments), model(*arguments, pool_divisor=counts))
    assert not torch.allclose(model(*arguments), model(*arguments, pool_divisor=counts + 2))
    ones = torch.ones(batch.num_nodes, dtype=torch.float64)
    assert torch.equal(model(*arguments), model(*arguments, node_weight=ones))


def test_batches_without_beam_labels_have_constituents_only() -> None:
    torch.manual_seed(0)
    model = CGENNLorentzGraph(2, **SMALL_JET).double().eval()
    batch = make_batch("jet")
    labelled = model(batch)
    del batch.is_beam
    assert torch.equal(model(batch), labelled)


@pytest.mark.parametrize("kind", ["jet", "nbody"])
def test_backends_agree(kind: str) -> None:
    torch.manual_seed(0)
    params = SMALL_JET if kind == "jet" else SMALL_BODY
    model = build_model("cgenn-lorentz" if kind == "jet" else "cgenn-nbody", **params).double()
    batch, out = make_batch(kind), {}
    for name in ("native", "reference"):
        with use_backend(name):
            out[name] = model.eval()(batch)
    assert torch.allclose(out["native"], out["reference"], rtol=1e-9, atol=1e-9)


def test_messages_go_from_source_to_target() -> None:
    """On one directed edge only the target depends on the other node."""
    torch.manual_seed(0)
    model = CGENNNBody(**SMALL_BODY).double()
    pos = torch.randn(2, 3, dtype=torch.float64)
    vel = torch.randn(2, 3, dtype=torch.float64).requires_grad_()
    edge_index, edge_ptr, ptr = torch.tensor([[0], [1]]), torch.tensor([0, 0, 1]), torch.tensor([0, 2])
    charge, edge_attr = torch.ones(2, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    out = model(pos, vel, charge, edge_attr, edge_index, edge_ptr, ptr)
    (of_source,) = torch.autograd.grad(out[0].sum(), vel, retain_graph=True)
    (of_target,) = torch.autograd.grad(out[1].sum(), vel)
    assert float(of_source[1].abs().max()) == 0
    assert float(of_target[0].abs().max()) > 0


def test_planar_bodies() -> None:
    """Any metric: two dimensions with Cl(2, 0)."""
    torch.manual_seed(0)
    model = CGENNNBody(metric=(1, 1), **SMALL_BODY).double()
    batch = make_batch("nbody")
    edge_attr = torch.ones(batch.edge_index.shape[1], 1, dtype=torch.float64)
    rest = (batch.charge, edge_attr, batch.edge_index, batch.edge_ptr, batch.ptr)
    pos, vel = batch.pos[:, :2], batch.vel[:, :2]
    turn = torch.tensor([[0.6, -0.8], [-0.8, -0.6]], dtype=torch.float64)
    shift = torch.tensor([1.0, -2.0], dtype=torch.float64)
    moved = model(pos @ turn.T + shift, vel @ turn.T, *rest)
    assert torch.allclose(moved, model(pos, vel, *rest) @ turn.T + shift, rtol=0, atol=1e-10)


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"Sizes must be at least 1 and `dropout` in \[0, 1\)"):
        CGENNLorentz(dropout=1.0)
    with pytest.raises(ConfigError, match="`metric` must have 4 entries for jets"):
        CGENNLorentzGraph(metric=(1, 1, 1))
    with pytest.raises(ConfigError, match="must be at least 1, got 28, 0, 1 and 2"):
        CGENNNBody(num_layers=0)
    with pytest.raises(ConfigError, match="`metric` must have 3 entries for positions"):
        CGENNNBodyDynamics(metric=(1, 1))

"""Transformations of batches, and the measured error of a model."""

from __future__ import annotations

import pytest
import torch
from strategies import make_batch
from torch import Tensor, nn
from torch_geometric.data import Data

from geograph.algebra.minkowski import boost
from geograph.errors import ConfigError
from geograph.fields import Representation
from geograph.models import build_model
from geograph.tasks.symmetry import (
    equivariance_error,
    permute_nodes,
    random_element,
    random_order,
    transform_batch,
    transform_values,
)

MIRROR = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
SHIFT = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)


def test_each_representation_under_a_mirror_with_translation() -> None:
    rows = torch.tensor([[1.0, 1.0, 1.0]], dtype=torch.float64)
    expected = {
        Representation.POSITION: [[0.0, 3.0, 4.0]],
        Representation.VECTOR: [[-1.0, 1.0, 1.0]],
        Representation.PSEUDOVECTOR: [[1.0, -1.0, -1.0]],
    }
    for law, wanted in expected.items():
        assert transform_values(rows, law, MIRROR, SHIFT).tolist() == wanted


def test_fields_transform_by_their_representation() -> None:
    batch = make_batch("nbody")
    before = batch.pos.clone()
    moved = transform_batch(batch, "E(3)", MIRROR, SHIFT)
    assert torch.equal(batch.pos, before)
    assert torch.allclose(moved.pos, batch.pos @ MIRROR + SHIFT)
    assert torch.allclose(moved.pos_target, batch.pos_target @ MIRROR + SHIFT)
    assert torch.allclose(moved.vel, batch.vel @ MIRROR)
    assert torch.equal(moved.charge, batch.charge)
    mesh = make_batch("mesh")
    assert torch.allclose(transform_batch(mesh, "E(3)", MIRROR, SHIFT).normal, mesh.normal @ MIRROR)


def test_lorentz_transformation_acts_on_beams_too() -> None:
    batch = make_batch("jet", has_beams=True)
    matrix = boost(torch.tensor([1.0, 0, 0], dtype=torch.float64), 1.0)
    moved = transform_batch(batch, "O(1,3)", matrix)
    assert torch.allclose(moved.p4, batch.p4 @ matrix.T)
    assert not torch.equal(moved.p4[:2], batch.p4[:2])


def test_permutation_keeps_the_graph() -> None:
    batch = make_batch("mesh", seed=2)
    order = random_order(batch.ptr, torch.Generator().manual_seed(0))
    moved = permute_nodes(batch, order)
    assert torch.equal(moved.batch, batch.batch)
    assert torch.equal(moved.pos, batch.pos[order])
    assert bool((moved.edge_index[1].diff() >= 0).all())
    edges = {tuple(edge) for edge in batch.edge_index.T.tolist()}
    assert {(int(order[j]), int(order[i])) for j, i in moved.edge_index.T.tolist()} == edges
    counts = torch.bincount(moved.edge_index[1], minlength=moved.num_nodes)
    assert torch.equal(moved.edge_ptr.diff(), counts)


def test_random_order_stays_inside_each_graph() -> None:
    batch = make_batch("jet", num_graphs=4)
    order = random_order(batch.ptr, torch.Generator().manual_seed(1))
    assert torch.equal(batch.batch[order], batch.batch)
    assert sorted(order.tolist()) == list(range(batch.num_nodes))


CLAIMS = [
    ("egnn", {"inputs": "molecule"}, "molecule", "E(3)", "graph"),
    ("egnn", {"inputs": "jet", "p4_scale": 100.0}, "jet", "E(4)", "graph"),
    ("egnn-dynamics", {}, "nbody", "E(3)", "node_position"),
    ("egnn-dynamics", {}, "nbody", "S(n)", "node_position"),
    ("lorentznet", {}, "jet", "O(1,3)", "graph"),
    ("deep-sets", {"num_latent": 16}, "jet", "S(n)", "graph"),
]


@pytest.mark.parametrize(("name", "params", "kind", "group", "output"), CLAIMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_error_of_models_is_that_of_rounding(
    name: str, params: dict, kind: str, group: str, output: str, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    sizes = {} if name == "deep-sets" else {"num_layers": 2}
    model = build_model(name, num_hidden=16, **sizes, **params).to(dtype).train()
    batch = make_batch(kind, dtype=dtype)
    error = equivariance_error(model, batch, group, torch.Generator().manual_seed(0), output=output)
    assert 0 <= error <= (5e-3 if dtype is torch.float32 else 1e-9)
    assert model.training


def test_broken_symmetry_is_measured() -> None:
    class FirstCoordinate(nn.Module):
        def forward(self, batch: Data) -> Tensor:
            return batch.pos[batch.ptr[:-1], :1]

    for group in ("E(3)", "S(n)"):
        generator = torch.Generator().manual_seed(0)
        assert equivariance_error(FirstCoordinate(), make_batch("molecule"), group, generator) > 0.1


def test_errors() -> None:
    batch, generator, model = make_batch("jet"), torch.Generator(), nn.Identity()
    with pytest.raises(
        ConfigError, match=r"`symmetry` must be E\(3\), E\(4\), O\(1,3\) or SO\(3\), got 'S\(n\)'"
    ):
        transform_batch(batch, "S(n)", MIRROR)
    with pytest.raises(ConfigError, match=r"`matrix` must be 4 x 4 for O\(1,3\), got \(3, 3\)"):
        transform_batch(batch, "O(1,3)", MIRROR)
    with pytest.raises(ConfigError, match="`translation` is no element"):
        transform_batch(batch, "O(1,3)", torch.eye(4), torch.zeros(4))
    with pytest.raises(ConfigError, match="`symmetry` must be one of"):
        equivariance_error(model, batch, "SU(2)", generator)
    with pytest.raises(ConfigError, match="`output` must be graph or node_position, got 'noise'"):
        equivariance_error(model, batch, "E(3)", generator, output="noise")
    with pytest.raises(ConfigError, match="`symmetry` must be"):
        random_element("S(n)", generator)

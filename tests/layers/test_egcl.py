"""The equivariant graph convolution: its published form, term by term."""

from __future__ import annotations

import pytest
import torch
from equivariance import COVARIANT_POSITION, assert_equivariant, equivariance_errors
from strategies import make_batch
from torch import Tensor
from torch_geometric.data import Data

from geograph.kernels import use_backend
from geograph.layers.egcl import EGCL


def test_matches_the_equations_edge_by_edge() -> None:
    """Eqs. (3)-(6) written as loops."""
    torch.manual_seed(0)
    layer = EGCL(4, 8, 2, has_attention=True).double()
    batch = make_batch("molecule", single_node=True)
    n, edges = batch.num_nodes, batch.edge_index.T.tolist()
    h, a = torch.randn(n, 4, dtype=torch.float64), torch.randn(len(edges), 2, dtype=torch.float64)
    messages = [torch.zeros(8, dtype=torch.float64) for _ in range(n)]
    shifts: list[list[Tensor]] = [[] for _ in range(n)]
    for number, (j, i) in enumerate(edges):
        difference = batch.pos[i] - batch.pos[j]
        row = torch.cat([h[i], h[j], difference.square().sum()[None], a[number]])
        m = layer.edge_mlp(layer.edge_linear.weight @ row + layer.edge_linear.bias)
        m = m * torch.sigmoid(layer.attention(m))
        messages[i] = messages[i] + m
        shifts[i].append(difference * layer.coord_mlp(m))
    wanted_h = h + layer.node_mlp(torch.cat([h, torch.stack(messages)], dim=1))
    mean = [torch.stack(rows).mean(0) if rows else torch.zeros(3, dtype=torch.float64) for rows in shifts]
    out_h, out_pos = layer(h, batch.pos, batch.edge_index, batch.edge_ptr, a)
    assert torch.allclose(out_h, wanted_h, rtol=0, atol=1e-13)
    assert torch.allclose(out_pos, batch.pos + torch.stack(mean), rtol=0, atol=1e-13)


def test_backends_agree() -> None:
    torch.manual_seed(0)
    layer = EGCL(4, 8).double()
    batch = make_batch("molecule")
    h = torch.randn(batch.num_nodes, 4, dtype=torch.float64)
    results = []
    for name in ("reference", "native"):
        with use_backend(name), torch.no_grad():
            results.append(layer(h, batch.pos, batch.edge_index, batch.edge_ptr))
    assert all(torch.allclose(a, b, rtol=0, atol=1e-13) for a, b in zip(*results, strict=True))


def test_velocity_moves_the_nodes() -> None:
    torch.manual_seed(0)
    layer = EGCL(1, 8, has_velocity=True).double()

    def run(batch: Data) -> Tensor:
        h = torch.ones(batch.num_nodes, 1, dtype=torch.float64)
        return layer(h, batch.pos, batch.edge_index, batch.edge_ptr, None, batch.vel)[1]

    batch = make_batch("nbody", single_node=True)
    assert_equivariant(run, batch, "E(3)", COVARIANT_POSITION)
    h = torch.ones(batch.num_nodes, 1, dtype=torch.float64)
    still = layer(h, batch.pos, batch.edge_index, batch.edge_ptr, None, torch.zeros_like(batch.vel))[1]
    assert torch.allclose(run(batch) - still, layer.velocity_mlp(h) * batch.vel)


@pytest.mark.parametrize("option", ["update_coordinates", "update_features"])
def test_left_out_updates_have_no_parameters(option: str) -> None:
    layer = EGCL(4, 8, **{option: False}).double()
    prefix = "coord_mlp" if option == "update_coordinates" else "node_mlp"
    assert not [name for name, _ in layer.named_parameters() if name.startswith(prefix)]
    batch = make_batch("molecule")
    h = torch.randn(batch.num_nodes, 4, dtype=torch.float64)
    out_h, out_pos = layer(h, batch.pos, batch.edge_index, batch.edge_ptr)
    assert torch.equal(out_pos, batch.pos) == (option == "update_coordinates")
    assert torch.equal(out_h, h) == (option == "update_features")


def test_layer_that_leaks_coordinates_fails() -> None:
    """Negative control."""
    layer = EGCL(3, 8).double()

    def leaking(batch: Data) -> Tensor:
        return layer(batch.pos, batch.pos, batch.edge_index, batch.edge_ptr)[1]

    # The coordinate update of a fresh layer is small, hence the low bar.
    assert equivariance_errors(leaking, make_batch("molecule"), "E(3)", COVARIANT_POSITION)["out"] > 1e-8

"""EGNN core and dynamics."""

from __future__ import annotations

import pytest
import torch
from equivariance import COVARIANT_POSITION, INVARIANT_GRAPH, assert_equivariant, equivariance_errors
from model_suite import ModelSuite
from strategies import make_batch
from torch import Tensor
from torch_geometric.data import Data

from geograph.errors import ConfigError
from geograph.fields import Level, Representation
from geograph.models.egnn import EGNN

LAWS = {"h": (Level.NODE, Representation.SCALAR), "pos": (Level.NODE, Representation.POSITION)}


class TestEGNNDynamics(ModelSuite):
    name = "egnn-dynamics"
    params = {"num_hidden": 16, "num_layers": 3}
    kind = "nbody"
    laws = COVARIANT_POSITION

    def test_does_not_translate_with_velocities_only(self) -> None:
        """Negative control: adding the speed along a fixed axis breaks the group."""
        model = self.model()

        def leaking(batch: Data) -> Tensor:
            out = model(batch).clone()
            out[:, 0] += 1e-3 * batch.vel[:, 0]
            return out + 1e-3 * batch.vel.norm(dim=1, keepdim=True)

        assert equivariance_errors(leaking, self.batch(), "E(3)", self.laws)["out"] > 1e-6


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"has_attention": True},
        {"normalize": True, "has_tanh": True},
        {"coords_agg": "sum", "is_residual": False},
        {"is_radial_compressed": True},
    ],
)
@pytest.mark.parametrize("dim", [3, 4])
def test_core_is_equivariant_in_any_dimension(options: dict, dim: int) -> None:
    torch.manual_seed(0)
    model = EGNN(5, 16, 7, 3, **options).double()

    def run(batch: Data) -> dict[str, Tensor]:
        pos = batch.pos if dim == 3 else batch.p4
        h = torch.linspace(0, 1, 5, dtype=torch.float64).expand(len(pos), 5)
        h, pos = model(h, pos, batch.edge_index, batch.edge_ptr)
        return {"h": h, "pos": pos}

    if dim == 3:
        assert_equivariant(run, make_batch("molecule", single_node=True), "E(3)", LAWS, depth=3)
    else:
        batch = make_batch("jet", single_node=True)
        batch.p4 = batch.p4 / 100.0
        laws = {**LAWS, "pos": (Level.NODE, Representation.FOUR_VECTOR)}
        assert_equivariant(run, batch, "E(4)", laws, depth=3)


def test_raw_coordinates_as_features_break_the_group() -> None:
    """Negative control."""
    torch.manual_seed(0)
    model = EGNN(3, 16, 1, 2).double()

    def leaking(batch: Data) -> Tensor:
        h, _ = model(batch.pos, batch.pos, batch.edge_index, batch.edge_ptr)
        return torch.zeros(batch.num_graphs, 1, dtype=h.dtype).index_add(0, batch.batch, h)

    batch = make_batch("molecule")
    assert equivariance_errors(leaking, batch, "E(3)")["out"] > 1e-3
    with pytest.raises(AssertionError, match=r"E\(3\) broken"):
        assert_equivariant(leaking, batch, "E(3)", INVARIANT_GRAPH)


def test_positions_and_distances_pass_the_assertion() -> None:
    """Identity control: the positions themselves are covariant."""
    assert_equivariant(lambda batch: batch.pos, make_batch("molecule"), "E(3)", COVARIANT_POSITION)


def test_message_flows_from_source_to_target() -> None:
    """On the single edge 0 -> 1 only node 1 moves: released code has it the other way round."""
    torch.manual_seed(0)
    model = EGNN(1, 8, 1, 1).double()
    pos = torch.tensor([[0.0, 0, 0], [1.0, 0, 0]], dtype=torch.float64)
    edge_index, edge_ptr = torch.tensor([[0], [1]]), torch.tensor([0, 0, 1])
    _, moved = model(torch.ones(2, 1, dtype=torch.float64), pos, edge_index, edge_ptr)
    assert torch.equal(moved[0], pos[0])
    assert not torch.equal(moved[1], pos[1])


def test_coincident_points_have_finite_gradients() -> None:
    model = EGNN(1, 8, 1, 2, normalize=True).double()
    pos = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    edge_index, edge_ptr = torch.tensor([[1, 0], [0, 1]]), torch.tensor([0, 1, 2])
    h, moved = model(torch.ones(2, 1, dtype=torch.float64), pos, edge_index, edge_ptr)
    (h.sum() + moved.sum()).backward()
    assert pos.grad is not None
    assert bool(pos.grad.isfinite().all())


def test_sizes_are_checked() -> None:
    with pytest.raises(ConfigError, match="`num_layers` must be at least 1, got 4, 8 and 0"):
        EGNN(4, 8, 1, 0)
    with pytest.raises(ConfigError, match="`coords_agg` must be mean or sum, got 'max'"):
        EGNN(4, 8, 1, 2, coords_agg="max")

"""Tests that every model must pass: subclass `ModelSuite` and say how the model and its batches are made."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from equivariance import INVARIANT_GRAPH, Laws, assert_equivariant, tolerance
from strategies import make_batch, take_graph
from torch import Tensor, nn
from torch_geometric.data import Data

from geograph.models import build_model, model_spec


class ModelSuite:
    """Inherited suite: shape, symmetry, permutations, batching, gradients, single nodes, overfits."""

    name: ClassVar[str]
    params: ClassVar[dict[str, Any]] = {}
    kind: ClassVar[str]
    batch_options: ClassVar[dict[str, Any]] = {}
    laws: ClassVar[Laws] = INVARIANT_GRAPH
    depth: ClassVar[int] = 4
    learning_rate: ClassVar[float] = 5e-3
    num_steps: ClassVar[int] = 120

    def model(self, dtype: torch.dtype = torch.float64) -> nn.Module:
        torch.manual_seed(0)
        return build_model(self.name, **self.params).to(dtype).eval()

    def batch(self, **options: Any) -> Data:
        return make_batch(self.kind, **{**self.batch_options, **options})

    def condition(self, batch: Data) -> float:
        """Condition number of the inputs for the tolerance."""
        return 1.0

    def loss(self, out: Tensor, batch: Data) -> Tensor:
        if "pos_target" in batch:
            return (out - batch.pos_target).square().mean()
        if batch.y.is_floating_point():
            return (out - batch.y.to(out.dtype)).square().mean()
        return nn.functional.cross_entropy(out, batch.y)

    def test_output_shape(self) -> None:
        batch, spec = self.batch(), model_spec(self.name, self.params)
        rows = batch.num_graphs if spec.output == "graph" else batch.num_nodes
        out = self.model()(batch)
        assert out.shape[0] == rows
        assert bool(out.isfinite().all())

    @pytest.mark.parametrize("seed", [0, 1])
    def test_has_its_symmetry(self, seed: int) -> None:
        batch, group = self.batch(seed=seed), model_spec(self.name, self.params).symmetry
        assert_equivariant(
            self.model(),
            batch,
            group,
            self.laws,
            depth=self.depth,
            condition=self.condition(batch),
            seed=seed,
        )

    def test_permutes(self) -> None:
        assert_equivariant(self.model(), self.batch(), "S(n)", self.laws, depth=self.depth)

    def test_result_does_not_depend_on_batch_neighbours(self) -> None:
        batch, model = self.batch(num_graphs=3, single_node=True), self.model()
        with torch.no_grad():
            together = model(batch)
            alone = torch.cat([model(take_graph(batch, graph)) for graph in range(3)])
        error = float((together - alone).abs().max()) / float(together.abs().max())
        assert error <= tolerance(self.depth)

    def test_all_parameters_get_gradients(self) -> None:
        batch, model = self.batch(), self.model().train()
        model(batch).square().sum().backward()
        missing = [name for name, value in model.named_parameters() if value.grad is None]
        assert not missing

    def test_single_nodes_give_finite_gradients(self) -> None:
        batch, model = self.batch(sizes=[1, 1]), self.model().train()
        out = model(batch)
        out.square().sum().backward()
        assert bool(out.isfinite().all())
        gradients = [value.grad for value in model.parameters() if value.grad is not None]
        assert all(bool(gradient.isfinite().all()) for gradient in gradients)

    def test_same_seed_same_result(self) -> None:
        batch = self.batch()
        assert torch.equal(self.model()(batch), self.model()(batch))

    def test_overfits_eight_graphs(self) -> None:
        batch = self.batch(num_graphs=8, dtype=torch.float32)
        model = self.model(torch.float32).train()
        optimizer = torch.optim.Adam(model.parameters(), lr=self.learning_rate)
        first = float(self.loss(model(batch), batch).detach())
        for _ in range(self.num_steps):
            optimizer.zero_grad()
            self.loss(model(batch), batch).backward()
            optimizer.step()
        last = float(self.loss(model(batch), batch).detach())
        assert last < 0.1 * first, f"loss fell from {first:.3g} to {last:.3g} only"

    def test_trains_after_an_evaluation_in_inference_mode(self) -> None:
        """Tables that the evaluation made first must serve a derivative; Lightning validates like this."""
        batch, model = self.batch(), self.model()
        with torch.inference_mode():
            model(batch)
        model.train()(batch).square().sum().backward()
        assert all(value.grad is not None for value in model.parameters())

"""Prediction of the positions of a particle system at a later time."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch_geometric.data import Data

from geograph.errors import ShapeError
from geograph.tasks.base import Task


def fit_linear_time(
    pos: Float[Tensor, "n 3"], vel: Float[Tensor, "n 3"], pos_target: Float[Tensor, "n 3"]
) -> float:
    """Time t for which pos + t vel comes closest to the target in the least-squares sense."""
    vel = vel.double()
    return float((vel * (pos_target.double() - pos.double())).sum() / (vel * vel).sum())


def _per_graph(values: Float[Tensor, " n"], batch: Int[Tensor, " n"], num_graphs: int) -> Tensor:
    return values.new_zeros(num_graphs).index_add_(0, batch, values)


class TrajectoryTask(Task):
    """Predicts `batch.pos_target`, the positions after a fixed time.

    The loss is the mean squared error over all coordinates, in the square of the unit of length. With
    `linear_time` in the statistics (see `fit_linear_time`), the straight-line motion pos + t vel is measured
    beside the model.

    Parameters
    ----------
    model, model_params, optimizer, statistics
        As for `Task`.
    """

    kind: ClassVar[str] = "trajectory"

    def __init__(
        self,
        *,
        model: str,
        model_params: dict[str, Any],
        optimizer: dict[str, Any] | None = None,
        statistics: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(model=model, model_params=model_params, optimizer=optimizer, statistics=statistics)

    def predict(self, batch: Data) -> Float[Tensor, "n 3"]:
        """Positions at the later time.

        Raises
        ------
        ShapeError
            If the model does not give one position for each node.
        """
        output: Tensor = self(batch)
        if output.shape != batch.pos.shape:
            raise ShapeError(
                f"the model's output must have the shape {tuple(batch.pos.shape)} of `pos`, "
                f"got {tuple(output.shape)}; {self.settings['model']} does not predict positions."
            )
        return output

    def training_loss(self, batch: Data) -> Float[Tensor, ""]:
        """Mean squared error over all coordinates."""
        return (self.predict(batch) - batch.pos_target).square().mean()

    def evaluation_terms(self, batch: Data) -> dict[str, Tensor]:
        """Return the squared error and the number of coordinates of each graph."""
        count = int(batch.num_graphs)
        squares = (self.predict(batch) - batch.pos_target).square().sum(dim=1)
        coordinates = 3 * _per_graph(torch.ones_like(squares), batch.batch, count)
        error = _per_graph(squares, batch.batch, count)
        terms = {"loss": error / coordinates, "squared_error": error, "num_coordinates": coordinates}
        if "linear_time" in self.statistics:
            straight = batch.pos + float(self.statistics["linear_time"]) * batch.vel
            squares = (straight - batch.pos_target).square().sum(dim=1)
            terms["squared_error_linear"] = _per_graph(squares, batch.batch, count)
        return terms

    def metrics(self, terms: dict[str, Tensor]) -> dict[str, float]:
        """`mse` over all coordinates, and `mse_linear` of the straight-line motion if it was measured."""
        coordinates = float(terms["num_coordinates"].double().sum())
        values = {"mse": float(terms["squared_error"].double().sum()) / coordinates}
        if "squared_error_linear" in terms:
            values["mse_linear"] = float(terms["squared_error_linear"].double().sum()) / coordinates
        return values

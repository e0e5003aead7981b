"""Regression of graph-level targets, normalised with the statistics of the training part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional
from torch_geometric.data import Data

from geograph.errors import ConfigError, ShapeError
from geograph.tasks.base import Task
from geograph.tasks.composition import composition_baseline, fit_composition
from geograph.tasks.metrics import regression_metrics

LOSSES = ("l1", "l2", "huber")


def fit_statistics(
    y: Float[Tensor, "graphs targets"],
    *,
    names: Sequence[str],
    units: Sequence[str],
    z: Int[Tensor, " n"] | None = None,
    batch: Int[Tensor, " n"] | None = None,
    composition: str = "linear",
) -> dict[str, Any]:
    """Statistics of the training part for `RegressionTask`, as JSON values.

    With atomic numbers `z` and their graphs `batch` a composition baseline is fitted, of the kind
    `composition`, and mean and standard deviation are those of what remains.

    Parameters
    ----------
    y
        Targets in the units named by `units`.
    names, units
        Of each target; the metrics are called `mae_<name>_<unit>`.

    Raises
    ------
    ConfigError
        If names or units do not match the targets, or a target does not vary.
    """
    if not len(names) == len(units) == y.shape[1]:
        raise ConfigError(
            f"`names` and `units` must have one entry for each of {y.shape[1]} targets, got {list(names)} "
            f"and {list(units)}."
        )
    statistics: dict[str, Any] = {"target_names": list(names), "target_units": list(units)}
    rest = y.double()
    if z is not None and batch is not None:
        statistics["composition"] = fit_composition(z, batch, y, kind=composition)
        rest = rest - composition_baseline(z, batch, len(y), statistics["composition"])
    std = rest.std(dim=0, unbiased=False)
    if not bool((std > 0).all()):
        constant = [name for name, value in zip(names, std.tolist(), strict=True) if not value > 0]
        raise ConfigError(f"`y` must vary in every target, got constant {', '.join(constant)}.")
    return statistics | {"target_mean": rest.mean(dim=0).tolist(), "target_std": std.tolist()}


class RegressionTask(Task):
    """Predicts the graph-level targets `batch.y`.

    The model learns (y - baseline - mean) / std; `predict` gives physical units. Baselines and sums are
    computed in float64, since energies are large numbers whose differences matter.

    Parameters
    ----------
    loss
        `l1`, `l2` or `huber` (with delta 1), of the normalised targets, averaged over them.
    model, model_params, optimizer, statistics
        As for `Task`; `statistics` as from `fit_statistics`.

    Raises
    ------
    ConfigError
        If the loss is unknown or the statistics are incomplete.
    """

    kind: ClassVar[str] = "regression"
    target_mean: Tensor
    target_std: Tensor

    def __init__(
        self,
        *,
        model: str,
        model_params: dict[str, Any],
        optimizer: dict[str, Any] | None = None,
        statistics: dict[str, Any] | None = None,
        loss: str = "l1",
    ) -> None:
        super().__init__(
            model=model, model_params=model_params, optimizer=optimizer, statistics=statistics, loss=loss
        )
        if loss not in LOSSES:
            raise ConfigError(f"`loss` must be one of {', '.join(LOSSES)}, got {loss!r}.")
        missing = {"target_mean", "target_std"} - self.statistics.keys()
        if missing:
            raise ConfigError(
                f"`statistics` must hold {', '.join(sorted(missing))}; fit them on the training part with "
                "`geograph.tasks.regression.fit_statistics`."
            )
        self.loss = loss
        for name in ("target_mean", "target_std"):
            value = torch.tensor(self.statistics[name], dtype=torch.float64)
            self.register_buffer(name, value, persistent=False)

    @property
    def suffixes(self) -> list[str]:
        """Name and unit of each target, joined, for metric keys."""
        count = len(self.statistics["target_mean"])
        names = self.statistics.get("target_names", [f"target{index}" for index in range(count)])
        units = self.statistics.get("target_units", [""] * count)
        return [f"{name}_{unit}" if unit else name for name, unit in zip(names, units, strict=True)]

    def _baseline(self, batch: Data) -> Tensor | float:
        composition = self.statistics.get("composition")
        if composition is None:
            return 0.0
        return composition_baseline(batch.z, batch.batch, int(batch.num_graphs), composition)

    def normalised_target(self, batch: Data) -> Float[Tensor, "graphs targets"]:
        """Return what the model has to produce for a batch."""
        rest = batch.y.double() - self._baseline(batch) - self.target_mean.double()
        return rest / self.target_std.double()

    def predict(self, batch: Data) -> Float[Tensor, "graphs targets"]:
        """Targets in their physical units, in float64."""
        return self._physical(self(batch), batch)

    def _physical(self, output: Tensor, batch: Data) -> Tensor:
        return output.double() * self.target_std.double() + self.target_mean.double() + self._baseline(batch)

    def _losses(self, output: Tensor, batch: Data) -> Tensor:
        output = output.to(torch.promote_types(output.dtype, torch.float32))
        target = self.normalised_target(batch).to(output.dtype)
        if output.shape != target.shape:
            raise ShapeError(
                f"the model's output must have the shape {tuple(target.shape)} of `y`, got "
                f"{tuple(output.shape)}; set the number of outputs of {self.settings['model']} accordingly."
            )
        if self.loss == "l1":
            values = functional.l1_loss(output, target, reduction="none")
        elif self.loss == "l2":
            values = functional.mse_loss(output, target, reduction="none")
        else:
            values = functional.huber_loss(output, target, reduction="none")
        return values.mean(dim=1)

    def training_loss(self, batch: Data) -> Float[Tensor, ""]:
        """Mean loss of the normalised targets."""
        return self._losses(self(batch), batch).mean()

    def evaluation_terms(self, batch: Data) -> dict[str, Tensor]:
        """Loss, prediction and target (physical units) of each graph."""
        output = self(batch)
        return {
            "loss": self._losses(output, batch),
            "prediction": self._physical(output, batch),
            "target": batch.y.double(),
        }

    def metrics(self, terms: dict[str, Tensor]) -> dict[str, float]:
        """`mae_<name>_<unit>` and `rmse_<name>_<unit>` of every target."""
        return regression_metrics(terms["prediction"].numpy(), terms["target"].numpy(), self.suffixes)

"""What every task shares: model, loss, epoch-wise metrics, and hyper-parameters that are plain values.

A task is where model, loss and metric meet. Subclasses give the loss of a batch, per-graph terms, and the
metrics of all terms together; Lightning's hooks are implemented here once. A validation pass draws its
random numbers from a fixed seed and leaves the training stream untouched, so that the validation losses of
two epochs are comparable and validation has no influence on the weights.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import lightning
import torch
from jaxtyping import Float
from torch import Tensor
from torch_geometric.data import Data

from geograph import models
from geograph.errors import ConfigError

_EVALUATION_SEED = 20_240_229


class Task(lightning.LightningModule):
    """A model together with its loss and its metrics.

    Parameters
    ----------
    model
        Name of the model in `geograph.models.MODELS`.
    model_params
        Keyword arguments of `geograph.models.build_model`.
    optimizer
        Settings that `geograph.training.optimizers` understands; None stands for its defaults.
    statistics
        What was measured on the training part (means, histograms, ...), as JSON values; everything that is
        needed to predict or sample without the data.
    **task_params
        Settings of the subclass, as JSON values.
    """

    kind: ClassVar[str] = "task"

    def __init__(
        self,
        *,
        model: str,
        model_params: dict[str, Any],
        optimizer: dict[str, Any] | None = None,
        statistics: dict[str, Any] | None = None,
        **task_params: Any,
    ) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {
            "model": model,
            "model_params": dict(model_params),
            "optimizer": dict(optimizer or {}),
            "statistics": dict(statistics or {}),
            **task_params,
        }
        self.save_hyperparameters(self.settings, logger=False)
        self.statistics: dict[str, Any] = self.settings["statistics"]
        self.model = models.build_model(model, **model_params)
        self.optimizer_factory: Callable[[Task], Any] | None = None
        #: Changes each training batch, for instance by a random rotation.
        self.augmentation: Callable[[Data], Data] | None = None
        self._terms: list[dict[str, Tensor]] = []
        self._rng_state: tuple[Tensor, list[Tensor]] | None = None

    # What a subclass provides -------------------------------------------------------------------------------

    def training_loss(self, batch: Data) -> Float[Tensor, ""]:
        """Mean loss of a batch, a scalar."""
        raise NotImplementedError

    def evaluation_terms(self, batch: Data) -> dict[str, Tensor]:
        """Per-graph quantities, each with one row for each graph.

        A term named `loss` (one value for each graph) is averaged over the data set and becomes the loss of
        the evaluation; without it `training_loss` is called too, and weighted with the number of graphs.
        """
        raise NotImplementedError

    def metrics(self, terms: dict[str, Tensor]) -> dict[str, float]:
        """Metrics of a whole data set from the terms of all its graphs; the keys carry units."""
        raise NotImplementedError

    def predict(self, batch: Data) -> Tensor:
        """Prediction for a batch in physical units."""
        raise NotImplementedError

    # Evaluation ---------------------------------------------------------------------------------------------

    def forward(self, batch: Data) -> Tensor:
        """Raw output of the model."""
        output: Tensor = self.model(batch)
        return output

    @torch.no_grad()
    def batch_terms(self, batch: Data) -> dict[str, Tensor]:
        """Terms of one batch on the CPU, with a per-graph `loss` always among them."""
        terms = self.evaluation_terms(batch)
        if "loss" not in terms:
            loss = self.training_loss(batch).detach()
            terms = {**terms, "loss": loss.expand(int(batch.num_graphs))}
        return {name: value.detach().cpu() for name, value in terms.items()}

    def evaluate(self, loader: Iterable[Data]) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Metrics (with `loss`) and terms of a whole data set, in evaluation mode.

        The random numbers that a task draws come from a fixed seed; the state of the generators, and the
        mode of the model, are as before afterwards.

        Raises
        ------
        ConfigError
            If the loader is empty.
        """
        was_training = self.training
        self.eval()
        self._enter_fixed_seed()
        try:
            parts = [self.batch_terms(self.prepared(batch).to(self.device)) for batch in loader]
        finally:
            self._leave_fixed_seed()
            self.train(was_training)
        return self._aggregate(parts)

    def _aggregate(self, parts: list[dict[str, Tensor]]) -> tuple[dict[str, float], dict[str, Tensor]]:
        if not parts:
            raise ConfigError("`loader` must hold at least one batch to be evaluated, got none.")
        terms = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        values = {"loss": float(terms["loss"].double().mean()), **self.metrics(terms)}
        return {name: float(value) for name, value in values.items()}, terms

    def _enter_fixed_seed(self) -> None:
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        self._rng_state = (torch.get_rng_state(), cuda)
        torch.manual_seed(_EVALUATION_SEED)

    def _leave_fixed_seed(self) -> None:
        if self._rng_state is None:
            return
        torch.set_rng_state(self._rng_state[0])
        if self._rng_state[1]:
            torch.cuda.set_rng_state_all(self._rng_state[1])
        self._rng_state = None

    def prepared(self, batch: Data) -> Data:
        """Return the batch with floating fields in the dtype of the model; the given one stays as it is.

        Four-momenta keep their dtype: models take products of them, which cancel, before they cast.
        """
        dtype = next((p.dtype for p in self.parameters() if p.is_floating_point()), torch.float32)
        wrong = [
            name
            for name, value in batch.items()
            if isinstance(value, Tensor)
            and value.is_floating_point()
            and value.dtype != dtype
            and name != "p4"
        ]
        if not wrong:
            return batch
        batch = copy.copy(batch)
        for name in wrong:
            batch[name] = batch[name].to(dtype)
        return batch

    def on_before_batch_transfer(self, batch: Data, dataloader_idx: int) -> Data:
        """Bring the batch to the dtype of the model."""
        return self.prepared(batch)

    # Lightning's hooks --------------------------------------------------------------------------------------

    def training_step(self, batch: Data, batch_idx: int) -> Tensor:
        """Loss of one batch, logged as `train/loss`."""
        if self.augmentation is not None:
            batch = self.augmentation(batch)
        loss = self.training_loss(batch)
        self.log("train/loss", loss.detach(), on_step=False, on_epoch=True, batch_size=int(batch.num_graphs))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Start from no terms and a fixed seed."""
        self._terms = []
        self._enter_fixed_seed()

    def validation_step(self, batch: Data, batch_idx: int) -> None:
        """Collect the terms of one batch."""
        self._terms.append(self.batch_terms(batch))

    def on_validation_epoch_end(self) -> None:
        """Log `val/loss` and every metric as `val/<metric>`."""
        self._leave_fixed_seed()
        self._log_terms("val")

    def on_test_epoch_start(self) -> None:
        """Start from no terms and a fixed seed."""
        self.on_validation_epoch_start()

    def test_step(self, batch: Data, batch_idx: int) -> None:
        """Collect the terms of one batch."""
        self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        """Log `test/loss` and every metric as `test/<metric>`."""
        self._leave_fixed_seed()
        self._log_terms("test")

    def _log_terms(self, stage: str) -> None:
        values, _ = self._aggregate(self._terms)
        self._terms = []
        finite = {f"{stage}/{name}": value for name, value in values.items() if not math.isnan(value)}
        self.log_dict(finite, on_step=False, on_epoch=True, batch_size=1)

    def configure_optimizers(self) -> Any:
        """Optimizer and schedule from the factory that `geograph.training.fit` sets.

        Raises
        ------
        ConfigError
            If the task is trained with a Trainer that `geograph.training.fit` did not build.
        """
        if self.optimizer_factory is None:
            raise ConfigError(
                "`optimizer_factory` of the task must be set before training, got None; "
                "train with `geograph.training.fit.fit`, which builds the optimizer from the settings."
            )
        return self.optimizer_factory(self)

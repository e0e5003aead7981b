"""Classification of graphs by cross-entropy, with the metrics of jet tagging for two classes."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional
from torch_geometric.data import Data

from geograph.errors import ConfigError, DataError
from geograph.tasks.base import Task
from geograph.tasks.metrics import tagging_metrics


class ClassificationTask(Task):
    """Predicts the class `batch.y` of each graph.

    A model with one output is read as the logit of class 1 against class 0.

    Parameters
    ----------
    class_weights
        `balanced` weights each class with N / (C n_c) from `statistics["class_counts"]`, so that the mean
        weight over the training part is one; None weights all graphs alike.
    label_smoothing
        Share of the label that is spread evenly over all classes; evaluation is without it.
    model, model_params, optimizer, statistics
        As for `Task`; `statistics` may hold `class_counts` and `class_names`.

    Raises
    ------
    ConfigError
        If a parameter is out of range or the class counts are missing.
    """

    kind: ClassVar[str] = "classification"
    class_weight: Tensor | None

    def __init__(
        self,
        *,
        model: str,
        model_params: dict[str, Any],
        optimizer: dict[str, Any] | None = None,
        statistics: dict[str, Any] | None = None,
        class_weights: str | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(
            model=model,
            model_params=model_params,
            optimizer=optimizer,
            statistics=statistics,
            class_weights=class_weights,
            label_smoothing=label_smoothing,
        )
        if not 0.0 <= label_smoothing < 1.0:
            raise ConfigError(f"`label_smoothing` must lie in [0, 1), got {label_smoothing}.")
        if class_weights not in (None, "balanced"):
            raise ConfigError(f"`class_weights` must be 'balanced' or None, got {class_weights!r}.")
        self.label_smoothing = label_smoothing
        self.register_buffer("class_weight", self._balanced(class_weights), persistent=False)

    def _balanced(self, class_weights: str | None) -> Tensor | None:
        if class_weights is None:
            return None
        counts = torch.tensor(self.statistics.get("class_counts", []), dtype=torch.float64)
        if len(counts) < 2 or not bool((counts > 0).all()):
            raise ConfigError(
                "`statistics` must hold `class_counts`, positive for each of at least two classes, when "
                f"`class_weights` is 'balanced', got {counts.tolist()}."
            )
        return (counts.sum() / (len(counts) * counts)).float()

    def logits(self, batch: Data) -> Float[Tensor, "graphs classes"]:
        """Logit of each class, at least two columns.

        Raises
        ------
        DataError
            If a label is not the index of a class.
        """
        output: Tensor = self(batch)
        return torch.cat([torch.zeros_like(output), output], dim=1) if output.shape[1] == 1 else output

    def _checked_labels(self, batch: Data, num_classes: int) -> Int[Tensor, " graphs"]:
        labels: Tensor = batch.y
        wrong = (labels < 0) | (labels >= num_classes)
        if bool(wrong.any()):
            first = int(wrong.nonzero()[0])
            raise DataError(
                f"label {int(labels[first])} is not in [0, {num_classes})",
                record=int(batch.record_index[first]),
                remedy="check the labels, or give the model one output for each class",
            )
        return labels

    def predict(self, batch: Data) -> Float[Tensor, "graphs classes"]:
        """Probability of each class."""
        return self.logits(batch).softmax(dim=1)

    def training_loss(self, batch: Data) -> Float[Tensor, ""]:
        """Weighted and smoothed cross-entropy in nats, averaged over the graphs."""
        logits = self.logits(batch)
        labels = self._checked_labels(batch, logits.shape[1])
        weight = None if self.class_weight is None else self.class_weight.to(logits.dtype)
        if weight is not None and len(weight) != logits.shape[1]:
            raise ConfigError(
                f"`class_counts` must have one entry for each of {logits.shape[1]} classes, got "
                f"{len(weight)}."
            )
        losses = functional.cross_entropy(
            logits, labels, weight=weight, label_smoothing=self.label_smoothing, reduction="none"
        )
        return losses.mean()

    def evaluation_terms(self, batch: Data) -> dict[str, Tensor]:
        """Cross-entropy (unweighted, not smoothed), logits and label of each graph."""
        logits = self.logits(batch)
        labels = self._checked_labels(batch, logits.shape[1])
        return {
            "loss": functional.cross_entropy(logits, labels, reduction="none"),
            "logits": logits,
            "label": labels,
        }

    def metrics(self, terms: dict[str, Tensor]) -> dict[str, float]:
        """`accuracy`; for two classes, if both occur, also those of `tagging_metrics`."""
        logits, labels = terms["logits"].double(), terms["label"].numpy()
        values = {"accuracy": float(np.mean(logits.argmax(dim=1).numpy() == labels))}
        if logits.shape[1] == 2 and len(np.unique(labels)) == 2:
            values |= tagging_metrics(labels, (logits[:, 1] - logits[:, 0]).numpy())
        return values

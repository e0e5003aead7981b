"""What has happened since an epoch began, so that a training can go on in the middle of one."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass
class WithinEpoch:
    """What has happened in the present epoch: batches, graphs, the sum of their losses, and seconds."""

    num_batches: int = 0
    num_graphs: int = 0
    loss: float | Tensor = 0.0
    elapsed_s: float = 0.0

    def add(self, loss: Tensor, num_graphs: int, num_batches: int) -> None:
        """Add the mean loss of a batch."""
        self.loss = self.loss + loss.detach().double() * num_graphs  # stays on its device
        self.num_graphs += num_graphs
        self.num_batches = num_batches

    def mean(self) -> float:
        """Mean loss of a graph."""
        return float(self.loss) / max(self.num_graphs, 1)

    def values(self) -> dict[str, float | int]:
        """Return plain values for a checkpoint."""
        return {
            "num_batches": self.num_batches,
            "num_graphs": self.num_graphs,
            "loss": float(self.loss),
            "elapsed_s": self.elapsed_s,
        }

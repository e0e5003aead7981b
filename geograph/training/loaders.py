"""What a training asks of its loaders, and how they learn the epoch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, cast, runtime_checkable

import lightning
from torch_geometric.data import Data

from geograph.errors import ConfigError


@runtime_checkable
class Loader(Protocol):
    """Batches of a data set, whose order is a function of the epoch alone."""

    def __iter__(self) -> Iterator[Data]: ...

    def __len__(self) -> int: ...

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass."""


class EpochLoader:
    """Tells the loader the epoch when a pass begins; Lightning would do so only after the first fetch.

    It has no length on purpose: the number of batches may differ from epoch to epoch (batches that are cut
    by their number of edges), and Lightning would drop what exceeds a length.

    Attributes
    ----------
    length
        Number of batches of the present pass, and of epoch 0 before the first.

    Raises
    ------
    ConfigError
        If the loader has no batch.
    """

    def __init__(self, loader: Loader | Iterable[Data], name: str) -> None:
        self.loader = loader
        self.trainer: lightning.Trainer | None = None
        self._set_epoch(0)
        self.length = len(cast(Any, loader))
        if self.length == 0:
            raise ConfigError(f"`{name}` must hold at least one batch, got none.")

    def _set_epoch(self, epoch: int) -> None:
        set_epoch = getattr(self.loader, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(epoch)

    def __iter__(self) -> Iterator[Data]:
        if self.trainer is not None:
            # Epochs that are through, also right after a resume; `current_epoch` lags behind there.
            self._set_epoch(cast(Any, self.trainer.fit_loop.epoch_progress.current).processed)
            self.length = len(cast(Any, self.loader))
        yield from self.loader
